// Rows of one byte or one nibble a dimension against integer queries: exact inner products.
#include "lanes.h"

namespace vecstore::VARIANT {

constexpr int TILE = 4;  // rows at a time

// Sums of N rows against two planes of query digits; exact, so in any order. |sum| < 2^31 as
// bytes <= 65,536.
#if defined(__AVX512VNNI__)

template <bool NIBBLES, int N>
static inline void dots(const u8* const* x, const i8* q, i64 bytes, i32* a, i32* b) {
    __m512i sums[N][2];
    for (int r = 0; r < N; r++) sums[r][0] = sums[r][1] = _mm512_setzero_si512();
    for (i64 at = 0; at < bytes; at += 64) {
        __mmask64 some = bytes - at < 64 ? (u64(1) << (bytes - at)) - 1 : ~u64(0);
        __m512i first = _mm512_maskz_loadu_epi8(some, q + at);
        __m512i second = _mm512_maskz_loadu_epi8(some, q + bytes + at);
        for (int r = 0; r < N; r++) {
            __m512i low = _mm512_maskz_loadu_epi8(some, x[r] + at), high = low;
            if constexpr (NIBBLES) {
                high = _mm512_and_si512(_mm512_srli_epi16(low, 4), _mm512_set1_epi8(15));
                low = _mm512_and_si512(low, _mm512_set1_epi8(15));
            }
            sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], low, first);
            sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], high, second);
        }
    }
    for (int r = 0; r < N; r++) {
        a[r] = _mm512_reduce_add_epi32(sums[r][0]);
        b[r] = _mm512_reduce_add_epi32(sums[r][1]);
    }
}

#else

template <bool NIBBLES, int N>
static inline void dots(const u8* const* x, const i8* q, i64 bytes, i32* a, i32* b) {
    for (int r = 0; r < N; r++) {
        const u8* row = x[r];
        i32 first = 0, second = 0;
        i64 at = 0;
#if defined(__AVX2__)
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
        typedef i32 Int8 __attribute__((vector_size(32)));
        for (int lane = 0; lane < 8; lane++) {
            first += Int8(sums[0])[lane];
            second += Int8(sums[1])[lane];
        }
#endif
        for (; at < bytes; at++) {
            first += (NIBBLES ? row[at] & 15 : row[at]) * q[at];
            second += (NIBBLES ? row[at] >> 4 : row[at]) * q[bytes + at];
        }
        a[r] = first;
        b[r] = second;
    }
}

#endif

static inline float finish(const DenseJob& job, const Query& query, i32 a, i32 b, i64 row) {
    i64 dot = job.nibbles ? i64(a) + b : 128 * i64(a) + b;
    float value = float(i64(2 * u64(dot) + u64(query.bias))) * query.step;
    if (job.rows.scale) value *= job.rows.scale[row];
    value += query.offset;
    if (job.rows.norm) value = (value + value) - (job.rows.norm[row] + query.norm);
    return value;
}

template <bool NIBBLES>
static void some(const DenseJob& job, i64 first, i64 last, const i64* rows, i64 row, i64 count,
                 float* out) {
    const u8* x[BLOCK];
    auto at = [&](i64 i) { return rows ? rows[i] : row + i; };
    for (i64 i = 0; i < count; i++) x[i] = job.codes + at(i) * job.bytes;
    if (rows)
        for (i64 i = 0; i < count; i++)
            for (i64 b = 0; b < job.bytes; b += 64) __builtin_prefetch(x[i] + b);
    for (i64 q = first; q < last; q++, out += BLOCK) {
        const i8* digits = job.digits + q * 2 * job.bytes;
        i32 a[BLOCK], b[BLOCK];
        i64 i = 0;
        for (; i + TILE <= count; i += TILE)
            dots<NIBBLES, TILE>(x + i, digits, job.bytes, a + i, b + i);
        for (; i < count; i++) dots<NIBBLES, 1>(x + i, digits, job.bytes, a + i, b + i);
        for (i = 0; i < count; i++) out[i] = finish(job, job.queries[q], a[i], b[i], at(i));
    }
}

static void pick(const DenseJob& job, i64 first, i64 last, const i64* rows, i64 row, i64 count,
                 float* out) {
    if (job.nibbles)
        some<true>(job, first, last, rows, row, count, out);
    else
        some<false>(job, first, last, rows, row, count, out);
}

void dense_block(const void* any, i64 first, i64 last, i64 row, i64 count, float* out) {
    pick(*static_cast<const DenseJob*>(any), first, last, nullptr, row, count, out);
}

void dense_rows(const void* any, i64 query, const i64* rows, i64 count, float* out) {
    constexpr i64 AHEAD = 8;
    for (i64 at = 0; at < count; at += AHEAD) {
        i64 n = count - at < AHEAD ? count - at : AHEAD;
        pick(*static_cast<const DenseJob*>(any), query, query + 1, rows + at, 0, n, out + at);
    }
}

}  // namespace vecstore::VARIANT
