// What 1- and 2-bit codes want to know of a query: integers, and what each nibble adds.
#include "query.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace vecstore {

namespace {

// Rounds to integers in -largest .. largest, halves to even; returns the step.
double to_integers(const float* query, i64 dims, double largest, i64* out) {
    float most = 0;
    for (i64 d = 0; d < dims; d++) most = std::max(most, std::fabs(query[d]));
    double step = double(most) / largest;
    if (!(step > 1e-37)) step = 1;  // a query of (nearly) zeros scores 0
    for (i64 d = 0; d < dims; d++) out[d] = i64(std::nearbyint(double(query[d]) / step));
    return step;
}

// The table of one nibble, its smallest entry taken off and returned.
i64 table_of(const i64* query, int bits, u8* out) {
    const int dims = 4 / bits, mask = (1 << bits) - 1;
    i64 sums[16];
    for (int value = 0; value < 16; value++) {
        sums[value] = 0;
        for (int d = 0; d < dims; d++) sums[value] += query[d] * (value >> d * bits & mask);
    }
    i64 lowest = *std::min_element(sums, sums + 16);
    for (int value = 0; value < 16; value++) out[value] = u8(sums[value] - lowest);
    return lowest;
}

}  // namespace

void packed_query(const float* rotated, i64 dims, int bits, u8* tables, double* factors) {
    const i64 per_nibble = 4 / bits, bytes = dims * bits / 8;
    std::vector<i64> query(size_t(dims), 0);
    // The largest query integer whose table entries, sums over a nibble, fit a byte.
    double step = to_integers(rotated, dims, bits == 1 ? 63 : 42, query.data());
    double norm = 0;
    for (i64 d = 0; d < dims; d++) norm += double(rotated[d]) * double(rotated[d]);
    i64 sum = 0, lowest = 0;
    for (i64 value : query) sum += value;
    for (i64 b = 0; b < bytes; b++) {
        const i64* at = query.data() + 2 * b * per_nibble;
        lowest += table_of(at, bits, tables + 16 * b);
        lowest += table_of(at + per_nibble, bits, tables + 16 * (bytes + b));
    }
    // 2 (q . y) = 2 (q . c) - (2^bits - 1) sum(q)
    factors[0] = double(2 * lowest - ((1 << bits) - 1) * sum);
    factors[1] = step / 2;
    factors[2] = 0;
    factors[3] = norm;
}

}  // namespace vecstore
