// Sums over the rows of matrices, for gradients of weights; transposition.
//
// `stack_kernel.h` explains who defines ISA and LANES, and why no header of the standard library is included.
#pragma once

#include "product.h"

namespace ISA {

constexpr int CHUNK = 128;  // rows whose gradients are put to all uses before they leave the second-level cache

// out[width, columns] += A^T B over `count` rows, in chunks of rows that stay in the first-level cache.
static void add_weight_gradient(ConstMatrix A, int width, ConstMatrix B, int columns, long count, float* out) {
    for (long row = 0; row < count; row += CHUNK) {
        const int rows = int(count - row < CHUNK ? count - row : CHUNK);
        multiply_transposed(Product(width, columns, {out, columns})
                                .plus_old()
                                .plus({A.data + row * A.stride, A.stride}, {B.data + row * B.stride, B.stride}, rows));
    }
}

static void add_column_sums(const float* A, int columns, long count, float* out) {
    for (int n = 0; n < columns; n += LANES) {
        vec sum[4] = {};
        for (long row = 0; row < count; row++) sum[row % 4] += load(A + row * columns + n);
        store(out + n, load(out + n) + ((sum[0] + sum[1]) + (sum[2] + sum[3])));
    }
}

// to[columns, to.stride] = from[rows, columns] transposed; columns of `to` from `rows` on stay as they are.
static void transpose(ConstMatrix from, int rows, int columns, Matrix to) {
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++) to.data[c * to.stride + r] = from.data[r * from.stride + c];
}

}  // namespace ISA
