// Late interaction: documents are ragged runs of tokens, and a query is several vectors. A document
// scores the sum, over the query's vectors, of the largest score of its tokens (MaxSim; Khattab and
// Zaharia, ColBERT, section 3.3).
#pragma once
#include "kernels.h"

namespace vecstore {

constexpr i64 STRIP = 32;          // query vectors are padded to a multiple of this, with zeros
constexpr i64 OCTETS_MAX = 4096;   // dimensions of tokens that are scored as octets,
constexpr i64 FLOATS_MAX = 65536;  // and of those that are floats

// Centroid ids of tokens against tables of what each centroid scores.
struct IdsJob {
    const void* ids;      // [T] u8 or u16; one above `last` counts as `last`
    const u8* tables;     // [Q][last + 1][columns]
    const float* factors;  // [Q][2]: score = float(sum) * factors[0] + factors[1]
    i64 columns;          // a multiple of STRIP
    i64 last;
    bool wide;            // ids are u16
};

// Integer queries, made ready for sums of products with octets.
struct Tiles {
    const i8* values;  // [Q][groups][rows][4]: dimensions 4g .. 4g + 3 of every vector
    const i32* from;   // [Q][rows]: -128 times the sum of each vector, as octets count from 128
    i64 rows;          // a multiple of STRIP
    i64 groups;        // ceil(D / 4)
};

// Tokens as octets, 128 more than an integer, of which some share a byte as digits of a radix: byte
// b holds those of dimensions b, b + bytes, b + 2 bytes ..., the lowest digit first, but of radix 3
// the highest, of the fraction byte / 256.
//   octet[d] = u8(centroid[id][d] + levels[digit d])
//   a token's score with a query vector = float(sum of products) * inverses[inverse[token]]
struct OctetsJob {
    const u8* codes;        // [T][bytes]
    i64 bytes;
    i64 radix;              // 2, 3, 4, 16; 256: codes are the octets themselves
    i64 dim;
    u8 levels[64];          // of whatever has a digit in its lowest bits; radix 3: that less one
    const void* ids;        // [T] u8 or u16, or null; one above `last` counts as `last`
    const u8* centroids;    // [last + 1][dim], or null: zeros
    i64 last;
    bool wide;
    const u8* inverse;      // [T], or null: 1
    const float* inverses;  // [256]
    const float* steps;     // [Q], by which the sum over the query's vectors is multiplied
    Tiles tiles;
};

// Tokens of floats, against float queries.
struct FloatsJob {
    const void* values;    // [T][dim] float32 or float16
    const float* queries;  // [Q][dim][rows]
    i64 dim;
    i64 rows;  // query vectors, padded with zeros to a multiple of LANES
    bool half;
};

// Rows that a family scores, against all of its queries: they are the vectors of one query.
struct RowsJob {
    Family family;
    const void* job;
    i64 count;
};

}  // namespace vecstore
