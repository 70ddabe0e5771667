#pragma once
// Selecting and scattering by a byte mask, sixteen dimensions at a time: bit i of byte b says that dimension 8b + i is kept.
// Because indices are sorted and unique, a selection is a compression of the row and a scatter an expansion: rows are read and written in
// whole vectors, and no index is loaded. No torch here.
//
//   compress_row(row, mask, D, out, K)     out[k] = row[index[k]]
//   expand_row(values, mask, D, K, out)    out[index[k]] = values[k], 0 elsewhere
//
// Nothing behind a row is read or written, whatever D and K are: the end of a row goes through a buffer on the stack.

#include "simd.h"

namespace pydisp::PYDISP_ISA {

constexpr int64_t kBlock = 16;  // dimensions per step, two bytes of mask

// compress_eight moves the kept ones of eight values to the front. expand_eight moves the first values to the kept ones of eight places and
// writes 0 to the others. Both return how many are kept. The plain form is for double, and for every type in the generic set.
template <class T> PYDISP_INLINE int compress_eight(const T* from, unsigned mask, T* to) {
  int n = 0;
  for (int i = 0; i < 8; ++i) {
    to[n] = from[i];  // overwritten by the next one where i is not kept
    n += mask >> i & 1;
  }
  return n;
}
template <class T> PYDISP_INLINE int expand_eight(const T* from, unsigned mask, T* to) {
  int n = 0;
  for (int i = 0; i < 8; ++i) {
    to[i] = mask >> i & 1 ? from[n] : T{};
    n += mask >> i & 1;
  }
  return n;
}

// Used for floats with AVX-512 too: on a Zen 5 these permutations are faster than the instructions that compress and expand 32-bit lanes.
#if defined(PYDISP_AVX2) || defined(PYDISP_AVX512)

// Permutations for each byte of mask: pack moves the kept lanes to the front, spread the first lanes to the kept places (0x80: no lane).
struct alignas(64) LaneTables {
  uint8_t pack32[256][8], spread32[256][8];    // numbers of 32-bit lanes
  uint8_t pack16[256][16], spread16[256][16];  // numbers of bytes, two a 16-bit lane
};
constexpr LaneTables make_lane_tables() {
  LaneTables t{};
  for (int mask = 0; mask < 256; ++mask) {
    int n = 0;
    for (int i = 0; i < 8; ++i) {
      t.spread32[mask][i] = t.spread16[mask][2 * i] = t.spread16[mask][2 * i + 1] = 0x80;
      t.pack16[mask][2 * i] = t.pack16[mask][2 * i + 1] = 0x80;
    }
    for (int i = 0; i < 8; ++i)
      if (mask >> i & 1) {
        t.pack32[mask][n] = uint8_t(i);
        t.spread32[mask][i] = uint8_t(n);
        for (int byte = 0; byte < 2; ++byte) {
          t.pack16[mask][2 * n + byte] = uint8_t(2 * i + byte);
          t.spread16[mask][2 * i + byte] = uint8_t(2 * n + byte);
        }
        ++n;
      }
  }
  return t;
}
constexpr LaneTables kLanes = make_lane_tables();

PYDISP_INLINE __m256i lanes32(const uint8_t (&table)[256][8], unsigned mask) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(table[mask])));
}
PYDISP_INLINE __m128i lanes16(const uint8_t (&table)[256][16], unsigned mask) {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(table[mask]));
}
PYDISP_INLINE __m256i joined(__m128i low, __m128i high) { return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1); }

PYDISP_INLINE int compress_eight(const float* from, unsigned mask, float* to) {
  store_as(to, _mm256_permutevar8x32_ps(load_as<__m256>(from), lanes32(kLanes.pack32, mask)));
  return __builtin_popcount(mask);
}
template <class T> requires(sizeof(T) == 2) PYDISP_INLINE int compress_eight(const T* from, unsigned mask, T* to) {
  store_as(to, _mm_shuffle_epi8(load_as<__m128i>(from), lanes16(kLanes.pack16, mask)));
  return __builtin_popcount(mask);
}
PYDISP_INLINE int expand_eight(const float* from, unsigned mask, float* to) {
  const __m256i lanes = lanes32(kLanes.spread32, mask);
  const __m256 moved = _mm256_permutevar8x32_ps(load_as<__m256>(from), lanes);
  store_as(to, _mm256_blendv_ps(moved, _mm256_setzero_ps(), _mm256_castsi256_ps(lanes)));
  return __builtin_popcount(mask);
}

#endif

// Moves the kept ones of 16 values to the front of `to`, which must have room for 16; returns how many are kept.
template <class T> PYDISP_INLINE int compress_block(const T* from, unsigned low, unsigned high, T* to) {
  const int n = compress_eight(from, low, to);
  return n + compress_eight(from + 8, high, to + n);
}
// Moves the first values of `from`, of which 16 must be readable, to the kept ones of 16 places, and 0 to the others.
template <class T> PYDISP_INLINE int expand_block(const T* from, unsigned low, unsigned high, T* to) {
  const int n = expand_eight(from, low, to);
  return n + expand_eight(from + n, high, to + 8);
}
#if defined(PYDISP_AVX512)
// 16-bit values only.
PYDISP_INLINE Bits compressed(unsigned mask, Bits lanes) { return Bits(_mm512_maskz_compress_epi32(__mmask16(mask), __m512i(lanes))); }
PYDISP_INLINE Bits expanded(unsigned mask, Bits lanes) {
#if defined(PYDISP_SIMULATE_AVX512)  // SIMDe 0.7.4 has no expansion of 512 bits
  Bits out = {};
  for (int i = 0, n = 0; i < kBlock; ++i)
    if (mask >> i & 1) out[i] = lanes[n++];
  return out;
#else
  return Bits(_mm512_maskz_expand_epi32(__mmask16(mask), __m512i(lanes)));
#endif
}

// 16-bit values are widened to 32-bit lanes, because only VBMI2 compresses narrower ones.
template <class T> requires(sizeof(T) == 2) PYDISP_INLINE int compress_block(const T* from, unsigned low, unsigned high, T* to) {
  const Bits wide = __builtin_convertvector(load_as<Shorts>(from), Bits);
  store_as(to, __builtin_convertvector(compressed(low | high << 8, wide), Shorts));
  return __builtin_popcount(low | high << 8);
}
#endif

// The rest behind the last whole block, filled up with zeros to 16 values.
template <class T> struct Tail {
  T values[kBlock] = {};
  unsigned low = 0, high = 0;
  int64_t size = 0;
  PYDISP_INLINE Tail(const T* from, const uint8_t* mask, int64_t count) : size(count) {
    if (size == 0) return;
    std::memcpy(values, from, size * sizeof(T));
    low = mask[0];
    if (size > 8) high = mask[1];
  }
};

template <class T> PYDISP_INLINE void compress_row(const T* row, const uint8_t* mask, int64_t D, T* out, int64_t K) {
  int64_t d = 0, k = 0;
#if defined(__AVX512VBMI2__)
  if constexpr (sizeof(T) == 2)
    for (; d + 2 * kBlock <= D && k + 2 * kBlock <= K; d += 2 * kBlock) {
      const uint32_t kept = load_as<uint32_t>(mask + d / 8);
      store_as(out + k, _mm512_maskz_compress_epi16(kept, load_as<__m512i>(row + d)));
      k += __builtin_popcount(kept);
    }
#endif
  for (; d + 2 * kBlock <= D && k + 2 * kBlock <= K; d += 2 * kBlock) {  // two at once: a quarter faster than one
    k += compress_block(row + d, mask[d / 8], mask[d / 8 + 1], out + k);
    k += compress_block(row + d + kBlock, mask[d / 8 + 2], mask[d / 8 + 3], out + k);
  }
  for (; d + kBlock <= D && k + kBlock <= K; d += kBlock) k += compress_block(row + d, mask[d / 8], mask[d / 8 + 1], out + k);
  T last[2 * kBlock];  // a whole block written to out could pass its end from here on
  int64_t n = 0;
  for (; d + kBlock <= D; d += kBlock) n += compress_block(row + d, mask[d / 8], mask[d / 8 + 1], last + n);
  const Tail<T> tail(row + d, mask + d / 8, D - d);
  n += compress_block(tail.values, tail.low, tail.high, last + n);
  if (n) std::memcpy(out + k, last, n * sizeof(T));
}

template <class T> PYDISP_INLINE void expand_row(const T* values, const uint8_t* mask, int64_t D, int64_t K, T* out) {
  int64_t d = 0, k = 0;
  for (; d + kBlock <= D && k + kBlock <= K; d += kBlock) k += expand_block(values + k, mask[d / 8], mask[d / 8 + 1], out + d);
  T last[2 * kBlock] = {};  // a whole block read from values could pass its end from here on
  if (k < K) std::memcpy(last, values + k, (K - k) * sizeof(T));
  int64_t n = 0;
  for (; d + kBlock <= D; d += kBlock) n += expand_block(last + n, mask[d / 8], mask[d / 8 + 1], out + d);
  const Tail<T> tail(out + d, mask + d / 8, D - d);
  T block[kBlock];
  expand_block(last + n, tail.low, tail.high, block);
  if (tail.size) std::memcpy(out + d, block, tail.size * sizeof(T));
}

// Whether `mask` keeps exactly the dimensions of `index`, in its order. If so, the index is also sorted, unique and in range.
PYDISP_INLINE bool is_mask_of(const int32_t* index, int64_t K, const uint8_t* mask, int64_t D) {
  const int64_t bytes = (D + 7) / 8;
  if (D % 8 && mask[bytes - 1] >> (D % 8)) return false;
  int64_t b = 0, k = 0;
#if defined(PYDISP_AVX512)
  Ints dimension;
  for (int i = 0; i < kBlock; ++i) dimension[i] = i;
  unsigned wrong = 0;
  for (; b + 2 <= bytes && k + kBlock <= K; b += 2, dimension += int(kBlock)) {
    const unsigned kept = mask[b] | mask[b + 1] << 8;
    const int n = __builtin_popcount(kept);
    wrong |= ~unsigned(_mm512_cmpeq_epi32_mask(__m512i(compressed(kept, Bits(dimension))), load_as<__m512i>(index + k))) & ((1u << n) - 1);
    k += n;
  }
  if (wrong) return false;
#elif defined(PYDISP_AVX2)
  unsigned wrong = 0;
  for (; b < bytes && k + 8 <= K; ++b) {
    const int n = __builtin_popcount(mask[b]);
    const __m256i kept = _mm256_add_epi32(lanes32(kLanes.pack32, mask[b]), _mm256_set1_epi32(int(8 * b)));
    const __m256i equal = _mm256_cmpeq_epi32(kept, load_as<__m256i>(index + k));
    wrong |= ~unsigned(_mm256_movemask_ps(_mm256_castsi256_ps(equal))) & ((1u << n) - 1);
    k += n;
  }
  if (wrong) return false;
#endif
  for (; b < bytes; ++b)
    for (unsigned rest = mask[b]; rest; rest &= rest - 1)
      if (k == K || index[k++] != 8 * b + __builtin_ctz(rest)) return false;
  return k == K;
}

// Sixteen values of a row as floats, in an order that depends on T: only for elementwise work and sums.
//   load, add_expanded (the values of `from` at the kept places; others keep their bits, the sign of zero included), store (rounds; the
//   block then holds what was stored)
template <class T> struct Block;

#if defined(PYDISP_AVX2) || defined(PYDISP_AVX512)

typedef float Eight __attribute__((vector_size(32)));
typedef uint32_t EightBits __attribute__((vector_size(32)));

struct Pair { Eight a, b; };

template <> struct Block<float> : Pair {
  PYDISP_INLINE void load_from(const float* from) { a = load_as<Eight>(from), b = load_as<Eight>(from + 8); }
  PYDISP_INLINE int add_expanded(const float* from, unsigned low, unsigned high) {
    const int n = __builtin_popcount(low);
    a += spread(from, low), b += spread(from + n, high);
    return n + __builtin_popcount(high);
  }
  PYDISP_INLINE void store_to(float* to) { store_as(to, a), store_as(to + 8, b); }
  static PYDISP_INLINE Eight spread(const float* from, unsigned mask) {
    const __m256i lanes = lanes32(kLanes.spread32, mask);
    const __m256 moved = _mm256_permutevar8x32_ps(load_as<__m256>(from), lanes);
    return Eight(_mm256_blendv_ps(moved, _mm256_set1_ps(-0.f), _mm256_castsi256_ps(lanes)));
  }
};

#endif

#if defined(PYDISP_AVX512)

template <class T> struct Block {
  Floats v;
  PYDISP_INLINE void load_from(const T* from) { v = load(from); }
  PYDISP_INLINE int add_expanded(const T* from, unsigned low, unsigned high) {
    const unsigned mask = low | high << 8;
    v = Floats(_mm512_mask_add_ps(__m512(v), __mmask16(mask), __m512(v), __m512(expanded(mask, Bits(load(from))))));
    return __builtin_popcount(mask);
  }
  PYDISP_INLINE void store_to(T* to) { store(to, v), v = load(to); }
};
// A NaN that results from bfloat16 operands has zeros in its low half, so this rounding keeps it; the upper half of a lane is the result.
PYDISP_INLINE Bits rounded_above(Floats value) { return Bits(value) + 0x7fffu + ((Bits(value) >> 16) & 1u); }
template <> PYDISP_INLINE void Block<BFloat16>::store_to(BFloat16* to) {
  const Bits rounded = rounded_above(v);
  store_as(to, __builtin_convertvector(rounded >> 16, Shorts));
  v = Floats(rounded & 0xffff0000u);
}

#elif defined(PYDISP_AVX2)

// 16-bit values are spread with their signs turned and then subtracted: a shuffle fills with +0, and only x - 0 is x for x = -0.
template <class T> PYDISP_INLINE __m256i spread_negative(const T* from, unsigned low, unsigned high, int& n) {
  n = __builtin_popcount(low);
  const __m256i values = joined(load_as<__m128i>(from), load_as<__m128i>(from + n));
  n += __builtin_popcount(high);
  return _mm256_shuffle_epi8(_mm256_xor_si256(values, _mm256_set1_epi16(short(0x8000))),
                             joined(lanes16(kLanes.spread16, low), lanes16(kLanes.spread16, high)));
}

template <> struct Block<BFloat16> : Pair {  // a: even places, b: odd ones, so that no lane has to cross over
  static PYDISP_INLINE Eight even(__m256i values) { return Eight(_mm256_slli_epi32(values, 16)); }
  static PYDISP_INLINE Eight odd(__m256i values) { return Eight(_mm256_and_si256(values, _mm256_set1_epi32(int(0xffff0000)))); }
  PYDISP_INLINE void load_from(const BFloat16* from) {
    const __m256i values = load_as<__m256i>(from);
    a = even(values), b = odd(values);
  }
  PYDISP_INLINE int add_expanded(const BFloat16* from, unsigned low, unsigned high) {
    int n;
    const __m256i negative = spread_negative(from, low, high, n);
    a -= even(negative), b -= odd(negative);
    return n;
  }
  // A NaN that comes of bfloat16 operands has zeros in its low half, so this rounding keeps it.
  static PYDISP_INLINE EightBits rounded(Eight value) { return EightBits(value) + 0x7fffu + ((EightBits(value) >> 16) & 1u); }
  PYDISP_INLINE void store_to(BFloat16* to) {
    const __m256i evens = __m256i(rounded(a)), odds = __m256i(rounded(b));
    store_as(to, _mm256_blend_epi16(_mm256_srli_epi32(evens, 16), odds, 0xaa));
    a = odd(evens), b = odd(odds);
  }
};

template <> struct Block<Half> : Pair {
  static PYDISP_INLINE Eight wide(__m128i values) { return Eight(_mm256_cvtph_ps(values)); }
  static PYDISP_INLINE __m128i narrow(Eight values) {
    return _mm256_cvtps_ph(__m256(values), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  PYDISP_INLINE void load_from(const Half* from) { a = wide(load_as<__m128i>(from)), b = wide(load_as<__m128i>(from + 8)); }
  PYDISP_INLINE int add_expanded(const Half* from, unsigned low, unsigned high) {
    int n;
    const __m256i negative = spread_negative(from, low, high, n);
    a -= wide(_mm256_castsi256_si128(negative)), b -= wide(_mm256_extracti128_si256(negative, 1));
    return n;
  }
  PYDISP_INLINE void store_to(Half* to) {
    const __m128i first = narrow(a), second = narrow(b);
    store_as(to, first), store_as(to + 8, second);
    a = wide(first), b = wide(second);
  }
};

#endif

// Plain loops over the 16 values: for float64, and for every type in the generic set.
template <class T, class A> struct PlainBlock {
  A v[kBlock];
  PYDISP_INLINE void load_from(const T* from) { for (int i = 0; i < kBlock; ++i) v[i] = load_one(from[i]); }
  PYDISP_INLINE int add_expanded(const T* from, unsigned low, unsigned high) {
    const unsigned mask = low | high << 8;
    int n = 0;
    for (int i = 0; i < kBlock; ++i) {
      if (mask >> i & 1) v[i] += load_one(from[n]);
      n += mask >> i & 1;
    }
    return n;
  }
  PYDISP_INLINE void store_to(T* to) {
    for (int i = 0; i < kBlock; ++i) { store_one(to[i], v[i]); v[i] = load_one(to[i]); }
  }
};
#if !defined(PYDISP_AVX2) && !defined(PYDISP_AVX512)
template <class T> struct Block : PlainBlock<T, float> {};
#endif
template <> struct Block<double> : PlainBlock<double, double> {};

#if defined(PYDISP_AVX2) || defined(PYDISP_AVX512)
struct PairSums {
  Eight first = {}, second = {};
  PYDISP_INLINE void add(const Pair& block) { first += block.a, second += block.b; }
  PYDISP_INLINE void add_squares(const Pair& block) { first += block.a * block.a, second += block.b * block.b; }
  PYDISP_INLINE float total() const {
    float lanes[8];
    store_as(lanes, first + second);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  }
};
#endif

// The sum of a row's values or of their squares, 16 at a time.
#if defined(PYDISP_AVX512)
template <class T> struct RowSums {
  Floats lanes = {};
  PYDISP_INLINE void add(const Block<T>& block) { lanes += block.v; }
  PYDISP_INLINE void add_squares(const Block<T>& block) { lanes = fma(block.v, block.v, lanes); }
  PYDISP_INLINE float total() const { return reduce_add(lanes); }
};
template <> struct RowSums<float> : PairSums {};
#elif defined(PYDISP_AVX2)
template <class T> struct RowSums : PairSums {};
#else
template <class T> struct RowSums {
  Floats lanes = {};
  PYDISP_INLINE void add(const Block<T>& block) {
    for (int i = 0; i < kBlock; i += kWidth) lanes += load(block.v + i);
  }
  PYDISP_INLINE void add_squares(const Block<T>& block) {
    for (int i = 0; i < kBlock; i += kWidth) lanes = fma(load(block.v + i), load(block.v + i), lanes);
  }
  PYDISP_INLINE float total() const { return reduce_add(lanes); }
};
#endif
template <> struct RowSums<double> {
  double lanes[kBlock] = {};
  PYDISP_INLINE void add(const Block<double>& block) { for (int i = 0; i < kBlock; ++i) lanes[i] += block.v[i]; }
  PYDISP_INLINE void add_squares(const Block<double>& block) { for (int i = 0; i < kBlock; ++i) lanes[i] += block.v[i] * block.v[i]; }
  PYDISP_INLINE double total() const {
    double sum = 0;
    for (int i = 0; i < kBlock; ++i) sum += lanes[i];
    return sum;
  }
};

}  // namespace pydisp::PYDISP_ISA
