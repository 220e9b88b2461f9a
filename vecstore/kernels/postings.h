// Which documents have a token of each centroid, and which of them a query is likely to find.
#pragma once
#include <vector>

#include "maxsim.h"

namespace vecstore {

// Of K centroids: list k has documents [offsets[k], offsets[k + 1]), ascending, each once.
struct Postings {
    std::vector<u64> offsets;
    std::vector<u32> documents;
};

}  // namespace vecstore
