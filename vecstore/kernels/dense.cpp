// Rows of one byte or one nibble a dimension against integer queries: exact inner products.
#include "lanes.h"

namespace vecstore::VARIANT {

constexpr i64 RADIX = 128;  // of the two digits of a query integer

// Octets have a sum for each digit of the query, nibbles one for both halves of a byte.
template <bool NIBBLES>
constexpr int PLANES = NIBBLES ? 1 : 2;

// A tile: sums of the digits of Q queries and R rows: out[plane * BLOCK + row].
// They are exact, so in any order; none reaches 2^31, as bytes <= 65,536.
#if defined(__AVX512VNNI__)

constexpr int SUMS = 16;  // of a tile, as many as a register has lanes
template <bool NIBBLES>
constexpr int PAIRS = SUMS / PLANES<NIBBLES>;  // of a query and a row
template <bool NIBBLES>
constexpr int MANY = PAIRS<NIBBLES> / 4;  // queries that share what is read of four rows

typedef i32 Sums __attribute__((vector_size(64)));

// Lane i is the sum of v[i]'s lanes: a transposition that adds on its way.
static inline Sums totals(const Sums (&v)[SUMS]) {
    auto two = [](Sums a, Sums b) {
        Sums low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21,  //
                                           8, 24, 9, 25, 12, 28, 13, 29);
        Sums high = __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23,  //
                                            10, 26, 11, 27, 14, 30, 15, 31);
        return low + high;
    };
    auto four = [](Sums a, Sums b) {
        Sums low = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21,  //
                                           8, 9, 24, 25, 12, 13, 28, 29);
        Sums high = __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23,  //
                                            10, 11, 26, 27, 14, 15, 30, 31);
        return low + high;
    };
    auto halve = [](Sums a, Sums b) {
        Sums even = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11,  //
                                            16, 17, 18, 19, 24, 25, 26, 27);
        Sums odd = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15,  //
                                           20, 21, 22, 23, 28, 29, 30, 31);
        return even + odd;
    };
    Sums fours[4];
    for (int i = 0; i < 4; i++)
        fours[i] = four(two(v[4 * i], v[4 * i + 1]), two(v[4 * i + 2], v[4 * i + 3]));
    return halve(halve(fours[0], fours[1]), halve(fours[2], fours[3]));
}

template <bool NIBBLES, int Q, int R>
static inline void tile(const i8* const* digits, const u8* const* x, i64 bytes, i32* out) {
    constexpr int P = PLANES<NIBBLES>;
    Sums sums[SUMS] = {};  // [Q][P][R]
    auto add = [](Sums& to, __m512i a, __m512i b) {
        to = Sums(_mm512_dpbusd_epi32(__m512i(to), a, b));
    };
    auto step = [&](i64 at, auto fetch) {
        __m512i of[Q][2];
        for (int i = 0; i < 2 * Q; i++) of[i / 2][i % 2] = fetch(digits[i / 2] + i % 2 * bytes + at);
        for (int r = 0; r < R; r++) {
            __m512i low = fetch(x[r] + at), high = low;
            if constexpr (NIBBLES) {
                high = _mm512_and_si512(_mm512_srli_epi16(low, 4), _mm512_set1_epi8(15));
                low = _mm512_and_si512(low, _mm512_set1_epi8(15));
            }
            for (int q = 0; q < Q; q++) {
                add(sums[q * P * R + r], low, of[q][0]);
                add(sums[(q * P + P - 1) * R + r], high, of[q][1]);
            }
        }
    };
    i64 at = 0;
    for (; at + 64 <= bytes; at += 64)
        step(at, [](const void* from) { return _mm512_loadu_si512(from); });
    if (at < bytes) {
        __mmask64 some = (u64(1) << (bytes - at)) - 1;
        step(at, [=](const void* from) { return _mm512_maskz_loadu_epi8(some, from); });
    }
    Sums found = totals(sums);
    for (int p = 0; p < Q * P; p++)
        __builtin_memcpy(out + p * BLOCK, reinterpret_cast<const i32*>(&found) + p * R,
                         R * sizeof(i32));
}

#else

template <bool>
constexpr int PAIRS = 1;
template <bool>
constexpr int MANY = 1;

template <bool NIBBLES, int, int>
static inline void tile(const i8* const* digits, const u8* const* x, i64 bytes, i32* out) {
    const i8* q = *digits;
    const u8* row = *x;
    i32 first = 0, second = 0;
    i64 at = 0;
#if defined(__AVX2__)
    typedef i32 Int8 __attribute__((vector_size(32)));
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    auto sixteen = [](const void* from) {
        return _mm_loadu_si128(static_cast<const __m128i*>(from));
    };
    for (; at + 16 <= bytes; at += 16) {
        __m256i low = _mm256_cvtepu8_epi16(sixteen(row + at)), high = low;
        if constexpr (NIBBLES) {
            high = _mm256_srli_epi16(low, 4);
            low = _mm256_and_si256(low, _mm256_set1_epi16(15));
        }
        __m256i qa = _mm256_cvtepi8_epi16(sixteen(q + at));
        __m256i qb = _mm256_cvtepi8_epi16(sixteen(q + bytes + at));
        sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(low, qa));
        sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(high, qb));
    }
    for (int lane = 0; lane < 8; lane++) {
        first += Int8(sums[0])[lane];
        second += Int8(sums[1])[lane];
    }
#endif
    for (; at < bytes; at++) {
        first += (NIBBLES ? row[at] & 15 : row[at]) * q[at];
        second += (NIBBLES ? row[at] >> 4 : row[at]) * q[bytes + at];
    }
    if constexpr (NIBBLES) {
        out[0] = first + second;
    } else {
        out[0] = first;
        out[BLOCK] = second;
    }
}

#endif

// The product, from the planes of a query.
template <bool NIBBLES>
static inline i64 dot(const i32* found) {
    return NIBBLES ? i64(*found) : RADIX * i64(found[0]) + found[BLOCK];
}

static inline float finish(const DenseJob& job, const Query& query, i64 dot, i64 row) {
    float value = float(i64(2 * u64(dot) + u64(query.bias))) * query.step;
    if (job.rows.scale) value *= job.rows.scale[row];
    if (job.rows.shift) value += job.rows.shift[row] * query.weight;
    value += query.offset;
    if (job.rows.norm) value = (value + value) - (job.rows.norm[row] + query.norm);
    return value;
}

// Q queries against rows of a block; x is [BLOCK].
template <bool NIBBLES, int Q>
static void some(const DenseJob& job, const u32* queries, const u8* const* x, i64 row, i64 count,
                 i64 ahead, float* out) {
    constexpr int R = PAIRS<NIBBLES> / Q;
    const i8* digits[Q];
    for (int k = 0; k < Q; k++) digits[k] = job.digits + i64(queries[k]) * 2 * job.bytes;
    i32 found[Q * PLANES<NIBBLES> * BLOCK];
    for (i64 i = 0; i < count; i += R) {
        if (ahead) prefetch(x[i], ahead * job.bytes, R * job.bytes);
        tile<NIBBLES, Q, R>(digits, x + i, job.bytes, found + i);
    }
    const DenseJob copy = job;  // which no score that is written can change
    for (int k = 0; k < Q; k++, out += BLOCK) {
        const Query query = job.queries[queries[k]];
        const i32* of = found + k * PLANES<NIBBLES> * BLOCK;
        for (i64 i = 0; i < count; i++)
            out[i] = finish(copy, query, dot<NIBBLES>(of + i), row + i);
    }
}

template <bool NIBBLES>
static void block(const DenseJob& job, const u32* queries, i64 many, i64 row, i64 count,
                  i64 ahead, float* out) {
    constexpr int Q = MANY<NIBBLES>;
    const u8* x[BLOCK];  // the last row stands in for rows that a tile has too many
    for (i64 i = 0; i < BLOCK; i++)
        x[i] = job.codes + (row + (i < count ? i : count - 1)) * job.bytes;
    i64 k = 0;
    for (; k + Q <= many; k += Q)
        some<NIBBLES, Q>(job, queries + k, x, row, count, k ? 0 : ahead, out + k * BLOCK);
    for (; k < many; k++)
        some<NIBBLES, 1>(job, queries + k, x, row, count, k ? 0 : ahead, out + k * BLOCK);
}

template <bool NIBBLES>
static void some_rows(const DenseJob& job, i64 q, const i64* rows, i64 count, float* out) {
    constexpr int R = PAIRS<NIBBLES>;
    const i8* digits = job.digits + q * 2 * job.bytes;
    auto at = [&](i64 i) { return job.codes + rows[i < count ? i : count - 1] * job.bytes; };
    for (i64 i = 0; i < R + EARLY && i < count; i++) prefetch(at(i), 0, job.bytes);
    for (i64 i = 0; i < count; i += R) {
        const u8* x[R];
        for (i64 r = 0; r < R; r++) {
            x[r] = at(i + r);
            if (i + R + EARLY + r < count) prefetch(at(i + R + EARLY + r), 0, job.bytes);
        }
        i32 found[PLANES<NIBBLES> * BLOCK];
        tile<NIBBLES, 1, R>(&digits, x, job.bytes, found);
        for (i64 r = 0; r < R && i + r < count; r++)
            out[i + r] = finish(job, job.queries[q], dot<NIBBLES>(found + r), rows[i + r]);
    }
}

void dense_block(const void* any, const u32* queries, i64 many, i64 row, i64 count, i64 ahead,
                 float* out) {
    const DenseJob& job = *static_cast<const DenseJob*>(any);
    (job.nibbles ? block<true> : block<false>)(job, queries, many, row, count, ahead, out);
}

void dense_rows(const void* any, i64 query, const i64* rows, i64 count, float* out) {
    const DenseJob& job = *static_cast<const DenseJob*>(any);
    (job.nibbles ? some_rows<true> : some_rows<false>)(job, query, rows, count, out);
}

void dense_ahead(const void* any, i64 row, i64 count) {
    const DenseJob& job = *static_cast<const DenseJob*>(any);
    prefetch(job.rows, row, count);
}

}  // namespace vecstore::VARIANT
