// Clusters and coverage of the vectors of one record.
//
// Not compiled once per variant: what costs is the products, which come ready-made. Every sum is
// made in one order, so that all machines find the same.
#include "sets.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <vector>

namespace vecstore {

namespace {

constexpr float FAR_AWAY = std::numeric_limits<float>::infinity();

struct Merge {
    float height;
    u32 one, other;  // a vector of each cluster
};

// Not below 0, which NaN becomes, so that distances are in a total order.
float distance(float value) { return value > 0 ? value : 0; }

class Clusters {
  public:
    Clusters(const float* products, const float* sizes, i64 count)
        : count_(count), between_(size_t(count * count)), sizes_(sizes, sizes + count) {
        // One half is read, as a chain would not end where there and back are not as far.
        for (i64 i = 0; i < count; i++)
            for (i64 j = 0; j <= i; j++) {
                const float lengths = products[i * count + i] + products[j * count + j];
                const float shared = products[i * count + j];
                const float weight = sizes[i] * sizes[j] / (sizes[i] + sizes[j]);
                const float apart = distance((lengths - (shared + shared)) * weight);
                row(i)[j] = row(j)[i] = i == j ? FAR_AWAY : apart;
            }
    }

    // All merges by nearest-neighbour chains (Murtagh, "A survey of recent advances in hierarchical
    // clustering algorithms", 1983): along a chain distances only fall, so it ends.
    std::vector<Merge> merges() {
        std::vector<Merge> found;
        std::vector<i64> chain;
        while (i64(found.size()) < count_ - 1) {
            if (chain.empty()) chain.push_back(other_than(-1));
            const i64 last = chain.back();
            const i64 before = chain.size() > 1 ? chain[chain.size() - 2] : -1;
            const i64 next = nearest(last, before);
            if (next != before) {
                chain.push_back(next);
                continue;
            }
            found.push_back({row(last)[before], u32(last), u32(before)});
            merge(std::min(last, before), std::max(last, before));
            chain.resize(chain.size() - 2);
        }
        return found;
    }

  private:
    float* row(i64 i) { return between_.data() + i * count_; }
    i64 other_than(i64 one) const {
        i64 i = 0;
        while (i == one || sizes_[size_t(i)] == 0) i++;
        return i;
    }

    // The first of the nearest, or the one before where none is nearer.
    i64 nearest(i64 one, i64 before) {
        const float* distances = row(one);
        i64 found = before < 0 ? other_than(one) : before;
        for (i64 i = 0; i < count_; i++)
            if (distances[i] < distances[found]) found = i;
        return found;
    }

    // Lance and Williams' formula for Ward's method; the other cluster is no longer near any.
    void merge(i64 one, i64 other) {
        float* a = row(one);
        float* b = row(other);
        const float size = sizes_[size_t(one)], added = sizes_[size_t(other)];
        const float both = size + added, apart = a[other];
        for (i64 k = 0; k < count_; k++) {
            const float third = sizes_[size_t(k)];
            if (third == 0 || k == one || k == other) continue;
            const float near = (size + third) * a[k] + (added + third) * b[k] - third * apart;
            a[k] = row(k)[one] = distance(near / (both + third));
            row(k)[other] = FAR_AWAY;
        }
        a[other] = FAR_AWAY;
        sizes_[size_t(one)] = both;
        sizes_[size_t(other)] = 0;
    }

    i64 count_;
    std::vector<float> between_;  // by how much the squared distances to means would grow
    std::vector<float> sizes_;    // 0: part of another one
};

}  // namespace

void ward(const float* products, const float* sizes, i64 count, i64 clusters, u32* out) {
    std::vector<Merge> merges = Clusters(products, sizes, count).merges();
    std::stable_sort(merges.begin(), merges.end(),
                     [](const Merge& a, const Merge& b) { return a.height < b.height; });
    for (i64 i = 0; i < count; i++) out[i] = u32(i);  // a vector of the same cluster, before it
    const auto first = [out](u32 i) {
        while (out[i] != i) i = out[i] = out[out[i]];
        return i;
    };
    for (i64 i = 0; i < count - clusters; i++) {
        const u32 one = first(merges[size_t(i)].one), other = first(merges[size_t(i)].other);
        out[std::max(one, other)] = std::min(one, other);
    }
    u32 number = 0;
    for (i64 i = 0; i < count; i++) out[i] = out[i] == u32(i) ? number++ : out[out[i]];
}

namespace {

struct Gain {
    float gain;
    i64 vector;
    i64 round;  // in which it was worked out
    bool operator<(const Gain& other) const {
        return gain < other.gain || (gain == other.gain && vector > other.vector);
    }
};

// By how much the points would be covered better.
float gain_of(const float* scores, const float* best, i64 points) {
    float sums[LANES] = {};
    for (i64 p = 0; p < points; p += LANES)
        for (i64 lane = 0; lane < std::min(LANES, points - p); lane++) {
            const float more = scores[p + lane] - best[p + lane];
            sums[lane] += more > 0 ? more : 0;
        }
    for (i64 width = LANES / 2; width > 0; width /= 2)
        for (i64 lane = 0; lane < width; lane++) sums[lane] += sums[lane + width];
    return sums[0];
}

}  // namespace

// Greedy, and lazy (Minoux, "Accelerated greedy algorithms for maximizing submodular set functions",
// 1978): a gain only falls, rounded or not, so one that is the largest now and once was larger than
// all others still is.
void cover(const float* scores, i64 count, i64 points, u32* out) {
    std::vector<float> best(scores, scores + points);
    for (i64 i = 1; i < count; i++)
        for (i64 p = 0; p < points; p++)
            best[size_t(p)] = std::min(best[size_t(p)], scores[i * points + p]);
    std::priority_queue<Gain> queue;
    for (i64 i = 0; i < count; i++)
        queue.push({gain_of(scores + i * points, best.data(), points), i, 0});
    for (i64 found = 0; found < count;) {
        const Gain top = queue.top();
        queue.pop();
        const float* own = scores + top.vector * points;
        if (top.round < found) {
            queue.push({gain_of(own, best.data(), points), top.vector, found});
            continue;
        }
        out[found++] = u32(top.vector);
        for (i64 p = 0; p < points; p++) best[size_t(p)] = std::max(best[size_t(p)], own[p]);
    }
}

}  // namespace vecstore
