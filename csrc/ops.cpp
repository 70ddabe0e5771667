// Hands pydisp's CPU kernels to torch's dispatcher through the stable ABI. The schemas live in pydisp/ops/*.py.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/macros/Macros.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "norm_select.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class From, class A>
void gather(const Tensor& source, const int32_t* index, A offset, std::vector<A>& out) {
  const From* values = static_cast<const From*>(source.const_data_ptr());
  for (size_t k = 0; k < out.size(); ++k) out[k] = A(pydisp::load(values[index[k]])) + offset;
}

// source[index] + offset in the type of the arithmetic, whatever float type the source has.
template <class A>
std::vector<A> gathered(const Tensor& given, const char* name, const int32_t* index, int64_t D, int64_t K, A offset) {
  STD_TORCH_CHECK(given.dim() == 1 && given.size(0) == D,
                  "norm_select: ", name, " must be one-dimensional with ", D, " values, as many as x's last dimension");
  const Tensor source = torch::stable::contiguous(given);
  std::vector<A> out(K);
  switch (source.scalar_type()) {
    case ScalarType::Double: gather<double>(source, index, offset, out); break;
    case ScalarType::Float: gather<float>(source, index, offset, out); break;
    case ScalarType::BFloat16: gather<pydisp::BFloat16>(source, index, offset, out); break;
    case ScalarType::Half: gather<pydisp::Half>(source, index, offset, out); break;
    default: STD_TORCH_CHECK(false, "norm_select: ", name, " must be float16, bfloat16, float32 or float64");
  }
  return out;
}

template <class T>
void run(const Tensor& x, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, const Tensor& index,
         double eps, double weight_offset, bool center, Tensor& out) {
  using A = typename pydisp::Arithmetic<T>::type;
  const int64_t D = x.size(x.dim() - 1), K = index.numel(), M = x.numel() / D;
  const int32_t* kept = static_cast<const int32_t*>(index.const_data_ptr());
  const auto [lowest, highest] = std::minmax_element(kept, kept + K);
  STD_TORCH_CHECK(*lowest >= 0 && *highest < D,
                  "norm_select: the index runs from ", *lowest, " to ", *highest, "; it must lie between 0 and ", D - 1);
  const std::vector<A> gain = weight ? gathered<A>(*weight, "weight", kept, D, K, A(weight_offset)) : std::vector<A>(K, A(1));
  const std::vector<A> shift = bias ? gathered<A>(*bias, "bias", kept, D, K, A(0)) : std::vector<A>();
  const T* rows = static_cast<const T*>(x.const_data_ptr());
  T* target = static_cast<T*>(out.mutable_data_ptr());
  torch::stable::parallel_for(0, M, std::max<int64_t>(1, 16384 / D), [&](int64_t begin, int64_t end) {
    std::vector<A> copy(sizeof(T) < sizeof(A) ? D : 0);
    pydisp::norm_select(pydisp::Rows<T>{rows + begin * D, kept, gain.data(), bias ? shift.data() : nullptr, target + begin * K,
                                        end - begin, D, K, eps, center, copy.data()});
  });
}

Tensor norm_select(Tensor given, std::optional<Tensor> weight, std::optional<Tensor> bias, Tensor given_index,
                   double eps, double weight_offset, bool center) {
  STD_TORCH_CHECK(given.dim() >= 1, "norm_select: x must have at least one dimension");
  STD_TORCH_CHECK(given_index.dim() == 1 && given_index.scalar_type() == ScalarType::Int,
                  "norm_select: index must be a one-dimensional int32 tensor");
  const Tensor x = torch::stable::contiguous(given), index = torch::stable::contiguous(given_index);
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
  shape.back() = index.numel();
  Tensor out = torch::stable::new_empty(x, shape);
  if (out.numel() == 0) return out;
  STD_TORCH_CHECK(x.numel() > 0, "norm_select: an index was given, but x has no dimension to select");
  switch (x.scalar_type()) {
    case ScalarType::Double: run<double>(x, weight, bias, index, eps, weight_offset, center, out); break;
    case ScalarType::Float: run<float>(x, weight, bias, index, eps, weight_offset, center, out); break;
    case ScalarType::BFloat16: run<pydisp::BFloat16>(x, weight, bias, index, eps, weight_offset, center, out); break;
    case ScalarType::Half: run<pydisp::Half>(x, weight, bias, index, eps, weight_offset, center, out); break;
    default: STD_TORCH_CHECK(false, "norm_select: x must be float16, bfloat16, float32 or float64");
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydisp, CPU, m) { m.impl("norm_select", TORCH_BOX(&norm_select)); }
