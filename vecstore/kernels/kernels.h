// What the variants of the kernels share: plain structs, and a table of functions for each.
//
// A kernel file is compiled once for each instruction set. So that the linker can never pick,
// say, an AVX-512 copy of an inline library function for everybody, these files use no inline
// functions or templates from outside their own namespace.
#pragma once
#include <cstddef>
#include <cstdint>

namespace vecstore {

using i8 = std::int8_t;
using u8 = std::uint8_t;
using u16 = std::uint16_t;
using i32 = std::int32_t;
using u32 = std::uint32_t;
using i64 = std::int64_t;
using u64 = std::uint64_t;

constexpr i64 BLOCK = 64;  // rows scored at once: one word of the allowed bitmap
constexpr i64 GROUP = 16;  // rows whose codes are interleaved byte by byte in the packed layout
constexpr i64 UNIT = 4;    // bytes of each row of a group that are looked up at once
constexpr i64 RUN = 4;     // units whose table entries a query may let add up in 8 bits
constexpr i64 LANES = 16;  // partial sums of every float32 accumulation, on every machine

// Float rows against float queries.
struct FlatJob {
    const void* values;    // [N][dim] float32 or float16
    const float* queries;  // [Q][padded], zeros from dim on
    i64 dim;
    i64 padded;  // dim rounded up to LANES
    bool half;
    bool l2;
};

// How an exact integer product d = code . query becomes a score, in float32, in this order:
//   v = float(2 * d + bias) * step;  v = v * scale[row];  v = v + offset;
//   l2: v = (v + v) - (norm[row] + norm)
struct Query {
    i64 bias;
    float step;
    float offset;
    float norm;
};

struct Rows {
    const float* scale;  // [N] or null
    const float* norm;   // [N] squared lengths; null unless l2
};

// Rows of integers, one byte or one nibble each, against integer queries.
struct DenseJob {
    const u8* codes;   // [N][bytes]
    const i8* digits;  // [Q][2][bytes]; octets: high and low digit, q = 128 high + low;
                       // nibbles: what the low and the high nibble are multiplied with
    const Query* queries;
    Rows rows;
    i64 bytes;
    bool nibbles;
};

// Groups of 16 interleaved rows against tables of what each nibble adds.
struct PackedJob {
    const u8* codes;   // [ceil(N / 16)][bytes][16]
    const u8* tables;  // [Q][2][bytes][16]: what a low, what a high nibble adds
    const Query* queries;
    Rows rows;
    i64 bytes;  // a multiple of UNIT
    i64 run;    // RUN or 1: bytes b, b + UNIT, ... of so many units add up to 255 at most
};

// Rows [row, row + count), count <= BLOCK, of a job against its queries [first, last);
// out is [last - first][BLOCK].
using BlockFn = void (*)(const void* job, i64 first, i64 last, i64 row, i64 count, float* out);
// Given rows against one query; out is [count].
using RowsFn = void (*)(const void* job, i64 query, const i64* rows, i64 count, float* out);

// Asks for the codes of rows [row, row + count) that will be scored soon.
using AheadFn = void (*)(const void* job, i64 row, i64 count);

struct Family {
    BlockFn block;
    RowsFn rows;
    AheadFn ahead;
};

struct Variant {
    const char* name;
    Family flat, dense, packed;
    // Bit i is set where scores[i] > threshold; scores is [BLOCK].
    u64 (*above)(const float* scores, float threshold);
    // vectors [count][dim] -> out [count][padded]; signs is [rounds][padded] of +1 and -1.
    void (*rotate)(const float* vectors, i64 count, i64 dim, const float* signs, i64 rounds,
                   i64 padded, float* out);
    // The inverse: rotated [count][padded], destroyed -> out [count][dim].
    void (*unrotate)(float* rotated, i64 count, i64 dim, const float* signs, i64 rounds,
                     i64 padded, float* out);
    // rotated [count][padded] -> one integer a byte [count][padded]
    // and factors [count][3]: scale, error, squared length.
    void (*quantize)(const float* rotated, i64 count, i64 padded, i64 bits, u8* codes,
                     float* factors);
};

}  // namespace vecstore
