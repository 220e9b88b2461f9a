// Two small integers a byte, each of which looks up what it adds to the score: 1-bit rows (four
// dimensions), 2-bit rows (two), and product quantization of 4 bits (a subquantizer). Sixteen
// rows are interleaved byte by byte, so that one 16-byte lane holds the same byte of all of them:
//
//   group g of 16 rows:  byte 0 of rows 16g .. 16g + 15 | byte 1 of the same rows | ...
//
// The table look-up in registers is FAISS's "fast scan" (André et al., "Cache locality is not
// enough", VLDB 2015); of bits the tables are exact, as the query holds small integers.
#include "lanes.h"

namespace vecstore::VARIANT {

constexpr u8 LOW = 15;

// Sums of one group's rows and the tables of Q queries: out[query * BLOCK + row].
// Table entries for `Run` steps, of UNIT bytes each, add up to 255 at most. Codes `ahead` bytes
// further on are asked for.

// A sum of 16 bits takes this many of 8, in every lane of a register, before it could overflow.
constexpr i64 CHUNK = 64;  // 64 * 4 lanes * 255 < 65536

#if defined(__AVX512BW__)

constexpr int MANY = 4;  // queries that share what is read of a group

template <i64 Run, int Q>
static inline void sums(const u8* codes, i64 bytes, const u8* const* tables, i64 ahead, i32* out) {
    const __m512i mask = _mm512_set1_epi8(LOW);
    const i64 steps = bytes / UNIT;
    __m512i total[Q] = {};
    for (i64 start = 0; start < steps; start += CHUNK * Run) {
        const i64 stop = steps - start < CHUNK * Run ? steps : start + CHUNK * Run;
        // u16: even rows plus 256 times the odd ones; odd rows.
        __m512i even[Q] = {}, odd[Q] = {};
        auto add = [&](i64 s, auto count) {
            __m512i both[Q];  // u8
            for (i64 i = 0; i < count(); i++) {
                ask(codes + 64 * (s + i), ahead);
                __m512i code = _mm512_loadu_si512(codes + 64 * (s + i));
                __asm__("" : "+v"(code));  // or it is loaded twice
                __m512i low = _mm512_and_si512(code, mask);
                __m512i high = _mm512_and_si512(_mm512_srli_epi16(code, 4), mask);
                for (int q = 0; q < Q; q++) {
                    const u8* table = tables[q] + 64 * (s + i);
                    __m512i a = _mm512_shuffle_epi8(_mm512_loadu_si512(table), low);
                    __m512i b = _mm512_shuffle_epi8(_mm512_loadu_si512(table + bytes * 16), high);
                    __m512i step = _mm512_add_epi8(a, b);
                    both[q] = i ? _mm512_add_epi8(both[q], step) : step;
                }
            }
            for (int q = 0; q < Q; q++) {
                even[q] = _mm512_add_epi16(even[q], both[q]);
                odd[q] = _mm512_add_epi16(odd[q], _mm512_srli_epi16(both[q], 8));
            }
        };
        i64 s = start;
        for (; s + Run <= stop; s += Run) add(s, [] { return Run; });
        for (; s < stop; s++) add(s, [] { return 1; });
        auto fold = [](__m512i v) {
            __m256i w = _mm256_add_epi16(_mm512_castsi512_si256(v),
                                         _mm512_extracti64x4_epi64(v, 1));
            return _mm_add_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
        };
        for (int q = 0; q < Q; q++) {
            __m128i e = fold(_mm512_sub_epi16(even[q], _mm512_slli_epi16(odd[q], 8)));
            __m128i o = fold(odd[q]);
            __m256i rows = _mm256_set_m128i(_mm_unpackhi_epi16(e, o), _mm_unpacklo_epi16(e, o));
            total[q] = _mm512_add_epi32(total[q], _mm512_cvtepu16_epi32(rows));
        }
    }
    for (int q = 0; q < Q; q++) _mm512_storeu_si512(out + q * BLOCK, total[q]);
}

#elif defined(__AVX2__)

constexpr int MANY = 1;

template <i64 Run, int>
static inline void sums(const u8* codes, i64 bytes, const u8* const* given, i64 ahead, i32* out) {
    const u8* tables = *given;
    const __m256i mask = _mm256_set1_epi8(LOW);
    const i64 steps = bytes / UNIT;
    auto at = [](const u8* from) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    };
    auto step = [&](i64 place) {  // u8
        if (place % 64 == 0) ask(codes + place, ahead);
        __m256i code = at(codes + place);
        __m256i a = _mm256_shuffle_epi8(at(tables + place), _mm256_and_si256(code, mask));
        __m256i b = _mm256_shuffle_epi8(at(tables + bytes * 16 + place),
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

#else

constexpr int MANY = 1;

template <i64, int>
static inline void sums(const u8* codes, i64 bytes, const u8* const* given, i64 ahead, i32* out) {
    const u8* tables = *given;
    for (int i = 0; i < GROUP; i++) out[i] = 0;
    for (i64 b = 0; b < bytes; b++) {
        if (b % UNIT == 0) ask(codes + b * GROUP, ahead);
        for (int i = 0; i < GROUP; i++) {
            u8 code = codes[b * GROUP + i];
            out[i] += tables[b * 16 + (code & LOW)] + tables[(bytes + b) * 16 + (code >> 4)];
        }
    }
}

#endif

// Q queries against the groups of a block.
template <i64 Run, int Q>
static void some(const PackedJob& job, const u32* queries, i64 row, i64 count, i64 ahead,
                 float* out) {
    const u8* tables[Q];
    for (int k = 0; k < Q; k++) tables[k] = job.tables + i64(queries[k]) * 2 * job.bytes * 16;
    i32 found[Q * BLOCK];
    for (i64 i = 0; i < count; i += GROUP)
        sums<Run, Q>(job.codes + (row + i) * job.bytes, job.bytes, tables, ahead * job.bytes,
                     found + i);
    for (int k = 0; k < Q; k++, out += BLOCK)
        finish(found + k * BLOCK, count, job.queries[queries[k]], job.rows, row, out);
}

template <i64 Run>
static void block(const PackedJob& job, const u32* queries, i64 many, i64 row, i64 count,
                  i64 ahead, float* out) {
    i64 k = 0;
    for (; k + MANY <= many; k += MANY)
        some<Run, MANY>(job, queries + k, row, count, k ? 0 : ahead, out + k * BLOCK);
    if constexpr (MANY > 2)
        for (; k + 2 <= many; k += 2)
            some<Run, 2>(job, queries + k, row, count, k ? 0 : ahead, out + k * BLOCK);
    for (; k < many; k++)
        some<Run, 1>(job, queries + k, row, count, k ? 0 : ahead, out + k * BLOCK);
}

template <i64 Run>
static void some_rows(const PackedJob& job, i64 q, const i64* rows, i64 count, float* out) {
    const u8* tables = job.tables + q * 2 * job.bytes * 16;
    auto start = [&](i64 i) { return job.codes + rows[i] / GROUP * GROUP * job.bytes; };
    for (i64 i = -EARLY; i < count; i++) {
        if (i + EARLY < count) {
            prefetch(start(i + EARLY), 0, job.bytes * GROUP);
            if (job.rows.scale) __builtin_prefetch(job.rows.scale + rows[i + EARLY]);
        }
        if (i < 0) continue;
        i32 found[GROUP];  // sixteen rows at once cost less than one table entry after another
        sums<Run, 1>(start(i), job.bytes, &tables, 0, found);
        finish(found + rows[i] % GROUP, 1, job.queries[q], job.rows, rows[i], out + i);
    }
}

void packed_block(const void* any, const u32* queries, i64 many, i64 row, i64 count, i64 ahead,
                  float* out) {
    const PackedJob& job = *static_cast<const PackedJob*>(any);
    const auto run = job.run == RUN ? block<RUN> : job.run == RUN / 2 ? block<RUN / 2> : block<1>;
    run(job, queries, many, row, count, ahead, out);
}

void packed_rows(const void* any, i64 query, const i64* rows, i64 count, float* out) {
    const PackedJob& job = *static_cast<const PackedJob*>(any);
    const auto run =
        job.run == RUN ? some_rows<RUN> : job.run == RUN / 2 ? some_rows<RUN / 2> : some_rows<1>;
    run(job, query, rows, count, out);
}

void packed_ahead(const void* any, i64 row, i64 count) {
    const PackedJob& job = *static_cast<const PackedJob*>(any);
    prefetch(job.rows, row, count);
}

}  // namespace vecstore::VARIANT
