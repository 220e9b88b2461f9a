// How the vectors of one record become fewer, or are put in order.
#pragma once
#include "kernels.h"

namespace vecstore {

// Products [count][count] of vectors with each other, each the mean of so many [count] -> the
// cluster of each, of so many, numbered in the order of their first vectors. 0 < clusters <= count.
void ward(const float* products, const float* sizes, i64 count, i64 clusters, u32* out);

// What vectors score with points [count][points] -> all vectors, those first that cover most.
void cover(const float* scores, i64 count, i64 points, u32* out);

}  // namespace vecstore
