#pragma once
#include "kernels.h"

namespace vecstore {

// Prepares one rotated query [dims], a multiple of 64, for rows of 1 or 2 bits.
//   tables   [2 * bytes][16], bytes = dims * bits / 8: low nibbles, then high ones
//   factors  [4]: bias, step, offset, squared length
void packed_query(const float* rotated, i64 dims, int bits, u8* tables, double* factors);

}  // namespace vecstore
