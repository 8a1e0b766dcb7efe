// Vectors of LANES floats, and what the kernel does with them: exp, sigmoid, tanh, products of matrices.
//
// Included by native_kernel.h, which says who defines LANES, ROWS and COLS, and why nothing else is included here.
#pragma once

namespace ISA {

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int ivec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

static inline vec load(const float* from) { return *reinterpret_cast<const vec*>(from); }
static inline void store(float* to, vec value) { *reinterpret_cast<vec*>(to) = value; }
static inline vec all(float value) { return value - vec{}; }

// e^x = scale (1 + growth). x = n ln 2 + r; scale = 2^n by its exponent bits; growth = e^r - 1 as a polynomial whose
// relative error on |r| < .35 is below 3e-8 (least maximum, found by reweighted least squares). Saturates beyond
// |x| = 87. NaN stays NaN: a run must not hide that it diverges.
struct Power {
    vec scale, growth;
};

static inline Power power(vec x) {
    x = x > 87.0f ? all(87.0f) : x;
    x = x < -87.0f ? all(-87.0f) : x;
    const vec shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the sum has n in its low bits
    const vec n = shifted - 12582912.0f;
    const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec p = all(0.0013888873f) * r + 0.0083692120f;
    p = p * r + 0.041667141f;
    p = p * r + 0.16666505f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    return {(vec)(((ivec)shifted << 23) + (127 << 23)), p * r};
}

// Relative error below 3e-7 for |x| < 87.
static inline vec exponential(vec x) {
    const Power e = power(x);
    return e.scale * e.growth + e.scale;
}

static inline vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(-x)); }

// tanh x = (e^2x - 1) / (e^2x + 1); e^2x - 1 is put together from its parts, or it would cancel where x is small.
static inline vec tangent(vec x) {
    const Power e = power(x + x);
    const vec less_one = e.scale * e.growth + (e.scale - 1.0f);
    return less_one / (less_one + 2.0f);
}

// One block of a matrix product in registers: R rows, V vectors of columns, += sum over K. TA: A is stored transposed.
template <int R, int V, bool TA>
static inline void accumulate(vec (&sum)[R][V], int K, const float* A, long lda, const float* B, long ldb) {
    for (int k = 0; k < K; k++) {
        vec b[V];
        for (int v = 0; v < V; v++) b[v] = load(B + k * ldb + v * LANES);
        for (int r = 0; r < R; r++) {
            const vec a = all(TA ? A[k * lda + r] : A[r * lda + k]);
            for (int v = 0; v < V; v++) sum[r][v] += a * b[v];
        }
    }
}

constexpr int CHUNK = 128;  // rows that are put to all uses before they leave the second-level cache

struct Product {  // C[M, N] = start + A[M, K] B[K, N] + A2[M, K2] B2[K2, N]; N a multiple of LANES
    int M, N, K;
    const float *A, *B;
    long lda, ldb;
    float* C;
    long ldc;
    const float* bias;  // start: a row [N] for all rows; null: C itself if `add`, else zero
    bool add;
    int K2;
    const float *A2, *B2;
    long lda2, ldb2;
};

template <int R, int V, bool TA>
static inline void block(const Product& p, int m, int n) {
    vec sum[R][V];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++)
            sum[r][v] = p.bias ? load(p.bias + n + v * LANES) : p.add ? load(p.C + (m + r) * p.ldc + n + v * LANES) : vec{};
    accumulate<R, V, TA>(sum, p.K, TA ? p.A + m : p.A + m * p.lda, p.lda, p.B + n, p.ldb);
    if (p.K2) accumulate<R, V, TA>(sum, p.K2, TA ? p.A2 + m : p.A2 + m * p.lda2, p.lda2, p.B2 + n, p.ldb2);
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) store(p.C + (m + r) * p.ldc + n + v * LANES, sum[r][v]);
}

template <int V, bool TA, int R = ROWS>
static inline void block_of(int count, const Product& p, int m, int n) {
    if constexpr (R > 0) {
        if (count == R) block<R, V, TA>(p, m, n);
        else block_of<V, TA, R - 1>(count, p, m, n);
    }
}

// Rows are divided into blocks of nearly equal height: a low block at the end would leave the multipliers waiting.
template <bool TA, int V = COLS>
static inline void columns(const Product& p, int n) {
    if constexpr (V > 0) {
        if (p.N - n >= V * LANES) {
            for (int m = 0, left = (p.M + ROWS - 1) / ROWS; left; left--) {
                const int height = (p.M - m + left - 1) / left;
                block_of<V, TA>(height, p, m, n);
                m += height;
            }
            if (p.N - n > V * LANES) columns<TA, V>(p, n + V * LANES);
        } else {
            columns<TA, V - 1>(p, n);
        }
    }
}

template <bool TA>
static void multiply(const Product& p) {
    columns<TA>(p, 0);
}

}  // namespace ISA
