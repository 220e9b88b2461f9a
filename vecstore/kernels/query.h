#pragma once
#include "kernels.h"

namespace vecstore {

// Sums in float64, in order of d.
double squared_length(const float* vector, i64 dim);

// Brings one vector [dim] to unit length, zeros to zeros; returns its squared length.
double unit_length(const float* vector, i64 dim, float* out);

// Prepares one rotated query [dims], a multiple of 64, for rows of 1 or 2 bits.
//   tables   [2 * bytes][16], bytes = dims * bits / 8: low nibbles, then high ones
//   factors  [4]: bias, step, offset, squared length
void packed_query(const float* rotated, i64 dims, int bits, u8* tables, double* factors);

// The run of PackedJob that the tables of a query allow; 0 where not even those of a byte fit.
i64 packed_run(const u8* tables, i64 bytes);

}  // namespace vecstore
