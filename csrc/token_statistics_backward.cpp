// The backward of token_statistics on CPUs: the products again, or those that were kept, their gradients in place, and two products more.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include "token_statistics_products.h"

namespace pydisp::token_statistics {
namespace {

constexpr int64_t kMaxGradientTokens = 1024;  // tokens whose probabilities are held at a time, for a block of words

template <class A> struct Cotangents { const A *lse, *grad_lse, *grad_target, *grad_mean; };

// Where gradients go; null where not needed. All are contiguous, grad_weight has the rows of weight.
template <class T> struct Gradients { T *hidden, *weight, *appended, *bias; };

template <class T, class M> class Backward {
  using A = Arithmetic<M>;
  static constexpr int64_t kR = kTokens<M>;
  static constexpr bool kMayHavePanels = std::is_same_v<M, float>;
  using Panels = PanelProduct<std::conditional_t<kMayHavePanels, T, float>>;
  static constexpr bool kDirect = std::is_same_v<T, A>;  // products are added up right in the result
  static constexpr int64_t kChunk = 2 * kR;  // tokens of one product to hidden: no loss is read off these, so fewer and larger ones serve
  static constexpr int64_t kPad = 16;  // rows of logits one cache line longer: rows at a power of two apart share cache sets

 public:
  Backward(const Problem<T, M>& problem, const Cotangents<A>& given, const Kept<const A>& kept, const Gradients<T>& out)
      : problem_(problem), kept_(kept), out_(out), tokens_(problem, kMaxGradientTokens), padded_(rounded_up(problem.N, kR)),
        cotangents_(4 * padded_), grad_bias_(out.bias ? problem.words : 0) {
    const int64_t N = problem.N;
    for (int64_t k = 0; k < 4; ++k) {
      const A* from = k == 0 ? given.lse : k == 1 ? given.grad_lse : k == 2 ? given.grad_target : given.grad_mean;
      A* to = cotangents_.data() + k * padded_;
      for (int64_t i = 0; from && i < N; ++i) to[i] = k == 3 ? from[i] / A(problem.words) : from[i];
      // a column behind the last token has no probability at all: a large bias alone would overflow against an LSE of 0
      if (k == 0) std::fill(to + N, to + padded_, std::numeric_limits<A>::infinity());
    }
    // a loss of NaN has no other gradient: an optimizer must not take a step on it
    for (int64_t i = 0; i < N; ++i)
      if (problem.target(i) < 0 && !problem.is_ignored(i)) cotangents_[padded_ + i] = std::numeric_limits<A>::quiet_NaN();
    if (out.hidden) hidden_room_ = Room<A>((kDirect ? (N % kR ? kR : 0) : padded_) * problem.D);
    if constexpr (kMayHavePanels)
      if (has_faster_product() && kept.words < problem.words) panels_.emplace(problem, tokens_.limit());
    const int64_t slots = std::min<int64_t>(torch::stable::get_num_threads(), problem.blocks.size());
    for (int64_t i = 0; i < slots; ++i) slots_.emplace_back(problem, tokens_.limit(), needs_words());
  }

  void run() {
    const int64_t blocks = problem_.blocks.size(), slots = slots_.size(), limit = tokens_.limit();
    for (int64_t first = 0; first < blocks; first += slots) {
      const int64_t count = std::min(slots, blocks - first);
      in_parallel(count, [&](int64_t s) { slots_[s].matrix = problem_.matrix(problem_.blocks[first + s], slots_[s].words); });
      for (int64_t begin = 0; begin < problem_.N; begin += limit) {
        const int64_t end = std::min(begin + limit, problem_.N);
        if (first == 0 || problem_.N > limit) take(begin, end);
        in_parallel(count, [&](int64_t s) { differentiate_block(problem_.blocks[first + s], slots_[s], begin, end); });
        if (!out_.hidden) continue;
        const std::vector<Chunk> parts = chunks(begin, end);
        in_parallel(parts.size(), [&](int64_t i) { add_hidden(parts[i], parts[i].token - begin, first == 0, count); });
      }
      if constexpr (!kDirect)
        in_parallel(count, [&](int64_t s) {
          const Words<T>& block = problem_.blocks[first + s];
          if (T* to = grad_words(block)) convert(slots_[s].grad_words.get(), to, block.count * problem_.D);
        });
    }
    if (out_.hidden) write_hidden();
    if (out_.bias) convert(grad_bias_.data(), out_.bias, problem_.words);
  }

 private:
  bool needs_words() const { return out_.weight || out_.appended; }
  T* grad_words(const Words<T>& block) const {
    const bool is_appended = block.first >= problem_.vocab_size;
    T* base = is_appended ? out_.appended : out_.weight;
    return base ? base + (is_appended ? block.first - problem_.vocab_size : block.first) * problem_.D : nullptr;
  }

  void take(int64_t begin, int64_t end) {
    tokens_.take(begin, end);
    if constexpr (kMayHavePanels)
      if (panels_) panels_->take(begin, end);
  }

  struct Slot {
    Slot(const Problem<T, M>& problem, int64_t tokens, bool needs_words)
        : words(problem.word_room()), narrow(problem.narrow_room(kR)), grad(problem.block_words * (tokens + kPad)),
          narrow_grad(std::is_same_v<M, A> ? 0 : problem.block_words * (tokens + kPad)),
          grad_words(kDirect || !needs_words ? 0 : problem.block_words * problem.D),
          narrow_grad_words(std::is_same_v<M, A> || !needs_words ? 0 : problem.block_words * problem.D), work(problem.D) {}
    Room<M> words, narrow;
    ProductWork work;
    Room<A> grad;  // (words, tokens): gradients to the products
    Room<M> narrow_grad;
    Room<A> grad_words;
    Room<M> narrow_grad_words;
    Matrix<const M> matrix{};
    int64_t stride = 0;

    Matrix<const M> gradient(int64_t rows, int64_t from, int64_t columns) const {
      if constexpr (std::is_same_v<M, A>) return {grad.get() + from, rows, columns, stride};
      else return {narrow_grad.get() + from, rows, columns, stride};
    }
  };

  struct Chunk { int64_t token, count; };
  // The tokens [begin, end) by kChunk; those behind the last whole kR, filled up to kR, by themselves.
  static std::vector<Chunk> chunks(int64_t begin, int64_t end) {
    std::vector<Chunk> found;
    const int64_t whole = end / kR * kR;
    for (int64_t i = begin; i < whole; i += kChunk) found.push_back({i, std::min(kChunk, whole - i)});
    if (whole < end) found.push_back({whole, kR});
    return found;
  }

  // Into slot.grad, with the shapes of forward's products and so its bits; 0 behind the last token.
  void products(const Words<T>& block, Slot& slot, int64_t begin, int64_t end) {
    A* x = slot.grad.get();
    if (block.first + block.count <= kept_.words) {  // whole blocks only: a product of other words may round otherwise
      for (int64_t v = 0; v < block.count; ++v)
        convert(kept_.data + (block.first + v) * kept_.tokens + begin, x + v * slot.stride, end - begin);
    } else if (!panel_products(block, slot, begin, end))
      for (int64_t i = begin; i < end; i += kR) problem_.products(slot.matrix, tokens_.block(i, kR), x + (i - begin), slot.stride, slot.narrow);
    for (int64_t v = 0; v < block.count; ++v) {
      A* row = x + v * slot.stride;
      std::fill(row + (end - begin), row + rounded_up(end - begin, kR), A(0));
    }
  }
  bool panel_products(const Words<T>& block, Slot& slot, int64_t begin, int64_t end) {
    if constexpr (kMayHavePanels)
      if (panels_) return panels_->multiply(block, begin, panels_->wide(end - begin), slot.grad.get(), slot.stride, slot.work), true;
    return false;
  }

  void differentiate_block(const Words<T>& block, Slot& slot, int64_t begin, int64_t end) {
    slot.stride = rounded_up(end - begin, kR) + kPad;
    products(block, slot, begin, end);
    for (int64_t i = begin; i < end; i += kR) {
      A* x = slot.grad.get() + (i - begin);
      int64_t target[kR];
      for (int64_t j = 0; j < kR; ++j) target[j] = (i + j < end ? problem_.target(i + j) : -1) - block.first;
      const A* given = cotangents_.data() + i;
      differentiate(LogitBlock<A>{x, block.count, slot.stride, kR, problem_.options(block.first)},
                    LogitGradient<A>{given, given + padded_, given + 2 * padded_, given + 3 * padded_, target,
                                             out_.bias ? grad_bias_.data() + block.first : nullptr});
    }
    if constexpr (!std::is_same_v<M, A>) convert(slot.grad.get(), slot.narrow_grad.get(), block.count * slot.stride);
    T* to = grad_words(block);
    if (!to) return;
    const Matrix<const M> grad = slot.gradient(block.count, 0, end - begin), tokens = tokens_.all(end - begin);
    const int64_t D = problem_.D;
    if constexpr (kDirect) multiply<M>({to, block.count, D, D}, grad, tokens, begin > 0);
    else if constexpr (std::is_same_v<M, A>) multiply<M>({slot.grad_words.get(), block.count, D, D}, grad, tokens, begin > 0);
    else {
      multiply<M>({slot.narrow_grad_words.get(), block.count, D, D}, grad, tokens);
      accumulate(slot.narrow_grad_words.get(), slot.grad_words.get(), block.count * D, begin > 0);
    }
  }

  A* grad_hidden(int64_t token) {
    if constexpr (kDirect) return token + kR <= problem_.N ? out_.hidden + token * problem_.D : hidden_room_.get();
    else return hidden_room_.get() + token * problem_.D;
  }

  void add_hidden(Chunk chunk, int64_t from, bool is_first, int64_t count) {
    const int64_t D = problem_.D;
    A* to = grad_hidden(chunk.token);
    Room<M> narrow(std::is_same_v<M, A> ? 0 : chunk.count * D);
    for (int64_t s = 0; s < count; ++s) {
      const Slot& slot = slots_[s];
      const Matrix<const M> grad = slot.gradient(slot.matrix.rows, from, chunk.count).t();
      const bool add = !is_first || s > 0;
      if constexpr (std::is_same_v<M, A>) multiply<M>({to, chunk.count, D, D}, grad, slot.matrix, add);
      else {
        multiply<M>({narrow.get(), chunk.count, D, D}, grad, slot.matrix);
        accumulate(narrow.get(), to, chunk.count * D, add);
      }
    }
  }

  static void accumulate(const M* from, A* to, int64_t count, bool add) {
    for (int64_t i = 0; i < count; ++i) to[i] = (add ? to[i] : A(0)) + load_one(from[i]);
  }

  void write_hidden() {
    const int64_t N = problem_.N, D = problem_.D, tail = N / kR * kR;
    if constexpr (kDirect) convert(hidden_room_.get(), out_.hidden + tail * D, (N - tail) * D);
    else in_parallel((N + kR - 1) / kR, [&](int64_t r) {
      convert(hidden_room_.get() + r * kR * D, out_.hidden + r * kR * D, std::min(kR, N - r * kR) * D);
    });
  }

  const Problem<T, M>& problem_;
  Kept<const A> kept_;
  Gradients<T> out_;
  Tokens<T, M> tokens_;
  std::optional<Panels> panels_;
  int64_t padded_;
  std::vector<A> cotangents_;  // lse, filled up with infinity; grad_lse, grad_target, grad_mean / words, with zeros
  std::vector<A> grad_bias_;
  Room<A> hidden_room_;
  std::vector<Slot> slots_;
};

using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Four token_statistics_backward(Tensor grad_lse, Tensor grad_target, Tensor grad_mean, Tensor lse, Tensor hidden, Tensor weight,
                               std::optional<Tensor> appended, std::optional<Tensor> bias, Tensor targets, std::optional<double> softcap,
                               double scale, int64_t vocab_size, int64_t ignore_index, bool needs_hidden, bool needs_weight,
                               bool needs_appended, bool needs_bias, std::optional<Tensor> kept) {
  check(hidden, weight, appended, bias, targets, vocab_size);
  const int64_t N = hidden.size(0), D = hidden.size(1), words = vocab_size + (appended ? appended->size(0) : 0);
  const ScalarType wide = hidden.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  for (const Tensor* given : {&grad_lse, &grad_target, &lse})
    STD_TORCH_CHECK(given->dim() == 1 && given->size(0) == N && given->scalar_type() == wide,
                    "token_statistics_backward: lse and the gradients to it and to target_logit must have one value a token");
  STD_TORCH_CHECK(grad_mean.numel() == 0 || (grad_mean.numel() == N && grad_mean.scalar_type() == wide),
                  "token_statistics_backward: grad_mean must have one value a token, or none at all");
  STD_TORCH_CHECK(!kept || (kept->dim() == 2 && kept->size(0) <= words && kept->size(1) == N && kept->scalar_type() == wide),
                  "token_statistics_backward: kept must be what token_statistics returned for these tokens and words");
  STD_TORCH_CHECK((appended || !needs_appended) && (bias || !needs_bias),
                  "token_statistics_backward: a gradient was asked for that has no argument");
  auto rows = [&](const Tensor& like, bool needed) {
    return needed ? torch::stable::new_empty(hidden, {like.size(0), D}) : torch::stable::new_empty(hidden, {0});
  };
  Tensor grad_hidden = rows(hidden, needs_hidden), grad_weight = rows(weight, needs_weight);
  Tensor grad_appended = needs_appended ? rows(*appended, true) : rows(hidden, false);
  Tensor grad_bias = torch::stable::new_empty(hidden, {needs_bias ? bias->size(0) : 0});
  // what no word or no token writes
  if (needs_weight && (N == 0 || vocab_size < weight.size(0))) {
    Tensor padding = torch::stable::narrow(grad_weight, 0, N == 0 ? 0 : vocab_size, weight.size(0) - (N == 0 ? 0 : vocab_size));
    torch::stable::zero_(padding);
  }
  if (needs_appended && N == 0) torch::stable::zero_(grad_appended);
  if (needs_bias && (N == 0 || words < bias->size(0))) torch::stable::zero_(grad_bias);
  if (N > 0)
    with_types(hidden.scalar_type(), [&](auto stored, auto multiplied) {
      using T = decltype(stored);
      using M = decltype(multiplied);
      using A = Arithmetic<M>;
      const Problem<T, M> problem(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index);
      const Tensor dense_lse = torch::stable::contiguous(lse), dense_grad_lse = torch::stable::contiguous(grad_lse),
                   dense_grad_target = torch::stable::contiguous(grad_target), dense_grad_mean = torch::stable::contiguous(grad_mean);
      auto from = [](const Tensor& tensor) { return tensor.numel() ? static_cast<const A*>(tensor.const_data_ptr()) : nullptr; };
      auto to = [](const Tensor& tensor, bool needed) { return needed ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr; };
      const Tensor dense_kept = kept ? torch::stable::contiguous(*kept) : torch::stable::new_empty(hidden, {0, N}, wide);
      Backward<T, M>(problem, {from(dense_lse), from(dense_grad_lse), from(dense_grad_target), from(dense_grad_mean)},
                     {from(dense_kept), dense_kept.size(0), N},
                     {to(grad_hidden, needs_hidden), to(grad_weight, needs_weight), to(grad_appended, needs_appended),
                      to(grad_bias, needs_bias)})
          .run();
    });
  return {grad_hidden, grad_weight, grad_appended, grad_bias};
}

}  // namespace
}  // namespace pydisp::token_statistics

STABLE_TORCH_LIBRARY_IMPL(pydisp, CPU, m) {
  m.impl("token_statistics_backward", TORCH_BOX(&pydisp::token_statistics::token_statistics_backward));
}
