// Random rotation, and the rounding of rotated vectors to a few bits.
#include "lanes.h"

namespace vecstore::VARIANT {

constexpr float HALF_ROOT = 0.70710678118654752f;

static i64 power_below(i64 n) {
    i64 power = 1;
    while (2 * power <= n) power *= 2;
    return power;
}

// Butterflies of lanes I and I ^ H.
template <int H, int... I>
static inline Floats butterfly(Floats v) {
    constexpr Floats sign = {(I & H ? -1.0f : 1.0f)...};
    return __builtin_shufflevector(v, v, (I ^ H)...) + v * sign;
}

template <int H>
static inline Floats lanes_butterfly(Floats v) {
#if defined(__AVX512F__)
    return butterfly<H, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>(v);
#elif defined(__AVX2__)
    return butterfly<H, 0, 1, 2, 3, 4, 5, 6, 7>(v);
#else
    return butterfly<H, 0, 1, 2, 3>(v);
#endif
}

// The orthonormal Walsh-Hadamard transform of n values, n a power of two of at least 32: pairs
// at distance 1, 2, 4, ... become their sum and difference; the last step scales.
static void hadamard(float* x, i64 n, float scale) {
    for (i64 i = 0; i < n; i += WIDTH) {
        Floats v = load(x + i);
        v = lanes_butterfly<2>(lanes_butterfly<1>(v));
        if constexpr (WIDTH > 4) v = lanes_butterfly<(WIDTH > 4 ? 4 : 1)>(v);
        if constexpr (WIDTH > 8) v = lanes_butterfly<(WIDTH > 8 ? 8 : 1)>(v);
        store(x + i, v);
    }
    for (i64 h = WIDTH; h < n; h *= 2)
        for (i64 i = 0; i < n; i += 2 * h)
            for (i64 j = i; j < i + h; j += WIDTH) {
                Floats a = load(x + j), b = load(x + j + h);
                store(x + j, a + b);
                store(x + j + h, a - b);
            }
    for (i64 i = 0; i < n; i += WIDTH) store(x + i, load(x + i) * all(scale));
}

// One step of Kac's walk: every i meets i + n / 2. Its own inverse.
static void meet_halves(float* x, i64 n) {
    const Floats root = all(HALF_ROOT);
    for (i64 i = 0; i < n / 2; i += WIDTH) {
        Floats a = load(x + i), b = load(x + i + n / 2);
        store(x + i, (a + b) * root);
        store(x + i + n / 2, (a - b) * root);
    }
}

static void flip(float* x, const float* signs, i64 n) {
    for (i64 i = 0; i < n; i += WIDTH) store(x + i, load(x + i) * load(signs + i));
}

// Where round r applies its Hadamard transform: the first or the last `power` values.
struct Rounds {
    i64 padded;
    i64 power;
    float scale;

    explicit Rounds(i64 n)
        : padded(n), power(power_below(n)), scale(float(1 / __builtin_sqrt(double(power)))) {}
    float* part(float* x, i64 round) const { return round % 2 ? x + padded - power : x; }
    bool whole() const { return power == padded; }
};

void rotate(const float* vectors, i64 count, i64 dim, const float* signs, i64 rounds, i64 padded,
            float* out) {
    const Rounds plan(padded);
    for (i64 n = 0; n < count; n++, vectors += dim, out += padded) {
        __builtin_memcpy(out, vectors, dim * sizeof(float));
        __builtin_memset(out + dim, 0, (padded - dim) * sizeof(float));
        for (i64 r = 0; r < rounds; r++) {
            flip(out, signs + r * padded, padded);
            hadamard(plan.part(out, r), plan.power, plan.scale);
            if (!plan.whole()) meet_halves(out, padded);
        }
    }
}

void unrotate(float* rotated, i64 count, i64 dim, const float* signs, i64 rounds, i64 padded,
              float* out) {
    const Rounds plan(padded);
    for (i64 n = 0; n < count; n++, rotated += padded, out += dim) {
        for (i64 r = rounds; r-- > 0;) {
            if (!plan.whole()) meet_halves(rotated, padded);
            hadamard(plan.part(rotated, r), plan.power, plan.scale);
            flip(rotated, signs + r * padded, padded);
        }
        __builtin_memcpy(out, rotated, dim * sizeof(float));
    }
}

// A row x scaled to [-2, 2], and its codes c = floor(x / t) + 2^(B-1), limited to 0 .. 2^B - 1;
// a code stands for y = c - (2^B - 1) / 2, so x is near t y.
class Row {
  public:
    Row(const float* x, i64 n, i64 bits) : x_(x), n_(n), levels_(i32(1) << bits) {}

    // The factor, a power of two, that brings the largest magnitude to [1, 2); 0 if all are tiny.
    static float factor(float largest) {
        return largest < 0x1p-100f ? 0.0f
                                   : float(__builtin_ldexp(1.0, -__builtin_ilogbf(largest)));
    }

    // Tries t; keeps it if the angle between x and y is the smallest so far.
    void attempt(float t, float factor) {
        Floats products[PARTS] = {};
        Ints squares[PARTS] = {};
        for (i64 i = 0; i < n_; i += LANES)
            for (int p = 0; p < PARTS; p++) {
                Floats x = load(x_ + i + p * WIDTH) * all(factor);
                Ints odd = codes(x, t) * 2 - (levels_ - 1);  // 2 y
                products[p] += x * (__builtin_convertvector(odd, Floats) * all(0.5f));
                squares[p] += odd * odd;
            }
        double dot = sum(products);
        double norm = 0;  // exact
        for (int p = 0; p < PARTS; p++)
            for (int lane = 0; lane < WIDTH; lane++) norm += squares[p][lane];
        norm *= 0.25;
        if (!(dot * dot / norm > best_)) return;
        best_ = dot * dot / norm;
        dot_ = dot;
        norm_ = norm;
        t_ = t;
    }

    // The least-squares t for the codes of the best one.
    float refined() const { return float(dot_ / norm_); }

    void write(u8* out, float factor) const {
        for (i64 i = 0; i < n_; i += WIDTH) {
            Ints c = codes(load(x_ + i) * all(factor), t_);
            for (int lane = 0; lane < WIDTH; lane++) out[i + lane] = u8(c[lane]);
        }
    }

    double dot() const { return dot_; }    // x . y
    double norm() const { return norm_; }  // y . y

  private:
    Ints codes(Floats x, float t) const {
        Floats c = x * all(1.0f / t) + all(float(levels_ / 2));
        c = c > all(0.0f) ? c : all(0.0f);
        Floats top = all(float(levels_ - 1));
        return __builtin_convertvector(c < top ? c : top, Ints);
    }

    const float* x_;
    i64 n_;
    i32 levels_;
    double best_ = -1, dot_ = 0, norm_ = 1;
    float t_ = 1;
};

constexpr int STEPS = 8;

// The steps tried, as shares of max |x| / 2^(B-1): around the best one for a Gaussian.
static float step_share(i64 bits, int i) {
    float finest = bits == 1 ? 1.0f : bits == 2 ? 0.40f : bits == 4 ? 0.65f : 0.86f;
    float coarsest = bits == 2 ? 0.85f : 1.0f;
    return finest + (coarsest - finest) * (float(i) / (STEPS - 1));
}

void quantize(const float* rotated, i64 count, i64 padded, i64 bits, u8* codes, float* factors) {
    for (i64 n = 0; n < count; n++, rotated += padded, codes += padded, factors += 3) {
        Floats maxima[PARTS] = {};
        for (i64 i = 0; i < padded; i += LANES)
            for (int p = 0; p < PARTS; p++) {
                Floats x = load(rotated + i + p * WIDTH);
                x = x < all(0.0f) ? -x : x;
                maxima[p] = x > maxima[p] ? x : maxima[p];
            }
        float largest = 0;
        for (int p = 0; p < PARTS; p++)
            for (int lane = 0; lane < WIDTH; lane++)
                if (maxima[p][lane] > largest) largest = maxima[p][lane];
        const float factor = Row::factor(largest);
        if (factor == 0) {
            __builtin_memset(codes, 0, padded);
            factors[0] = factors[1] = factors[2] = 0;
            continue;
        }
        Floats sums[PARTS] = {};
        for (i64 i = 0; i < padded; i += LANES)
            for (int p = 0; p < PARTS; p++) {
                Floats x = load(rotated + i + p * WIDTH) * all(factor);
                sums[p] += x * x;
            }
        const double length2 = sum(sums);
        Row row(rotated, padded, bits);
        const float whole = largest * factor / float(i32(1) << (bits - 1));
        for (int i = 0; i < (bits == 1 ? 1 : STEPS); i++)
            row.attempt(whole * step_share(bits, i), factor);
        if (bits > 1) row.attempt(row.refined(), factor);
        row.write(codes, factor);
        const double back = 1.0 / double(factor);
        const double tangent2 = length2 * row.norm() / (row.dot() * row.dot()) - 1;
        factors[0] = float(length2 / row.dot() * back);
        factors[1] = float(__builtin_sqrt((tangent2 > 0 ? tangent2 : 0) * length2 /
                                          double(padded - 1)) * back);
        factors[2] = float(length2 * back * back);
    }
}

}  // namespace vecstore::VARIANT
