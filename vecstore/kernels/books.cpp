// Vectors times codebooks: what training-time rotations, look-up tables and encoding are made of.
//
// Every sum starts at zero and adds one dimension after another, so that a vector's result does
// not depend on the vectors beside it, nor on the machine.
#include "lanes.h"

namespace vecstore::VARIANT {

constexpr int TILE = 4;                    // vectors at a time
constexpr int WIDE = WIDTH == 16 ? 4 : 2;  // registers of columns at a time
constexpr i64 COLUMNS = 256;               // of a codebook that rows are assigned to, at most

// x [N][stride] times book [depth][columns], from some column on: W registers of it.
template <int N, int W>
static inline void tile(const float* x, i64 stride, const float* book, i64 depth, i64 columns,
                        float* out, i64 out_stride) {
    Floats sums[N][W];
    for (int n = 0; n < N; n++)
        for (int w = 0; w < W; w++) sums[n][w] = Floats{};
    for (i64 s = 0; s < depth; s++, book += columns) {
        Floats own[W];
        for (int w = 0; w < W; w++) own[w] = load(book + w * WIDTH);
        for (int n = 0; n < N; n++) {
            Floats value = all(x[n * stride + s]);
            for (int w = 0; w < W; w++) sums[n][w] += value * own[w];
        }
    }
    for (int n = 0; n < N; n++)
        for (int w = 0; w < W; w++) store(out + n * out_stride + w * WIDTH, sums[n][w]);
}

template <int N>
static void product(const float* x, i64 stride, const float* book, i64 depth, i64 columns,
                    float* out, i64 out_stride) {
    i64 k = 0;
    for (; k + WIDE * WIDTH <= columns; k += WIDE * WIDTH)
        tile<N, WIDE>(x, stride, book + k, depth, columns, out + k, out_stride);
    for (; k + WIDTH <= columns; k += WIDTH)
        tile<N, 1>(x, stride, book + k, depth, columns, out + k, out_stride);
    for (; k < columns; k++)
        for (int n = 0; n < N; n++) {
            float sum = 0;
            for (i64 s = 0; s < depth; s++) sum += x[n * stride + s] * book[s * columns + k];
            out[n * out_stride + k] = sum;
        }
}

// The same for one vector, in the order in which the codebook lies in memory: it is read once, and
// a query finds it out of cache.
template <>
void product<1>(const float* x, i64, const float* book, i64 depth, i64 columns,
                float* __restrict out, i64) {
    for (i64 k = 0; k < columns; k++) out[k] = 0;
    for (i64 s = 0; s < depth; s++, book += columns) {
        const float value = x[s];
        for (i64 k = 0; k < columns; k++) out[k] += value * book[k];
    }
}

void products(const float* vectors, i64 count, const Books& books, float* out) {
    const i64 dim = books.count * books.depth, width = books.count * books.columns;
    for (i64 m = 0; m < books.count; m++) {
        const float* book = books.values + m * books.depth * books.columns;
        const float* x = vectors + m * books.depth;
        float* to = out + m * books.columns;
        i64 n = 0;
        for (; n + TILE <= count; n += TILE)
            product<TILE>(x + n * dim, dim, book, books.depth, books.columns, to + n * width,
                          width);
        for (; n < count; n++)
            product<1>(x + n * dim, dim, book, books.depth, books.columns, to + n * width, width);
    }
}

// The first of the largest of columns [count], a multiple of LANES.
static i64 largest(const float* values, const float* bias, i64 count) {
    Floats best = load(values) + load(bias);
    Ints from = {}, place = {};
    for (i64 k = WIDTH; k < count; k += WIDTH) {
        place += WIDTH;
        Floats own = load(values + k) + load(bias + k);
        Ints more = own > best;
        best = more ? own : best;
        from = more ? place : from;
    }
    // Which lane wins is anybody's guess, so without branches: the greatest of integers that are
    // in the order of the values, then of the columns backwards.
    u64 most = 0;
    for (int lane = 0; lane < WIDTH; lane++) {
        float value = best[lane] + 0.0f;  // -0 becomes 0, which it equals
        i32 bits;
        __builtin_memcpy(&bits, &value, 4);
        u32 order = u32(bits) ^ (u32(bits >> 31) | 0x80000000u);
        u64 key = u64(order) << 32 | u32(~u32(from[lane] + lane));
        most = key > most ? key : most;
    }
    return i64(~u32(most));
}

template <int N>
static void assign(const float* x, i64 dim, const Books& books, i64 m, const float* bias,
                   u8* out) {
    float found[N * COLUMNS];
    const float* book = books.values + m * books.depth * books.columns;
    product<N>(x, dim, book, books.depth, books.columns, found, COLUMNS);
    for (int n = 0; n < N; n++)
        out[n * books.count] =
            u8(largest(found + n * COLUMNS, bias + m * books.columns, books.columns));
}

void nearest(const float* vectors, i64 count, const Books& books, const float* bias, u8* out) {
    const i64 dim = books.count * books.depth;
    for (i64 m = 0; m < books.count; m++) {
        const float* x = vectors + m * books.depth;
        i64 n = 0;
        for (; n + TILE <= count; n += TILE)
            assign<TILE>(x + n * dim, dim, books, m, bias, out + n * books.count + m);
        for (; n < count; n++)
            assign<1>(x + n * dim, dim, books, m, bias, out + n * books.count + m);
    }
}

}  // namespace vecstore::VARIANT
