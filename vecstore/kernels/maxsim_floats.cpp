// Tokens of floats against float queries, sixteen or thirty-two vectors at a time.
#include "lanes.h"
#include "maxsim.h"

namespace vecstore::VARIANT {

constexpr i64 SOON_BYTES = 4096;  // longer tokens the hardware sees come
constexpr int FEW = WIDTH >= 8 ? 4 : 2;             // tokens and registers of vectors
constexpr int REGISTERS = WIDTH == 16 ? 2 : PARTS;  // whose sums stay in registers
constexpr i64 PIECE = 1024;                         // dimensions that are widened at once

// Adds products of dimensions [0, dim) to the sums, each in order of the dimensions.
template <int COUNT>
static inline void add(const float* queries, i64 rows, const float* const* x, i64 dim,
                       Floats (&sums)[FEW][COUNT]) {
    for (i64 d = 0; d < dim; d++) {
        Floats q[COUNT];
        for (int i = 0; i < COUNT; i++) q[i] = load(queries + d * rows + i * WIDTH);
        for (int t = 0; t < FEW; t++)
            for (int i = 0; i < COUNT; i++) sums[t][i] += q[i] * x[t][d];
    }
}

static inline void widen(const u16* from, i64 count, float* to) {
    i64 i = 0;
    for (; i + WIDTH <= count; i += WIDTH) store(to + i, load(from + i));
    for (; i < count; i++) to[i] = widen(from[i]);
}

// The maxima of COUNT registers of vectors over tokens [start, stop), added up lane by lane.
template <int COUNT>
static void maxima(const FloatsJob& job, const float* queries, i64 start, i64 stop, float* best) {
    Floats most[COUNT];
    for (auto& each : most) each = all(-__builtin_inff());
    float room[FEW][PIECE];
    const i64 row = job.dim * (job.half ? 2 : 4);  // bytes
    for (i64 token = start; token < stop; token += FEW) {
        Floats sums[FEW][COUNT] = {};
        const i64 soon = token + 2 * FEW;
        if (row <= SOON_BYTES && soon + FEW <= stop) prefetch(job.values, soon * row, FEW * row);
        for (i64 d = 0; d < job.dim; d += PIECE) {
            const i64 count = job.dim - d < PIECE ? job.dim - d : PIECE;
            const float* x[FEW];
            for (int t = 0; t < FEW; t++) {  // the last one again where there are fewer
                const i64 own = token + t < stop ? token + t : stop - 1;
                if (job.half) {
                    widen(static_cast<const u16*>(job.values) + own * job.dim + d, count, room[t]);
                    x[t] = room[t];
                } else {
                    x[t] = static_cast<const float*>(job.values) + own * job.dim + d;
                }
            }
            add<COUNT>(queries + d * job.rows, job.rows, x, count, sums);
        }
        for (int t = 0; t < FEW; t++)
            for (int i = 0; i < COUNT; i++)
                most[i] = sums[t][i] > most[i] ? sums[t][i] : most[i];
    }
    for (int i = 0; i < COUNT; i++) store(best + i * WIDTH, most[i]);
}

float floats_document(const void* any, i64 query, i64 start, i64 stop) {
    const FloatsJob& job = *static_cast<const FloatsJob*>(any);
    const float* queries = job.queries + query * job.dim * job.rows;
    constexpr i64 MOST = REGISTERS * WIDTH;
    float total = 0;
    for (i64 first = 0; first < job.rows;) {
        float best[MOST];
        const i64 count = job.rows - first < MOST ? LANES : MOST;
        const auto part = count == MOST ? maxima<REGISTERS> : maxima<PARTS>;
        part(job, queries + first, start, stop, best);
        for (i64 r = 0; r < count; r++) total += best[r];
        first += count;
    }
    return total;
}

}  // namespace vecstore::VARIANT
