// The passes of token_statistics.h for one instruction set.

#include "token_statistics.h"

#include <cmath>
#include <limits>

#include "simd.h"

namespace pydisp::PYDISP_ISA {
// The same passes serve Floats and, one token at a time, double.
template <class A> struct Lanes;
template <> struct Lanes<float> { using V = Floats; static constexpr int64_t count = kWidth; };
template <> struct Lanes<double> { using V = double; static constexpr int64_t count = 1; };

PYDISP_INLINE double load(const double* from) { return *from; }
PYDISP_INLINE void store(double* to, double value) { *to = value; }
PYDISP_INLINE double splat(double value) { return value; }
PYDISP_INLINE double vmax(double a, double b) { return a > b ? a : b; }
PYDISP_INLINE double vexp(double x) { return std::exp(x); }
PYDISP_INLINE double vtanh(double x) { return std::tanh(x); }
PYDISP_INLINE double reduce_add(double x) { return x; }

// tanh, about 2 units in the last place off. Near 0 a polynomial in x^2 (least squares on Chebyshev nodes of [0, 0.65], relative error
// 1e-9): 1 - 2 / (e^2x + 1) would lose digits there.
PYDISP_INLINE Floats vtanh(Floats x) {
  const Floats size = vmax(x, -x), square = x * x;
  Floats p = splat(2.218362832e-03f);
  p = fma(p, square, splat(-8.276125886e-03f));
  p = fma(p, square, splat(2.174755045e-02f));
  p = fma(p, square, splat(-5.395655653e-02f));
  p = fma(p, square, splat(1.333329185e-01f));
  p = fma(p, square, splat(-3.333333309e-01f));
  const Floats small = fma(p * square, x, x);
  const Floats large = splat(1.f) - splat(2.f) / (vexp(size + size) + splat(1.f));
  return size < splat(0.65f) ? small : (x < zeros() ? -large : large);
}

namespace {

template <class A> PYDISP_INLINE bool is_plain(const LogitOptions<A>& options) {
  return options.bias == nullptr && options.scale == A(1) && options.softcap == A(0);
}

template <class A, class V> PYDISP_INLINE V logit(V x, A bias, const LogitOptions<A>& options) {
  if (options.softcap == A(0)) return (x + splat(bias)) * splat(options.scale);
  return vtanh((x + splat(bias)) * splat(options.scale / options.softcap)) * splat(options.softcap);
}

// What a logit's gradient is multiplied with on its way to x; z is the logit.
template <class A, class V> PYDISP_INLINE V slope(V z, const LogitOptions<A>& options) {
  if (options.softcap == A(0)) return splat(options.scale);
  const V t = z * splat(A(1) / options.softcap);
  return (splat(A(1)) - t * t) * splat(options.scale);
}

template <class A> void transform(const LogitBlock<A>& block) {
  for (int64_t v = 0; v < block.words; ++v) {
    A* row = block.x + v * block.stride;
    const A bias = block.options.bias ? block.options.bias[v] : A(0);
    for (int64_t j = 0; j < block.tokens; j += Lanes<A>::count) store(row + j, logit(load(row + j), bias, block.options));
  }
}

// The tokens go strip by strip, kStrip vectors each: as many as have room in the registers, one at the end.
constexpr int64_t kWideStrip = 4;

// Calls each(s, v, z) for the vectors of the strip at token j: s counts them, v runs over the words.
template <int64_t kStrip, class A, class Each> PYDISP_INLINE void walk(const LogitBlock<A>& block, int64_t j, Each each) {
  for (int64_t v = 0; v < block.words; ++v) {
    const A* row = block.x + v * block.stride + j;
    for (int64_t s = 0; s < kStrip; ++s) each(s, v, load(row + s * Lanes<A>::count));
  }
}

template <int64_t kStrip, bool kWeighted, class A> PYDISP_INLINE void exponentials(const LogitBlock<A>& block, const LogitSummary<A>& out, int64_t j) {
  using V = typename Lanes<A>::V;
  V highest[kStrip], total[kStrip], weighted[kStrip];
  // not -infinity: a block of words that are all impossible has no NaN, only a total of 0
  for (int64_t s = 0; s < kStrip; ++s) highest[s] = splat(std::numeric_limits<A>::lowest());
  walk<kStrip>(block, j, [&](int64_t s, int64_t, V z) { highest[s] = vmax(z, highest[s]); });
  for (int64_t s = 0; s < kStrip; ++s) total[s] = weighted[s] = splat(A(0));
  walk<kStrip>(block, j, [&](int64_t s, int64_t, V z) {
    const V below = z - highest[s], odds = vexp(below);
    total[s] += odds;
    if (kWeighted) weighted[s] += odds * vmax(below, splat(A(-1000)));  // so that a logit of -infinity adds nothing
  });
  for (int64_t s = 0; s < kStrip; ++s) {
    store(out.highest + j + s * Lanes<A>::count, highest[s]);
    store(out.total + j + s * Lanes<A>::count, total[s]);
    if (kWeighted) store(out.weighted + j + s * Lanes<A>::count, weighted[s]);
  }
}

template <int64_t kStrip, class A> PYDISP_INLINE void sums(const LogitBlock<A>& block, A* out, int64_t j) {
  using V = typename Lanes<A>::V;
  V sum[kStrip];
  for (int64_t s = 0; s < kStrip; ++s) sum[s] = splat(A(0));
  walk<kStrip>(block, j, [&](int64_t s, int64_t, V z) { sum[s] += z; });
  for (int64_t s = 0; s < kStrip; ++s) store(out + j + s * Lanes<A>::count, sum[s]);
}

template <int64_t kStrip, class A> PYDISP_INLINE void counts_above(const LogitBlock<A>& block, const A* threshold, A* out, int64_t j) {
  using V = typename Lanes<A>::V;
  V least[kStrip], count[kStrip];
  for (int64_t s = 0; s < kStrip; ++s) least[s] = load(threshold + j + s * Lanes<A>::count), count[s] = splat(A(0));
  walk<kStrip>(block, j, [&](int64_t s, int64_t, V z) { count[s] += z > least[s] ? splat(A(1)) : splat(A(0)); });
  for (int64_t s = 0; s < kStrip; ++s) store(out + j + s * Lanes<A>::count, count[s]);
}

template <int64_t kStrip, class A> PYDISP_INLINE void first_largest(const LogitBlock<A>& block, A* out, int64_t j) {
  using V = typename Lanes<A>::V;
  V highest[kStrip], word[kStrip];
  for (int64_t s = 0; s < kStrip; ++s) highest[s] = splat(-std::numeric_limits<A>::infinity()), word[s] = splat(A(0));
  walk<kStrip>(block, j, [&](int64_t s, int64_t v, V z) {
    word[s] = z > highest[s] ? splat(A(v)) : word[s];
    highest[s] = vmax(z, highest[s]);
  });
  for (int64_t s = 0; s < kStrip; ++s) store(out + j + s * Lanes<A>::count, word[s]);
}

template <int64_t kStrip, class A> PYDISP_INLINE void summarise_strip(const LogitBlock<A>& block, const LogitSummary<A>& out, int64_t j) {
  if (out.weighted) exponentials<kStrip, true>(block, out, j);
  else exponentials<kStrip, false>(block, out, j);
  if (out.sum) sums<kStrip>(block, out.sum, j);
  if (out.above) counts_above<kStrip>(block, out.threshold, out.above, j);
  if (out.best) first_largest<kStrip>(block, out.best, j);
}

template <class A> void summarise(const LogitBlock<A>& block, const LogitSummary<A>& out) {
  if (!is_plain(block.options)) transform(block);
  constexpr int64_t wide = kWideStrip * Lanes<A>::count;
  int64_t j = 0;
  for (; j + wide <= block.tokens; j += wide) summarise_strip<kWideStrip>(block, out, j);
  for (; j < block.tokens; j += Lanes<A>::count) summarise_strip<1>(block, out, j);
}

template <class A, bool kPlain> PYDISP_INLINE void softmax_gradient(const LogitBlock<A>& block, const LogitGradient<A>& given) {
  using V = typename Lanes<A>::V;
  for (int64_t v = 0; v < block.words; ++v) {
    A* row = block.x + v * block.stride;
    const A bias = block.options.bias ? block.options.bias[v] : A(0);
    V sum = splat(A(0));
    for (int64_t j = 0; j < block.tokens; j += Lanes<A>::count) {
      const V z = kPlain ? load(row + j) : logit(load(row + j), bias, block.options);
      V grad = vexp(z - load(given.lse + j)) * load(given.grad_lse + j) + load(given.grad_mean + j);
      if (!kPlain) grad *= slope(z, block.options);
      store(row + j, grad);
      sum += grad;
    }
    if (given.grad_bias) given.grad_bias[v] += reduce_add(sum);
  }
}

template <class A> void differentiate(const LogitBlock<A>& block, const LogitGradient<A>& given) {
  A at_target[kBlockTokens<A>];
  for (int64_t j = 0; j < block.tokens; ++j) {
    const int64_t v = given.target[j];
    at_target[j] = v >= 0 && v < block.words ? block.x[v * block.stride + j] : A(0);
  }
  if (is_plain(block.options)) softmax_gradient<A, true>(block, given);
  else softmax_gradient<A, false>(block, given);
  const LogitOptions<A>& options = block.options;
  for (int64_t j = 0; j < block.tokens; ++j) {
    const int64_t v = given.target[j];
    if (v < 0 || v >= block.words) continue;
    A grad = given.grad_target[j] * options.scale;
    if (options.softcap != A(0)) {
      const A t = std::tanh((at_target[j] + (options.bias ? options.bias[v] : A(0))) * (options.scale / options.softcap));
      grad *= A(1) - t * t;
    }
    block.x[v * block.stride + j] += grad;
    if (given.grad_bias) given.grad_bias[v] += grad;
  }
}

template <class T> void widen(const T* from, float* to, int64_t count) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store(to + i, load(from + i));
  if (i < count) store_part(to + i, load_part(from + i, count - i), count - i);
}
template <class T> void narrow(const float* from, T* to, int64_t count) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store(to + i, load(from + i));
  if (i < count) store_part(to + i, load_part(from + i, count - i), count - i);
}

}  // namespace

extern const TokenStatisticsKernels token_statistics_kernels = {
    widen<BFloat16>,   widen<Half>,        narrow<BFloat16>,      narrow<Half>,
    summarise<float>,  summarise<double>,  differentiate<float>,  differentiate<double>,
};

}  // namespace pydisp::PYDISP_ISA
