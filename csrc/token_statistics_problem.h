#pragma once
// Shared by token_statistics and its backward: the checked arguments, the vocabulary in blocks, and products by torch.
//
// N tokens, D hidden, T type in memory, A type of the logits and of all arithmetic with them: float, or double for double. Products by torch
// take operands of A: 16-bit words are made float block by block for them.

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "token_statistics.h"

namespace pydisp::token_statistics {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kHiddenBytes = 8 << 20;     // hidden states copied or made float at a time

template <class T> constexpr ScalarType kType = ScalarType::Float;
template <> constexpr ScalarType kType<double> = ScalarType::Double;
template <> constexpr ScalarType kType<BFloat16> = ScalarType::BFloat16;
template <> constexpr ScalarType kType<Half> = ScalarType::Half;
template <class T> using Arithmetic = std::conditional_t<std::is_same_v<T, double>, double, float>;
template <class T> constexpr int64_t kTokens = kBlockTokens<Arithmetic<T>>;

inline int64_t rounded_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Uninitialised memory, aligned to a cache line.
template <class T> class Room {
 public:
  explicit Room(int64_t count = 0)
      : data_(count ? static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(64))) : nullptr) {}
  Room(Room&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Room(const Room&) = delete;
  Room& operator=(Room&& other) noexcept { std::swap(data_, other.data_); return *this; }
  ~Room() { if (data_) ::operator delete(data_, std::align_val_t(64)); }
  T* get() const { return data_; }

 private:
  T* data_;
};

template <class T> struct Matrix {
  T* data;
  int64_t rows, columns, row_stride, column_stride = 1;
  Matrix t() const { return {data, columns, rows, column_stride, row_stride}; }
  Tensor tensor() const {
    return torch::stable::from_blob(const_cast<std::remove_const_t<T>*>(data), {rows, columns}, {row_stride, column_stride},
                                    torch::stable::Device(torch::headeronly::DeviceType::CPU), kType<std::remove_const_t<T>>);
  }
};

// out = a b, or out += a b, by the torch functions that compiled models call, without autograd and dispatcher.
template <class A> void multiply(Matrix<A> out, Matrix<const A> a, Matrix<const A> b, bool add = false) {
  if (out.rows == 0 || out.columns == 0 || (add && a.columns == 0)) return;
  const Tensor result = out.tensor(), left = a.tensor(), right = b.tensor();
  STABLE_TORCH_ERROR_CODE_CHECK(add ? aoti_torch_cpu_addmm_out(result.get(), result.get(), left.get(), right.get(), 1.0, 1.0)
                                    : aoti_torch_cpu_mm_out(result.get(), left.get(), right.get()));
}

inline const TokenStatisticsKernels& kernels() { return PYDISP_PICK(token_statistics_kernels); }
template <class T> void convert(const T* from, T* to, int64_t count) { if (count) std::memcpy(to, from, count * sizeof(T)); }
inline void convert(const BFloat16* from, float* to, int64_t count) { kernels().widen_bfloat16(from, to, count); }
inline void convert(const Half* from, float* to, int64_t count) { kernels().widen_half(from, to, count); }
inline void convert(const float* from, BFloat16* to, int64_t count) { kernels().narrow_bfloat16(from, to, count); }
inline void convert(const float* from, Half* to, int64_t count) { kernels().narrow_half(from, to, count); }
inline void summarise(const LogitBlock<float>& block, const LogitSummary<float>& out) { kernels().summarise_float(block, out); }
inline void summarise(const LogitBlock<double>& block, const LogitSummary<double>& out) { kernels().summarise_double(block, out); }
inline void differentiate(const LogitBlock<float>& block, const LogitGradient<float>& given) {
  kernels().differentiate_float(block, given);
}
inline void differentiate(const LogitBlock<double>& block, const LogitGradient<double>& given) {
  kernels().differentiate_double(block, given);
}


// Runs items [0, count) in threads; results may depend only on the order of the work within one item.
template <class Each> void in_parallel(int64_t count, const Each& each) {
  // At least two: a single one would run outside a parallel region, where torch's product uses all threads and gives other bits.
  torch::stable::parallel_for(0, count == 1 ? 2 : count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < std::min(end, count); ++i) each(i);
  });
}

// A block of consecutive words of weight or of appended.
template <class T> struct Words {
  const T* rows;
  int64_t stride, count;
  int64_t first;  // number of its first word; appended words follow the vocabulary
};

// Shared by forward and backward: the checked arguments, and the vocabulary in blocks.
template <class T> struct Problem {
  using A = Arithmetic<T>;
  Tensor hidden, weight, targets;
  std::optional<Tensor> appended;
  int64_t N, D, vocab_size, words;
  Room<A> bias;
  bool has_bias;
  A softcap, scale;
  int64_t ignore_index, block_words;
  std::vector<Words<T>> blocks;

  Problem(const Tensor& given_hidden, const Tensor& given_weight, const std::optional<Tensor>& given_appended,
          const std::optional<Tensor>& given_bias, const Tensor& given_targets, std::optional<double> given_softcap, double given_scale,
          int64_t given_vocab_size, int64_t given_ignore_index)
      : hidden(with_unit_columns(given_hidden)), weight(with_unit_columns(given_weight)), targets(torch::stable::contiguous(given_targets)),
        N(hidden.size(0)), D(hidden.size(1)), vocab_size(given_vocab_size), words(vocab_size), has_bias(given_bias.has_value()),
        softcap(A(given_softcap.value_or(0))), scale(A(given_scale)), ignore_index(given_ignore_index) {
    if (given_appended) appended = with_unit_columns(*given_appended), words += appended->size(0);
    // 1.5 MiB of float words (1 to 2 are as good, 3 is worse; 512 tokens, D = 1024). The size depends only on D and the types, so that the
    // batch does not matter
    block_words = std::clamp<int64_t>((int64_t(3) << 17) / std::max<int64_t>(D, 1) / 64 * 64, 128, 1024);
    split(weight, vocab_size, 0);
    if (appended) split(*appended, appended->size(0), vocab_size);
    if (has_bias) {
      const Tensor source = torch::stable::contiguous(*given_bias);
      bias = Room<A>(words);
      convert(static_cast<const T*>(source.const_data_ptr()), bias.get(), words);
    }
  }

  static Tensor with_unit_columns(const Tensor& given) {
    return given.stride(1) == 1 && given.stride(0) >= given.size(1) ? given : torch::stable::contiguous(given);
  }

  void split(const Tensor& matrix, int64_t count, int64_t first) {
    const T* rows = static_cast<const T*>(matrix.const_data_ptr());
    for (int64_t v = 0; v < count; v += block_words)
      blocks.push_back({rows + v * matrix.stride(0), matrix.stride(0), std::min(block_words, count - v), first + v});
  }

  // The token's word, or -1.
  int64_t target(int64_t token) const {
    const int64_t t = static_cast<const int64_t*>(targets.const_data_ptr())[token];
    return t == ignore_index || t < 0 || t >= words ? -1 : t;
  }
  bool is_ignored(int64_t token) const { return static_cast<const int64_t*>(targets.const_data_ptr())[token] == ignore_index; }

  const T* word(int64_t v) const {
    const Tensor& matrix = v < vocab_size ? weight : *appended;
    return static_cast<const T*>(matrix.const_data_ptr()) + (v < vocab_size ? v : v - vocab_size) * matrix.stride(0);
  }

  LogitOptions<A> options(int64_t first_word) const { return {has_bias ? bias.get() + first_word : nullptr, scale, softcap}; }

  Room<A> word_room() const { return Room<A>(std::is_same_v<T, A> ? 0 : block_words * D); }
  Matrix<const A> matrix(const Words<T>& block, const Room<A>& room) const {
    if constexpr (std::is_same_v<T, A>) return {block.rows, block.count, D, block.stride};
    else {
      if (block.stride == D) convert(block.rows, room.get(), block.count * D);
      else for (int64_t v = 0; v < block.count; ++v) convert(block.rows + v * block.stride, room.get() + v * D, D);
      return {room.get(), block.count, D, D};
    }
  }
};

// Hidden states [begin, end) in the type of torch's products, aligned to a cache line, kR at a time; copied unless they are so already.
template <class T> class Tokens {
  using A = Arithmetic<T>;
  static constexpr int64_t kR = kTokens<T>;

 public:
  Tokens(const Problem<T>& problem, int64_t limit) : problem_(problem), stride_(rounded_up(problem.D, 64 / sizeof(A))) {
    const T* rows = static_cast<const T*>(problem.hidden.const_data_ptr());
    in_place_ = std::is_same_v<T, A> && reinterpret_cast<uintptr_t>(rows) % 64 == 0 && problem.hidden.stride(0) * sizeof(T) % 64 == 0;
    if (!in_place_) limit = std::min(limit, std::max<int64_t>(kHiddenBytes / (stride_ * int64_t(sizeof(A)) + 1), 1));
    limit_ = std::min(rounded_up(limit, kR), rounded_up(problem.N, kR));
  }

  int64_t limit() const { return limit_; }  // tokens at a time, a multiple of kR

  void take(int64_t begin, int64_t end) {
    begin_ = begin;
    copied_from_ = in_place_ ? end / kR * kR : begin;
    if (in_place_ && end % kR == 0) return;
    if (!room_.get()) room_ = Room<A>((in_place_ ? kR : limit_) * stride_);
    const int64_t D = problem_.D, padded = rounded_up(end, kR);
    for (int64_t i = copied_from_; i < padded; ++i) {
      A* to = room_.get() + (i - copied_from_) * stride_;
      if (i < end) convert(row(i), to, D);
      std::fill(to + (i < end ? D : 0), to + stride_, A{});
    }
  }

  Matrix<const A> block(int64_t token, int64_t count) const {  // a multiple of kR, those behind the last one are zero
    if constexpr (std::is_same_v<T, A>)
      if (token < copied_from_) return {row(token), count, problem_.D, problem_.hidden.stride(0)};
    return {room_.get() + (token - copied_from_) * stride_, count, problem_.D, stride_};
  }

  Matrix<const A> all(int64_t count) const {  // the count tokens that were taken
    if constexpr (std::is_same_v<T, A>)
      if (in_place_) return {row(begin_), count, problem_.D, problem_.hidden.stride(0)};
    return {room_.get(), count, problem_.D, stride_};
  }

 private:
  const T* row(int64_t token) const { return static_cast<const T*>(problem_.hidden.const_data_ptr()) + token * problem_.hidden.stride(0); }

  const Problem<T>& problem_;
  int64_t stride_, limit_, begin_ = 0, copied_from_ = 0;
  bool in_place_;
  Room<A> room_;
};

// Products of the first words with every token, before bias, scale and softcap, so that the backward need not compute them again.
template <class A> struct KeptProducts { A* data; int64_t words, tokens; };

// Whether bfloat16 is multiplied in pairs summed in float (product.h), without conversion: twice as fast if the processor has the
// instruction. Logits then differ by float rounding.
inline bool multiplies_bfloat16() {
  const char* wanted = std::getenv("PYDISP_BF16_MM");
  if (wanted && std::strcmp(wanted, "native") == 0) return true;
  if (wanted && std::strcmp(wanted, "upcast") == 0) return false;
  STD_TORCH_CHECK(!wanted || !*wanted || std::strcmp(wanted, "auto") == 0,
                  "PYDISP_BF16_MM is ", wanted, "; it must be native, upcast or auto");
  return isa() == Isa::avx512bf16;
}

// Calls run(T{}) with the type in memory.
template <class Run> void with_type(ScalarType type, const Run& run) {
  switch (type) {
    case ScalarType::Double: return run(double{});
    case ScalarType::Float: return run(float{});
    case ScalarType::BFloat16: return run(BFloat16{});
    case ScalarType::Half: return run(Half{});
    default: STD_TORCH_CHECK(false, "token_statistics: hidden must be float16, bfloat16, float32 or float64");
  }
}

inline void check(const Tensor& hidden, const Tensor& weight, const std::optional<Tensor>& appended, const std::optional<Tensor>& bias,
           const Tensor& targets, int64_t vocab_size) {
  STD_TORCH_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1),
                  "token_statistics: hidden and weight must be (N, D) and (V, D)");
  STD_TORCH_CHECK(targets.dim() == 1 && targets.size(0) == hidden.size(0) && targets.scalar_type() == ScalarType::Long,
                  "token_statistics: targets must be int64, one for each of the ", hidden.size(0), " rows of hidden");
  STD_TORCH_CHECK(!appended || (appended->dim() == 2 && appended->size(1) == weight.size(1)),
                  "token_statistics: appended must be (E, ", weight.size(1), ")");
  STD_TORCH_CHECK(vocab_size >= 0 && vocab_size <= weight.size(0),
                  "token_statistics: vocab_size is ", vocab_size, ", weight has ", weight.size(0), " rows");
  const int64_t words = vocab_size + (appended ? appended->size(0) : 0);
  STD_TORCH_CHECK(words > 0, "token_statistics: there is no word");
  STD_TORCH_CHECK(!bias || (bias->dim() == 1 && bias->size(0) >= words), "token_statistics: bias must have ", words, " values");
  const ScalarType type = hidden.scalar_type();
  STD_TORCH_CHECK(weight.scalar_type() == type && (!appended || appended->scalar_type() == type) && (!bias || bias->scalar_type() == type),
                  "token_statistics: weight, appended and bias must have hidden's dtype");
}

}  // namespace pydisp::token_statistics
