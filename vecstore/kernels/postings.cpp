// Lists of centroids: who has one, and what is likely to be found by them.
#include "postings.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vecstore::VARIANT {

namespace {

using Strip = u8 __attribute__((vector_size(STRIP)));
constexpr i64 COUNTED = 255;  // rows that are counted in one byte

Strip load(const u8* from) {
    Strip found;
    std::memcpy(&found, from, sizeof(found));
    return found;
}

// How many of the entries of each column of a strip are at least what is asked.
void count_above(const u8* table, i64 columns, i64 size, Strip least, u32* counts) {
    std::fill(counts, counts + STRIP, u32(0));
    for (i64 first = 0; first < size; first += COUNTED) {
        Strip some = {};
        for (i64 k = first; k < std::min(size, first + COUNTED); k++)
            some -= Strip(load(table + k * columns) >= least);
        for (i64 i = 0; i < STRIP; i++) counts[i] += some[i];
    }
}

// Of each column of a strip the largest value that more than `nprobe` entries reach, or 0.
Strip cuts_of(const u8* table, i64 columns, i64 size, i64 nprobe) {
    Strip cuts = {};
    u32 counts[STRIP];
    for (int bit = 128; bit; bit /= 2) {
        Strip tried = cuts | u8(bit);
        count_above(table, columns, size, tried, counts);
        for (i64 i = 0; i < STRIP; i++)
            if (i64(counts[i]) > nprobe) cuts[i] = tried[i];
    }
    return cuts;
}

struct Opened {
    u8 more;  // than what is not opened
    u32 list;
};

// The lists of the columns of a strip whose entries are above the cuts, the best first.
std::vector<std::vector<Opened>> open(const u8* table, i64 columns, i64 size, Strip cuts,
                                      i64 vectors) {
    std::vector<std::vector<Opened>> found(static_cast<size_t>(vectors));
    for (i64 k = 0; k < size; k++) {
        const Strip row = load(table + k * columns), above = Strip(row > cuts);
        u64 words[STRIP / 8];
        std::memcpy(words, &above, sizeof(words));
        for (i64 w = 0; w < STRIP / 8; w++) {
            if (!words[w]) continue;
            for (i64 i = 8 * w; i < std::min(8 * w + 8, vectors); i++)
                if (above[i]) found[size_t(i)].push_back({u8(row[i] - cuts[i]), u32(k)});
        }
    }
    for (auto& each : found)
        std::stable_sort(each.begin(), each.end(),
                         [](const Opened& a, const Opened& b) { return a.more > b.more; });
    return found;
}

// The least sum that at most `keep` allowed documents reach; the largest where more reach that.
u32 least_of(const std::vector<u32>& sums, const u64* allowed, i64 keep) {
    const u32 largest = *std::max_element(sums.begin(), sums.end());
    std::vector<i64> have(size_t(largest) + 1);
    for (size_t d = 0; d < sums.size(); d++)
        if (!allowed || (allowed[d / 64] >> (d % 64) & 1)) have[sums[d]]++;
    u32 best = largest;
    while (best > 1 && !have[best]) best--;
    i64 found = have[best];
    u32 least = best;
    while (least > 1 && found + have[least - 1] <= keep) found += have[--least];
    return std::max(least, u32(1));
}

}  // namespace

i64 candidates(const Postings& postings, const u8* table, i64 columns, i64 vectors, i64 nprobe,
                    i64 keep, const u64* allowed, i64 count, u64* out) {
    const i64 size = i64(postings.offsets.size()) - 1;
    std::vector<u32> sums(static_cast<size_t>(count));
    std::vector<u32> seen(static_cast<size_t>(count));  // the vector that saw a document last
    u32 vector = 0;
    i64 read = 0;
    for (i64 first = 0; first < vectors; first += STRIP) {
        const Strip cuts = cuts_of(table + first, columns, size, nprobe);
        for (const auto& lists :
             open(table + first, columns, size, cuts, std::min(STRIP, vectors - first))) {
            vector++;
            for (const Opened& list : lists) {
                const u64 stop = postings.offsets[list.list + 1];
                read += i64(stop - postings.offsets[list.list]);
                for (u64 i = postings.offsets[list.list]; i < stop; i++) {
                    const u32 d = postings.documents[i];
                    sums[d] += seen[d] == vector ? 0 : list.more;
                    seen[d] = vector;
                }
            }
        }
    }
    std::fill(out, out + (count + 63) / 64, u64(0));
    if (!count) return read;
    const u32 least = least_of(sums, allowed, keep);
    for (i64 d = 0; d < count; d++)
        if (sums[size_t(d)] >= least) out[d / 64] |= u64(1) << (d % 64);
    for (i64 w = 0; allowed && w < (count + 63) / 64; w++) out[w] &= allowed[w];
    return read;
}

}  // namespace vecstore::VARIANT
