// Tokens that are the ids of centroids: each looks up a row of what the centroid scores with every
// vector of the query, and all that is left to do is to take the largest.
#include "maxsim.h"

namespace vecstore::VARIANT {

typedef u8 Strip __attribute__((vector_size(STRIP)));
typedef u8 StripU __attribute__((vector_size(STRIP), aligned(1), may_alias));

constexpr i64 CHUNK = 8;  // tokens of one turn of the loop
constexpr i64 MOST = 4;   // strips whose maxima stay in registers

// The sum of `STRIPS` strips' maxima over the tokens.
template <class Id, int STRIPS>
static i64 maxima(const Id* ids, i64 count, Id last, const u8* table, i64 columns) {
    Strip best[STRIPS] = {};
    auto take = [&](i64 id) {
        const u8* row = table + id * columns;
        for (int s = 0; s < STRIPS; s++) {
            Strip own = *reinterpret_cast<const StripU*>(row + s * STRIP);
            best[s] = own > best[s] ? own : best[s];
        }
    };
    // An id is brought into range as it is read: a vector of them would be quicker to compare, but
    // slow to take apart.
    auto inside = [last](Id id) { return id < last ? id : last; };
    i64 t = 0;
    for (; t + CHUNK <= count; t += CHUNK)
        for (i64 i = 0; i < CHUNK; i++) take(inside(ids[t + i]));
    for (; t < count; t++) take(inside(ids[t]));
    i32 total = 0;
    for (int s = 0; s < STRIPS; s++) {
        u8 each[STRIP];
        __builtin_memcpy(each, &best[s], STRIP);
        for (int i = 0; i < STRIP; i++) total += each[i];
    }
    return total;
}

template <class Id>
static i64 sum(const IdsJob& job, const u8* table, i64 start, i64 stop) {
    const Id* ids = static_cast<const Id*>(job.ids) + start;
    const i64 count = stop - start;
    i64 total = 0;
    for (i64 c = 0; c < job.columns;) {
        const i64 strips = (job.columns - c) / STRIP;
        const auto part = strips >= MOST ? maxima<Id, MOST>
                          : strips == 3  ? maxima<Id, 3>
                          : strips == 2  ? maxima<Id, 2>
                                         : maxima<Id, 1>;
        total += part(ids, count, Id(job.last), table + c, job.columns);
        c += (strips < MOST ? strips : MOST) * STRIP;
    }
    return total;
}

float ids_document(const void* any, i64 query, i64 start, i64 stop) {
    const IdsJob& job = *static_cast<const IdsJob*>(any);
    const u8* table = job.tables + query * (job.last + 1) * job.columns;
    const i64 total = (job.wide ? sum<u16> : sum<u8>)(job, table, start, stop);
    return float(total) * job.factors[2 * query] + job.factors[2 * query + 1];
}

}  // namespace vecstore::VARIANT
