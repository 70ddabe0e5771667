// Hands the kernels of add_norm_select.h to torch's dispatcher through the stable ABI. The schemas live in pydisp/ops/*.py.

#include "element.h"
#include "add_norm_select.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/macros/Macros.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <tuple>

namespace {

using pydisp::Element;
using torch::headeronly::IntHeaderOnlyArrayRef;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;

Element element_of(const Tensor& tensor, const char* op, const char* name) {
  switch (tensor.scalar_type()) {
    case ScalarType::Double: return Element::float64;
    case ScalarType::Float: return Element::float32;
    case ScalarType::BFloat16: return Element::bfloat16;
    case ScalarType::Half: return Element::float16;
    default: STD_TORCH_CHECK(false, op, ": ", name, " must be float16, bfloat16, float32 or float64");
  }
}

int64_t bytes_of(Element element) { return element == Element::float64 ? 8 : element == Element::float32 ? 4 : 2; }

const pydisp::JunctionKernels& kernels() { return PYDISP_PICK(junction_kernels); }

Tensor dense(const Tensor& tensor) { return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor); }

// The shape of `like` with another last dimension.
class Shape {
 public:
  Shape(const Tensor& like, int64_t last, const char* op, const char* name) : rank_(like.dim()) {
    STD_TORCH_CHECK(rank_ >= 1 && rank_ <= int64_t(sizes_.size()),
                    op, ": ", name, " has ", rank_, " dimensions, it must have 1 to ", sizes_.size(), "; flatten some of them");
    const auto given = like.sizes();
    for (int64_t i = 0; i < rank_; ++i) sizes_[i] = given[i];
    sizes_[rank_ - 1] = last;
  }
  int64_t rows() const {
    int64_t product = 1;
    for (int64_t i = 0; i + 1 < rank_; ++i) product *= sizes_[i];
    return product;
  }
  bool is_of(const Tensor& tensor) const {
    if (tensor.dim() != rank_) return false;
    const auto sizes = tensor.sizes();
    return std::equal(sizes_.begin(), sizes_.begin() + rank_, sizes.begin());
  }
  Tensor empty(const Tensor& like) const { return torch::stable::new_empty(like, IntHeaderOnlyArrayRef(sizes_.data(), rank_)); }

 private:
  int64_t rank_;
  std::array<int64_t, 64> sizes_;  // no more than torch's own loops take
};

Tensor no_elements(const Tensor& like) {
  const int64_t none = 0;
  return torch::stable::new_empty(like, IntHeaderOnlyArrayRef(&none, 1));
}

// Elements of `like`'s dtype and last dimension, checked.
Tensor rows_of(const Tensor& given, const Shape& shape, const Tensor& like, const char* op, const char* name) {
  STD_TORCH_CHECK(given.scalar_type() == like.scalar_type() && shape.is_of(given),
                  op, ": ", name, " must have the other tensor's dtype and rows, and one column an index");
  return dense(given);
}

// `read`, or a copy of it if it shares memory with `written`, because rows are read while earlier rows and they themselves are written.
Tensor apart_from(const Tensor& written, const Tensor& read, Element element) {
  const auto first = [](const Tensor& t) { return static_cast<const char*>(t.const_data_ptr()); };
  const int64_t bytes = bytes_of(element);
  const auto last = [&](const Tensor& t) { return first(t) + t.numel() * bytes; };
  return first(read) < last(written) && first(written) < last(read) ? torch::stable::clone(read) : read;
}

// One index set in the form that the kernels read: its byte mask, given by the caller or made here.
class KeptDimensions {
 public:
  KeptDimensions(const Tensor& index, const MaybeTensor& mask, int64_t D, const char* op, const char* name) {
    STD_TORCH_CHECK(index.dim() == 1 && index.scalar_type() == ScalarType::Int, op, ": ", name, " must be a vector of int32");
    index_ = dense(index);
    count_ = index_.numel();
    const auto* indices = static_cast<const int32_t*>(index_.const_data_ptr());
    const int64_t bytes = (D + 7) / 8;
    if (mask) {
      STD_TORCH_CHECK(mask->dim() == 1 && mask->scalar_type() == ScalarType::Byte && mask->numel() == bytes,
                      op, ": the mask of ", name, " must be ", bytes, " bytes for a last dimension of ", D);
      mask_ = dense(*mask);
      bits_ = static_cast<const uint8_t*>(mask_.const_data_ptr());
      STD_TORCH_CHECK(kernels().is_mask_of(indices, count_, bits_, D),
                      op, ": the mask of ", name, " keeps other dimensions than the index; make both by pydisp.ops.features");
      return;
    }
    made_ = std::make_unique<uint8_t[]>(bytes);
    int64_t before = -1;
    for (int64_t k = 0; k < count_; ++k) {
      const int64_t at = indices[k];
      STD_TORCH_CHECK(at > before && at < D, op, ": ", name, "[", k, "] is ", at, "; indices must be sorted, unique and between 0 and ", D - 1);
      made_[at / 8] |= uint8_t(1u << at % 8);
      before = at;
    }
    bits_ = made_.get();
  }
  const uint8_t* mask() const { return bits_; }
  const int32_t* index() const { return static_cast<const int32_t*>(index_.const_data_ptr()); }
  int64_t count() const { return count_; }

 private:
  Tensor index_, mask_;
  std::unique_ptr<uint8_t[]> made_;
  const uint8_t* bits_;
  int64_t count_;
};

// The element type of a norm's weight or bias, one value a dimension.
Element vector_element(const Tensor& given, int64_t D, const char* op, const char* name) {
  STD_TORCH_CHECK(given.dim() == 1 && given.size(0) == D, op, ": ", name, " must be a vector of ", D, " values");
  return element_of(given, op, name);
}

// Gain and shift of the kept dimensions in the type of the arithmetic, and the other settings of a norm.
class KeptNorm {
 public:
  KeptNorm(const MaybeTensor& weight, const MaybeTensor& bias, const KeptDimensions& kept, int64_t D, Element element, double eps, double offset,
           bool center, const char* op)
      : is_double_(element == Element::float64), D_(D), kept_(kept) {
    const int64_t each = pydisp::norm_bytes(kept.count(), is_double_ ? 8 : 4);
    values_.reset(new char[(bias ? 2 : 1) * each + (weight || bias ? pydisp::room_bytes(D, kept.count()) : 0)]);
    char *gain = values_.get(), *shift = gain + each;
    void* room = gain + (bias ? 2 : 1) * each;
    if (weight) take(*weight, "weight", offset, gain, room, op);
    else if (is_double_) std::fill_n(reinterpret_cast<double*>(gain), kept.count(), 1.0);
    else std::fill_n(reinterpret_cast<float*>(gain), kept.count(), 1.f);
    if (bias) take(*bias, "bias", 0, shift, room, op);
    norm_ = {gain, bias ? shift : nullptr, eps, center};
  }
  const pydisp::Norm& norm() const { return norm_; }

 private:
  void take(const Tensor& given, const char* name, double offset, void* out, void* room, const char* op) {
    const Element element = vector_element(given, D_, op, name);
    const Tensor source = dense(given);
    kernels().gather[int(element)][is_double_](source.const_data_ptr(), kept_.mask(), D_, kept_.count(), offset, out, room);
  }

  bool is_double_;
  int64_t D_;
  const KeptDimensions& kept_;
  std::unique_ptr<char[]> values_;
  pydisp::Norm norm_;
};

int64_t grain(int64_t D) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, D)); }

const char* at(const void* start, int64_t rows, int64_t columns, int64_t bytes) {
  return start ? static_cast<const char*>(start) + rows * columns * bytes : nullptr;
}
char* at(void* start, int64_t rows, int64_t columns, int64_t bytes) {
  return start ? static_cast<char*>(start) + rows * columns * bytes : nullptr;
}

void run(const pydisp::Junction& whole, Element element) {
  const auto forward = kernels().forward[int(element)];
  const int64_t bytes = bytes_of(element);
  torch::stable::parallel_for(0, whole.M, grain(whole.D), [&](int64_t begin, int64_t end) {
    pydisp::Junction part = whole;
    part.M = end - begin;
    part.residual = at(whole.residual, begin, whole.D, bytes);
    part.update = at(whole.update, begin, whole.A, bytes);
    part.new_residual = at(whole.new_residual, begin, whole.D, bytes);
    part.selected = at(whole.selected, begin, whole.K, bytes);
    const std::unique_ptr<char[]> room(new char[pydisp::room_bytes(whole.D, whole.K)]);
    forward(part, room.get());
  });
}

Tensor norm_select(Tensor given, MaybeTensor weight, MaybeTensor bias, Tensor index, MaybeTensor, MaybeTensor mask, double eps,
                   double weight_offset, bool center) {
  const char* op = "norm_select";
  STD_TORCH_CHECK(given.dim() >= 1, op, ": x must have at least one dimension");
  const Tensor x = dense(given);
  const Element element = element_of(x, op, "x");
  const int64_t D = x.size(x.dim() - 1);
  const KeptDimensions kept(index, mask, D, op, "index");
  const Shape shape(x, kept.count(), op, "x");
  Tensor out = shape.empty(x);
  const KeptNorm norm(weight, bias, kept, D, element, eps, weight_offset, center, op);
  if (kept.count() > 0)
    run({x.const_data_ptr(), nullptr, nullptr, nullptr, kept.mask(), out.mutable_data_ptr(), norm.norm(), shape.rows(), D, 0, kept.count()},
        element);
  return out;
}

// Both forms: `new_residual` is residual itself or a tensor of its shape.
Tensor add_and_norm(const char* op, const Tensor& residual, const Tensor& given_update, const Tensor& add_index, const MaybeTensor& add_mask,
                    const MaybeTensor& weight, const MaybeTensor& bias, const Tensor& select_index, const MaybeTensor& select_mask, double eps,
                    double weight_offset, bool center, const Tensor& new_residual) {
  const Element element = element_of(residual, op, "residual");
  const int64_t D = residual.size(residual.dim() - 1);
  const KeptDimensions added(add_index, add_mask, D, op, "add_index"), kept(select_index, select_mask, D, op, "select_index");
  const Shape update_shape(residual, added.count(), op, "residual"), shape(residual, kept.count(), op, "residual");
  const Tensor update = apart_from(new_residual, rows_of(given_update, update_shape, residual, op, "update"), element);
  Tensor out = shape.empty(residual);
  const KeptNorm norm(weight, bias, kept, D, element, eps, weight_offset, center, op);
  if (D > 0)
    run({residual.const_data_ptr(), update.const_data_ptr(), added.mask(), new_residual.mutable_data_ptr(), kept.mask(),
         kept.count() ? out.mutable_data_ptr() : nullptr, norm.norm(), shape.rows(), D, added.count(), kept.count()},
        element);
  return out;
}

std::tuple<Tensor, Tensor> add_norm_select(Tensor given, Tensor update, Tensor add_index, MaybeTensor, MaybeTensor add_mask, MaybeTensor weight,
                                           MaybeTensor bias, Tensor select_index, MaybeTensor, MaybeTensor select_mask, double eps,
                                           double weight_offset, bool center) {
  STD_TORCH_CHECK(given.dim() >= 1, "add_norm_select: residual must have at least one dimension");
  const Tensor residual = dense(given);
  Tensor new_residual = torch::stable::empty_like(residual);
  Tensor selected = add_and_norm("add_norm_select", residual, update, add_index, add_mask, weight, bias, select_index, select_mask, eps,
                                 weight_offset, center, new_residual);
  return {new_residual, selected};
}

Tensor add_norm_select_(Tensor given, Tensor update, Tensor add_index, MaybeTensor, MaybeTensor add_mask, MaybeTensor weight, MaybeTensor bias,
                        Tensor select_index, MaybeTensor, MaybeTensor select_mask, double eps, double weight_offset, bool center) {
  STD_TORCH_CHECK(given.dim() >= 1, "add_norm_select_: residual must have at least one dimension");
  const Tensor residual = dense(given);
  Tensor selected = add_and_norm("add_norm_select_", residual, update, add_index, add_mask, weight, bias, select_index, select_mask, eps,
                                 weight_offset, center, residual);
  if (residual.get() != given.get()) torch::stable::copy_(given, residual);
  return selected;
}

void add_rows(const char* op, const Tensor& residual, const Tensor& given_update, const Tensor& index, const MaybeTensor& mask,
              const Tensor& new_residual) {
  const Element element = element_of(residual, op, "residual");
  const int64_t D = residual.size(residual.dim() - 1);
  const KeptDimensions added(index, mask, D, op, "index");
  const Shape shape(residual, added.count(), op, "residual");
  const Tensor update = apart_from(new_residual, rows_of(given_update, shape, residual, op, "update"), element);
  if (D > 0)
    run({residual.const_data_ptr(), update.const_data_ptr(), added.mask(), new_residual.mutable_data_ptr(), nullptr, nullptr, {},
         shape.rows(), D, added.count(), 0},
        element);
}

Tensor index_add(Tensor given, Tensor update, Tensor index, MaybeTensor, MaybeTensor mask) {
  STD_TORCH_CHECK(given.dim() >= 1, "index_add: residual must have at least one dimension");
  const Tensor residual = dense(given);
  Tensor new_residual = torch::stable::empty_like(residual);
  add_rows("index_add", residual, update, index, mask, new_residual);
  return new_residual;
}

void index_add_(Tensor given, Tensor update, Tensor index, MaybeTensor, MaybeTensor mask) {
  STD_TORCH_CHECK(given.dim() >= 1, "index_add_: residual must have at least one dimension");
  const Tensor residual = dense(given);
  add_rows("index_add_", residual, update, index, mask, residual);
  if (residual.get() != given.get()) torch::stable::copy_(given, residual);
}

Tensor index_select(Tensor given, Tensor index, MaybeTensor, MaybeTensor mask) {
  const char* op = "index_select";
  STD_TORCH_CHECK(given.dim() >= 1, op, ": x must have at least one dimension");
  const Tensor x = dense(given);
  const Element element = element_of(x, op, "x");
  const int64_t D = x.size(x.dim() - 1), bytes = bytes_of(element);
  const KeptDimensions kept(index, mask, D, op, "index");
  const Shape shape(x, kept.count(), op, "x");
  Tensor out = shape.empty(x);
  const auto select = kernels().select[int(element)];
  const void* rows = x.const_data_ptr();
  void* target = out.mutable_data_ptr();
  if (kept.count() > 0)
    torch::stable::parallel_for(0, shape.rows(), grain(D), [&](int64_t begin, int64_t end) {
      select(at(rows, begin, D, bytes), kept.mask(), at(target, begin, kept.count(), bytes), end - begin, D, kept.count());
    });
  return out;
}

// Sums over rows are taken within blocks of rows and then over the blocks; both orders depend only on the number of rows.
constexpr int64_t kMostBlocks = 64, kFewestRows = 16;

template <class A, class T> void scatter(const A* sums, const KeptDimensions& kept, T* out) {
  for (int64_t k = 0; k < kept.count(); ++k) pydisp::store_one(out[kept.index()[k]], sums[k]);
}
template <class A> void scatter(const A* sums, const KeptDimensions& kept, Tensor& out) {
  void* values = out.mutable_data_ptr();
  switch (out.scalar_type()) {
    case ScalarType::Double: for (int64_t k = 0; k < kept.count(); ++k) static_cast<double*>(values)[kept.index()[k]] = sums[k]; break;
    case ScalarType::Float: scatter(sums, kept, static_cast<float*>(values)); break;
    case ScalarType::BFloat16: scatter(sums, kept, static_cast<pydisp::BFloat16*>(values)); break;
    case ScalarType::Half: scatter(sums, kept, static_cast<pydisp::Half*>(values)); break;
    default: STD_TORCH_CHECK(false, "the gradient to a vector must be float16, bfloat16, float32 or float64");
  }
}

// The gradient to a vector of D values, of which only the kept ones were read; from `blocks` partial sums of K values, `stride` apart.
template <class A>
Tensor vector_gradient(A* partial, int64_t blocks, int64_t stride, const KeptDimensions& kept, const Tensor& like) {
  Tensor out = torch::stable::new_zeros(like, like.sizes());
  if (blocks == 0) return out;
  for (int64_t block = 1; block < blocks; ++block)
    for (int64_t k = 0; k < kept.count(); ++k) partial[k] += partial[block * stride + k];
  scatter(partial, kept, out);
  return out;
}

struct Needs { bool rows, update, weight, bias; };

std::tuple<Tensor, Tensor, Tensor, Tensor> gradients(const char* op, const Tensor& given_grad, const MaybeTensor& grad_residual, const Tensor& given,
                                                     const KeptDimensions* added, const MaybeTensor& weight, const MaybeTensor& bias, const KeptDimensions& kept,
                                                     double eps, double weight_offset, bool center, Needs needs) {
  const Tensor x = dense(given);
  const Element element = element_of(x, op, "x");
  const int64_t D = x.size(x.dim() - 1), K = kept.count(), A = added ? added->count() : 0, bytes = bytes_of(element);
  const Shape shape(x, K, op, "x");
  const int64_t M = shape.rows();
  const Tensor grad = rows_of(given_grad, shape, x, op, "grad");
  const Tensor passing = grad_residual ? rows_of(*grad_residual, Shape(x, D, op, "x"), x, op, "grad_residual") : Tensor(x);
  const KeptNorm norm(weight, std::nullopt, kept, D, element, eps, weight_offset, center, op);
  if (bias) vector_element(*bias, D, op, "bias");  // its values are not read, but its gradient has its length and dtype
  needs.weight = needs.weight && weight.has_value();
  needs.bias = needs.bias && bias.has_value();

  Tensor grad_x = needs.rows ? torch::stable::empty_like(x) : no_elements(x);
  Tensor grad_update = needs.update ? Shape(x, A, op, "x").empty(x) : no_elements(x);
  const int64_t rows = std::max(kFewestRows, (M + kMostBlocks - 1) / kMostBlocks), blocks = (M + rows - 1) / rows;
  const int64_t wide = element == Element::float64 ? 8 : 4, stride = K;
  const bool sums = needs.weight || needs.bias;
  const std::unique_ptr<char[]> partial(sums ? new char[2 * blocks * stride * wide + 1]() : nullptr);  // zeros
  char *gains = partial.get(), *shifts = gains + blocks * stride * wide;

  const pydisp::JunctionGradient whole{grad.const_data_ptr(), grad_residual ? passing.const_data_ptr() : nullptr, x.const_data_ptr(),
                                       kept.mask(), added ? added->mask() : nullptr, needs.rows ? grad_x.mutable_data_ptr() : nullptr,
                                       needs.update && A ? grad_update.mutable_data_ptr() : nullptr, nullptr, nullptr, norm.norm(), M, D, A, K};
  const auto backward = kernels().backward[int(element)];
  const int64_t step = sums ? rows : 1, steps = sums ? blocks : M;
  if (D > 0)
    torch::stable::parallel_for(0, steps, sums ? 1 : grain(D), [&](int64_t begin, int64_t end) {
      const std::unique_ptr<char[]> room(new char[pydisp::room_bytes(D, K)]);
      for (int64_t block = begin; block < end; block = sums ? block + 1 : end) {
        const int64_t first = block * step, last = std::min(M, sums ? first + step : end);
        pydisp::JunctionGradient part = whole;
        part.M = last - first;
        part.grad_selected = at(whole.grad_selected, first, K, bytes);
        part.grad_residual = at(whole.grad_residual, first, D, bytes);
        part.residual = at(whole.residual, first, D, bytes);
        part.grad = at(whole.grad, first, D, bytes);
        part.grad_update = at(whole.grad_update, first, A, bytes);
        if (needs.weight) part.grad_gain = gains + block * stride * wide;
        if (needs.bias) part.grad_shift = shifts + block * stride * wide;
        backward(part, room.get());
      }
    });

  const auto vector = [&](bool needed, char* sums_of, const MaybeTensor& like) {
    if (!needed) return no_elements(like ? *like : x);
    if (wide == 8) return vector_gradient(reinterpret_cast<double*>(sums_of), blocks, stride, kept, *like);
    return vector_gradient(reinterpret_cast<float*>(sums_of), blocks, stride, kept, *like);
  };
  return {grad_x, grad_update, vector(needs.weight, gains, weight), vector(needs.bias, shifts, bias)};
}

std::tuple<Tensor, Tensor, Tensor> norm_select_backward(Tensor grad, Tensor x, MaybeTensor weight, MaybeTensor bias, Tensor index, MaybeTensor,
                                                        MaybeTensor mask, double eps, double weight_offset, bool center, bool needs_x,
                                                        bool needs_weight, bool needs_bias) {
  const char* op = "norm_select_backward";
  STD_TORCH_CHECK(x.dim() >= 1, op, ": x must have at least one dimension");
  const KeptDimensions kept(index, mask, x.size(x.dim() - 1), op, "index");
  const auto gradient = gradients(op, grad, std::nullopt, x, nullptr, weight, bias, kept, eps, weight_offset, center,
                                  {needs_x, false, needs_weight, needs_bias});
  return {std::get<0>(gradient), std::get<2>(gradient), std::get<3>(gradient)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> add_norm_select_backward(
    Tensor grad_residual, Tensor grad_selected, Tensor new_residual, Tensor add_index, MaybeTensor, MaybeTensor add_mask, MaybeTensor weight,
    MaybeTensor bias, Tensor select_index, MaybeTensor, MaybeTensor select_mask, double eps, double weight_offset, bool center,
    bool needs_residual, bool needs_update, bool needs_weight, bool needs_bias) {
  const char* op = "add_norm_select_backward";
  STD_TORCH_CHECK(new_residual.dim() >= 1, op, ": new_residual must have at least one dimension");
  const int64_t D = new_residual.size(new_residual.dim() - 1);
  const KeptDimensions added(add_index, add_mask, D, op, "add_index"), kept(select_index, select_mask, D, op, "select_index");
  return gradients(op, grad_selected, grad_residual, new_residual, &added, weight, bias, kept, eps, weight_offset, center,
                   {needs_residual, needs_update, needs_weight, needs_bias});
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydisp, CPU, m) {
  m.impl("norm_select", TORCH_BOX(&norm_select));
  m.impl("norm_select_backward", TORCH_BOX(&norm_select_backward));
  m.impl("add_norm_select", TORCH_BOX(&add_norm_select));
  m.impl("add_norm_select_", TORCH_BOX(&add_norm_select_));
  m.impl("add_norm_select_backward", TORCH_BOX(&add_norm_select_backward));
  m.impl("index_add", TORCH_BOX(&index_add));
  m.impl("index_add_", TORCH_BOX(&index_add_));
  m.impl("index_select", TORCH_BOX(&index_select));
}
