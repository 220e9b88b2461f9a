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
// a query finds it out of cache. A few dimensions at a time, so that sums are seldom read again.
template <>
void product<1>(const float* x, i64, const float* book, i64 depth, i64 columns,
                float* __restrict out, i64) {
    for (i64 k = 0; k < columns; k++) out[k] = 0;
    i64 s = 0;
    for (; s + TILE <= depth; s += TILE, book += TILE * columns)
        for (i64 k = 0; k < columns; k++) {
            float sum = out[k];
            for (int i = 0; i < TILE; i++) sum += x[s + i] * book[i * columns + k];
            out[k] = sum;
        }
    for (; s < depth; s++, book += columns)
        for (i64 k = 0; k < columns; k++) out[k] += x[s] * book[k];
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

// The nearest whole number, halves to even, of magnitudes below 2^22 or 2^51.
static inline float rounded(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
static inline double rounded(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

struct Range {
    float least, largest;
};

// Of columns [count], a multiple of LANES.
static inline Range range_of(const float* values, i64 count) {
    Floats low = load(values), high = low;
    for (i64 k = WIDTH; k < count; k += WIDTH) {
        Floats own = load(values + k);
        low = own < low ? own : low;
        high = own > high ? own : high;
    }
    Range found = {low[0], high[0]};
    for (int lane = 1; lane < WIDTH; lane++) {
        found.least = low[lane] < found.least ? low[lane] : found.least;
        found.largest = high[lane] > found.largest ? high[lane] : found.largest;
    }
    return found;
}

// All tables are rounded at one step. The entries of one, or of the two that share a byte, reach
// 255 at most; what their least entries add up to is taken off, and is the bias.
void look_ups(const float* products, i64 count, i64 columns, u8* tables, double* factors) {
    constexpr double TOP = 255, BIAS_MAX = 0x1p22;  // steps: twice that is an exact float32
    const bool pairs = columns == 16;
    double bias = 0, most = 0, before = 0;
    for (i64 m = 0; m < count; m++) {
        const Range range = range_of(products + m * columns, columns);
        const double largest = double(range.largest - range.least);
        const double entry = pairs && m % 2 ? before + largest : largest;
        most = entry > most ? entry : most;
        before = largest;
        bias += double(range.least);
    }
    // Two entries that are rounded add half a step each.
    double step = most / (pairs ? TOP - 1 : TOP);
    const double coarse = (bias < 0 ? -bias : bias) / BIAS_MAX;
    step = coarse > step ? coarse : step;
    if (!(step > 1e-37)) step = 1;  // a query of (nearly) zeros scores 0
    const float inverse = float(1 / step);
    const i64 width = (count / 2 + UNIT - 1) / UNIT * UNIT;
    for (i64 m = 0; m < count; m++) {
        const float* from = products + m * columns;
        const float least = range_of(from, columns).least;
        u8* to = tables + (pairs ? m / 2 + m % 2 * width : m) * columns;
        for (i64 k = 0; k < columns; k++) to[k] = u8(i32(rounded((from[k] - least) * inverse)));
    }
    factors[0] = rounded(2 * bias / step);
    factors[1] = step / 2;
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
