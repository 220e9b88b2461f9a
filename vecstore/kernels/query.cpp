// What 1- and 2-bit codes want to know of a query: integers, and what each nibble adds.
#include "query.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace vecstore {

namespace {

// The units of a query whose table entries add up in 8 bits. More make a scan faster and the
// query coarser, which is lost in the error of the codes: that of 1-bit codes is larger.
i64 run_of(int bits) { return bits == 1 ? RUN : RUN / 2; }

// The nearest whole number, halves to even, of magnitudes below 2^51: the sum has no fraction left.
// (The library function is a call for each number; this is done for several at once.)
double rounded(double x) {
    constexpr double SHIFT = 0x1.8p52;
    return (x + SHIFT) - SHIFT;
}

// Rounds to integers, halves to even, at the step that lets the table entries of bytes
// b, b + UNIT, ... of a run add up to 255 at most; returns the step.
double to_integers(const float* query, i64 dims, int bits, i32* out) {
    const i64 run = run_of(bits), per_byte = 8 / bits, bytes = dims / per_byte;
    const double largest = (1 << bits) - 1;
    double most = 0;
    for (i64 first = 0; first < bytes; first += run * UNIT)
        for (i64 lane = first; lane < first + UNIT; lane++) {
            double sum = 0;
            for (i64 b = lane; b < std::min(first + run * UNIT, bytes); b += UNIT)
                for (i64 d = b * per_byte; d < (b + 1) * per_byte; d++)
                    sum += std::fabs(double(query[d]));
            most = std::max(most, sum);
        }
    // Rounding adds half to each dimension at most.
    double step = most * largest / (255 - largest * double(run * per_byte) / 2);
    if (!(step > 1e-37)) step = 1;  // a query of (nearly) zeros scores 0
    for (i64 d = 0; d < dims; d++) out[d] = i32(rounded(double(query[d]) / step));
    return step;
}

typedef u8 Table __attribute__((vector_size(16)));

// All ones where a value of a nibble has bit 0, 1, 2, 3.
constexpr Table HAS[4] = {
    {0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255},
    {0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255},
    {0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255},
    {0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255},
};

// The table of one nibble, its smallest entry taken off and returned. That leaves 255 at most, so
// that it is enough to add modulo 256.
template <int BITS>
i32 table_of(const i32* query, u8* out) {
    i32 lowest = 0;
    for (int d = 0; d < 4 / BITS; d++) lowest += std::min(0, query[d]) * ((1 << BITS) - 1);
    Table sums = Table{} - u8(lowest);
    for (int bit = 0; bit < 4; bit++)
        sums += (Table{} + u8(u32(query[bit / BITS]) << bit % BITS)) & HAS[bit];
    std::memcpy(out, &sums, sizeof(sums));
    return lowest;
}

}  // namespace

double squared_length(const float* vector, i64 dim) {
    double square = 0;
    for (i64 d = 0; d < dim; d++) square += double(vector[d]) * double(vector[d]);
    return square;
}

double unit_length(const float* vector, i64 dim, float* out) {
    const double square = squared_length(vector, dim);
    const double length = square > 0 ? std::sqrt(square) : 1;
    for (i64 d = 0; d < dim; d++) out[d] = float(double(vector[d]) / length);
    return square;
}

void packed_query(const float* rotated, i64 dims, int bits, u8* tables, double* factors) {
    const i64 per_nibble = 4 / bits, bytes = dims * bits / 8;
    std::vector<i32> query(size_t(dims), 0);
    double step = to_integers(rotated, dims, bits, query.data());
    i64 sum = 0, lowest = 0;
    const auto table = bits == 1 ? table_of<1> : table_of<2>;
    for (i32 value : query) sum += value;
    for (i64 b = 0; b < bytes; b++) {
        const i32* at = query.data() + 2 * b * per_nibble;
        lowest += table(at, tables + 16 * b);
        lowest += table(at + per_nibble, tables + 16 * (bytes + b));
    }
    // 2 (q . y) = 2 (q . c) - (2^bits - 1) sum(q)
    factors[0] = double(2 * lowest - ((1 << bits) - 1) * sum);
    factors[1] = step / 2;
    factors[2] = 0;
    factors[3] = squared_length(rotated, dims);
}

i64 packed_run(const u8* tables, i64 bytes) {
    auto largest = [](const u8* table) {
        u8 found = 0;
        for (int i = 0; i < 16; i++) found = std::max(found, table[i]);
        return i64(found);
    };
    // Of each lane of each run of one unit, then of two, of four: what its entries add up to.
    i64 runs = (bytes + UNIT - 1) / UNIT;
    std::vector<i64> sums(size_t(runs * UNIT), 0);
    for (i64 b = 0; b < bytes; b++)
        sums[size_t(b)] = largest(tables + 16 * b) + largest(tables + 16 * (bytes + b));
    for (i64 run = 1;; run *= 2) {
        if (*std::max_element(sums.begin(), sums.end()) > 255) return run / 2;
        if (run == RUN) return run;
        runs = (runs + 1) / 2;
        std::vector<i64> pairs(size_t(runs * UNIT), 0);
        for (size_t i = 0; i < sums.size(); i++)
            pairs[i / (2 * UNIT) * UNIT + i % UNIT] += sums[i];
        sums.swap(pairs);
    }
}

}  // namespace vecstore
