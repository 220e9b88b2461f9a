// Tokens as octets against integer queries: exact sums of products, whatever the order. Short codes
// are made octets on the way, a few tokens at a time, which stay in the nearest cache.
#include "lanes.h"
#include "maxsim.h"

namespace vecstore::VARIANT {

constexpr int ROWS = 16;   // query vectors of a tile
constexpr int TILES = STRIP / ROWS;
constexpr int TOKENS = 4;  // scored at once

// Sums of products of TOKENS tokens with a strip of query vectors, on top of what is in `from`;
// out is [TOKENS][STRIP].
// A register holds dimensions 4g .. 4g + 3 of as many vectors as it has room for, so that there
// are no sums across its lanes.
#if defined(__AVX512VNNI__)

static inline void products(const Tiles& tiles, const i8* values, const i32* from,
                            const u8* const* x, i32* out) {
    __m512i sums[TOKENS][TILES];
    for (auto& each : sums)
        for (int n = 0; n < TILES; n++) each[n] = _mm512_loadu_si512(from + n * ROWS);
    for (i64 g = 0; g < tiles.groups; g++) {
        __m512i q[TILES];
        for (int n = 0; n < TILES; n++)
            q[n] = _mm512_loadu_si512(values + 4 * (g * tiles.rows + n * ROWS));
        for (int t = 0; t < TOKENS; t++) {
            i32 four;
            __builtin_memcpy(&four, x[t] + 4 * g, 4);
            const __m512i octets = _mm512_set1_epi32(four);
            for (int n = 0; n < TILES; n++)
                sums[t][n] = _mm512_dpbusd_epi32(sums[t][n], octets, q[n]);
        }
    }
    for (int t = 0; t < TOKENS; t++)
        for (int n = 0; n < TILES; n++)
            _mm512_storeu_si512(out + t * STRIP + n * ROWS, sums[t][n]);
}

#elif defined(__AVX2__)

static inline void products(const Tiles& tiles, const i8* values, const i32* from,
                            const u8* const* x, i32* out) {
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
}

#else

static inline void products(const Tiles& tiles, const i8* values, const i32* from,
                            const u8* const* x, i32* out) {
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
}

#endif

// How many dimensions share a byte.
template <int RADIX>
constexpr int DIGITS = RADIX == 2 ? 8 : RADIX == 3 ? 5 : RADIX == 4 ? 4 : 2;
template <int RADIX>
constexpr int BITS = RADIX == 2 ? 1 : RADIX == 4 ? 2 : 4;

// Takes the next digit off. Those of radix 3 are of the fraction byte / 256, the highest first:
// what three times the rest carries, so that nothing is divided.
template <int RADIX, class Bytes>
static inline Bytes next_digit(Bytes& rest) {
    if constexpr (RADIX == 3) {
        Bytes digit = Bytes(rest > 85) + Bytes(rest > 170);
        rest += rest + rest;
        return -digit;
    } else {
        Bytes digit = rest & (RADIX - 1);
        rest >>= BITS<RADIX>;
        return digit;
    }
}

typedef u8 Bytes16 __attribute__((vector_size(16)));
typedef u8 Bytes32 __attribute__((vector_size(32)));

#if defined(__AVX2__)
static inline __m128i sixteen(const u8* levels) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(levels));
}
static inline Bytes16 look_up(const u8* levels, Bytes16 digit) {
    return Bytes16(_mm_shuffle_epi8(sixteen(levels), __m128i(digit)));
}
static inline Bytes32 look_up(const u8* levels, Bytes32 digit) {
    return Bytes32(
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(sixteen(levels)), __m256i(digit)));
}
#else
template <class Bytes>
static inline Bytes look_up(const u8* levels, Bytes digit) {
    for (unsigned i = 0; i < sizeof(Bytes); i++) digit[i] = levels[digit[i]];
    return digit;
}
#endif

// The octets of some bytes of codes; `base` and `out` step by `bytes` for each digit.
template <int RADIX, class Bytes>
static inline void expand_some(const u8* codes, const u8* levels, const u8* base, i64 bytes,
                               u8* out) {
    Bytes rest, before;
    __builtin_memcpy(&rest, codes, sizeof(rest));
    for (int p = 0; p < DIGITS<RADIX>; p++) {
        __builtin_memcpy(&before, base + p * bytes, sizeof(before));
        before += look_up(levels, next_digit<RADIX>(rest));
        __builtin_memcpy(out + p * bytes, &before, sizeof(before));
    }
}

#if defined(__AVX512BW__)

// The same where 16, 32 or 64 bytes are all there are: 64 dimensions follow each other.
template <int RADIX>
static inline void expand_whole(const u8* codes, const u8* levels, const u8* base, i64 bytes,
                                u8* out) {
    const __m512i table = _mm512_broadcast_i32x4(sixteen(levels));
    const __m512i mask = _mm512_set1_epi8(RADIX - 1);
    constexpr i64 ONE = i64(BITS<RADIX>) * 0x0001000100010001;  // a digit, in every word
    const i64 spread = 64 / bytes;  // digits of a byte that are at hand at once
    __m512i all, shift;
    if (spread == 4) {
        all = _mm512_broadcast_i32x4(sixteen(codes));
        shift = _mm512_setr_epi64(0, 0, ONE, ONE, 2 * ONE, 2 * ONE, 3 * ONE, 3 * ONE);
    } else if (spread == 2) {
        all = _mm512_broadcast_i64x4(
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
        shift = _mm512_setr_epi64(0, 0, 0, 0, ONE, ONE, ONE, ONE);
    } else {
        all = _mm512_loadu_si512(codes);
        shift = _mm512_setzero_si512();
    }
    const __m512i more = _mm512_set1_epi16(short(spread * BITS<RADIX>));
    for (i64 p = 0; p < DIGITS<RADIX>; p += spread, shift = _mm512_add_epi16(shift, more)) {
        const __m512i digit = _mm512_and_si512(_mm512_srlv_epi16(all, shift), mask);
        const __m512i before = _mm512_loadu_si512(base + p * bytes);
        _mm512_storeu_si512(out + p * bytes,
                            _mm512_add_epi8(before, _mm512_shuffle_epi8(table, digit)));
    }
}

#endif

// Vectors at the end overlap those before: their octets come out the same.
template <int RADIX>
static void expand(const u8* codes, const u8* levels, const u8* base, i64 bytes, u8* out) {
#if defined(__AVX512BW__)
    if constexpr (RADIX != 3)
        if (bytes == 16 || bytes == 32 || bytes == 64)
            return expand_whole<RADIX>(codes, levels, base, bytes, out);
#endif
    const i64 width = bytes >= 32 ? 32 : bytes >= 16 ? 16 : 1;
    for (i64 next = 0; next < bytes; next += width) {
        const i64 b = next + width <= bytes ? next : bytes - width;
        if (width == 32) {
            expand_some<RADIX, Bytes32>(codes + b, levels, base + b, bytes, out + b);
        } else if (width == 16) {
            expand_some<RADIX, Bytes16>(codes + b, levels, base + b, bytes, out + b);
        } else {
            u8 rest = codes[b];
            for (int p = 0; p < DIGITS<RADIX>; p++) {
                const int digit = RADIX == 3 ? 3 * rest / 256 : rest % RADIX;
                rest = u8(RADIX == 3 ? 3 * rest : rest / RADIX);
                out[p * bytes + b] = u8(base[p * bytes + b] + levels[digit]);
            }
        }
    }
}

constexpr i64 SLACK = 64;  // a byte's digits may be for more dimensions than there are: 8 at most
constexpr i64 WIDTH_MAX = OCTETS_MAX + SLACK;
constexpr i64 SOON = 8;  // tokens whose centroids are fetched ahead

static i64 id_at(const OctetsJob& job, i64 token) {
    const i64 id = job.wide ? static_cast<const u16*>(job.ids)[token]
                            : static_cast<const u8*>(job.ids)[token];
    return id < job.last ? id : job.last;
}

// The octets of one token: where they lie, or in `room`, of zeros from the last digit on.
static const u8* octets(const OctetsJob& job, i64 token, i64 groups, u8* room, u8* base) {
    const u8* codes = job.codes + token * job.bytes;
    if (job.radix == 256) {
        if (job.dim == 4 * groups) return codes;
        __builtin_memcpy(room, codes, size_t(job.dim));
        return room;
    }
    const u8* from = base;
    if (job.centroids) {
        const i64 digits = job.radix == 2 ? 8 : job.radix == 3 ? 5 : job.radix == 4 ? 4 : 2;
        from = job.centroids + id_at(job, token) * job.dim;
        if (job.bytes * digits > job.dim) {  // whose last row would be read beyond its end
            __builtin_memcpy(base, from, size_t(job.dim));
            from = base;
        }
    }
    switch (job.radix) {
        case 2: expand<2>(codes, job.levels, from, job.bytes, room); break;
        case 3: expand<3>(codes, job.levels, from, job.bytes, room); break;
        case 4: expand<4>(codes, job.levels, from, job.bytes, room); break;
        default: expand<16>(codes, job.levels, from, job.bytes, room);
    }
    return room;
}

// What a few tokens score with a strip of query vectors, where it is more than the best so far.
static inline void larger(const i32* sums, const float* inverse, i64 count, float* best) {
    for (i64 i = 0; i < STRIP; i += WIDTH) {
        Floats most = load(best + i);
        for (i64 t = 0; t < count; t++) {
            Ints sum;
            __builtin_memcpy(&sum, sums + t * STRIP + i, sizeof(sum));
            Floats value = __builtin_convertvector(sum, Floats) * all(inverse[t]);
            most = value > most ? value : most;
        }
        store(best + i, most);
    }
}

constexpr i64 PART = 64;  // query vectors whose maxima are kept at once

float octets_document(const void* any, i64 query, i64 start, i64 stop) {
    const OctetsJob& job = *static_cast<const OctetsJob*>(any);
    const Tiles& tiles = job.tiles;
    alignas(64) u8 room[TOKENS][WIDTH_MAX];
    alignas(64) u8 base[WIDTH_MAX];
    // Tails are multiplied with zeros, but let them not be anything.
    __builtin_memset(base, 0, size_t(job.dim + SLACK));
    for (auto& each : room) __builtin_memset(each + job.dim, 0, SLACK);
    float total = 0;
    for (i64 first = 0; first < tiles.rows; first += PART) {
        const i64 rows = tiles.rows - first < PART ? tiles.rows - first : PART;
        const i8* values = tiles.values + 4 * (query * tiles.groups * tiles.rows + first);
        const i32* from = tiles.from + query * tiles.rows + first;
        alignas(64) float best[PART];
        for (i64 r = 0; r < rows; r++) best[r] = -__builtin_inff();
        for (i64 token = start; token < stop; token += TOKENS) {
            const u8* x[TOKENS];
            const i64 count = stop - token < TOKENS ? stop - token : TOKENS;
            for (i64 t = 0; t < TOKENS; t++) {
                if (job.ids && token + t + SOON < stop) {
                    const u8* soon = job.centroids + id_at(job, token + t + SOON) * job.dim;
                    prefetch(soon, 0, job.dim);
                    __builtin_prefetch(soon + job.dim - 1, 0, 2);
                }
                x[t] = t < count ? octets(job, token + t, tiles.groups, room[t], base) : x[0];
            }
            float inverse[TOKENS];
            for (i64 t = 0; t < count; t++)
                inverse[t] = job.inverse ? job.inverses[job.inverse[token + t]] : 1.0f;
            for (i64 r = 0; r < rows; r += STRIP) {
                alignas(64) i32 sums[TOKENS * STRIP];
                products(tiles, values + 4 * r, from + r, x, sums);
                larger(sums, inverse, count, best + r);
            }
        }
        for (i64 r = 0; r < rows; r++) total += best[r];
    }
    return total * job.steps[query];
}

void id_table(const u8* centroids, i64 count, i64 dim, const Tiles& tiles, i32* scratch, u8* out,
              double* factors) {
    const i64 rows = tiles.rows;
    i32* low = scratch + count * rows;
    i32* high = low + rows;
    for (i64 r = 0; r < rows; r++) low[r] = 0x7fffffff, high[r] = -low[r];
    alignas(64) u8 room[TOKENS][WIDTH_MAX];
    for (auto& each : room) __builtin_memset(each + dim, 0, SLACK);
    for (i64 k = 0; k < count; k += TOKENS) {
        const i64 some = count - k < TOKENS ? count - k : TOKENS;
        const u8* x[TOKENS];
        for (i64 t = 0; t < TOKENS; t++) {
            x[t] = t < some ? centroids + (k + t) * dim : x[0];
            if (dim == 4 * tiles.groups) continue;
            __builtin_memcpy(room[t], x[t], size_t(dim));
            x[t] = room[t];
        }
        for (i64 r = 0; r < rows; r += STRIP) {
            alignas(64) i32 sums[TOKENS * STRIP];
            products(tiles, tiles.values + 4 * r, tiles.from + r, x, sums);
            for (i64 t = 0; t < some; t++)
                for (i64 i = 0; i < STRIP; i++) {
                    const i32 sum = sums[t * STRIP + i];
                    scratch[(k + t) * rows + r + i] = sum;
                    low[r + i] = sum < low[r + i] ? sum : low[r + i];
                    high[r + i] = sum > high[r + i] ? sum : high[r + i];
                }
        }
    }
    i64 range = 0, lowest = 0;
    for (i64 r = 0; r < rows; r++) {
        range = high[r] - low[r] > range ? high[r] - low[r] : range;
        lowest += low[r];
    }
    const float step = range ? 255.0f / float(range) : 0.0f;
    for (i64 k = 0; k < count; k++)
        for (i64 r = 0; r < rows; r++)
            out[k * rows + r] = u8(i32(float(scratch[k * rows + r] - low[r]) * step + 0.5f));
    factors[0] = double(range) / 255;
    factors[1] = double(lowest);
}

}  // namespace vecstore::VARIANT
