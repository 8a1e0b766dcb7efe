// One update of all parameters by AdamW (Loshchilov and Hutter, ICLR 2019), as torch.optim.AdamW does it.
#pragma once

#include "native.h"

namespace ISA {

struct OptimizerState {
    float *weights, *gradient, *first_moment, *second_moment;  // [size] each
};

static void adamw_update(const OptimizerState& state, long size, const AdamW& a) {
    const float decay = float(1 - a.rate * a.weight_decay), rate = float(a.rate / a.correction1);
    const float inverse_correction = float(1 / __builtin_sqrt(a.correction2));
    const float new_first = float(1 - a.beta1), new_second = float(1 - a.beta2);  // weights of the new gradient
    const float old_second = float(a.beta2), epsilon = float(a.epsilon);
    float *__restrict w = state.weights, *__restrict m = state.first_moment, *__restrict v = state.second_moment;
    const float* __restrict g = state.gradient;
    for (long k = 0; k < size; k++) {
        m[k] += new_first * (g[k] - m[k]);
        v[k] = old_second * v[k] + new_second * g[k] * g[k];
        w[k] = w[k] * decay - rate * m[k] / (__builtin_sqrtf(v[k]) * inverse_correction + epsilon);
    }
}

}  // namespace ISA
