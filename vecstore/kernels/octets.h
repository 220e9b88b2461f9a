// Sums of products of octets with integer queries: exact, whatever the order.
// Included by the variants' files only.
#pragma once
#include "lanes.h"
#include "maxsim.h"

namespace vecstore::VARIANT {

constexpr int TOKENS = 4;  // scored at once

// Sums of products of TOKENS tokens with a strip of query vectors, on top of what is in `from`; out
// is [TOKENS][STRIP]. In the meantime other work is done, in TOKENS parts, between(t): it does not
// wait for products, nor they for it.
// A register holds dimensions 4g .. 4g + 3 of as many vectors as it has room for, so that there
// are no sums across its lanes.
#if defined(__AVX512VNNI__)

template <class Between>
static inline void products(const Tiles& tiles, const i8* values, const i32* from,
                            const u8* const* x, i32* out, const Between& between) {
    constexpr int ROWS = 16, REGISTERS = STRIP / ROWS;
    __m512i sums[TOKENS][REGISTERS];
    for (auto& each : sums)
        for (int n = 0; n < REGISTERS; n++) each[n] = _mm512_loadu_si512(from + n * ROWS);
    i64 g = 0;
    for (int part = 0; part < TOKENS; part++) {
        for (const i64 stop = tiles.groups * (part + 1) / TOKENS; g < stop; g++) {
            __m512i q[REGISTERS];
            for (int n = 0; n < REGISTERS; n++)
                q[n] = _mm512_loadu_si512(values + 4 * (g * tiles.rows + n * ROWS));
            for (int t = 0; t < TOKENS; t++) {
                i32 four;
                __builtin_memcpy(&four, x[t] + 4 * g, 4);
                const __m512i octets = _mm512_set1_epi32(four);
                for (int n = 0; n < REGISTERS; n++)
                    sums[t][n] = _mm512_dpbusd_epi32(sums[t][n], octets, q[n]);
            }
        }
        between(part);
    }
    for (int t = 0; t < TOKENS; t++)
        for (int n = 0; n < REGISTERS; n++)
            _mm512_storeu_si512(out + t * STRIP + n * ROWS, sums[t][n]);
}

#elif defined(__AVX2__)

template <class Between>
static inline void products(const Tiles& tiles, const i8* values, const i32* from,
                            const u8* const* x, i32* out, const Between& between) {
    constexpr int PAIR = 2, EIGHT = 8;  // tokens and vectors whose sums stay in registers
    typedef i32 Int8 __attribute__((vector_size(32)));
    for (int n = 0; n < STRIP; n += EIGHT)
        for (int first = 0; first < TOKENS; first += PAIR) {
            Int8 sums[PAIR][2] = {};  // of 4 vectors each; two lanes for one vector
            for (i64 g = 0; g < tiles.groups; g++) {
                __m256i q[2];
                for (int i = 0; i < 2; i++)
                    q[i] = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(
                        values + 4 * (g * tiles.rows + n + 4 * i))));
                for (int t = 0; t < PAIR; t++) {
                    i32 four;
                    __builtin_memcpy(&four, x[first + t] + 4 * g, 4);
                    const __m256i octets =
                        _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(four)));
                    for (int i = 0; i < 2; i++)
                        sums[t][i] += Int8(_mm256_madd_epi16(octets, q[i]));
                }
            }
            for (int t = 0; t < PAIR; t++)
                for (int i = 0; i < EIGHT; i++) {
                    const Int8 four = sums[t][i / 4];
                    out[(first + t) * STRIP + n + i] =
                        from[n + i] + four[i % 4 * 2] + four[i % 4 * 2 + 1];
                }
        }
    for (int t = 0; t < TOKENS; t++) between(t);
}

#else

template <class Between>
static inline void products(const Tiles& tiles, const i8* values, const i32* from,
                            const u8* const* x, i32* out, const Between& between) {
    for (int t = 0; t < TOKENS; t++) {
        i32 sums[STRIP];
        __builtin_memcpy(sums, from, sizeof(sums));
        for (i64 g = 0; g < tiles.groups; g++) {
            const u8* four = x[t] + 4 * g;
            const i8* q = values + 4 * g * tiles.rows;
            for (int r = 0; r < STRIP; r++)
                for (int i = 0; i < 4; i++) sums[r] += q[4 * r + i] * four[i];
        }
        __builtin_memcpy(out + t * STRIP, sums, sizeof(sums));
    }
    for (int t = 0; t < TOKENS; t++) between(t);
}

#endif

}  // namespace vecstore::VARIANT
