// The kernels of upcast_linear for one instruction set; see upcast_linear.h.

#include "upcast_linear.h"

#include <algorithm>

#include "simd.h"

namespace pydisp::PYDISP_ISA {
namespace {

// A tile is kOutputs outputs by kRows rows: 12 accumulators, 3 inputs and a weight fill the 16 vector registers of AVX2.
constexpr int kOutputs = 4, kRows = 3;

// The last vector is filled up with zeros.
template <class T> void widen_row(const T* x, int64_t count, float* widened) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store(widened + i, load(x + i));
  if (i < count) store(widened + i, load_part(x + i, count - i));
}

template <class T> void widen_rows(const T* x, int64_t x_stride, int64_t M, int64_t I, float* widened) {
  for (int64_t m = 0; m < M; ++m) widen_row(x + m * x_stride, I, widened + m * padded(I));
}

template <class T> void widen_block(const T* x, int64_t x_stride, int64_t M, int64_t I, int64_t input, float* widened) {
  for (int64_t m = 0; m < M; ++m) widen_row(x + m * x_stride + input, std::min(kInputBlock, I - input), widened + m * kInputBlock);
}

template <class T> PYDISP_INLINE void finish(const UpcastLinear<T>& linear, int64_t row, int64_t output, Floats sum) {
  float value = reduce_add(sum);
  if (linear.bias) value += load_one(linear.bias[output]);
  store_one(linear.out[row * linear.O + output], value);
}

// W outputs, `apart` from one another, by R rows, over all inputs; the weights are widened in registers.
template <class T, int W, int R>
PYDISP_INLINE void direct_tile(const UpcastLinear<T>& linear, const float* x, int64_t row, int64_t output, int64_t apart) {
  Floats sum[W][R];
  for (int w = 0; w < W; ++w)
    for (int r = 0; r < R; ++r) sum[w][r] = zeros();
  const T* weight = linear.weight + output * linear.weight_stride;
  const int64_t I = linear.I, stride = padded(I), weight_stride = apart * linear.weight_stride;
  x += row * stride;
  const auto step = [&](int64_t i, auto weight_at) __attribute__((always_inline)) {
    Floats input[R];
    for (int r = 0; r < R; ++r) input[r] = load(x + r * stride + i);
    for (int w = 0; w < W; ++w) {
      const Floats widened = weight_at(weight + w * weight_stride + i);
      for (int r = 0; r < R; ++r) sum[w][r] = fma(widened, input[r], sum[w][r]);
    }
  };
  int64_t i = 0;
  for (; i + kWidth <= I; i += kWidth) step(i, [](const T* from) __attribute__((always_inline)) { return load(from); });
  if (i < I) step(i, [&](const T* from) __attribute__((always_inline)) { return load_part(from, I - i); });
  for (int w = 0; w < W; ++w)
    for (int r = 0; r < R; ++r) finish(linear, row + r, output + w * apart, sum[w][r]);
}

template <class T, int W> PYDISP_INLINE void direct_rows(const UpcastLinear<T>& linear, const float* x, int64_t output, int64_t apart) {
  int64_t row = 0;
  for (; row + kRows <= linear.M; row += kRows) direct_tile<T, W, kRows>(linear, x, row, output, apart);
  if (linear.M - row == 2) direct_tile<T, W, 2>(linear, x, row, output, apart);
  if (linear.M - row == 1) direct_tile<T, W, 1>(linear, x, row, output, apart);
}

template <class T> void few_rows(const UpcastLinear<T>& linear, const float* x, int64_t begin, int64_t end) {
  // Each output of a tile reads its own part of the weights, because processors prefetch a page that is read in one stream, and consecutive
  // rows of 2 KiB would share pages (bfloat16 on a Zen 3: 8 to 12 GB/s with shared pages, 13 to 16 this way).
  const int64_t apart = (end - begin) / kOutputs;
  for (int64_t output = begin; output < begin + apart; ++output) direct_rows<T, kOutputs>(linear, x, output, apart);
  for (int64_t output = begin + kOutputs * apart; output < end; ++output) direct_rows<T, 1>(linear, x, output, 1);
}

// Adds the products of one block of inputs to a tile's accumulators; both operands are widened, kInputBlock floats a row.
template <int R> PYDISP_INLINE void block_tile(const float* weight, const float* x, int64_t count, float* sums) {
  Floats sum[kOutputs][R];
  for (int w = 0; w < kOutputs; ++w)
    for (int r = 0; r < R; ++r) sum[w][r] = load(sums + (w * R + r) * kWidth);
  for (int64_t i = 0; i < count; i += kWidth) {
    Floats input[R];
    for (int r = 0; r < R; ++r) input[r] = load(x + r * kInputBlock + i);
    for (int w = 0; w < kOutputs; ++w) {
      const Floats widened = load(weight + w * kInputBlock + i);
      for (int r = 0; r < R; ++r) sum[w][r] = fma(widened, input[r], sum[w][r]);
    }
  }
  for (int w = 0; w < kOutputs; ++w)
    for (int r = 0; r < R; ++r) store(sums + (w * R + r) * kWidth, sum[w][r]);
}

template <class T> void block(const UpcastLinear<T>& linear, const float* widened, int64_t begin, int64_t end, float* room) {
  const int64_t M = linear.M, per_outputs = kOutputs * M * kWidth;
  float* sums = room;
  float* weight = room + kOutputBlock * kRowBlock * 16;
  std::fill_n(sums, (end - begin + kOutputs - 1) / kOutputs * per_outputs, 0.f);
  for (int64_t input = 0; input < linear.I; input += kInputBlock, widened += M * kInputBlock) {
    const int64_t count = std::min(kInputBlock, linear.I - input), whole = (count + kWidth - 1) / kWidth * kWidth;
    for (int64_t output = begin; output < end; output += kOutputs) {
      for (int w = 0; w < kOutputs; ++w)  // past the end the last row stands in: its sums are not used
        widen_row(linear.weight + std::min(output + w, end - 1) * linear.weight_stride + input, count, weight + w * kInputBlock);
      float* sum = sums + (output - begin) / kOutputs * per_outputs;
      int64_t row = 0;
      for (; row + kRows <= M; row += kRows, sum += kOutputs * kRows * kWidth) block_tile<kRows>(weight, widened + row * kInputBlock, whole, sum);
      if (M - row == 2) block_tile<2>(weight, widened + row * kInputBlock, whole, sum);
      if (M - row == 1) block_tile<1>(weight, widened + row * kInputBlock, whole, sum);
    }
  }
  for (int64_t output = begin; output < end; output += kOutputs)
    for (int64_t row = 0; row < M; row += kRows) {
      const int64_t rows = std::min<int64_t>(kRows, M - row), outputs = std::min<int64_t>(kOutputs, end - output);
      const float* sum = sums + (output - begin) / kOutputs * per_outputs + row * kOutputs * kWidth;
      for (int64_t w = 0; w < outputs; ++w)
        for (int64_t r = 0; r < rows; ++r) finish(linear, row + r, output + w, load(sum + (w * rows + r) * kWidth));
    }
}

}  // namespace

extern const UpcastLinearKernels upcast_linear_kernels;
const UpcastLinearKernels upcast_linear_kernels = {
    {widen_rows<BFloat16>, few_rows<BFloat16>, widen_block<BFloat16>, block<BFloat16>},
    {widen_rows<Half>, few_rows<Half>, widen_block<Half>, block<Half>},
    {widen_rows<float>, few_rows<float>, nullptr, nullptr},
};

}  // namespace pydisp::PYDISP_ISA
