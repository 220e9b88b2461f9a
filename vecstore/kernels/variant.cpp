// The table of one variant's functions.
#include "lanes.h"

#define NAME_OF(variant) #variant
#define NAME(variant) NAME_OF(variant)

namespace vecstore::VARIANT {

void flat_block(const void*, const u32*, i64, i64, i64, i64, float*);
void flat_rows(const void*, i64, const i64*, i64, float*);
void flat_ahead(const void*, i64, i64);
void dense_block(const void*, const u32*, i64, i64, i64, i64, float*);
void dense_rows(const void*, i64, const i64*, i64, float*);
void dense_ahead(const void*, i64, i64);
void packed_block(const void*, const u32*, i64, i64, i64, i64, float*);
void packed_rows(const void*, i64, const i64*, i64, float*);
void packed_ahead(const void*, i64, i64);
void table_block(const void*, const u32*, i64, i64, i64, i64, float*);
void table_rows(const void*, i64, const i64*, i64, float*);
void table_ahead(const void*, i64, i64);
void signs_block(const void*, const u32*, i64, i64, i64, i64, float*);
void signs_rows(const void*, i64, const i64*, i64, float*);
void signs_ahead(const void*, i64, i64);
void total_block(const void*, const u32*, i64, i64, i64, i64, float*);
void total_rows(const void*, i64, const i64*, i64, float*);
void total_ahead(const void*, i64, i64);
void rotate(const float*, i64, i64, const float*, i64, i64, float*);
void unrotate(float*, i64, i64, const float*, i64, i64, float*);
void quantize(const float*, i64, i64, i64, u8*, float*);
void products(const float*, i64, const Books&, float*);
void look_ups(const float*, i64, i64, u8*, double*);
void nearest(const float*, i64, const Books&, const float*, u8*);
void nearest_octets(const i8*, i64, i64, const Octets&, void*, u16*);
void sum_octets(const u8*, const u16*, i64, i64, u32*);
float ids_document(const void*, i64, i64, i64);
float octets_document(const void*, i64, i64, i64);
float floats_document(const void*, i64, i64, i64);
void id_table(const u8*, i64, i64, const Tiles&, i32*, u8*, double*);
i64 candidates(const Postings&, const u8*, i64, i64, i64, i64, const u64*, i64, u64*);

static u64 above(const float* scores, float threshold) {
    u64 found = 0;
#if defined(__AVX512F__)
    for (int i = 0; i < 4; i++)
        found |= u64(_mm512_cmp_ps_mask(__m512(load(scores + 16 * i)), _mm512_set1_ps(threshold),
                                        _CMP_GT_OQ))
                 << (16 * i);
#else
    for (int i = 0; i < BLOCK; i += LANES) {
        Ints any = {};
        for (int p = 0; p < PARTS; p++) any |= load(scores + i + p * WIDTH) > all(threshold);
        bool hit = false;
        for (int lane = 0; lane < WIDTH; lane++) hit |= any[lane] != 0;
        if (!hit) continue;
        for (int j = i; j < i + LANES; j++) found |= u64(scores[j] > threshold) << j;
    }
#endif
    return found;
}

// By bisection, as sorting by comparisons is slow where a processor cannot foresee them.
static u64 bound(const u64* keys, i64 count, i64 keep) {
    u64 low = keys[0], high = keys[0];
    for (i64 i = 0; i < count; i++) {
        low = keys[i] < low ? keys[i] : low;
        high = keys[i] > high ? keys[i] : high;
    }
    while (low < high) {
        const u64 middle = high - (high - low) / 2;
        i64 reach = 0;
        for (i64 i = 0; i < count; i++) reach += keys[i] >= middle;
        if (reach == keep) return middle;
        if (reach > keep)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

extern const Variant variant;
const Variant variant = {
    NAME(VARIANT),
    {flat_block, flat_rows, flat_ahead, 1, 8192},
    {dense_block, dense_rows, dense_ahead, 1, 8192},
    {packed_block, packed_rows, packed_ahead, GROUP, 8192},
    {table_block, table_rows, table_ahead, BLOCK, 4096},
    {signs_block, signs_rows, signs_ahead, 1, 4096},
    {total_block, total_rows, total_ahead, BLOCK, 16384},
    above,
    bound,
    rotate,
    unrotate,
    quantize,
    products,
    look_ups,
    nearest,
    nearest_octets,
    sum_octets,
    ids_document,
    octets_document,
    floats_document,
    id_table,
    candidates,
};

}  // namespace vecstore::VARIANT
