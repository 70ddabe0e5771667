#pragma once
// upcast_linear for rows in memory: out = x weight^T + bias, with bfloat16 or float16 operands for processors that can only multiply
// float32; and with few rows of float32, because torch's product then reads the weights slower than memory can deliver them.
// No torch here, so the sanitizers can build it alone.
//
// M rows, I inputs, O outputs. An output is the sum over I of float32 products: kWidth lanes side by side in ascending order, then the
// lanes in one fixed order, then the bias, rounded once. So its bits do not depend on M, the place of the row, the kernel or the thread.

#include <cstdint>

#include "dispatch.h"
#include "element.h"

namespace pydisp {

// For up to so many rows, the weights are widened in registers (each is read once, and memory is the limit); more rows share widened blocks
// in the cache. 2048 x 2048 on a Zen 3: 6 rows take 0.6 against 0.9 ms, 12 rows 1.4 against 1.6 ms.
constexpr int64_t kFewRows = 12;
// float32: with more rows torch's product is nearly as fast. 8192 x 2048 on a Zen 3, of MKL's time: 1 row 0.89, 4 rows 0.32, 24 rows 0.50;
// 896 x 4864: 0.82, 0.53, 0.84. On a Zen 5 with AVX-512, where MKL runs AVX2 code: 0.27, 0.31, 0.46, and 0.78, 0.67, 0.63.
constexpr int64_t kFewFloatRows = 24;
constexpr int64_t kOutputBlock = 64;  // outputs of one task; a multiple of the outputs of a tile
constexpr int64_t kRowBlock = 96;     // rows whose widened inputs stay in the cache as weights are read; a multiple of the rows of a tile
constexpr int64_t kInputBlock = 512;  // inputs between two visits of an accumulator; a multiple of every kWidth

template <class T> struct UpcastLinear {
  const T* weight;  // (O, I), rows weight_stride apart
  int64_t weight_stride;
  const T* bias;  // (O,) or null
  T* out;         // (M, O)
  int64_t M, I, O;
};

// (M, I) inputs as floats, each row's last vector filled up with zeros. Few rows: rows padded(I) apart. More: blocks of kInputBlock inputs,
// rows within them.
constexpr int64_t padded(int64_t I) { return (I + 15) / 16 * 16; }  // to the widest vector

template <class T> struct UpcastKernels {
  // x (M, I), rows x_stride apart -> widened (M, padded(I)).
  void (*widen_rows)(const T* x, int64_t x_stride, int64_t M, int64_t I, float* widened);
  // Outputs [begin, end) of all M rows, few enough.
  void (*few_rows)(const UpcastLinear<T>& linear, const float* widened, int64_t begin, int64_t end);
  // Inputs of M <= kRowBlock rows from number `input` on, at most kInputBlock of them -> widened (M, kInputBlock).
  void (*widen_block)(const T* x, int64_t x_stride, int64_t M, int64_t I, int64_t input, float* widened);
  // Outputs [begin, end), at most kOutputBlock of them, of M <= kRowBlock rows; linear.out is their first row.
  // widened: the blocks of `widen_block` one after the other; room: upcast_room() floats.
  void (*block)(const UpcastLinear<T>& linear, const float* widened, int64_t begin, int64_t end, float* room);
};

// Floats that `block` works in: one accumulator of at most 16 lanes an output, and the widened weights of a tile.
constexpr int64_t upcast_room() { return kOutputBlock * kRowBlock * 16 + 4 * kInputBlock; }

struct UpcastLinearKernels {
  UpcastKernels<BFloat16> bfloat16;
  UpcastKernels<Half> half;
  UpcastKernels<float> single;  // without widen_block and block: torch multiplies more rows
};

}  // namespace pydisp

PYDISP_DECLARE(UpcastLinearKernels, upcast_linear_kernels)
