#pragma once
// Products of words with tokens, by torch or by product_isa.cpp, for a stretch of tokens at a time.
//
// A token's result must be the same in every batch. A BLAS may round otherwise for another shape: torch's product has kBlockTokens tokens,
// the last ones filled up with zeros, and as many words as their block of the vocabulary. 128 tokens: at 512 tokens the loss takes 0.93 to
// 0.95 of one bare product, with 64 0.98, with 32 more than 1.1 (AVX2, float, D = 1024, V = 128,256); a single token pays for all of them.
// The bits of product_isa.cpp's do not depend on the shape, so a few tokens cost what they are. Blocks of words are merged in their order,
// whichever thread computed them.

#include <algorithm>

#include "product.h"
#include "token_statistics_problem.h"

namespace pydisp::token_statistics {

// Products of words with the tokens of a sweep by torch, kBlockTokens tokens at a time.
template <class T, class M> class TorchProduct {
  using A = Arithmetic<M>;

 public:
  TorchProduct(const Problem<T, M>& problem, int64_t limit) : problem_(problem), tokens_(problem, limit) {}

  struct Work { Room<M> words, narrow; };  // of one thread
  Work work() const { return {problem_.word_room(), problem_.narrow_room(kTokens<M>)}; }
  int64_t limit() const { return tokens_.limit(); }        // tokens at a time, a multiple of kBlockTokens
  static int64_t columns(int64_t) { return kTokens<M>; }   // of a product for so many tokens
  void take(int64_t begin, int64_t end) { tokens_.take(begin, end); }
  Matrix<const M> prepare(const Words<T>& words, const Work& work) const { return problem_.matrix(words, work.words); }
  // x (words, columns) for the tokens from `token` on.
  void multiply(const Matrix<const M>& words, int64_t token, int64_t columns, A* x, int64_t stride, const Work& work) const {
    problem_.products(words, tokens_.block(token, columns), x, stride, work.narrow);
  }

 private:
  const Problem<T, M>& problem_;
  Tokens<T, M> tokens_;
};

// What a thread needs for a product of panels.
class ProductWork {
 public:
  explicit ProductWork(int64_t depth) : room_(product_room(depth)) {}
  float* get() const { return room_.get(); }

 private:
  Room<float> room_;
};

// The same by the product of product_isa.cpp, from panels.
template <class T> class PanelProduct {
  static constexpr int64_t kR = kTokens<float>;

 public:
  PanelProduct(const Problem<T, float>& problem, int64_t limit)
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
    panels_ = Room<float>(packed_ * problem_.D);
    const int64_t stride = problem_.hidden.stride(0);
    product_.pack(static_cast<const T*>(problem_.hidden.const_data_ptr()) + begin * stride, stride, end - begin, problem_.D, panels_.get());
  }
  const Words<T>& prepare(const Words<T>& words, const Work&) const { return words; }
  void multiply(const Words<T>& words, int64_t token, int64_t columns, float* x, int64_t stride, const Work& work) const {
    const int64_t first = token - begin_, last = std::min(first + columns, end_ - begin_);
    product_.multiply(words.rows, words.stride, words.count, problem_.D, panels_.get(), packed_, first, last, x, stride, work.get());
  }

 private:
  static const ProductOf<float>& product_of(const ProductKernels& all, float) { return all.of_float; }
  static const ProductOf<BFloat16>& product_of(const ProductKernels& all, BFloat16) { return all.of_bfloat16; }
  static const ProductOf<Half>& product_of(const ProductKernels& all, Half) { return all.of_half; }

  const Problem<T, float>& problem_;
  const ProductKernels& all_;
  const ProductOf<T>& product_;
  int64_t limit_, begin_ = 0, end_ = 0, packed_ = 0;
  Room<float> panels_;
};

// Torch's product would use AVX-512, and is slower than this one with AVX2 alone (product.h).
inline bool has_faster_product() { return isa() == Isa::avx2 && !supports(Isa::avx512); }

}  // namespace pydisp::token_statistics
