#pragma once
// token_statistics without its matrix products: passes over one block of logits. No torch here, so the sanitizers can build it alone.
//
// A block is (words, tokens), word after word: tokens are along the vectors, and the sums of a token run over its words in one order. So
// results do not depend on the place of a token in a block or on its batch. A is float, or double for float64.

#include <cstdint>

#include "dispatch.h"
#include "element.h"

namespace pydisp {

// 48 for double: with 64, the results of MKL's AVX2 product depend on the place of a token in the block (its tiles are 6 or 12 wide).
template <class A> constexpr int64_t kBlockTokens = 128;
template <> inline constexpr int64_t kBlockTokens<double> = 48;

// z = softcap * tanh(scale * (x + bias) / softcap), without softcap (0) scale * (x + bias)
template <class A> struct LogitOptions {
  const A* bias;  // (words,) or null
  A scale, softcap;
};

template <class A> struct LogitBlock {
  A* x;  // (words, stride), the first `tokens` of a row; in place
  int64_t words, stride;
  int64_t tokens;  // at most kBlockTokens, whole vectors
  LogitOptions<A> options;
};

// Results are (tokens,), for this block only; a null pointer means that the result is not needed.
template <class A> struct LogitSummary {
  A* highest;
  A* total;     // sum of e^(z - highest)
  A* weighted;  // sum of e^(z - highest) * (z - highest)
  A* sum;       // sum of z
  A* above;     // words with z > threshold
  A* best;      // the first word with the largest z, counted from the block's first
  const A* threshold;
};

template <class A> struct LogitGradient {
  const A *lse, *grad_lse, *grad_target, *grad_mean;  // (tokens,); grad_mean is already divided by the number of words
  const int64_t* target;                              // (tokens,) row of this block, or anything outside it
  A* grad_bias;                                       // (words,), added to; or null
};

struct TokenStatisticsKernels {
  void (*widen_bfloat16)(const BFloat16* from, float* to, int64_t count);
  void (*widen_half)(const Half* from, float* to, int64_t count);
  void (*narrow_bfloat16)(const float* from, BFloat16* to, int64_t count);
  void (*narrow_half)(const float* from, Half* to, int64_t count);
  void (*summarise_float)(const LogitBlock<float>&, const LogitSummary<float>&);  // x becomes z
  void (*summarise_double)(const LogitBlock<double>&, const LogitSummary<double>&);
  void (*differentiate_float)(const LogitBlock<float>&, const LogitGradient<float>&);  // x becomes the gradient to x
  void (*differentiate_double)(const LogitBlock<double>&, const LogitGradient<double>&);
};

}  // namespace pydisp

PYDISP_DECLARE(TokenStatisticsKernels, token_statistics_kernels)
