// Cross-entropy of logits: its value, and its gradient in place of the logits.
//
// `kernel.h` explains who defines ISA and LANES, and why no header of the standard library is included.
#pragma once

#include "vector.h"

namespace ISA {

// The sum of -log(probability of the target). Multiplies the sums of exponentials and takes the logarithm of their
// product only when it grows large, instead of one logarithm per row.
struct CrossEntropy {
    double logits = 0, product = 1;

    void add(float sum_of_exponentials, float target_logit) {
        logits += target_logit;
        product *= sum_of_exponentials;
        if (product > 1e200) {
            logits -= __builtin_log(product);
            product = 1;
        }
    }

    double sum() const { return __builtin_log(product) - logits; }
};

static inline int argmax(const float* row, int count) {
    int best = 0;
    for (int k = 1; k < count; k++) best = row[k] > row[best] ? k : best;
    return best;
}

// Turn a row of logits [outputs], padded to whole vectors, into scale * (probabilities - one-hot target); padding
// becomes zero.
static inline void softmax_gradient(float* row, int outputs, int target, float scale, CrossEntropy& entropy) {
    const float largest = row[argmax(row, outputs)], target_logit = row[target] - largest;
    float sum = 0;
    for (int o = 0; o < outputs; o += LANES) store(row + o, exponential(load(row + o) - largest));
    for (int o = 0; o < outputs; o++) sum += row[o];
    const float factor = scale / sum;
    for (int o = 0; o < outputs; o += LANES) store(row + o, load(row + o) * factor);
    for (int o = outputs; o % LANES; o++) row[o] = 0;
    row[target] -= scale;
    entropy.add(sum, target_logit);
}

}  // namespace ISA
