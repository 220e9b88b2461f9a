// Tokens as octets against integer queries. Short codes are made octets on the way, a few tokens at
// a time, which stay in the nearest cache, while those before them are multiplied: it costs next to
// nothing more than tokens that are octets.
#include "expand.h"
#include "octets.h"

namespace vecstore::VARIANT {

constexpr i64 SOON = 16;   // tokens whose centroids are fetched ahead
constexpr i64 PART = 256;  // query vectors whose maxima are kept at once

// Room for octets: a byte's digits may be for more dimensions than there are, 8 at most, and a
// vector writes beyond them.
constexpr i64 SLACK = 2 * VECTOR;
constexpr i64 ROOM = OCTETS_MAX + SLACK;

static i64 id_at(const OctetsJob& job, i64 token) {
    const i64 id = job.wide ? static_cast<const u16*>(job.ids)[token]
                            : static_cast<const u8*>(job.ids)[token];
    return id < job.last ? id : job.last;
}

// Where the octets of tokens come from.
struct Octets {
    const OctetsJob& job;
    u8* rooms;  // [2][TOKENS][stride]: those that are scored, and those that are made meanwhile
    u8* base;   // [ROOM], zeros from the last dimension on: centroids that are read beyond the end
    i64 stride;
};

// Asks for the centroid of a token. (Measured: into the nearest cache, or it does not pay.)
INLINE void ask_for(const OctetsJob& job, i64 token) {
    const u8* soon = job.centroids + id_at(job, token) * job.dim;
    for (i64 at = 0; at < job.dim; at += 64) __builtin_prefetch(soon + at, 0, 3);
    __builtin_prefetch(soon + job.dim - 1, 0, 3);
}

// The octets of one token: where they lie, or in a room. Those beyond the last dimension may be
// anything, as they are multiplied with zeros.
template <int RADIX>
INLINE const u8* octets(const Octets& of, i64 token, i64 room) {
    const OctetsJob& job = of.job;
    const u8* codes = job.codes + token * job.bytes;
    u8* out = of.rooms + room * of.stride;
    if constexpr (RADIX == 256) {
        if (job.dim % 4 == 0) [[likely]] return codes;
        __builtin_memcpy(out, codes, size_t(job.dim));
        return out;
    } else {
        const u8* from = of.base;
        if (job.centroids) {
            const i64 id = id_at(job, token);
            from = job.centroids + id * job.dim;
            if ((job.last + 1 - id) * job.dim < job.bytes * DIGITS<RADIX> + VECTOR) [[unlikely]] {
                __builtin_memcpy(of.base, from, size_t(job.dim));
                from = of.base;
            }
        }
        expand<RADIX>(codes, job.levels, from, job.bytes, out);
        return out;
    }
}

static inline Ints ints(const i32* from) {
    Ints own;
    __builtin_memcpy(&own, from, sizeof(own));
    return own;
}

// What a few tokens score with a strip of query vectors, where it is more than the best so far.
static inline void larger(const i32* sums, const float* inverse, i64 count, float* best) {
    for (i64 i = 0; i < STRIP; i += WIDTH) {
        Floats most = load(best + i);
        for (i64 t = 0; t < count; t++) {
            const Ints sum = ints(sums + t * STRIP + i);
            const Floats value = __builtin_convertvector(sum, Floats) * inverse[t];
            most = value > most ? value : most;
        }
        store(best + i, most);
    }
}

// Some tokens that are scored at once.
struct Few {
    const u8* x[TOKENS];  // the first again where there are fewer
    float inverse[TOKENS];
};

// Token t of those from `token` on.
template <int RADIX>
INLINE void take(const Octets& of, i64 token, i64 stop, int t, i64 room, Few& few) {
    const OctetsJob& job = of.job;
    if (token + t < stop) {
        if (job.ids && token + t + SOON < stop) ask_for(job, token + t + SOON);
        few.x[t] = octets<RADIX>(of, token + t, room + t);
        few.inverse[t] = job.inverse ? job.inverses[job.inverse[token + t]] : 1.0f;
    } else {
        few.x[t] = few.x[0];
    }
}

// The maxima of query vectors [first, first + rows) over the tokens [start, stop). While some
// tokens are multiplied, the next ones become octets.
template <int RADIX>
static void maxima(const Octets& of, i64 query, i64 first, i64 rows, i64 start, i64 stop,
                   float* best) {
    const Tiles& tiles = of.job.tiles;
    const i8* values = tiles.values + 4 * (query * tiles.groups * tiles.rows + first);
    const i32* from = tiles.from + query * tiles.rows + first;
    for (i64 r = 0; r < rows; r++) best[r] = -__builtin_inff();
    Few few[2];
    if (of.job.ids)
        for (i64 t = start; t < stop && t < start + SOON; t++) ask_for(of.job, t);
    for (int t = 0; t < TOKENS; t++) take<RADIX>(of, start, stop, t, 0, few[0]);
    for (i64 token = start, now = 0; token < stop; token += TOKENS, now = 1 - now) {
        const i64 count = stop - token < TOKENS ? stop - token : TOKENS;
        bool made = token + TOKENS >= stop;
        auto next = [&](int t) {
            if (!made) take<RADIX>(of, token + TOKENS, stop, t, (1 - now) * TOKENS, few[1 - now]);
        };
        alignas(64) i32 sums[TOKENS * STRIP];
        for (i64 r = 0; r < rows; r += STRIP) {
            products(tiles, values + 4 * r, from + r, few[now].x, sums, next);
            larger(sums, few[now].inverse, count, best + r);
            made = true;
        }
    }
}

float octets_document(const void* any, i64 query, i64 start, i64 stop) {
    const OctetsJob& job = *static_cast<const OctetsJob*>(any);
    const Tiles& tiles = job.tiles;
    alignas(64) u8 rooms[2 * TOKENS * ROOM];
    alignas(64) u8 base[ROOM];
    const Octets of{job, rooms, base, (job.dim + SLACK + 63) / 64 * 64};
    __builtin_memset(base, 0, size_t(job.dim + SLACK));
    const auto part = job.radix == 2    ? maxima<2>
                      : job.radix == 3  ? maxima<3>
                      : job.radix == 4  ? maxima<4>
                      : job.radix == 16 ? maxima<16>
                                        : maxima<256>;
    float total = 0;
    for (i64 first = 0; first < tiles.rows; first += PART) {
        const i64 rows = tiles.rows - first < PART ? tiles.rows - first : PART;
        alignas(64) float best[PART];
        part(of, query, first, rows, start, stop, best);
        for (i64 r = 0; r < rows; r++) total += best[r];
    }
    return total * job.steps[query];
}

typedef u8 Steps __attribute__((vector_size(WIDTH)));

// By registers: loops that are left to the compiler take 1.1 to 1.3 times as long. (Measured.)
void id_table(const u8* centroids, i64 count, i64 dim, const Tiles& tiles, i32* scratch, u8* out,
              double* factors) {
    const i64 rows = tiles.rows;
    i32* low = scratch + count * rows;
    i32* high = low + rows;
    for (i64 r = 0; r < rows; r++) low[r] = 0x7fffffff, high[r] = -low[r];
    alignas(64) u8 room[TOKENS][ROOM];
    for (auto& each : room) __builtin_memset(each + dim, 0, SLACK);
    for (i64 k = 0; k < count; k += TOKENS) {
        const i64 some = count - k < TOKENS ? count - k : TOKENS;
        const u8* x[TOKENS];
        for (i64 t = 0; t < TOKENS; t++) {
            x[t] = t < some ? centroids + (k + t) * dim : x[0];
            if (dim == 4 * tiles.groups) continue;
            __builtin_memcpy(room[t], x[t], size_t(dim));
            x[t] = room[t];
        }
        for (i64 r = 0; r < rows; r += STRIP) {
            alignas(64) i32 sums[TOKENS * STRIP];
            products(tiles, tiles.values + 4 * r, tiles.from + r, x, sums, [](int) {});
            for (i64 i = r; i < r + STRIP; i += WIDTH) {
                Ints least = ints(low + i), most = ints(high + i);
                for (i64 t = 0; t < some; t++) {
                    const Ints sum = ints(sums + t * STRIP + i - r);
                    __builtin_memcpy(scratch + (k + t) * rows + i, &sum, sizeof(sum));
                    least = sum < least ? sum : least;
                    most = sum > most ? sum : most;
                }
                __builtin_memcpy(low + i, &least, sizeof(least));
                __builtin_memcpy(high + i, &most, sizeof(most));
            }
        }
    }
    i64 range = 0, lowest = 0;
    for (i64 r = 0; r < rows; r++) {
        range = high[r] - low[r] > range ? high[r] - low[r] : range;
        lowest += low[r];
    }
    const float step = range ? 255.0f / float(range) : 0.0f;
    for (i64 k = 0; k < count; k++)
        for (i64 r = 0; r < rows; r += WIDTH) {
            const Ints above = ints(scratch + k * rows + r) - ints(low + r);
            const Floats steps = __builtin_convertvector(above, Floats) * step + 0.5f;
            const Steps own = __builtin_convertvector(__builtin_convertvector(steps, Ints), Steps);
            __builtin_memcpy(out + k * rows + r, &own, sizeof(own));
        }
    factors[0] = double(range) / 255;
    factors[1] = double(lowest);
}

}  // namespace vecstore::VARIANT
