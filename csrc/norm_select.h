#pragma once
// norm_select for rows in memory: the norm of a whole row, written only where the index set keeps it.
// No torch here, so the sanitizers can build it alone.
//
//   out[m, k] = ((x[m, index[k]] - mean_m) * rstd_m) * gain[k] + bias[k]      mean_m = 0 for RMSNorm
//
// M rows, D hidden, K kept dimensions. gain and bias are already gathered (K values each, in the type of the arithmetic).

#include <cmath>
#include <cstdint>
#include <cstring>

// One source, several instruction sets: the loader picks the clone this machine can run.
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define PYDISP_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PYDISP_CLONES
#endif
// Inlined into each clone, so that the loops are compiled for its instruction set.
#if defined(__GNUC__)
#define PYDISP_INLINE __attribute__((always_inline)) inline
#else
#define PYDISP_INLINE inline
#endif

namespace pydisp {

struct BFloat16 { uint16_t bits; };
struct Half { uint16_t bits; };

PYDISP_INLINE uint32_t bits_of(float value) { uint32_t bits; std::memcpy(&bits, &value, 4); return bits; }
PYDISP_INLINE float float_of(uint32_t bits) { float value; std::memcpy(&value, &bits, 4); return value; }

PYDISP_INLINE double load(double value) { return value; }
PYDISP_INLINE float load(float value) { return value; }
PYDISP_INLINE float load(BFloat16 value) { return float_of(uint32_t(value.bits) << 16); }
PYDISP_INLINE float load(Half value) {
  const uint32_t magnitude = uint32_t(value.bits & 0x7fffu) << 13;
  // times 2^112 moves the exponent's bias from 15 to 127 and makes subnormals normal
  uint32_t bits = bits_of(float_of(magnitude) * 0x1p112f);
  bits = magnitude >= 0x0f800000u ? (magnitude | 0x7f800000u) : bits;  // infinity and NaN
  return float_of(bits | (uint32_t(value.bits & 0x8000u) << 16));
}

PYDISP_INLINE void store(double& out, double value) { out = value; }
PYDISP_INLINE void store(float& out, float value) { out = value; }
PYDISP_INLINE void store(BFloat16& out, float value) {  // to nearest, ties to even
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out.bits = uint16_t((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}
PYDISP_INLINE void store(Half& out, float value) {  // to nearest, ties to even
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
  // subnormal halves: adding 0.5 lines the last bit of a half up with the last bit of the float, and the adder rounds
  const uint32_t small = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t half = magnitude < 0x38800000u ? small : (magnitude >= 0x47800000u ? large : normal);
  out.bits = uint16_t(half | ((bits >> 16) & 0x8000u));
}

template <class T> struct Arithmetic { using type = float; };
template <> struct Arithmetic<double> { using type = double; };

// The arithmetic's own types are gathered from the row itself, narrower ones from their float copy (there is no 16-bit gather).
template <class A> PYDISP_INLINE const A* as_arithmetic(const A* row, A*, int64_t) { return row; }
template <class T, class A> PYDISP_INLINE const A* as_arithmetic(const T* row, A* copy, int64_t D) {
  for (int64_t d = 0; d < D; ++d) copy[d] = load(row[d]);
  return copy;
}

// Independent partial sums: the compiler may not reorder one float sum, so the vector's lanes are spelt out.
constexpr int kLanes = 32;
template <class A, class Term> PYDISP_INLINE A sum_over(int64_t D, Term term) {
  A lanes[kLanes] = {};
  int64_t d = 0;
  for (; d + kLanes <= D; d += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(d + lane);
  A total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += lanes[lane];
  for (; d < D; ++d) total += term(d);
  return total;
}

template <class T> struct Rows {
  using A = typename Arithmetic<T>::type;
  const T* x;            // (M, D)
  const int32_t* index;  // (K,)
  const A* gain;         // (K,)
  const A* bias;         // (K,) or null
  T* out;                // (M, K)
  int64_t M, D, K;
  double eps;
  bool center;
  A* copy;  // room for one row, where T is narrower than the arithmetic
};

template <class T> PYDISP_INLINE void norm_select_rows(const Rows<T>& rows) {
  using A = typename Rows<T>::A;
  const int64_t D = rows.D, K = rows.K;
  const int32_t* index = rows.index;
  const A *gain = rows.gain, *bias = rows.bias;
  for (int64_t m = 0; m < rows.M; ++m) {
    const A* row = as_arithmetic(rows.x + m * D, rows.copy, D);
    const A mean = rows.center ? sum_over<A>(D, [row](int64_t d) { return row[d]; }) / A(D) : A(0);
    const A square = sum_over<A>(D, [row, mean](int64_t d) { return (row[d] - mean) * (row[d] - mean); });
    const A rstd = A(1) / std::sqrt(square / A(D) + A(rows.eps));
    T* out = rows.out + m * K;
    if (bias)
      for (int64_t k = 0; k < K; ++k) store(out[k], (row[index[k]] - mean) * rstd * gain[k] + bias[k]);
    else
      for (int64_t k = 0; k < K; ++k) store(out[k], (row[index[k]] - mean) * rstd * gain[k]);
  }
}

// One plain function a type: target_clones takes no templates.
PYDISP_CLONES static void norm_select(const Rows<double>& rows) { norm_select_rows(rows); }
PYDISP_CLONES static void norm_select(const Rows<float>& rows) { norm_select_rows(rows); }
PYDISP_CLONES static void norm_select(const Rows<BFloat16>& rows) { norm_select_rows(rows); }
PYDISP_CLONES static void norm_select(const Rows<Half>& rows) { norm_select_rows(rows); }

}  // namespace pydisp
