#pragma once
// Vectors of floats for one instruction set. setup.py compiles each *_isa.cpp once per set, with the compiler's flags for it and
// PYDISP_ISA naming the namespace (generic, avx2, avx512, avx512bf16), so that the same kernel exists side by side for each.
// generic is 128 bits wide in the compiler's own vectors: SSE2 on x86-64, NEON on 64-bit ARM.

#include <cmath>
#include <limits>

#include "element.h"
// The tests also run the AVX-512 kernels on processors without it: SIMDe emulates the instructions. The vectors are the compiler's own.
#if defined(PYDISP_SIMULATE_AVX512)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#elif defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__) || defined(PYDISP_SIMULATE_AVX512)
#define PYDISP_AVX512 1
#elif defined(__AVX2__)
#define PYDISP_AVX2 1
#endif

namespace pydisp::PYDISP_ISA {

#if defined(PYDISP_AVX512)
constexpr int kWidth = 16;
#elif defined(PYDISP_AVX2)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef int32_t Ints __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Bits __attribute__((vector_size(4 * kWidth)));
typedef uint16_t Shorts __attribute__((vector_size(2 * kWidth)));

PYDISP_INLINE Floats splat(float value) { return value - Floats{}; }  // -, not +: x + 0 turns -0 into 0
PYDISP_INLINE Floats zeros() { return Floats{}; }

PYDISP_INLINE Floats fma(Floats a, Floats b, Floats c) {
  return a * b + c;  // one instruction where the set has it (AVX2, AVX-512, NEON): the compiler contracts it
}
// If an operand is NaN, the result is the second operand, as with the instructions.
PYDISP_INLINE Floats vmax(Floats a, Floats b) { return a > b ? a : b; }
PYDISP_INLINE Floats vmin(Floats a, Floats b) { return a < b ? a : b; }

template <class V> PYDISP_INLINE V load_as(const void* from) { V v; std::memcpy(&v, from, sizeof(V)); return v; }
template <class V> PYDISP_INLINE void store_as(void* to, V v) { std::memcpy(to, &v, sizeof(V)); }

PYDISP_INLINE Floats load(const float* from) { return load_as<Floats>(from); }
PYDISP_INLINE Floats load(const BFloat16* from) {
  return Floats(__builtin_convertvector(load_as<Shorts>(from), Bits) << 16);
}
PYDISP_INLINE Floats load(const Half* from) {
#if defined(PYDISP_AVX512)
  // by eights: SIMDe 0.7.4 has no conversion of sixteen
  const __m512 low = _mm512_castps256_ps512(_mm256_cvtph_ps(load_as<__m128i>(from)));
  return Floats(_mm512_insertf32x8(low, _mm256_cvtph_ps(load_as<__m128i>(from + 8)), 1));
#elif defined(PYDISP_AVX2)
  return Floats(_mm256_cvtph_ps(load_as<__m128i>(from)));
#else
  Floats out;
  for (int i = 0; i < kWidth; ++i) out[i] = load_one(from[i]);
  return out;
#endif
}

// Float bits rounded to bfloat16, to nearest with ties to even, in the low half of each lane.
PYDISP_INLINE Bits rounded_to_bfloat16(Floats value) {
  const Bits bits = Bits(value);
  const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return Ints(bits & 0x7fffffffu) > 0x7f800000 ? Bits{} + 0x7fc0u : rounded;
}
PYDISP_INLINE void store(float* to, Floats value) { store_as(to, value); }
PYDISP_INLINE void store(BFloat16* to, Floats value) {
  const Bits bits = rounded_to_bfloat16(value);
#if defined(PYDISP_AVX2)
  const __m256i wide = __m256i(bits);
  store_as(to, _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
#else
  store_as(to, __builtin_convertvector(bits, Shorts));
#endif
}
PYDISP_INLINE void store(Half* to, Floats value) {
#if defined(PYDISP_AVX512)
  const __m256 low = _mm512_castps512_ps256(__m512(value)), high = _mm256_castsi256_ps(_mm512_extracti64x4_epi64(__m512i(value), 1));
  store_as(to, _mm256_cvtps_ph(low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  store_as(to + 8, _mm256_cvtps_ph(high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(PYDISP_AVX2)
  store_as(to, _mm256_cvtps_ph(__m256(value), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  for (int i = 0; i < kWidth; ++i) store_one(to[i], value[i]);
#endif
}

// The first n < kWidth lanes; memory behind them is neither read nor written, and the other lanes are 0.
template <class T> PYDISP_INLINE Floats load_part(const T* from, int64_t n) {
  T room[kWidth] = {};
  std::memcpy(room, from, n * sizeof(T));
  return load(room);
}
template <class T> PYDISP_INLINE void store_part(T* to, Floats value, int64_t n) {
  T room[kWidth];
  store(room, value);
  std::memcpy(to, room, n * sizeof(T));
}

PYDISP_INLINE float reduce_add(Floats value) {  // in halves: one fixed order
  float lanes[kWidth];
  store(lanes, value);
  for (int width = kWidth / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

// The sums of four vectors, in one fixed order: first within each four lanes, then over the fours.
typedef float Quad __attribute__((vector_size(16)));
PYDISP_INLINE Quad sums_of(Floats a, Floats b, Floats c, Floats d) {
#if defined(PYDISP_AVX512)
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(__m512(a), __m512(b)), _mm512_unpackhi_ps(__m512(a), __m512(b)));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(__m512(c), __m512(d)), _mm512_unpackhi_ps(__m512(c), __m512(d)));
  const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(all), 1)));
  return Quad(_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
#elif defined(PYDISP_AVX2)
  const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const __m256 all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  return Quad(_mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
#else
  const Floats ab = Floats{a[0], b[0], a[1], b[1]} + Floats{a[2], b[2], a[3], b[3]};
  const Floats cd = Floats{c[0], d[0], c[1], d[1]} + Floats{c[2], d[2], c[3], d[3]};
  return Floats{ab[0], ab[1], cd[0], cd[1]} + Floats{ab[2], ab[3], cd[2], cd[3]};
#endif
}

// e^x, at most 2 units in the last place off; 0 below -87.3 (subnormal results are not kept), infinity above 88.7, NaN for NaN.
PYDISP_INLINE Floats vexp(Floats x) {
  const Floats log2e = splat(1.44269504088896341f), magic = splat(12582912.f);  // 1.5 * 2^23: adding it rounds to a whole number
  Floats clamped = x < splat(-87.33654f) ? splat(-87.33654f) : x;
  clamped = clamped > splat(88.72283f) ? splat(88.72283f) : clamped;
  const Floats shifted = fma(clamped, log2e, magic);
  const Floats n = shifted - magic;
  Floats r = fma(n, splat(-0.693359375f), clamped);  // ln 2 in two parts: the first has few bits, so n times it is exact
  r = fma(n, splat(2.12194440e-4f), r);
  Floats p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r) + splat(1.f);
  // 2^n in two factors: n reaches 128, whose power of two alone is infinite
  const Ints whole = Ints(shifted) - 0x4b400000, half = whole >> 1;
  const Floats result = p * Floats((half + 127) << 23) * Floats((whole - half + 127) << 23);
  Floats out = x < splat(-87.33654f) ? zeros() : result;
  out = x > splat(88.72283f) ? splat(std::numeric_limits<float>::infinity()) : out;
  return x != x ? x : out;
}

}  // namespace pydisp::PYDISP_ISA
