// Sums over the rows of matrices, for gradients of weights; transposition.
//
// `stack_kernel.h` explains who defines ISA and LANES, and why no header of the standard library is included.
#pragma once

#include "product.h"

namespace ISA {

constexpr int CHUNK = 128;  // rows whose gradients are put to all uses before they leave the second-level cache

// out[width, columns] += A^T B over `count` rows, in chunks of rows that stay in the first-level cache.
static void add_weight_gradient(ConstMatrix A, int width, ConstMatrix B, int columns, long count, Matrix out) {
    for (long row = 0; row < count; row += CHUNK) {
        const int rows = int(count - row < CHUNK ? count - row : CHUNK);
        multiply_transposed(Product(width, columns, out).plus_old().plus(A.from(row, 0), B.from(row, 0), rows));
    }
}

// The sums of V vectors of columns, of every fourth row in turn: four chains of additions that do not wait for one another.
template <int V>
static inline void add_column_sums(const float* A, int columns, long count, float* out) {
    vec sum[4][V] = {};
    const auto add = [&](int chain) __attribute__((always_inline)) {
        UNROLL for (int v = 0; v < V; v++) sum[chain][v] += load(A + chain * long(columns) + v * LANES);
    };
    for (; count >= 4; count -= 4, A += 4L * columns)
        UNROLL for (int chain = 0; chain < 4; chain++) add(chain);
    UNROLL for (int chain = 0; chain < 3; chain++)
        if (chain < count) add(chain);
    UNROLL for (int v = 0; v < V; v++) {
        float* to = out + v * LANES;
        store(to, load(to) + ((sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v])));
    }
}

// out[columns] += sums over `count` rows of A[count, columns].
static void add_column_sums(const float* A, int columns, long count, float* out) {
    int n = 0;
    for (; columns - n >= 2 * LANES; n += 2 * LANES) add_column_sums<2>(A + n, columns, count, out + n);
    if (n < columns) add_column_sums<1>(A + n, columns, count, out + n);
}

// to[columns, to.stride] = from[rows, columns] transposed; columns of `to` from `rows` on stay as they are.
static void transpose(ConstMatrix from, int rows, int columns, Matrix to) {
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++) to.data[c * to.stride + r] = from.data[r * from.stride + c];
}

}  // namespace ISA
