// Short codes made octets: bytes that hold several digits, each of which stands for a level.
// Included by the variants' files only.
#pragma once
#include "lanes.h"
#include "maxsim.h"

namespace vecstore::VARIANT {

// How many dimensions share a byte.
template <int RADIX>
constexpr int DIGITS = RADIX == 2 ? 8 : RADIX == 3 ? 5 : RADIX == 4 ? 4 : RADIX == 16 ? 2 : 1;
template <int RADIX>
constexpr int BITS = RADIX == 2 ? 1 : RADIX == 4 ? 2 : 4;

constexpr i64 VECTOR = 64;  // bytes that are read, or written, at once, at most

template <int N>
struct Registers;  // of N bytes: which GCC can only name when N is known
template <>
struct Registers<16> {
    typedef u8 Bytes __attribute__((vector_size(16)));
    typedef i8 Signed __attribute__((vector_size(16)));
    typedef u16 Words __attribute__((vector_size(16)));
};
template <>
struct Registers<32> {
    typedef u8 Bytes __attribute__((vector_size(32)));
    typedef i8 Signed __attribute__((vector_size(32)));
    typedef u16 Words __attribute__((vector_size(32)));
};
template <>
struct Registers<64> {
    typedef u8 Bytes __attribute__((vector_size(64)));
    typedef i8 Signed __attribute__((vector_size(64)));
    typedef u16 Words __attribute__((vector_size(64)));
};
using Bytes16 = Registers<16>::Bytes;
using Bytes32 = Registers<32>::Bytes;
using Bytes64 = Registers<64>::Bytes;

// Takes the next digit off, which the lowest bits of each byte are then; those above are anything.
// Digits of radix 3 are of the fraction byte / 256, the highest first: what three times the rest
// carries, so that nothing is divided. They come less one, and there the rest counts from 128, as
// three times it then does, too: signed bytes are the quicker ones to compare.
template <int RADIX, class Bytes>
static inline Bytes next_digit(Bytes& rest) {
    using Own = Registers<sizeof(Bytes)>;
    if constexpr (RADIX == 3) {
        const auto left = typename Own::Signed(rest);
        const Bytes digit = Bytes(left < 86 - 128) - Bytes(left > 170 - 128);
        rest += rest + rest;
        return digit;
    } else {
        const Bytes digit = rest;
        rest = Bytes(typename Own::Words(rest) >> BITS<RADIX>);
        return digit;
    }
}

// The levels of digits, of which the lowest bits count.
#if defined(__AVX2__)
static inline __m128i sixteen(const u8* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
static inline __m256i thirty_two(const u8* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
static inline Bytes16 look_up(const u8* levels, Bytes16 digit) {
    return Bytes16(_mm_shuffle_epi8(sixteen(levels), __m128i(digit & 15)));
}
#if defined(__AVX512VBMI__)
static inline Bytes32 look_up(const u8* levels, Bytes32 digit) {
    return Bytes32(_mm256_permutexvar_epi8(__m256i(digit), thirty_two(levels)));
}
static inline Bytes64 look_up(const u8* levels, Bytes64 digit) {
    return Bytes64(_mm512_permutexvar_epi8(__m512i(digit), _mm512_loadu_si512(levels)));
}
#else
static inline Bytes32 look_up(const u8* levels, Bytes32 digit) {
    return Bytes32(_mm256_shuffle_epi8(thirty_two(levels), __m256i(digit & 15)));
}
#if defined(__AVX512BW__)
static inline Bytes64 look_up(const u8* levels, Bytes64 digit) {
    return Bytes64(_mm512_shuffle_epi8(_mm512_loadu_si512(levels), __m512i(digit & 15)));
}
#endif
#endif
#else
template <class Bytes>
static inline Bytes look_up(const u8* levels, Bytes digit) {
    for (unsigned i = 0; i < sizeof(Bytes); i++) digit[i] = levels[digit[i] & 15];
    return digit;
}
#endif

// The octets of some bytes of codes; `base` and `out` step by `bytes` for each digit.
template <int RADIX, class Bytes>
static inline void expand_some(Bytes rest, const u8* levels, const u8* base, i64 bytes, u8* out) {
    Bytes before;
    if (RADIX == 3) rest ^= 128;
    for (int p = 0; p < DIGITS<RADIX>; p++) {
        __builtin_memcpy(&before, base + p * bytes, sizeof(before));
        before += look_up(levels, next_digit<RADIX>(rest));
        __builtin_memcpy(out + p * bytes, &before, sizeof(before));
    }
}

#if defined(__AVX512BW__)

// The same where 16, 32 or 64 bytes are all there are: 64 dimensions follow each other.
template <int RADIX, int BYTES>
static inline void expand_whole(const u8* codes, const u8* levels, const u8* base, u8* out) {
    constexpr int SPREAD = 64 / BYTES;  // digits of a byte that are at hand at once
    __m512i all;
    if constexpr (SPREAD == 4)
        all = _mm512_broadcast_i32x4(sixteen(codes));
    else if constexpr (SPREAD == 2)
        all = _mm512_broadcast_i64x4(thirty_two(codes));
    else
        all = _mm512_loadu_si512(codes);
    for (int p = 0; p < DIGITS<RADIX>; p += SPREAD) {
        const auto by = [p](int i) {  // of each word in the i-th eight bytes
            return i64(p + i * SPREAD / 8) * BITS<RADIX> * 0x0001000100010001;
        };
        const __m512i shift =
            _mm512_setr_epi64(by(0), by(1), by(2), by(3), by(4), by(5), by(6), by(7));
        const Bytes64 digit = Bytes64(_mm512_srlv_epi16(all, shift));
        const Bytes64 octets =
            Bytes64(_mm512_loadu_si512(base + p * BYTES)) + look_up(levels, digit);
        _mm512_storeu_si512(out + p * BYTES, __m512i(octets));
    }
}

#endif

// The octets of a token of any size. Vectors at the end overlap those before: their octets come
// out the same.
template <int RADIX>
[[gnu::noinline]] static void expand_any(const u8* codes, const u8* levels, const u8* base,
                                         i64 bytes, u8* out) {
    const i64 width = bytes >= 32 ? 32 : bytes >= 16 ? 16 : 1;
    for (i64 next = 0; next < bytes; next += width) {
        const i64 b = next + width <= bytes ? next : bytes - width;
        auto some = [&](auto rest) {
            __builtin_memcpy(&rest, codes + b, sizeof(rest));
            expand_some<RADIX>(rest, levels, base + b, bytes, out + b);
        };
        if (width == 32) {
            some(Bytes32{});
        } else if (width == 16) {
            some(Bytes16{});
        } else {
            u8 rest = codes[b];
            for (int p = 0; p < DIGITS<RADIX>; p++) {
                const int digit = RADIX == 3 ? 3 * rest / 256 - 1 : rest;
                rest = u8(RADIX == 3 ? 3 * rest : rest / RADIX);
                out[p * bytes + b] = u8(base[p * bytes + b] + levels[digit & 15]);
            }
        }
    }
}

// The octets of a token, and anything in the VECTOR bytes that follow the last digit's, which are
// read of `base`, too. Later digits overwrite what earlier ones leave beyond their bytes.
template <int RADIX>
INLINE void expand(const u8* codes, const u8* levels, const u8* base, i64 bytes, u8* out) {
#if defined(__AVX512BW__)
    if constexpr (RADIX != 3) {
        if (bytes == 16) return expand_whole<RADIX, 16>(codes, levels, base, out);
        if (bytes == 32) return expand_whole<RADIX, 32>(codes, levels, base, out);
        if (bytes == 64) return expand_whole<RADIX, 64>(codes, levels, base, out);
    }
    if (bytes <= 32) {
        const __mmask32 mask = __mmask32((u64(1) << bytes) - 1);
        return expand_some<RADIX>(Bytes32(_mm256_maskz_loadu_epi8(mask, codes)), levels, base,
                                  bytes, out);
    }
#endif
    expand_any<RADIX>(codes, levels, base, bytes, out);
}

}  // namespace vecstore::VARIANT
