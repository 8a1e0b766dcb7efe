// One network on one core: forward, loss, backward through time and AdamW, as vector code for one instruction set.
//
// Included by native_avx512.cpp, native_avx2.cpp and native_base.cpp, each of which defines
//   ISA       the namespace of this copy
//   LANES     floats in a vector register
//   ROWS, COLS   the block of a matrix product that is held in registers: ROWS rows, COLS vectors
// No header of the standard library may be included from here: its inline functions would be compiled for this
// instruction set, and the linker could choose them for machines that lack it.
//
// Everything is row-major float32. A row of units is padded from H to Hp, a multiple of LANES, with zeros that stay zero:
// padded weights are zero, so padded states, gradients and AdamW moments are too. Weights are held transposed, [inputs,
// blocks * Hp], so that a row of gates is a sum of rows of weights.
//
// The gates of a unit are `blocks` columns of Hp: lstm i f g o; rnn h; gru r z n m, where n reads the inputs and m the
// state (their products are kept apart, because r gates m alone): inputs do not reach m, states do not reach n.
#include "native.h"
#include "vector.h"

namespace ISA {

class Network final : public NativeNetwork {
  public:
    explicit Network(const Shape& shape) : s(shape) {
        blocks = s.cell == RNN ? 1 : 4;
        Hp = padded(s.hidden);
        Op = padded(s.outputs);
        N = blocks * Hp;
        rows = s.steps * s.batch;
        for (int l = 0; l < s.layers; l++) {
            Layer& layer = layers[l];
            layer.inputs = l ? s.hidden : s.inputs;
            layer.wi = size; size += layer.inputs * N;
            layer.wh = size; size += s.hidden * N;
            layer.bi = size; size += N;
            layer.bh = size; size += N;
        }
        wo = size; size += s.hidden * Op;
        bo = size; size += Op;
        size = padded(size);
        for (float** moment : {&weights, &gradient, &first, &second}) *moment = take(size);
        for (int l = 0; l < s.layers; l++) {
            layers[l].gates = take(rows * N);
            layers[l].states = take((rows + s.batch) * Hp);
            layers[l].cells = s.cell == LSTM ? take((rows + s.batch) * Hp) : nullptr;
            layers[l].squashed = s.cell == LSTM ? take(rows * Hp) : nullptr;
        }
        logits = take(rows * Op);
        states_of_first = take(s.layers * (s.steps + 1L) * Hp);
        cells_of_first = s.cell == LSTM ? take(s.layers * (s.steps + 1L) * Hp) : nullptr;
        logits_of_first = take(s.steps * Op);
        inputs = take(rows * s.inputs);
        bias = take(N);
        embedding = take(s.inputs * N);
        back_h = take(N * Hp);
        back_i = take(N * Hp);
        back_o = take(Op * Hp);
        from_above = take(rows * Hp);
        carry = take(s.batch * Hp);
        carry_cell = take(s.batch * Hp);
    }

    ~Network() override {
        for (int b = 0; b < taken; b++) __builtin_free(memory[b]);
    }

    void start(const float* flat) override {
        for (float* all_of : {weights, first, second}) __builtin_memset(all_of, 0, 4 * size);  // padding too
        exchange(const_cast<float*>(flat), true, weights);
    }

    void copy(float* flat, bool gradients) override { exchange(flat, false, gradients ? gradient : weights); }

    double update(const Batch& batch, const AdamW& adamw) override {
        read(batch);
        for (int l = 0; l < s.layers; l++) forward(l, batch, true, 0);
        const double loss = readout(batch);
        for (int l = s.layers - 1; l >= 0; l--) backward(l, batch);
        step(adamw);
        return loss;
    }

    void predict(const Batch& batch, float* out) override {  // out [batch, steps, outputs]
        look(batch, false, 0);
        for (int t = 0; t < s.steps; t++)
            for (int b = 0; b < s.batch; b++)
                __builtin_memcpy(out + (long(b) * s.steps + t) * s.outputs, logits + (long(t) * s.batch + b) * Op, 4 * s.outputs);
    }

    void remember(const Batch& batch) override {
        look(batch, true, 0);
        for (int t = 0; t <= s.steps; t++) {
            for (int l = 0; l < s.layers; l++) {
                __builtin_memcpy(known(states_of_first, l, t), layers[l].states + long(t) * s.batch * Hp, 4 * Hp);
                if (s.cell == LSTM) __builtin_memcpy(known(cells_of_first, l, t), layers[l].cells + long(t) * s.batch * Hp, 4 * Hp);
            }
            if (t < s.steps) __builtin_memcpy(logits_of_first + t * Op, logits + long(t) * s.batch * Op, 4 * Op);
        }
    }

    Measured measure(const Batch& batch, int count, int shared) override {
        look(batch, false, shared);
        for (int t = 0; t < shared; t++)
            for (int b = 0; b < count; b++) __builtin_memcpy(logits + (long(t) * s.batch + b) * Op, logits_of_first + t * Op, 4 * Op);
        Measured sum = {0, 0};
        for (int b = 0; b < count; b++) sum.right += largest(logits + ((s.steps - 1L) * s.batch + b) * Op) == target(batch, s.steps - 1, b);
        CrossEntropy entropy;
        for (int t = 0; t < s.steps; t++)
            for (int b = 0; b < count; b++) softmax(logits + (long(t) * s.batch + b) * Op, target(batch, t, b), 1, entropy);
        sum.loss = entropy.sum();
        return sum;
    }

    long bytes() const override { return allocated; }

  private:
    struct Layer {
        int inputs;
        long wi, wh, bi, bh;  // places in `weights`: [inputs, N], [hidden, N], [N], [N]
        float *gates, *states, *cells, *squashed;  // [T, B, N], [T+1, B, Hp], the same, [T, B, Hp] (tanh of the cell)
    };

    static int padded(int count) { return (count + LANES - 1) / LANES * LANES; }
    static void swap(float& outside, float& inside, bool in) { (in ? inside : outside) = in ? outside : inside; }

    // Leave the logits of a batch from step `shared` on in `logits`; all sequences begin with the steps remembered.
    void look(const Batch& batch, bool keep, int shared) {
        read(batch);
        for (int l = 0; l < s.layers; l++) {
            for (int b = 0; shared && b < s.batch; b++) {
                __builtin_memcpy(layers[l].states + (long(shared) * s.batch + b) * Hp, known(states_of_first, l, shared), 4 * Hp);
                if (s.cell == LSTM) __builtin_memcpy(layers[l].cells + b * Hp, known(cells_of_first, l, shared), 4 * Hp);
            }
            forward(l, batch, keep, shared);
        }
        project(layers[s.layers - 1], shared);
    }

    float* known(float* of_first, int l, int t) const { return of_first + (l * (s.steps + 1L) + t) * Hp; }

    int largest(const float* row) const {
        int best = 0;
        for (int o = 1; o < s.outputs; o++) best = row[o] > row[best] ? o : best;
        return best;
    }

    // Copy between PyTorch's flat order and ours: into our parameters, or out of them.
    void exchange(float* flat, bool in, float* own) const {
        const int gates = s.cell == LSTM ? 4 : s.cell == GRU ? 3 : 1;
        for (int l = 0; l < s.layers; l++) {
            const Layer& layer = layers[l];
            for (int from_state = 0; from_state < 2; from_state++) {
                const int width = from_state ? s.hidden : layer.inputs, at = from_state ? layer.wh : layer.wi;
                for (int g = 0; g < gates; g++)
                    for (int h = 0; h < s.hidden; h++)
                        for (int k = 0; k < width; k++) swap(*flat++, own[at + k * N + column(g, from_state) + h], in);
            }
            for (int from_state = 0; from_state < 2; from_state++)
                for (int g = 0; g < gates; g++)
                    for (int h = 0; h < s.hidden; h++)
                        swap(*flat++, own[(from_state ? layer.bh : layer.bi) + column(g, from_state) + h], in);
        }
        for (int o = 0; o < s.outputs; o++)
            for (int h = 0; h < s.hidden; h++) swap(*flat++, own[wo + h * Op + o], in);
        for (int o = 0; o < s.outputs; o++) swap(*flat++, own[bo + o], in);
    }

    float* take(long count) {
        void* place = nullptr;
        const long size_in_bytes = (count * 4 + 63) / 64 * 64 + 64;
        if (posix_memalign(&place, 64, size_in_bytes)) __builtin_trap();  // a few MB: without them nothing here works
        __builtin_memset(place, 0, size_in_bytes);
        memory[taken++] = place;
        allocated += size_in_bytes;
        return static_cast<float*>(place);
    }

    int column(int gate, bool from_state) const {
        return (s.cell == GRU && gate == 2 && from_state ? 3 : gate) * Hp;
    }

    // Bring the batch into [T, B, inputs]; symbols stay symbols, and `forward` looks their weights up.
    void read(const Batch& batch) {
        if (batch.dense) {
            for (int b = 0; b < s.batch; b++)
                for (int t = 0; t < s.steps; t++)
                    __builtin_memcpy(inputs + (long(t) * s.batch + b) * s.inputs, batch.dense + (long(b) * s.steps + t) * s.inputs, 4 * s.inputs);
        } else if (batch.images) {  // step 0 is BOS, zeros; then tiles of pixels
            for (int b = 0; b < s.batch; b++) {
                const unsigned char* image = batch.images + batch.chosen[b] * batch.image_size;
                const long* pixel = batch.table;
                for (int t = 1; t < s.steps; t++) {
                    float* tile = inputs + (long(t) * s.batch + b) * s.inputs;
                    for (int k = 0; k < s.inputs; k++) tile[k] = batch.brightness[image[*pixel++]];
                }
            }
            __builtin_memset(inputs, 0, 4L * s.batch * s.inputs);
        }
    }

    int target(const Batch& batch, int t, int b) const {
        if (batch.symbols) return batch.symbols[long(b) * (s.steps + 1) + t + 1];
        return int(batch.images ? batch.labels[batch.chosen[b]] : batch.targets[long(b) * s.steps + t]);
    }

    // `keep`: leave what `backward` needs of every step; without it, steps share their place, which stays in cache.
    // Steps before `from` are done: the states are there, and the cells where the first ones are.
    void forward(int l, const Batch& batch, bool keep, int from) {
        Layer& layer = layers[l];
        const float *wi = weights + layer.wi, *wh = weights + layer.wh;
        for (int n = 0; n < N; n += LANES) store(bias + n, load(weights + layer.bi + n) + load(weights + layer.bh + n));
        const bool symbols = l == 0 && batch.symbols;
        if (symbols)
            for (int v = 0; v < s.inputs; v++)
                for (int n = 0; n < N; n += LANES) store(embedding + v * N + n, load(wi + v * N + n) + load(bias + n));
        if (s.cell == LSTM && !from) __builtin_memset(layer.cells, 0, 4L * s.batch * Hp);
        const float* below = l ? layers[l - 1].states + s.batch * Hp : inputs;
        const long stride = l ? Hp : s.inputs;
        for (int t = from; t < s.steps; t++) {
            const long kept = keep ? long(t) * s.batch : 0;
            float *gates = layer.gates + kept * N, *states = layer.states + long(t) * s.batch * Hp;
            if (symbols) {
                for (int b = 0; b < s.batch; b++)
                    __builtin_memcpy(gates + b * N, embedding + batch.symbols[long(b) * (s.steps + 1) + t] * N, 4 * N);
                multiply<false>({s.batch, N, s.hidden, states, wh, Hp, N, gates, N, nullptr, true, 0, nullptr, nullptr, 0, 0});
            } else {
                multiply<false>({s.batch, N, s.hidden, states, wh, Hp, N, gates, N, bias, false, layer.inputs,
                                 below + long(t) * s.batch * stride, wi, stride, N});
            }
            float* next = states + s.batch * Hp;
            if (s.cell == LSTM) lstm(gates, layer.cells + kept * Hp, layer.cells + (kept + keep * s.batch) * Hp, layer.squashed + kept * Hp, next);
            else if (s.cell == GRU) gru(gates, states, next);
            else rnn(gates, next);
        }
    }

    // The second loop needs what the first one ends with: kept apart, the iterations of both overlap.
    void lstm(float* gates, const float* cells, float* after, float* squashed, float* next) const {
        const int rows = s.batch, units = Hp;
        for (int b = 0; b < rows; b++)
            for (int h = 0; h < units; h += LANES) {
                float* g = gates + b * 4 * units + h;
                const long at = b * units + h;
                const vec i = sigmoid(load(g)), f = sigmoid(load(g + units)), c = tangent(load(g + 2 * units));
                store(g, i); store(g + units, f); store(g + 2 * units, c); store(g + 3 * units, sigmoid(load(g + 3 * units)));
                store(after + at, f * load(cells + at) + i * c);
            }
        for (int b = 0; b < rows; b++)
            for (int h = 0; h < units; h += LANES) {
                const long at = b * units + h;
                const vec tanh_cell = tangent(load(after + at));
                store(squashed + at, tanh_cell);
                store(next + at, load(gates + b * 4 * units + 3 * units + h) * tanh_cell);
            }
    }

    void gru(float* gates, const float* states, float* next) const {
        for (int b = 0; b < s.batch; b++)
            for (int h = 0; h < Hp; h += LANES) {
                float* g = gates + b * N + h;
                const vec r = sigmoid(load(g)), z = sigmoid(load(g + Hp)), n = tangent(load(g + 2 * Hp) + r * load(g + 3 * Hp));
                store(g, r); store(g + Hp, z); store(g + 2 * Hp, n);
                store(next + b * Hp + h, (1.0f - z) * n + z * load(states + b * Hp + h));
            }
    }

    void rnn(float* gates, float* next) const {
        for (int b = 0; b < s.batch; b++)
            for (int h = 0; h < Hp; h += LANES) store(next + b * Hp + h, tangent(load(gates + b * N + h)));
    }

    void project(const Layer& top, int from) {
        const long first = long(from) * s.batch;
        multiply<false>({int(rows - first), Op, s.hidden, top.states + (first + s.batch) * Hp, weights + wo, Hp, Op, logits + first * Op, Op, weights + bo, false, 0, nullptr, nullptr, 0, 0});
    }

    // Logits, mean cross-entropy, and its gradients on the readout and on the states of the top layer.
    double readout(const Batch& batch) {
        const Layer& top = layers[s.layers - 1];
        project(top, 0);
        CrossEntropy entropy;
        const float share = 1.0f / float(rows);
        for (int t = 0; t < s.steps; t++)
            for (int b = 0; b < s.batch; b++) softmax(logits + (long(t) * s.batch + b) * Op, target(batch, t, b), share, entropy);
        __builtin_memset(gradient + wo, 0, 4 * (size - wo));
        weight_gradient(top.states + s.batch * Hp, Hp, s.hidden, logits, Op, rows, gradient + wo);
        add_column_sums(logits, Op, rows, gradient + bo);
        transpose(weights + wo, s.hidden, Op, s.outputs, back_o);
        multiply<false>({int(rows), Hp, s.outputs, logits, back_o, Op, Hp, from_above, Hp, nullptr, false, 0, nullptr, nullptr, 0, 0});
        return entropy.sum() / double(rows);
    }

    // A sum of log(sum of exponentials) - logit: a logarithm of a product now and then, in place of one a row.
    struct CrossEntropy {
        double logits = 0, product = 1;

        void add(float exponentials, float logit) {
            logits += logit;
            product *= exponentials;
            if (product > 1e200) logits -= __builtin_log(product), product = 1;
        }

        double sum() const { return __builtin_log(product) - logits; }
    };

    // Turn a row of logits into share * (probabilities - target); padding into zeros.
    void softmax(float* row, int target, float share, CrossEntropy& entropy) const {
        const float top = row[largest(row)], chosen = row[target] - top;
        float sum = 0;
        for (int o = 0; o < Op; o += LANES) store(row + o, exponential(load(row + o) - top));
        for (int o = 0; o < s.outputs; o++) sum += row[o];
        const float scale = share / sum;
        for (int o = 0; o < Op; o += LANES) store(row + o, load(row + o) * scale);
        for (int o = s.outputs; o < Op; o++) row[o] = 0;
        row[target] -= share;
        entropy.add(sum, chosen);
    }

    // A few steps at a time: the gradients of their gates are put to all uses while they are in cache.
    void backward(int l, const Batch& batch) {
        const Layer& layer = layers[l];
        transpose(weights + layer.wh, s.hidden, N, N, back_h);
        if (l) transpose(weights + layer.wi, layer.inputs, N, N, back_i);
        __builtin_memset(carry, 0, 4L * s.batch * Hp);
        __builtin_memset(carry_cell, 0, 4L * s.batch * Hp);
        __builtin_memset(gradient + layer.wi, 0, 4 * (layer.bh - layer.wi));
        const int together = s.batch < CHUNK ? CHUNK / s.batch : 1;
        for (int last = s.steps; last > 0; last -= together) {
            const int first = last > together ? last - together : 0;
            for (int t = last - 1; t >= first; t--) step_back(layer, t);
            add_gradients(l, batch, first, last);
        }
        __builtin_memcpy(gradient + layer.bh, gradient + layer.bi, 4 * N);
        if (s.cell == GRU) {  // inputs do not reach m, states do not reach n
            clear_block(gradient + layer.wi, layer.inputs, 3); clear_block(gradient + layer.bi, 1, 3);
            clear_block(gradient + layer.wh, s.hidden, 2); clear_block(gradient + layer.bh, 1, 2);
        }
    }

    // Turn the gates of step t into their gradients, and carry what reaches the step before.
    void step_back(const Layer& layer, int t) {
        float* gates = layer.gates + long(t) * s.batch * N;
        const float *above = from_above + long(t) * s.batch * Hp, *states = layer.states + long(t) * s.batch * Hp;
        if (s.cell == LSTM) lstm_back(gates, layer.cells + long(t) * s.batch * Hp, layer.squashed + long(t) * s.batch * Hp, above);
        else if (s.cell == GRU) gru_back(gates, states, above);
        else rnn_back(gates, states + s.batch * Hp, above);
        multiply<false>({s.batch, Hp, N, gates, back_h, N, Hp, carry, Hp, nullptr, s.cell == GRU, 0, nullptr, nullptr, 0, 0});
    }

    // Add what steps [first, last) of a layer give to its gradients; leave in `from_above` what reaches the layer below.
    void add_gradients(int l, const Batch& batch, int first, int last) {
        const Layer& layer = layers[l];
        const long row = long(first) * s.batch;
        const int count = (last - first) * s.batch;
        const float* gates = layer.gates + row * N;
        weight_gradient(layer.states + row * Hp, Hp, s.hidden, gates, N, count, gradient + layer.wh);
        if (l) weight_gradient(layers[l - 1].states + (row + s.batch) * Hp, Hp, layer.inputs, gates, N, count, gradient + layer.wi);
        else if (batch.symbols) symbol_gradient(batch, first, last);
        else weight_gradient(inputs + row * s.inputs, s.inputs, layer.inputs, gates, N, count, gradient + layer.wi);
        add_column_sums(gates, N, count, gradient + layer.bi);
        if (l) multiply<false>({count, Hp, N, gates, back_i, N, Hp, from_above + row * Hp, Hp, nullptr, false, 0, nullptr, nullptr, 0, 0});
    }

    void lstm_back(float* gates, const float* cells, const float* squashed, const float* above) const {
        const int rows = s.batch, units = Hp;
        float *back = carry, *back_cell = carry_cell;
        for (int b = 0; b < rows; b++)
            for (int h = 0; h < units; h += LANES) {
                float* g = gates + b * 4 * units + h;
                const long at = b * units + h;
                const vec i = load(g), f = load(g + units), c = load(g + 2 * units), o = load(g + 3 * units), tanh_cell = load(squashed + at);
                const vec d = load(above + at) + load(back + at);
                const vec dc = load(back_cell + at) + d * o * (1.0f - tanh_cell * tanh_cell);
                store(g, dc * c * i * (1.0f - i));
                store(g + units, dc * load(cells + at) * f * (1.0f - f));
                store(g + 2 * units, dc * i * (1.0f - c * c));
                store(g + 3 * units, d * tanh_cell * o * (1.0f - o));
                store(back_cell + at, dc * f);
            }
    }

    void gru_back(float* gates, const float* states, const float* above) const {
        for (int b = 0; b < s.batch; b++)
            for (int h = 0; h < Hp; h += LANES) {
                float* g = gates + b * N + h;
                const long at = b * Hp + h;
                const vec r = load(g), z = load(g + Hp), n = load(g + 2 * Hp), m = load(g + 3 * Hp);
                const vec d = load(above + at) + load(carry + at), dn = d * (1.0f - z) * (1.0f - n * n);
                store(g, dn * m * r * (1.0f - r));
                store(g + Hp, d * (load(states + at) - n) * z * (1.0f - z));
                store(g + 2 * Hp, dn);
                store(g + 3 * Hp, dn * r);
                store(carry + at, d * z);
            }
    }

    void rnn_back(float* gates, const float* next, const float* above) const {
        for (int b = 0; b < s.batch; b++)
            for (int h = 0; h < Hp; h += LANES) {
                const long at = b * Hp + h;
                const vec state = load(next + at);
                store(gates + b * N + h, (load(above + at) + load(carry + at)) * (1.0f - state * state));
            }
    }

    // out[width, columns] += A^T B over `count` rows, in chunks of rows that stay in the first-level cache.
    void weight_gradient(const float* A, long lda, int width, const float* B, int columns, long count, float* out) const {
        for (long row = 0; row < count; row += CHUNK) {
            const int rest = int(count - row < CHUNK ? count - row : CHUNK);
            multiply<true>({width, columns, rest, A + row * lda, B + row * columns, lda, columns, out, columns, nullptr, true, 0, nullptr, nullptr, 0, 0});
        }
    }

    void symbol_gradient(const Batch& batch, int first, int last) const {
        float* out = gradient + layers[0].wi;
        for (int t = first; t < last; t++)
            for (int b = 0; b < s.batch; b++) {
                float* row = out + batch.symbols[long(b) * (s.steps + 1) + t] * N;
                const float* gates = layers[0].gates + (long(t) * s.batch + b) * N;
                for (int n = 0; n < N; n += LANES) store(row + n, load(row + n) + load(gates + n));
            }
    }

    void add_column_sums(const float* A, int columns, long count, float* out) const {
        for (int n = 0; n < columns; n += LANES) {
            vec sum[4] = {};
            for (long row = 0; row < count; row++) sum[row % 4] += load(A + row * columns + n);
            store(out + n, load(out + n) + ((sum[0] + sum[1]) + (sum[2] + sum[3])));
        }
    }

    void clear_block(float* rows_of, int count, int which) const {
        for (int r = 0; r < count; r++) __builtin_memset(rows_of + r * N + which * Hp, 0, 4 * Hp);
    }

    // to[columns, Hp] = from[height, stride] transposed; what is beyond `height` stays zero.
    void transpose(const float* from, int height, int stride, int columns, float* to) const {
        for (int c = 0; c < columns; c++)
            for (int r = 0; r < height; r++) to[c * Hp + r] = from[r * stride + c];
    }

    void step(const AdamW& a) {
        const float keep = float(1 - a.rate * a.weight_decay), rate = float(a.rate / a.correction1);
        const float inverse = float(1 / __builtin_sqrt(a.correction2)), beta1 = float(1 - a.beta1), beta2 = float(a.beta2), rest = float(1 - a.beta2), eps = float(a.epsilon);
        float *__restrict w = weights, *__restrict m = first, *__restrict v = second;
        const float* __restrict g = gradient;
        for (long k = 0; k < size; k++) {
            m[k] += beta1 * (g[k] - m[k]);
            v[k] = beta2 * v[k] + rest * g[k] * g[k];
            w[k] = w[k] * keep - rate * m[k] / (__builtin_sqrtf(v[k]) * inverse + eps);
        }
    }

    Shape s;
    int blocks, Hp, Op, N;
    long rows, size = 0, wo, bo, allocated = 0;
    Layer layers[MAX_LAYERS];
    float *weights, *gradient, *first, *second;  // [size]: packed parameters, their gradients, AdamW's moments
    float *states_of_first, *cells_of_first, *logits_of_first;  // [L, T+1, Hp], [L, T+1, Hp], [T, Op]: see `remember`
    float *logits, *inputs, *bias, *embedding, *back_h, *back_i, *back_o, *from_above, *carry, *carry_cell;
    void* memory[4 * MAX_LAYERS + 16];
    int taken = 0;
};

static NativeNetwork* make(const Shape& shape) { return new Network(shape); }

static void apply(Function function, float* values, long count) {
    for (long k = 0; k < count; k += LANES) {
        const vec x = load(values + k);
        store(values + k, function == EXPONENTIAL ? exponential(x) : function == SIGMOID ? sigmoid(x) : tangent(x));
    }
}

extern const Kernel kernel = {make, apply};

}  // namespace ISA
