// Sixteen float32 lanes as one, two or four registers, whichever the variant has.
// Included by the variants' files only.
#pragma once
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vecstore::VARIANT {

#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX2__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif
constexpr int PARTS = LANES / WIDTH;

typedef float Floats __attribute__((vector_size(WIDTH * 4)));
typedef float FloatsU __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef i32 Ints __attribute__((vector_size(WIDTH * 4)));
typedef float Float8 __attribute__((vector_size(32)));
typedef float Float4 __attribute__((vector_size(16)));

static inline Floats load(const float* from) { return *reinterpret_cast<const FloatsU*>(from); }
static inline void store(float* to, Floats lanes) { *reinterpret_cast<FloatsU*>(to) = lanes; }
static inline Floats all(float value) { return Floats{} + value; }

// float16 bits -> float32, exactly; infinities and NaN do not occur.
static inline float widen(u16 half) {
    u32 bits = u32(half & 0x7fff) << 13;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    value *= 0x1p112f;
    return half & 0x8000 ? -value : value;
}

static inline Floats load(const u16* from) {
#if defined(__AVX512F__)
    return Floats(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#elif defined(__F16C__)
    return Floats(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#else
    float values[WIDTH];
    for (int i = 0; i < WIDTH; i++) values[i] = widen(from[i]);
    return load(values);
#endif
}

// Rows that are scattered, or read several at a time, are not foreseen by the hardware: whoever
// reads them first asks early, in order of address. (Measured: 2 to 3 times faster.) Of a stream
// of rows, too, it sees little beyond the end of a page. (1.1 to 1.2 times, with large pages too.)
constexpr i64 EARLY = 4;  // rows, where they are scattered

INLINE void prefetch(const void* from, i64 offset, i64 bytes) {
    const char* start = static_cast<const char*>(from) + offset;
    for (i64 at = 0; at < bytes; at += 64) __builtin_prefetch(start + at, 0, 2);
}

// The factors of rows that will be scored soon.
INLINE void prefetch(Rows rows, i64 row, i64 count) {
    const float* each[] = {rows.scale, rows.shift, rows.norm};
    for (const float* factors : each)
        if (factors) prefetch(factors, row * 4, count * 4);
}

// The same for one line, so many bytes further on, while another is worked on.
INLINE void ask(const void* from, i64 ahead) {
    __builtin_prefetch(static_cast<const char*>(from) + ahead, 0, 2);
}

static inline float sum4(Float4 s) { return (s[0] + s[2]) + (s[1] + s[3]); }

// Scores of rows [row, row + count) from exact sums: |2 sum + bias| stays below 2^24 for honest
// queries; unsigned, so that others only wrap.
static inline void finish(const i32* sums, i64 count, Query query, Rows rows, i64 row,
                          float* out) {
    auto value = [&](i64 i) { return float(i32(2 * u32(sums[i]) + u32(query.bias))) * query.step; };
    if (rows.scale)
        for (i64 i = 0; i < count; i++)
            out[i] = value(i) * rows.scale[row + i] + query.offset;
    else
        for (i64 i = 0; i < count; i++) out[i] = value(i) + query.offset;
    if (rows.norm)
        for (i64 i = 0; i < count; i++)
            out[i] = (out[i] + out[i]) - (rows.norm[row + i] + query.norm);
}

// Adds sixteen lanes in one order: i + (i + 8), then i + (i + 4), then i + (i + 2), then the rest.
static inline float sum(const Floats (&lanes)[PARTS]) {
#if defined(__AVX512F__)
    Float8 eight = __builtin_shufflevector(lanes[0], lanes[0], 0, 1, 2, 3, 4, 5, 6, 7) +
                   __builtin_shufflevector(lanes[0], lanes[0], 8, 9, 10, 11, 12, 13, 14, 15);
    return sum4(__builtin_shufflevector(eight, eight, 0, 1, 2, 3) +
                __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
#elif defined(__AVX2__)
    Float8 eight = lanes[0] + lanes[1];
    return sum4(__builtin_shufflevector(eight, eight, 0, 1, 2, 3) +
                __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
#else
    return sum4((lanes[0] + lanes[2]) + (lanes[1] + lanes[3]));
#endif
}

}  // namespace vecstore::VARIANT
