// Hands upcast_linear to torch's dispatcher through the stable ABI. The schema lives in pydisp/ops/upcast_linear.py.

#include "upcast_linear.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/macros/Macros.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Uninitialised: a vector would write zeros first.
std::unique_ptr<float[]> floats(int64_t count) { return std::unique_ptr<float[]>(new float[count]); }

// The distance between the rows of x, if one stride leads through all its leading dimensions; nothing if x has to be copied.
std::optional<int64_t> row_stride(const Tensor& x) {
  const int64_t last = x.dim() - 1;
  if (x.size(last) != 1 && x.stride(last) != 1) return std::nullopt;
  std::optional<int64_t> stride;
  int64_t rows = 1;
  for (int64_t d = last - 1; d >= 0; --d) {
    if (x.size(d) == 1) continue;
    if (!stride) stride = x.stride(d);
    else if (x.stride(d) != *stride * rows) return std::nullopt;
    rows *= x.size(d);
  }
  return stride ? *stride : x.size(last);
}

template <class T>
void run(const pydisp::UpcastKernels<T>& kernels, const T* x, int64_t x_stride, const pydisp::UpcastLinear<T>& linear) {
  using namespace pydisp;
  const int64_t I = linear.I, O = linear.O;
  if (std::is_same_v<T, float> || linear.M <= kFewRows) {
    const auto widened = floats(linear.M * padded(I));
    kernels.widen_rows(x, x_stride, linear.M, I, widened.get());
    // two tiles per step; for fewer than a few thousand products, a thread costs more than it saves
    torch::stable::parallel_for(0, (O + 7) / 8, std::max<int64_t>(1, 8192 / (I + 1)), [&](int64_t begin, int64_t end) {
      kernels.few_rows(linear, widened.get(), begin * 8, std::min(end * 8, O));
    });
    return;
  }
  const int64_t input_blocks = (I + kInputBlock - 1) / kInputBlock;
  const auto widened = floats(kRowBlock * input_blocks * kInputBlock);
  for (int64_t row = 0; row < linear.M; row += kRowBlock) {
    UpcastLinear<T> part = linear;
    part.M = std::min(kRowBlock, linear.M - row);
    part.out = linear.out + row * O;
    torch::stable::parallel_for(0, input_blocks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        kernels.widen_block(x + row * x_stride, x_stride, part.M, I, b * kInputBlock, widened.get() + b * part.M * kInputBlock);
    });
    torch::stable::parallel_for(0, (O + kOutputBlock - 1) / kOutputBlock, 1, [&](int64_t begin, int64_t end) {
      const auto room = floats(upcast_room());
      for (int64_t b = begin; b < end; ++b)
        kernels.block(part, widened.get(), b * kOutputBlock, std::min((b + 1) * kOutputBlock, O), room.get());
    });
  }
}

template <class T>
void run(const pydisp::UpcastKernels<T>& kernels, const Tensor& x, int64_t x_stride, const Tensor& weight, const std::optional<Tensor>& bias, Tensor& out) {
  const int64_t I = weight.size(1), O = weight.size(0);
  run<T>(kernels, static_cast<const T*>(x.const_data_ptr()), x_stride,
         {static_cast<const T*>(weight.const_data_ptr()), weight.stride(0), bias ? static_cast<const T*>(bias->const_data_ptr()) : nullptr,
          static_cast<T*>(out.mutable_data_ptr()), out.numel() / O, I, O});
}

// float64, and more rows of float32, which torch multiplies well. Without `out`, torch's linear would follow an open torch.autocast region,
// and sum in 16 bits instead of float32. The leading dimensions are joined into one, because torch then adds the bias within the product.
void linear_of_torch(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, Tensor& out) {
  using torch::stable::detail::from;
  const int64_t I = weight.size(1), O = weight.size(0), M = out.numel() / O;
  const Tensor rows = torch::stable::reshape(x, {M, I}), out_rows = torch::stable::view(out, {M, O});
  std::array<StableIValue, 4> stack{from(rows), from(weight), from(bias), from(out_rows)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::linear", "out", stack.data(), TORCH_ABI_VERSION));
  (void)torch::stable::detail::to<Tensor>(stack[0]);  // takes the handle, which is of `out`, off the stack
}

Tensor upcast_linear(Tensor given, Tensor given_weight, std::optional<Tensor> given_bias) {
  const ScalarType type = given.scalar_type();
  STD_TORCH_CHECK(given.dim() >= 1 && given_weight.dim() == 2 && given.size(given.dim() - 1) == given_weight.size(1),
                  "upcast_linear: x must end in as many values as weight, of two dimensions, has columns");
  STD_TORCH_CHECK(given_weight.scalar_type() == type, "upcast_linear: weight must have x's dtype");
  const int64_t O = given_weight.size(0);
  STD_TORCH_CHECK(!given_bias || (given_bias->dim() == 1 && given_bias->size(0) == O && given_bias->scalar_type() == type),
                  "upcast_linear: bias must have one value for each row of weight, in x's dtype");
  const bool is_wide = type == ScalarType::Float || type == ScalarType::Double;
  STD_TORCH_CHECK(is_wide || type == ScalarType::BFloat16 || type == ScalarType::Half,
                  "upcast_linear: x must be float16, bfloat16, float32 or float64");
  std::vector<int64_t> shape(given.sizes().begin(), given.sizes().end());
  shape.back() = O;
  Tensor out = torch::stable::new_empty(given, shape);
  if (out.numel() == 0) return out;
  if (is_wide && (type == ScalarType::Double || out.numel() / O > pydisp::kFewFloatRows)) {
    linear_of_torch(given, given_weight, given_bias, out);
    return out;
  }
  const std::optional<int64_t> stride = row_stride(given);
  const Tensor x = stride ? given : torch::stable::contiguous(given);
  const bool rows_whole = given_weight.size(1) == 1 || given_weight.stride(1) == 1;
  const Tensor weight = rows_whole ? given_weight : torch::stable::contiguous(given_weight);
  std::optional<Tensor> bias;
  if (given_bias) bias = torch::stable::contiguous(*given_bias);
  const int64_t x_stride = stride ? *stride : x.size(x.dim() - 1);
  const pydisp::UpcastLinearKernels& kernels = PYDISP_PICK(upcast_linear_kernels);
  if (type == ScalarType::Float) run(kernels.single, x, x_stride, weight, bias, out);
  else if (type == ScalarType::BFloat16) run(kernels.bfloat16, x, x_stride, weight, bias, out);
  else run(kernels.half, x, x_stride, weight, bias, out);
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydisp, CPU, m) { m.impl("upcast_linear", TORCH_BOX(&upcast_linear)); }
