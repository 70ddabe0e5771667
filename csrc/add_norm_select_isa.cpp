// The kernels of add_norm_select.h for one instruction set.

#include "add_norm_select.h"

#include <type_traits>

#include "compress.h"

namespace pydisp::PYDISP_ISA {
namespace {

template <class T> struct ArithmeticOf { using Value = float; using Vector = Floats; };
template <> struct ArithmeticOf<double> { using Value = double; using Vector = double; };
template <class T> using Value = typename ArithmeticOf<T>::Value;
template <class T> using Vector = typename ArithmeticOf<T>::Vector;
template <class T> constexpr int64_t kLanesOf = sizeof(Vector<T>) / sizeof(Value<T>);

// double as a vector of one, so that a loop is written once
PYDISP_INLINE double load(const double* from) { return *from; }
PYDISP_INLINE void store(double* to, double value) { *to = value; }
PYDISP_INLINE double load_part(const double*, int64_t) { return 0; }
PYDISP_INLINE void store_part(double*, double, int64_t) {}
PYDISP_INLINE double reduce_add(double value) { return value; }
using PYDISP_ISA::load, PYDISP_ISA::store, PYDISP_ISA::load_part, PYDISP_ISA::store_part, PYDISP_ISA::reduce_add;

// step(begin, lanes) for all of n; `lanes` is a whole vector's but for the last step.
template <class T, class Step> PYDISP_INLINE void for_vectors(int64_t n, const Step& step) {
  int64_t i = 0;
  for (; i + kLanesOf<T> <= n; i += kLanesOf<T>) step(i, kLanesOf<T>);
  if (i < n) step(i, n - i);
}
template <class T, class E> PYDISP_INLINE Vector<T> load_lanes(const E* from, int64_t lanes) {
  return lanes == kLanesOf<T> ? load(from) : load_part(from, lanes);
}
template <class T, class E> PYDISP_INLINE void store_lanes(E* to, Vector<T> value, int64_t lanes) {
  if (lanes == kLanesOf<T>) store(to, value);
  else store_part(to, value, lanes);
}

// `value` with 0 in the lanes behind the first ones: these belong to no element, and a sum over lanes must not include them.
template <class T> PYDISP_INLINE Vector<T> first_lanes(Vector<T> value, int64_t lanes) {
  if (lanes == kLanesOf<T>) return value;
  Value<T> room[kLanesOf<T>] = {};
  std::memcpy(room, &value, lanes * sizeof(Value<T>));
  std::memcpy(&value, room, sizeof(value));
  return value;
}

enum class Sums { none, values, squares };

template <Sums kSums, class T> PYDISP_INLINE void take(RowSums<T>& sums, const Block<T>& block) {
  if constexpr (kSums == Sums::values) sums.add(block);
  if constexpr (kSums == Sums::squares) sums.add_squares(block);
}

// out = row with `update` added at the kept places; returns the sum over what was stored.
template <Sums kSums, class T>
PYDISP_INLINE Value<T> add_row(const T* row, const T* update, const uint8_t* mask, T* out, int64_t D, int64_t A) {
  RowSums<T> sums;
  Block<T> block;
  int64_t d = 0, a = 0;
  const auto step = [&] {
    block.load_from(row + d);
    a += block.add_expanded(update + a, mask[d / 8], mask[d / 8 + 1]);
    block.store_to(out + d);
    take<kSums>(sums, block);
    d += kBlock;
  };
  while (d + 2 * kBlock <= D && a + 2 * kBlock <= A) step(), step();
  while (d + kBlock <= D && a + kBlock <= A) step();
  T last[2 * kBlock] = {};  // a whole block read from update could pass its end from here on
  if (a < A) std::memcpy(last, update + a, (A - a) * sizeof(T));
  const T* rest = last;
  for (; d + kBlock <= D; d += kBlock) {
    block.load_from(row + d);
    rest += block.add_expanded(rest, mask[d / 8], mask[d / 8 + 1]);
    block.store_to(out + d);
    take<kSums>(sums, block);
  }
  Tail<T> tail(row + d, mask + d / 8, D - d);
  if (tail.size) {
    block.load_from(tail.values);
    block.add_expanded(rest, tail.low, tail.high);
    block.store_to(tail.values);
    take<kSums>(sums, block);
    std::memcpy(out + d, tail.values, tail.size * sizeof(T));
  }
  return sums.total();
}

// In the order of add_row, so that a norm has the same bits whether or not an update is added in the same call.
template <Sums kSums, class T> PYDISP_INLINE Value<T> sum_row(const T* row, int64_t D) {
  RowSums<T> sums;
  Block<T> block;
  int64_t d = 0;
  for (; d + kBlock <= D; d += kBlock) {
    block.load_from(row + d);
    take<kSums>(sums, block);
  }
  if (d < D) {
    T values[kBlock] = {};
    std::memcpy(values, row + d, (D - d) * sizeof(T));
    block.load_from(values);
    take<kSums>(sums, block);
  }
  return sums.total();
}

template <class T> struct Statistics { Value<T> mean, rstd; };

// The mean square is of the values less their mean, in a second pass: the difference of two sums would lose every digit where the mean
// is large. `total` is the row's sum (center) or its sum of squares.
template <class T> PYDISP_INLINE Statistics<T> statistics(const T* row, int64_t D, Value<T> total, const Norm& norm) {
  Value<T> mean = 0, square = total;
  if (norm.center) {
    mean = total / Value<T>(D);
    Vector<T> sum = {};
    for_vectors<T>(D, [&](int64_t d, int64_t lanes) {
      const Vector<T> away = first_lanes<T>(load_lanes<T>(row + d, lanes) - mean, lanes);  // the lanes behind the end hold -mean
      sum += away * away;
    });
    square = reduce_add(sum);
  }
  return {mean, Value<T>(1) / Value<T>(__builtin_sqrt(square / Value<T>(D) + Value<T>(norm.eps)))};
}

template <class T> PYDISP_INLINE Statistics<T> statistics(const T* row, int64_t D, const Norm& norm) {
  return statistics(row, D, norm.center ? sum_row<Sums::values>(row, D) : sum_row<Sums::squares>(row, D), norm);
}

#if defined(PYDISP_AVX2)
// Sixteen bfloat16 values as floats and back: unpacking within the halves of a vector and packing there cancel out.
//   first: values 0-3 and 8-11, second: 4-7 and 12-15
struct Unpacked {
  Eight first, second;
  static PYDISP_INLINE Unpacked of(const BFloat16* from) {
    const __m256i values = load_as<__m256i>(from), zero = _mm256_setzero_si256();
    return {Eight(_mm256_unpacklo_epi16(zero, values)), Eight(_mm256_unpackhi_epi16(zero, values))};
  }
  static PYDISP_INLINE Unpacked of(const float* from) {
    const auto pair = [from](int at) {
      return Eight(_mm256_insertf128_ps(_mm256_castps128_ps256(load_as<__m128>(from + at)), load_as<__m128>(from + at + 8), 1));
    };
    return {pair(0), pair(4)};
  }
  PYDISP_INLINE void store_to(BFloat16* to) const {  // NaN is kept where its low half is zeros (gather sees to it)
    const EightBits low = Block<BFloat16>::rounded(first) >> 16, high = Block<BFloat16>::rounded(second) >> 16;
    store_as(to, _mm256_packus_epi32(__m256i(low), __m256i(high)));
  }
};
#endif

template <bool kShifted, class T>
PYDISP_INLINE void normalize(const T* kept, Statistics<T> of, const Value<T>* gain, const Value<T>* shift, T* out, int64_t K) {
  int64_t begin = 0;
#if defined(PYDISP_AVX2)
  if constexpr (std::is_same_v<T, BFloat16>)
    for (; begin + kBlock <= K; begin += kBlock) {
      auto [first, second] = Unpacked::of(kept + begin);
      const Unpacked gains = Unpacked::of(gain + begin);
      first = (first - of.mean) * of.rstd * gains.first, second = (second - of.mean) * of.rstd * gains.second;
      if constexpr (kShifted) {
        const Unpacked shifts = Unpacked::of(shift + begin);
        first += shifts.first, second += shifts.second;
      }
      Unpacked{first, second}.store_to(out + begin);
    }
#elif defined(PYDISP_AVX512)
  if constexpr (std::is_same_v<T, BFloat16>)
    for (; begin + kBlock <= K; begin += kBlock) {
      Floats value = (load(kept + begin) - of.mean) * of.rstd * load(gain + begin);
      if constexpr (kShifted) value += load(shift + begin);
      store_as(out + begin, __builtin_convertvector(rounded_above(value) >> 16, Shorts));  // NaN is kept, as above
    }
#endif
  for_vectors<T>(K - begin, [&](int64_t at, int64_t lanes) {
    const int64_t k = begin + at;
    // kept, gain and shift lie in rooms with a vector to spare
    Vector<T> value = (load(kept + k) - of.mean) * of.rstd * load(gain + k);
    if constexpr (kShifted) value += load(shift + k);
    store_lanes<T>(out + k, value, lanes);
  });
}

template <class T> void forward(const Junction& junction, void* room) {
  const auto& [residual, update, add_mask, new_residual, select_mask, selected, norm, M, D, A, K] = junction;
  T* kept = static_cast<T*>(room);
  for (int64_t m = 0; m < M; ++m) {
    const T* row = static_cast<const T*>(residual) + m * D;
    Value<T> total = 0;
    if (new_residual) {
      const T* added = static_cast<const T*>(update) + m * A;
      T* out = static_cast<T*>(new_residual) + m * D;
      if (!selected) add_row<Sums::none>(row, added, add_mask, out, D, A);
      else if (norm.center) total = add_row<Sums::values>(row, added, add_mask, out, D, A);
      else total = add_row<Sums::squares>(row, added, add_mask, out, D, A);
      row = out;
    } else {
      total = norm.center ? sum_row<Sums::values>(row, D) : sum_row<Sums::squares>(row, D);
    }
    if (!selected) continue;
    const Statistics<T> of = statistics(row, D, total, norm);
    compress_row(row, select_mask, D, kept, K);
    const auto *gain = static_cast<const Value<T>*>(norm.gain), *shift = static_cast<const Value<T>*>(norm.shift);
    T* out = static_cast<T*>(selected) + m * K;
    if (shift) normalize<true>(kept, of, gain, shift, out, K);
    else normalize<false>(kept, of, gain, shift, out, K);
  }
}

template <class T> void backward(const JunctionGradient& given, void* room) {
  const int64_t D = given.D, A = given.A, K = given.K;
  const auto* gain = static_cast<const Value<T>*>(given.norm.gain);
  auto *grad_gain = static_cast<Value<T>*>(given.grad_gain), *grad_shift = static_cast<Value<T>*>(given.grad_shift);
  auto* kept = static_cast<T*>(room);                                                   // (K,)
  auto* grad_normed = reinterpret_cast<Value<T>*>(static_cast<char*>(room) + (K + 32) * sizeof(Value<T>));  // (K,)
  auto* wide = grad_normed + K;                                                         // (D,)
  for (int64_t m = 0; m < given.M; ++m) {
    const T* row = static_cast<const T*>(given.residual) + m * D;
    const T* grad_selected = static_cast<const T*>(given.grad_selected) + m * K;
    const auto [mean, rstd] = statistics(row, D, given.norm);
    compress_row(row, given.select_mask, D, kept, K);
    Vector<T> along = {}, sum = {};
    for_vectors<T>(K, [&](int64_t k, int64_t lanes) {
      const Vector<T> grad = load_lanes<T>(grad_selected + k, lanes);
      // the lanes behind the end hold -mean * rstd, which may be infinite: times their gradient of 0 it would be NaN
      const Vector<T> normed = first_lanes<T>((load_lanes<T>(kept + k, lanes) - mean) * rstd, lanes);
      const Vector<T> through = grad * load_lanes<T>(gain + k, lanes);
      store_lanes<T>(grad_normed + k, through, lanes);
      along += through * normed;
      sum += through;
      if (grad_gain) store_lanes<T>(grad_gain + k, load_lanes<T>(grad_gain + k, lanes) + grad * normed, lanes);
      if (grad_shift) store_lanes<T>(grad_shift + k, load_lanes<T>(grad_shift + k, lanes) + grad, lanes);
    });
    if (!given.grad && !given.grad_update) continue;
    // Every dimension of the row enters the mean square (and for LayerNorm the mean), so each gets a gradient from every kept one.
    const Value<T> slope = reduce_add(along) / Value<T>(D), level = given.norm.center ? reduce_add(sum) / Value<T>(D) : 0;
    expand_row(grad_normed, given.select_mask, D, K, wide);
    const T* passing = given.grad_residual ? static_cast<const T*>(given.grad_residual) + m * D : nullptr;
    // without grad the row is only selected from: it takes the room of `wide`, whose values are read before
    T* out = given.grad ? static_cast<T*>(given.grad) + m * D : reinterpret_cast<T*>(wide);
    for_vectors<T>(D, [&](int64_t d, int64_t lanes) {
      const Vector<T> normed = (load_lanes<T>(row + d, lanes) - mean) * rstd;
      Vector<T> value = (load_lanes<T>(wide + d, lanes) - normed * slope - level) * rstd;
      if (passing) value += load_lanes<T>(passing + d, lanes);
      store_lanes<T>(out + d, value, lanes);
    });
    if (given.grad_update) compress_row(out, given.add_mask, D, static_cast<T*>(given.grad_update) + m * A, A);
  }
}

template <class T> void select(const void* x, const uint8_t* mask, void* out, int64_t M, int64_t D, int64_t K) {
  for (int64_t m = 0; m < M; ++m) compress_row(static_cast<const T*>(x) + m * D, mask, D, static_cast<T*>(out) + m * K, K);
}

template <class From, class To> void gather(const void* source, const uint8_t* mask, int64_t D, int64_t K, double offset, void* out, void* room) {
  auto* kept = static_cast<From*>(room);
  compress_row(static_cast<const From*>(source), mask, D, kept, K);
  for (int64_t k = 0; k < K; ++k) {
    const To value = To(load_one(kept[k])) + To(offset);
    static_cast<To*>(out)[k] = value == value ? value : std::numeric_limits<To>::quiet_NaN();  // its low bits are zeros
  }
}

bool mask_is_of(const int32_t* index, int64_t K, const uint8_t* mask, int64_t D) { return is_mask_of(index, K, mask, D); }

}  // namespace

extern const JunctionKernels junction_kernels = {
    {forward<double>, forward<float>, forward<BFloat16>, forward<Half>},
    {backward<double>, backward<float>, backward<BFloat16>, backward<Half>},
    {select<double>, select<float>, select<BFloat16>, select<Half>},
    {{gather<double, float>, gather<double, double>},
     {gather<float, float>, gather<float, double>},
     {gather<BFloat16, float>, gather<BFloat16, double>},
     {gather<Half, float>, gather<Half, double>}},
    mask_is_of,
};

}  // namespace pydisp::PYDISP_ISA
