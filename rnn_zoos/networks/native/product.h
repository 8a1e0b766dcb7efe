// Products of matrices in row-major order, blocked for the vector registers: ROWS rows by COLS vectors at a time.
//
// `stack_kernel.h` explains who defines ISA, LANES, ROWS and COLS, and why no header of the standard library is included.
#pragma once

#include "vector.h"

namespace ISA {

// A matrix in row-major order; `stride` is the distance between two rows, in floats.
struct Matrix {
    float* data;
    long stride;
};

struct ConstMatrix {
    const float* data = nullptr;
    long stride = 0;

    // The part from a row and a column on.
    ConstMatrix from(long row, long column) const { return {data + row * stride + column, stride}; }
};

// A[M, inner] B[inner, N]. In `multiply_transposed`, A is stored as [inner, M].
struct Factors {
    ConstMatrix A, B;
    int inner = 0;
};

// C[M, N] = initial value + first product (+ second product), in this order of summation; N is a multiple of LANES.
//
//     multiply(Product(M, N, C).plus_row(bias).plus(A, B, K).plus(A2, B2, K2));
//
// The initial value is zero unless `plus_row` or `plus_old` sets it.
struct Product {
    int M, N;
    Matrix C;
    const float* row = nullptr;
    bool adds_to_old = false;
    Factors first, second;

    Product(int M, int N, Matrix C) : M(M), N(N), C(C) {}

    // Start from the same row [N], a bias, in every row of C.
    Product& plus_row(const float* values) {
        row = values;
        return *this;
    }

    // Start from what C holds.
    Product& plus_old() {
        adds_to_old = true;
        return *this;
    }

    // Add a product; at most two.
    Product& plus(ConstMatrix A, ConstMatrix B, int inner) {
        Factors& factors = first.inner ? second : first;
        factors = {A, B, inner};
        return *this;
    }

    // The same for columns [n, n + count) of C.
    Product columns(int n, int count) const {
        Product part = *this;
        part.N = count;
        part.C.data += n;
        if (row) part.row += n;
        for (Factors* factors : {&part.first, &part.second})
            if (factors->inner) factors->B.data += n;
        return part;
    }
};

// Before a loop over the rows or vectors of a block. Unrolled early, GCC keeps the block in registers from its initial
// value to the end; otherwise it is written to memory and read back around every product.
#define UNROLL _Pragma("GCC unroll 16")

// sum[R, V vectors] += A B, where A and B point at the block's first row and first column.
template <int R, int V, bool TRANSPOSED>
static inline void accumulate(vec (&sum)[R][V], int inner, ConstMatrix A, ConstMatrix B) {
    for (int k = 0; k < inner; k++) {
        vec b[V];
        UNROLL for (int v = 0; v < V; v++) b[v] = load(B.data + k * B.stride + v * LANES);
        UNROLL for (int r = 0; r < R; r++) {
            const vec a = broadcast(TRANSPOSED ? A.data[k * A.stride + r] : A.data[r * A.stride + k]);
            UNROLL for (int v = 0; v < V; v++) sum[r][v] += a * b[v];
        }
    }
}

template <int R, int V, bool TRANSPOSED>
static inline void accumulate(vec (&sum)[R][V], const Factors& factors, int m, int n) {
    const float* A = factors.A.data + (TRANSPOSED ? m : m * factors.A.stride);
    accumulate<R, V, TRANSPOSED>(sum, factors.inner, {A, factors.A.stride}, {factors.B.data + n, factors.B.stride});
}

// sum[R, V vectors] = the same row, old values with a distance of `stride` between rows, or zero without either.
template <int R, int V>
static inline void begin(vec (&sum)[R][V], const float* row, const float* old, long stride) {
    if (row) {
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int v = 0; v < V; v++) sum[r][v] = load(row + v * LANES);
    } else if (old) {
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int v = 0; v < V; v++) sum[r][v] = load(old + r * stride + v * LANES);
    } else {
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int v = 0; v < V; v++) sum[r][v] = vec{};
    }
}

// One block of C, held in registers: rows [m, m + R), columns [n, n + V * LANES).
template <int R, int V, bool TRANSPOSED>
static inline void block(const Product& p, int m, int n) {
    vec sum[R][V];
    float* const C = p.C.data + m * p.C.stride + n;
    begin<R, V>(sum, p.row ? p.row + n : nullptr, p.adds_to_old ? C : nullptr, p.C.stride);
    accumulate<R, V, TRANSPOSED>(sum, p.first, m, n);
    if (p.second.inner) accumulate<R, V, TRANSPOSED>(sum, p.second, m, n);
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < V; v++) store(C + r * p.C.stride + v * LANES, sum[r][v]);
}

// A block whose height is known at run time only: 1 to ROWS.
template <int V, bool TRANSPOSED, int R = ROWS>
static inline void block_of_height(int height, const Product& p, int m, int n) {
    if constexpr (R > 0) {
        if (height == R) block<R, V, TRANSPOSED>(p, m, n);
        else block_of_height<V, TRANSPOSED, R - 1>(height, p, m, n);
    }
}

// All columns of C from n on, V vectors at a time, then what is left in narrower blocks. The rows are divided into
// blocks of nearly equal height: a low block at the end would leave the multipliers waiting.
template <bool TRANSPOSED, int V = COLS>
static inline void columns_from(int n, const Product& p) {
    if constexpr (V > 0) {
        if (p.N - n >= V * LANES) {
            for (int m = 0, left = (p.M + ROWS - 1) / ROWS; left; left--) {
                const int height = (p.M - m + left - 1) / left;
                block_of_height<V, TRANSPOSED>(height, p, m, n);
                m += height;
            }
            if (p.N - n > V * LANES) columns_from<TRANSPOSED, V>(n + V * LANES, p);
        } else {
            columns_from<TRANSPOSED, V - 1>(n, p);
        }
    }
}

static void multiply(const Product& p) { columns_from<false>(0, p); }

static void multiply_transposed(const Product& p) { columns_from<true>(0, p); }

}  // namespace ISA
