// Rows of one byte for each subquantizer, each of which looks up what it adds to the score in a
// table of 256 small integers: product and residual quantization. 64 rows are interleaved byte
// by byte, so that one register holds the same subquantizer of all of them:
//
//   group g of 64 rows:  byte 0 of rows 64g .. 64g + 63 | byte 1 of the same rows | ...
#include "lanes.h"

namespace vecstore::VARIANT {

constexpr i64 ENTRIES = 256;

#if defined(__AVX512VBMI__)

// A sum of 16 bits takes this many of 8.
constexpr i64 CHUNK = 256;  // 256 * 255 < 65536

static void sums(const u8* codes, i64 count, const u8* tables, i32* out) {
    for (i64 i = 0; i < BLOCK; i++) out[i] = 0;
    for (i64 start = 0; start < count; start += CHUNK) {
        i64 stop = count - start < CHUNK ? count : start + CHUNK;
        // u16: even rows plus 256 times the odd ones; odd rows.
        __m512i even = _mm512_setzero_si512(), odd = even;
        for (i64 m = start; m < stop; m++) {
            __m512i code = _mm512_loadu_si512(codes + m * BLOCK);
            auto table = [&](i64 at) { return _mm512_loadu_si512(tables + m * ENTRIES + at); };
            __m512i low = _mm512_permutex2var_epi8(table(0), code, table(64));
            __m512i high = _mm512_permutex2var_epi8(table(128), code, table(192));
            __m512i both = _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), low, high);
            even = _mm512_add_epi16(even, both);
            odd = _mm512_add_epi16(odd, _mm512_srli_epi16(both, 8));
        }
        even = _mm512_sub_epi16(even, _mm512_slli_epi16(odd, 8));
        u16 half[2][BLOCK / 2];
        _mm512_storeu_si512(half[0], even);
        _mm512_storeu_si512(half[1], odd);
        for (i64 i = 0; i < BLOCK; i++) out[i] += half[i % 2][i / 2];
    }
}

#else

static void sums(const u8* codes, i64 count, const u8* tables, i32* out) {
    constexpr i64 ROWS = 8;  // whose sums stay in registers
    for (i64 first = 0; first < BLOCK; first += ROWS) {
        i32 found[ROWS] = {};
        for (i64 m = 0; m < count; m++) {
            u64 eight;
            __builtin_memcpy(&eight, codes + m * BLOCK + first, ROWS);
            for (i64 i = 0; i < ROWS; i++)
                found[i] += tables[m * ENTRIES + i64(eight >> (8 * i) & 255)];
        }
        for (i64 i = 0; i < ROWS; i++) out[first + i] = found[i];
    }
}

#endif

void table_block(const void* any, const u32* queries, i64 many, i64 row, i64 count, i64 ahead,
                 float* out) {
    const TableJob& job = *static_cast<const TableJob*>(any);
    const u8* codes = job.codes + row * job.count;
    for (i64 k = 0; k < many; k++, out += BLOCK) {
        const i64 q = queries[k];
        i32 found[BLOCK];
        if (!k && ahead) prefetch(codes, ahead * job.count, job.count * BLOCK);
        sums(codes, job.count, job.tables + q * job.count * ENTRIES, found);
        finish(found, count, job.queries[q], job.rows, row, out);
    }
}

void table_rows(const void* any, i64 q, const i64* rows, i64 count, float* out) {
    const TableJob& job = *static_cast<const TableJob*>(any);
    const u8* tables = job.tables + q * job.count * ENTRIES;
    auto at = [&](i64 i) {
        return job.codes + rows[i] / BLOCK * BLOCK * job.count + rows[i] % BLOCK;
    };
    for (i64 i = -EARLY; i < count; i++) {
        if (i + EARLY < count) prefetch(at(i + EARLY), 0, job.count * BLOCK);
        if (i < 0) continue;
        const u8* codes = at(i);
        i32 found = 0;
        for (i64 m = 0; m < job.count; m++) found += tables[m * ENTRIES + codes[m * BLOCK]];
        finish(&found, 1, job.queries[q], job.rows, rows[i], out + i);
    }
}

void table_ahead(const void* any, i64 row, i64 count) {
    const TableJob& job = *static_cast<const TableJob*>(any);
    prefetch(job.rows, row, count);
}

}  // namespace vecstore::VARIANT
