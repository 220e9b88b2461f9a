// 1- and 2-bit rows: each nibble of a code looks up what it adds to code . query (1 bit: four
// dimensions, 2 bits: two). Sixteen rows are interleaved byte by byte, so that one 16-byte
// lane holds the same byte of all of them:
//
//   group g of 16 rows:  byte 0 of rows 16g .. 16g + 15 | byte 1 of the same rows | ...
//
// The table look-up in registers is FAISS's "fast scan" (André et al., "Cache locality is not
// enough", VLDB 2015); here the tables are exact, as the query holds small integers.
#include "lanes.h"

namespace vecstore::VARIANT {

constexpr u8 LOW = 15;

struct Tables {
    const u8* low;   // [bytes][16]
    const u8* high;  // [bytes][16]
};

// A sum of 16 bits takes this many of 8, in every lane of a register, before it could overflow.
constexpr i64 CHUNK = 64;  // 64 * 4 lanes * 255 < 65536

#if defined(__AVX512BW__)

// Tables whose entries for `Run` steps, of UNIT bytes each, add up to 255 at most.
template <i64 Run>
static void sums(const u8* codes, i64 groups, i64 bytes, Tables tables, i32* out) {
    const __m512i mask = _mm512_set1_epi8(LOW);
    const i64 steps = bytes / UNIT;
    for (i64 g = 0; g < groups; g++, codes += bytes * GROUP, out += GROUP) {
        auto step = [&](i64 s) {  // u8
            __m512i code = _mm512_loadu_si512(codes + 64 * s);
            __m512i a = _mm512_shuffle_epi8(_mm512_loadu_si512(tables.low + 64 * s),
                                            _mm512_and_si512(code, mask));
            __m512i b = _mm512_shuffle_epi8(_mm512_loadu_si512(tables.high + 64 * s),
                                            _mm512_and_si512(_mm512_srli_epi16(code, 4), mask));
            return _mm512_add_epi8(a, b);
        };
        __m512i total = _mm512_setzero_si512();
        for (i64 start = 0; start < steps; start += CHUNK * Run) {
            i64 stop = steps - start < CHUNK * Run ? steps : start + CHUNK * Run;
            // u16: even rows plus 256 times the odd ones; odd rows.
            __m512i even = _mm512_setzero_si512(), odd = even;
            auto add = [&](__m512i both) {
                even = _mm512_add_epi16(even, both);
                odd = _mm512_add_epi16(odd, _mm512_srli_epi16(both, 8));
            };
            i64 s = start;
            for (; s + Run <= stop; s += Run) {
                __m512i both = step(s);
                for (i64 i = 1; i < Run; i++) both = _mm512_add_epi8(both, step(s + i));
                add(both);
            }
            for (; s < stop; s++) add(step(s));
            even = _mm512_sub_epi16(even, _mm512_slli_epi16(odd, 8));
            auto fold = [](__m512i v) {
                __m256i w = _mm256_add_epi16(_mm512_castsi512_si256(v),
                                             _mm512_extracti64x4_epi64(v, 1));
                return _mm_add_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
            };
            __m128i e = fold(even), o = fold(odd);
            __m256i rows = _mm256_set_m128i(_mm_unpackhi_epi16(e, o), _mm_unpacklo_epi16(e, o));
            total = _mm512_add_epi32(total, _mm512_cvtepu16_epi32(rows));
        }
        _mm512_storeu_si512(out, total);
    }
}

#elif defined(__AVX2__)

template <i64 Run>
static void sums(const u8* codes, i64 groups, i64 bytes, Tables tables, i32* out) {
    const __m256i mask = _mm256_set1_epi8(LOW);
    const i64 steps = bytes / UNIT;
    auto at = [](const u8* from) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    };
    for (i64 g = 0; g < groups; g++, codes += bytes * GROUP, out += GROUP) {
        auto step = [&](i64 place) {  // u8
            __m256i code = at(codes + place);
            __m256i a = _mm256_shuffle_epi8(at(tables.low + place), _mm256_and_si256(code, mask));
            __m256i b = _mm256_shuffle_epi8(at(tables.high + place),
                                            _mm256_and_si256(_mm256_srli_epi16(code, 4), mask));
            return _mm256_add_epi8(a, b);
        };
        __m256i first = _mm256_setzero_si256(), second = first;  // i32: rows 0..7, 8..15
        for (i64 start = 0; start < steps; start += CHUNK * Run) {
            i64 stop = steps - start < CHUNK * Run ? steps : start + CHUNK * Run;
            __m256i even = _mm256_setzero_si256(), odd = even;
            auto add = [&](__m256i both) {
                even = _mm256_add_epi16(even, both);
                odd = _mm256_add_epi16(odd, _mm256_srli_epi16(both, 8));
            };
            i64 s = start;
            for (; s + Run <= stop; s += Run)
                for (i64 half = 0; half < 64; half += 32) {
                    __m256i both = step(64 * s + half);
                    for (i64 i = 1; i < Run; i++)
                        both = _mm256_add_epi8(both, step(64 * (s + i) + half));
                    add(both);
                }
            for (i64 at = 64 * s; at < 64 * stop; at += 32) add(step(at));
            even = _mm256_sub_epi16(even, _mm256_slli_epi16(odd, 8));
            auto fold = [](__m256i v) {
                return _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
            };
            __m128i e = fold(even), o = fold(odd);
            first = _mm256_add_epi32(first, _mm256_cvtepu16_epi32(_mm_unpacklo_epi16(e, o)));
            second = _mm256_add_epi32(second, _mm256_cvtepu16_epi32(_mm_unpackhi_epi16(e, o)));
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), first);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), second);
    }
}

#else

template <i64>
static void sums(const u8* codes, i64 groups, i64 bytes, Tables tables, i32* out) {
    for (i64 g = 0; g < groups; g++, codes += bytes * GROUP, out += GROUP) {
        for (int i = 0; i < GROUP; i++) out[i] = 0;
        for (i64 b = 0; b < bytes; b++)
            for (int i = 0; i < GROUP; i++) {
                u8 code = codes[b * GROUP + i];
                out[i] += tables.low[b * 16 + (code & LOW)] + tables.high[b * 16 + (code >> 4)];
            }
    }
}

#endif

static void sums(const PackedJob& job, const u8* codes, i64 groups, Tables tables, i32* out) {
    (job.run == RUN ? sums<RUN> : sums<1>)(codes, groups, job.bytes, tables, out);
}

static inline float finish(i32 sum, const Query& query, float scale) {
    // |2 sum + bias| stays below 2^24 for honest queries; unsigned, so that others only wrap.
    float value = float(i32(2 * u32(sum) + u32(query.bias))) * query.step;
    value *= scale;
    return value + query.offset;
}

static inline float negated_distance(float dot, float norm, const Query& query) {
    return (dot + dot) - (norm + query.norm);
}

static Tables tables_of(const PackedJob& job, i64 query) {
    const u8* low = job.tables + query * 2 * job.bytes * 16;
    return {low, low + job.bytes * 16};
}

void packed_block(const void* any, i64 first, i64 last, i64 row, i64 count, float* out) {
    const PackedJob& job = *static_cast<const PackedJob*>(any);
    const u8* codes = job.codes + row * job.bytes;
    const float* scale = job.rows.scale + row;
    const float* norm = job.rows.norm ? job.rows.norm + row : nullptr;
    for (i64 q = first; q < last; q++, out += BLOCK) {
        i32 found[BLOCK];
        sums(job, codes, (count + GROUP - 1) / GROUP, tables_of(job, q), found);
        const Query query = job.queries[q];
        for (i64 i = 0; i < count; i++) out[i] = finish(found[i], query, scale[i]);
        if (norm)
            for (i64 i = 0; i < count; i++) out[i] = negated_distance(out[i], norm[i], query);
    }
}

void packed_rows(const void* any, i64 q, const i64* rows, i64 count, float* out) {
    const PackedJob& job = *static_cast<const PackedJob*>(any);
    const Tables tables = tables_of(job, q);
    const Query query = job.queries[q];
    auto start = [&](i64 i) { return job.codes + rows[i] / GROUP * GROUP * job.bytes; };
    for (i64 i = -EARLY; i < count; i++) {
        if (i + EARLY < count) {
            prefetch(start(i + EARLY), 0, job.bytes * GROUP);
            __builtin_prefetch(job.rows.scale + rows[i + EARLY]);
        }
        if (i < 0) continue;
        i32 found[GROUP];  // sixteen rows at once cost less than one table entry after another
        sums(job, start(i), 1, tables, found);
        out[i] = finish(found[rows[i] % GROUP], query, job.rows.scale[rows[i]]);
        if (job.rows.norm) out[i] = negated_distance(out[i], job.rows.norm[rows[i]], query);
    }
}

void packed_ahead(const void* any, i64 row, i64 count) {
    const PackedJob& job = *static_cast<const PackedJob*>(any);
    // Groups are whole, so that the first may begin before the row.
    prefetch(job.codes, row / GROUP * GROUP * job.bytes, count * job.bytes);
}

}  // namespace vecstore::VARIANT
