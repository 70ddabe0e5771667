#pragma once
// Products of words with tokens, by torch or by product_isa.cpp, for a stretch of tokens at a time.
//
// A token's result must be the same in every batch, but a BLAS may round differently for another shape. So torch's product always has
// kBlockTokens tokens, the last ones filled up with zeros, and as many words as the block of the vocabulary. Why 128 tokens: the loss of
// 512 tokens then takes 0.93 to 0.95 of one bare product, with 64 it takes 0.98, with 32 more than 1.1 (AVX2, float, D = 1024,
// V = 128,256). A single token costs as much as all 128. The bits of the products in product_isa.cpp do not depend on the shape, so there a
// few tokens cost less. Blocks of words are merged in their order, whichever thread computed them.

#include <algorithm>

#include "product.h"
#include "token_statistics_problem.h"

namespace pydisp::token_statistics {

// Products of words with the tokens of a sweep by torch, kBlockTokens tokens at a time.
template <class T> class TorchProduct {
  using A = Arithmetic<T>;

 public:
  TorchProduct(const Problem<T>& problem, int64_t limit) : problem_(problem), tokens_(problem, limit) {}

  using Work = Room<A>;  // of one thread
  Work work() const { return problem_.word_room(); }
  int64_t limit() const { return tokens_.limit(); }        // tokens at a time, a multiple of kBlockTokens
  static int64_t columns(int64_t) { return kTokens<T>; }   // of a product for so many tokens
  void take(int64_t begin, int64_t end) { tokens_.take(begin, end); }
  Matrix<const A> prepare(const Words<T>& words, const Work& work) const { return problem_.matrix(words, work); }
  // x (words, columns) for the tokens from `token` on.
  void multiply(const Matrix<const A>& words, int64_t token, int64_t columns, A* x, int64_t stride, const Work&) const {
    token_statistics::multiply<A>({x, words.rows, columns, stride}, words, tokens_.block(token, columns).t());
  }

 private:
  const Problem<T>& problem_;
  Tokens<T> tokens_;
};

// What a thread needs for a product of panels.
class ProductWork {
 public:
  explicit ProductWork(int64_t depth) : room_(product_room(depth)) {}
  float* get() const { return room_.get(); }

 private:
  Room<float> room_;
};

inline const ProductOf<float>& product_of(const ProductKernels& all, float) { return all.of_float; }
inline const ProductOf<BFloat16>& product_of(const ProductKernels& all, BFloat16) {
  return multiplies_bfloat16() ? all.of_pairs : all.of_bfloat16;
}
inline const ProductOf<Half>& product_of(const ProductKernels& all, Half) { return all.of_half; }

// The same by the products of product_isa.cpp, from panels; T is no double.
template <class T> class PanelProduct {
  static constexpr int64_t kR = kTokens<T>;

 public:
  PanelProduct(const Problem<T>& problem, int64_t limit)
      : problem_(problem), all_(PYDISP_PICK(product_kernels)), product_(product_of(all_, T{})),
        limit_(rounded_up(std::min({limit, problem.N, std::max<int64_t>(kHiddenBytes / (4 * problem.D + 1), 1)}), kR)) {}

  using Work = ProductWork;
  Work work() const { return Work(problem_.D); }
  int64_t limit() const { return limit_; }
  int64_t wide(int64_t count) const { return rounded_up(count, all_.panel); }
  int64_t columns(int64_t count) const { return wide(std::min(count, kR)); }
  void take(int64_t begin, int64_t end) {
    begin_ = begin, end_ = end;
    packed_ = wide(end - begin);
    panels_ = Room<float>(panel_floats(product_, packed_, problem_.D));
    product_.pack(token(begin), problem_.hidden.stride(0), end - begin, problem_.D, panels_.get());
  }
  const Words<T>& prepare(const Words<T>& words, const Work&) const { return words; }
  void multiply(const Words<T>& words, int64_t token, int64_t columns, float* x, int64_t stride, const Work& work) const {
    const int64_t first = token - begin_, last = std::min(first + columns, end_ - begin_);
    product_.multiply(words.rows, words.stride, words.count, problem_.D, panels_.get(), packed_, first, last, x, stride, work.get());
  }

  // For the gradients: D columns of the tokens that were taken, or of a block of words.
  Room<float> room_across(int64_t depth) const { return Room<float>(panel_floats(product_, wide(problem_.D), depth)); }
  void pack_tokens_across(const Room<float>& panels) const {
    product_.pack_across(token(begin_), problem_.hidden.stride(0), problem_.D, end_ - begin_, panels.get());
  }
  void pack_across(const Words<T>& words, const Room<float>& panels) const {
    product_.pack_across(words.rows, words.stride, problem_.D, words.count, panels.get());
  }
  // out (count, D) = rows times what was packed across, or is added to.
  void multiply_gradient(const GradientRows& rows, int64_t count, int64_t depth, const Room<float>& panels, float* out, bool add,
                         const Work& work) const {
    product_.multiply_gradient(rows, count, depth, panels.get(), problem_.D, out, problem_.D, add, work.get());
  }

 private:
  const T* token(int64_t token) const {
    return static_cast<const T*>(problem_.hidden.const_data_ptr()) + token * problem_.hidden.stride(0);
  }

  const Problem<T>& problem_;
  const ProductKernels& all_;
  const ProductOf<T>& product_;
  int64_t limit_, begin_ = 0, end_ = 0, packed_ = 0;
  Room<float> panels_;
};

template <class T> bool multiplies_pairs() { return std::is_same_v<T, BFloat16> && multiplies_bfloat16(); }

// Whether the logits are computed by panels. On processors with AVX2 only, panels are faster than torch's product (product.h). With AVX-512
// they are faster still: on a Zen 5, where MKL runs AVX2 code, 240 GFLOP/s against 103 (128 columns, D = 1024), and 440 in pairs, while
// torch's bfloat16 product, rounded to bfloat16, has 460. If AVX2 is chosen on a processor with AVX-512, torch's product uses AVX-512.
template <class T> bool has_faster_product() {
  if (std::is_same_v<T, double>) return false;
  return multiplies_pairs<T>() || isa() >= Isa::avx512 || (isa() == Isa::avx2 && !supports(Isa::avx512));
}
// Whether panels also compute the two products of the gradients; with AVX2, torch's products are as fast.
template <class T> bool has_faster_gradients() { return !std::is_same_v<T, double> && (multiplies_pairs<T>() || isa() >= Isa::avx512); }

}  // namespace pydisp::token_statistics
