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
using i16 = std::int16_t;
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
constexpr i64 QUERIES = 16;  // whose scores of one block are at hand at a time, at most

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
//   v = float(2 * d + bias) * step;  v = v * scale[row];  v = v + shift[row] * weight;
//   v = v + offset;
//   l2: v = (v + v) - (norm[row] + norm)
struct Query {
    i64 bias;
    float step;
    float offset;
    float norm;
    float weight;
};

struct Rows {
    const float* scale;  // [N] or null: 1
    const float* shift;  // [N] or null; only of dense rows
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
    i64 run;    // RUN, half of it or 1: bytes b, b + UNIT, ... of so many units add up to 255 at most
};

// Groups of 64 interleaved rows against tables of what each byte adds.
struct TableJob {
    const u8* codes;   // [ceil(N / 64)][count][64]
    const u8* tables;  // [Q][count][256]
    const Query* queries;
    Rows rows;
    i64 count;  // subquantizers
};

// Codebooks, of so many dimensions each: [count][depth][columns].
struct Books {
    const float* values;
    i64 count;
    i64 depth;
    i64 columns;
};

// Centroids of integers of a byte, [count][dim], 128 more than they are, and what is added to the
// products of each.
struct Octets {
    const u8* values;
    const i32* bias;
    i64 count;
};
constexpr i64 ASSIGNED = 32;  // vectors that are assigned to centroids at once

// Of functions that only fetch ahead, as GCC takes calls of them for useless and drops them, and of
// those that would cost a loop its registers.
#define INLINE [[gnu::always_inline]] static inline

// Rows [row, row + count), count <= BLOCK, of a job against some of its queries, [many], QUERIES at
// most; out is [many][BLOCK]. Meanwhile it asks for the codes `ahead` rows further on,
// if not 0.
using BlockFn = void (*)(const void* job, const u32* queries, i64 many, i64 row, i64 count,
                         i64 ahead, float* out);
// Given rows against one query; out is [count].
using RowsFn = void (*)(const void* job, i64 query, const i64* rows, i64 count, float* out);

// Asks for the factors of rows [row, row + count) that will be scored soon.
using AheadFn = void (*)(const void* job, i64 row, i64 count);

struct Family {
    BlockFn block;
    RowsFn rows;
    AheadFn ahead;
    i64 group;  // a block begins at a multiple of so many rows
    i64 far;    // bytes from codes that are read to those that are asked for meanwhile
    i64 row_bytes = 0;    // codes of a row,
    i64 query_bytes = 0;  // and what is looked up of a query: what a scan keeps in the caches
};

// Rows of signs, one bit each, against the signs of queries: v = table[differing bits] * length,
// v = v * scale[row]; l2: v = (v + v) - (scale[row]^2 + length^2).
struct SignsJob {
    const u8* codes;       // [N][bytes]
    const u8* signs;       // [Q][bytes]
    const float* lengths;  // [Q]
    const float* table;    // [8 * bytes + 1]
    const float* scale;    // [N] or null; not null if l2
    i64 bytes;             // a multiple of 8
    bool l2;
};

// The scores of some jobs about the same rows and queries, added in their order:
// v = first; then for each other one v = v + its score, v = v * gain[row];
// l2: v = (v + v) - (norm[row] + norms[query]).
struct Term {
    Family family;
    const void* job;
    const float* gain;  // [N] or null
};

struct TotalJob {
    const Term* terms;
    i64 count;           // of terms, at least 1
    const float* norm;   // [N] squared lengths; null unless l2
    const float* norms;  // [Q] squared lengths
};

// The score of the document whose tokens are [start, stop), not empty: maxsim.h.
using DocumentFn = float (*)(const void* job, i64 query, i64 start, i64 stop);
struct Tiles;

struct Postings;

struct Variant {
    const char* name;
    Family flat, dense, packed, table, signs, total;
    // Bit i is set where scores[i] > threshold; scores is [BLOCK].
    u64 (*above)(const float* scores, float threshold);
    // A bound that `keep` of the keys [count] reach, count >= keep > 0; more where some are equal.
    u64 (*bound)(const u64* keys, i64 count, i64 keep);
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
    // vectors [count][books.count * depth], each part of them times its codebook
    // -> out [count][books.count][columns].
    void (*products)(const float* vectors, i64 count, const Books& books, float* out);
    // Products [count][columns] of a query with the columns of codebooks, 16 or 256 each, rounded to
    // integers -> the tables of PackedJob or TableJob, 2 ceil(count / 2 / UNIT) UNIT tables of 16
    // or count of 256, and factors [2]: bias and step.
    void (*look_ups)(const float* products, i64 count, i64 columns, u8* tables, double* factors);
    // The column of each codebook whose product plus bias [books.count][columns] is largest, the
    // first where there are several -> out [count][books.count]. columns: 16, 32 ... 256.
    void (*nearest)(const float* vectors, i64 count, const Books& books, const float* bias,
                    u8* out);
    // The centroid whose product with each of vectors [count][dim] plus its bias is largest, the
    // first where there are several -> out [count]. scratch is [dim rounded up to 4][ASSIGNED] of
    // four bytes, on a line of the cache.
    void (*nearest_octets)(const i8* vectors, i64 count, i64 dim, const Octets& centroids,
                           void* scratch, u16* out);
    // Adds octets [count][dim] of each id to its row of out.
    void (*sum_octets)(const u8* octets, const u16* ids, i64 count, i64 dim, u32* out);
    DocumentFn ids_document, octets_document, floats_document;
    // What centroids [count][dim], as octets, score with the first query of the tiles, in 256
    // steps from the least that each vector finds -> out [count][rows], factors: step, and the sum
    // of the least. scratch is [count + 2][rows].
    void (*id_table)(const u8* centroids, i64 count, i64 dim, const Tiles& tiles, i32* scratch,
                     u8* out, double* factors);
    // Sets the bits of at most `keep` allowed documents of `count` (more where the best of all score
    // the same): those of the largest sum, over the first vectors of a table [K][columns], of how far
    // the best entry of their centroids is above the cut, the best that more than nprobe entries
    // reach. Returns how many postings it read.
    i64 (*candidates)(const Postings& postings, const u8* table, i64 columns, i64 vectors,
                      i64 nprobe, i64 keep, const u64* allowed, i64 count, u64* out);
};

}  // namespace vecstore
