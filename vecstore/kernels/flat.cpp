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

// Scores of QN queries x RN rows: out[q * stride + r].
template <class T, bool L2, int QN, int RN>
static inline void tile(const FlatJob& job, const float* const* q, const T* const* x, float* out,
                        i64 stride) {
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
    for (; d + LANES <= job.dim; d += LANES) add(x, d, d);
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
static void some(const FlatJob& job, const float* const* q, const T* const* x, i64 count,
                 float* out) {
    i64 r = 0;
    for (; r + TILE <= count; r += TILE) tile<T, L2, QN, TILE>(job, q, x + r, out + r, BLOCK);
    for (; r < count; r++) tile<T, L2, QN, 1>(job, q, x + r, out + r, BLOCK);
}

template <class T, bool L2>
static void block(const FlatJob& job, i64 first, i64 last, const T* const* x, i64 count,
                  float* out) {
    i64 query = first;
    const float* q[TILE];
    for (; query < last;) {
        int n = query + TILE <= last ? TILE : 1;
        for (int i = 0; i < n; i++) q[i] = job.queries + (query + i) * job.padded;
        float* to = out + (query - first) * BLOCK;
        if (n == TILE)
            some<T, L2, TILE>(job, q, x, count, to);
        else
            some<T, L2, 1>(job, q, x, count, to);
        query += n;
    }
}

template <class T>
static void pick(const FlatJob& job, i64 first, i64 last, const i64* rows, i64 row, i64 count,
                 float* out) {
    const T* x[BLOCK];
    const T* values = static_cast<const T*>(job.values);
    for (i64 r = 0; r < count; r++) x[r] = values + (rows ? rows[r] : row + r) * job.dim;
    if (rows)  // a random row is far away: ask for all of them before the first is needed
        for (i64 r = 0; r < count; r++)
            for (i64 at = 0; at < job.dim; at += 64 / i64(sizeof(T))) __builtin_prefetch(x[r] + at);
    if (job.l2)
        block<T, true>(job, first, last, x, count, out);
    else
        block<T, false>(job, first, last, x, count, out);
}

void flat_block(const void* any, i64 first, i64 last, i64 row, i64 count, float* out) {
    const FlatJob& job = *static_cast<const FlatJob*>(any);
    if (job.half)
        pick<u16>(job, first, last, nullptr, row, count, out);
    else
        pick<float>(job, first, last, nullptr, row, count, out);
}

void flat_rows(const void* any, i64 query, const i64* rows, i64 count, float* out) {
    const FlatJob& job = *static_cast<const FlatJob*>(any);
    constexpr i64 AHEAD = 8;
    for (i64 at = 0; at < count; at += AHEAD) {
        i64 n = count - at < AHEAD ? count - at : AHEAD;
        if (job.half)
            pick<u16>(job, query, query + 1, rows + at, 0, n, out + at);
        else
            pick<float>(job, query, query + 1, rows + at, 0, n, out + at);
    }
}

}  // namespace vecstore::VARIANT
