// Float rows: inner products and squared distances, from float32 or float16.
#include "lanes.h"

namespace vecstore::VARIANT {

// A tile of TILE queries x TILE rows fits the registers.
constexpr int TILE = WIDTH >= 16 ? 4 : WIDTH / 4;

template <bool L2>
static inline Floats step(Floats q, Floats x) {
    if constexpr (L2) return (q - x) * (q - x);
    return q * x;
}

// Scores of QN queries x RN rows: out[q * stride + r]. Values so many bytes ahead are asked for.
template <class T, bool L2, int QN, int RN>
static inline void tile(const FlatJob& job, const float* const* q, const T* const* x, i64 ahead,
                        float* out, i64 stride) {
    constexpr i64 LINE = 64 / sizeof(T);
    Floats sums[QN][RN][PARTS] = {};
    auto add = [&](const T* const* rows, i64 q_at, i64 x_at) {
        for (int p = 0; p < PARTS; p++) {
            Floats row[RN];
            for (int r = 0; r < RN; r++) row[r] = load(rows[r] + x_at + p * WIDTH);
            for (int i = 0; i < QN; i++) {
                Floats query = load(q[i] + q_at + p * WIDTH);
                for (int r = 0; r < RN; r++) sums[i][r][p] += step<L2>(query, row[r]);
            }
        }
    };
    i64 d = 0;
    for (; d + LANES <= job.dim; d += LANES) {
        if (d % LINE == 0)
            for (int r = 0; r < RN; r++) ask(x[r] + d, ahead);
        add(x, d, d);
    }
    if (d < job.dim) {
        T tails[RN][LANES] = {};
        const T* rows[RN];
        for (int r = 0; r < RN; r++) {
            __builtin_memcpy(tails[r], x[r] + d, (job.dim - d) * sizeof(T));
            rows[r] = tails[r];
        }
        add(rows, d, 0);
    }
    for (int i = 0; i < QN; i++)
        for (int r = 0; r < RN; r++) {
            float total = sum(sums[i][r]);
            out[i * stride + r] = L2 ? 0.0f - total : total;
        }
}

template <class T, bool L2, int QN>
static void some(const FlatJob& job, const float* const* q, const T* const* x, i64 count, i64 ahead,
                 float* out) {
    i64 r = 0;
    if constexpr (QN > 1)  // one query reads row after row, which memory is best at
        for (; r + TILE <= count; r += TILE)
            tile<T, L2, QN, TILE>(job, q, x + r, ahead, out + r, BLOCK);
    for (; r < count; r++) tile<T, L2, QN, 1>(job, q, x + r, ahead, out + r, BLOCK);
}

template <class T, bool L2>
static void block(const FlatJob& job, const u32* queries, i64 many, i64 row, i64 count,
                  i64 ahead, float* out) {
    const T* x[BLOCK];
    for (i64 r = 0; r < count; r++) x[r] = static_cast<const T*>(job.values) + (row + r) * job.dim;
    ahead *= job.dim * i64(sizeof(T));
    for (i64 k = 0; k < many;) {
        const int own = k + TILE <= many ? TILE : 1;
        const float* q[TILE];
        for (int i = 0; i < own; i++) q[i] = job.queries + i64(queries[k + i]) * job.padded;
        (own == TILE ? some<T, L2, TILE> : some<T, L2, 1>)(job, q, x, count, k ? 0 : ahead, out + k * BLOCK);
        k += own;
    }
}

template <class T, bool L2>
static void some_rows(const FlatJob& job, i64 query, const i64* rows, i64 count, float* out) {
    const float* q = job.queries + query * job.padded;
    auto at = [&](i64 i) { return static_cast<const T*>(job.values) + rows[i] * job.dim; };
    for (i64 i = -EARLY; i < count; i++) {
        if (i + EARLY < count) prefetch(at(i + EARLY), 0, job.dim * i64(sizeof(T)));
        if (i < 0) continue;
        const T* x = at(i);
        tile<T, L2, 1, 1>(job, &q, &x, 0, out + i, BLOCK);
    }
}

void flat_block(const void* any, const u32* queries, i64 many, i64 row, i64 count, i64 ahead,
                float* out) {
    const FlatJob& job = *static_cast<const FlatJob*>(any);
    if (job.half)
        (job.l2 ? block<u16, true> : block<u16, false>)(job, queries, many, row, count, ahead,
                                                          out);
    else
        (job.l2 ? block<float, true> : block<float, false>)(job, queries, many, row, count, ahead,
                                                              out);
}

void flat_rows(const void* any, i64 query, const i64* rows, i64 count, float* out) {
    const FlatJob& job = *static_cast<const FlatJob*>(any);
    if (job.half)
        (job.l2 ? some_rows<u16, true> : some_rows<u16, false>)(job, query, rows, count, out);
    else
        (job.l2 ? some_rows<float, true> : some_rows<float, false>)(job, query, rows, count, out);
}

void flat_ahead(const void*, i64, i64) {}

}  // namespace vecstore::VARIANT
