// The centroid nearest to each vector, both of integers of one byte: sums of products are exact,
// so that the same sample gives the same centroids everywhere.
#include "lanes.h"

namespace vecstore::VARIANT {

// A register holds DEPTH dimensions of as many vectors as it has lanes for sums.
#if defined(__AVX512VNNI__)
using Part = i8;
constexpr int CENTROIDS = 8;  // at once, so that sums stay in registers
#elif defined(__AVX2__)
using Part = i16;
constexpr int CENTROIDS = 2;
#else
using Part = i32;
constexpr int CENTROIDS = 1;
#endif
constexpr int DEPTH = 4 / sizeof(Part);
constexpr int PARTS_OF = ASSIGNED / WIDTH;

// Some dimensions of a centroid, which are octets, as one lane of a register.
static inline i32 lane_of(const u8* octets, i64 count) {
    Part parts[DEPTH] = {};
    for (i64 i = 0; i < count; i++) parts[i] = Part(octets[i]);
    i32 lane;
    __builtin_memcpy(&lane, parts, 4);
    return lane;
}

static inline Ints more(Ints sums, i32 lane, const Part* vectors) {
#if defined(__AVX512VNNI__)
    return Ints(_mm512_dpbusd_epi32(__m512i(sums), _mm512_set1_epi32(lane),
                                    _mm512_loadu_si512(vectors)));
#elif defined(__AVX2__)
    return sums + Ints(_mm256_madd_epi16(
                      _mm256_set1_epi32(lane),
                      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(vectors))));
#else
    Ints own;
    __builtin_memcpy(&own, vectors, sizeof(own));
    return sums + own * lane;
#endif
}

// Keeps what is larger, the first where equal: N centroids from k on against ASSIGNED vectors.
template <int N>
static inline void step(const Part* vectors, i64 dim, const u8* centroids, i64 k, const i32* bias,
                        Ints* best, Ints* place) {
    Ints sums[N][PARTS_OF];
    for (int c = 0; c < N; c++)
        for (int p = 0; p < PARTS_OF; p++) sums[c][p] = Ints{} + bias[k + c];
    const u8* from = centroids + k * dim;
    const auto add = [&](i64 d, i64 count) {
        for (int c = 0; c < N; c++) {
            const i32 lane = lane_of(from + c * dim + d, count);
            for (int p = 0; p < PARTS_OF; p++)
                sums[c][p] = more(sums[c][p], lane, vectors + (d * ASSIGNED + p * WIDTH * DEPTH));
        }
    };
    i64 d = 0;
    for (; d + DEPTH <= dim; d += DEPTH) add(d, DEPTH);
    if (d < dim) add(d, dim - d);
    for (int c = 0; c < N; c++)
        for (int p = 0; p < PARTS_OF; p++) {
            const Ints larger = sums[c][p] > best[p];
            best[p] = larger ? sums[c][p] : best[p];
            place[p] = larger ? Ints{} + i32(k + c) : place[p];
        }
}

void nearest_octets(const i8* vectors, i64 count, i64 dim, const Octets& centroids, void* scratch,
                    u16* out) {
    Part* parts = static_cast<Part*>(scratch);
    for (i64 first = 0; first < count; first += ASSIGNED, vectors += ASSIGNED * dim) {
        const i64 some = count - first < ASSIGNED ? count - first : ASSIGNED;
        for (i64 v = 0; v < ASSIGNED; v++)
            for (i64 d = 0; d < (dim + DEPTH - 1) / DEPTH * DEPTH; d++)
                parts[(d / DEPTH * ASSIGNED + v) * DEPTH + d % DEPTH] =
                    v < some && d < dim ? vectors[v * dim + d] : Part{};
        Ints best[PARTS_OF], place[PARTS_OF];
        for (int p = 0; p < PARTS_OF; p++) best[p] = Ints{} - 0x7fffffff, place[p] = Ints{};
        i64 k = 0;
        for (; k + CENTROIDS <= centroids.count; k += CENTROIDS)
            step<CENTROIDS>(parts, dim, centroids.values, k, centroids.bias, best, place);
        for (; k < centroids.count; k++)
            step<1>(parts, dim, centroids.values, k, centroids.bias, best, place);
        for (i64 v = 0; v < some; v++) out[first + v] = u16(place[v / WIDTH][v % WIDTH]);
    }
}

void sum_octets(const u8* octets, const u16* ids, i64 count, i64 dim, u32* out) {
    for (i64 row = 0; row < count; row++) {
        const u8* from = octets + row * dim;
        u32* to = out + i64(ids[row]) * dim;
        for (i64 d = 0; d < dim; d++) to[d] += from[d];
    }
}

}  // namespace vecstore::VARIANT
