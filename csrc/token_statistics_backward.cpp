// The backward of token_statistics on CPUs: computes the products again, or takes kept ones, turns them into gradients in place, and makes
// two more products.

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

// The destinations of the gradients; null if not needed. All are contiguous; grad_weight has the rows of weight.
template <class T> struct Gradients { T *hidden, *weight, *appended, *bias; };

template <class T> class Backward {
  using A = Arithmetic<T>;
  static constexpr int64_t kR = kTokens<T>;
  static constexpr bool kMayHavePanels = !std::is_same_v<T, double>;
  using Panels = PanelProduct<std::conditional_t<kMayHavePanels, T, float>>;
  static constexpr bool kDirect = std::is_same_v<T, A>;  // products are added up right in the result
  static constexpr int64_t kChunk = 2 * kR;  // tokens of one product to hidden: no loss is read off these, so fewer and larger ones serve
  static constexpr int64_t kPad = 16;  // rows of logits one cache line longer: rows at a power of two apart share cache sets

 public:
  Backward(const Problem<T>& problem, const Cotangents<A>& given, const KeptProducts<const A>& kept, const Gradients<T>& out)
      : problem_(problem), kept_(kept), out_(out), has_panel_gradients_(has_faster_gradients<T>()), tokens_(problem, kMaxGradientTokens),
        padded_(rounded_up(problem.N, kR)), cotangents_(4 * padded_), grad_bias_(out.bias ? problem.words : 0) {
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
      if (has_panel_gradients_ || (has_faster_product<T>() && kept.words < problem.words)) panels_.emplace(problem, kMaxGradientTokens);
    limit_ = panels_ ? panels_->limit() : tokens_.limit();
    if (panels_ && !has_panel_gradients_) limit_ = std::min(limit_, tokens_.limit());
    if constexpr (kMayHavePanels)
      if (has_panel_gradients_ && needs_words()) token_panels_ = panels_->room_across(std::min(limit_, N));
    const int64_t slots = std::min<int64_t>(torch::stable::get_num_threads(), problem.blocks.size());
    for (int64_t i = 0; i < slots; ++i) {
      slots_.emplace_back(problem, limit_, needs_words(), !has_panel_gradients_);
      if constexpr (kMayHavePanels)
        if (has_panel_gradients_ && out.hidden) slots_.back().word_panels = panels_->room_across(problem.block_words);
    }
  }

  void run() {
    const int64_t blocks = problem_.blocks.size(), slots = slots_.size();
    for (int64_t first = 0; first < blocks; first += slots) {
      const int64_t count = std::min(slots, blocks - first);
      in_parallel(count, [&](int64_t s) { prepare(problem_.blocks[first + s], slots_[s]); });
      for (int64_t begin = 0; begin < problem_.N; begin += limit_) {
        const int64_t end = std::min(begin + limit_, problem_.N);
        if (first == 0 || problem_.N > limit_) take(begin, end);
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
    if (!has_panel_gradients_) tokens_.take(begin, end);
    if constexpr (kMayHavePanels) {
      if (panels_) panels_->take(begin, end);
      if (token_panels_.get()) panels_->pack_tokens_across(token_panels_);
    }
  }

  struct Slot {
    Slot(const Problem<T>& problem, int64_t tokens, bool needs_words, bool has_torch_gradients)
        : words(has_torch_gradients ? problem.word_room() : Room<A>()), grad(problem.block_words * (tokens + kPad)),
          grad_words(kDirect || !needs_words ? 0 : problem.block_words * problem.D), work(problem.D) {}
    Room<A> words;
    Room<float> word_panels;
    Room<A> grad;  // (words, tokens): gradients to the products
    Room<A> grad_words;
    ProductWork work;
    Matrix<const A> matrix{};
    int64_t stride = 0, count = 0;

    Matrix<const A> gradient(int64_t rows, int64_t from, int64_t columns) const { return {grad.get() + from, rows, columns, stride}; }
  };

  void prepare(const Words<T>& block, Slot& slot) {
    slot.count = block.count;
    if (!has_panel_gradients_) {
      slot.matrix = problem_.matrix(block, slot.words);
      return;
    }
    if constexpr (kMayHavePanels)
      if (slot.word_panels.get()) panels_->pack_across(block, slot.word_panels);
  }

  struct Chunk { int64_t token, count; };
  // The tokens [begin, end) by kChunk; for torch's product those behind the last whole kR, filled up to kR, by themselves.
  std::vector<Chunk> chunks(int64_t begin, int64_t end) const {
    std::vector<Chunk> parts;
    const int64_t whole = has_panel_gradients_ ? end : end / kR * kR;
    for (int64_t i = begin; i < whole; i += kChunk) parts.push_back({i, std::min(kChunk, whole - i)});
    if (whole < end) parts.push_back({whole, kR});
    return parts;
  }

  // Into slot.grad, with the shapes of forward's products and so its bits; 0 behind the last token.
  void products(const Words<T>& block, Slot& slot, int64_t begin, int64_t end) {
    A* x = slot.grad.get();
    if (block.first + block.count <= kept_.words) {  // whole blocks only: a product of other words may round otherwise
      for (int64_t v = 0; v < block.count; ++v)
        convert(kept_.data + (block.first + v) * kept_.tokens + begin, x + v * slot.stride, end - begin);
    } else if (!panel_products(block, slot, begin, end))
      for (int64_t i = begin; i < end; i += kR)
        multiply<A>({x + (i - begin), block.count, kR, slot.stride}, slot.matrix, tokens_.block(i, kR).t());
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
      const int64_t columns = panels_ ? panels_->columns(end - i) : kR;
      int64_t target[kR];
      for (int64_t j = 0; j < columns; ++j) target[j] = (i + j < end ? problem_.target(i + j) : -1) - block.first;
      const A* given = cotangents_.data() + i;
      differentiate(LogitBlock<A>{x, block.count, slot.stride, columns, problem_.options(block.first)},
                    LogitGradient<A>{given, given + padded_, given + 2 * padded_, given + 3 * padded_, target,
                                             out_.bias ? grad_bias_.data() + block.first : nullptr});
    }
    T* to = grad_words(block);
    if (!to) return;
    A* sums;
    if constexpr (kDirect) sums = to;
    else sums = slot.grad_words.get();
    if (has_panel_gradients_) {
      if constexpr (kMayHavePanels)
        panels_->multiply_gradient({slot.grad.get(), slot.stride, false}, block.count, end - begin, token_panels_, sums, begin > 0, slot.work);
    } else multiply<A>({sums, block.count, problem_.D, problem_.D}, slot.gradient(block.count, 0, end - begin), tokens_.all(end - begin), begin > 0);
  }

  A* grad_hidden(int64_t token) {
    if constexpr (kDirect) return has_panel_gradients_ || token + kR <= problem_.N ? out_.hidden + token * problem_.D : hidden_room_.get();
    else return hidden_room_.get() + token * problem_.D;
  }

  void add_hidden(Chunk chunk, int64_t from, bool is_first, int64_t count) {
    const int64_t D = problem_.D;
    A* to = grad_hidden(chunk.token);
    const ProductWork work(has_panel_gradients_ ? D : 0);
    for (int64_t s = 0; s < count; ++s) {
      const Slot& slot = slots_[s];
      const bool add = !is_first || s > 0;
      if (has_panel_gradients_) {
        if constexpr (kMayHavePanels)
          panels_->multiply_gradient({slot.grad.get() + from, slot.stride, true}, chunk.count, slot.count, slot.word_panels, to, add, work);
      } else multiply<A>({to, chunk.count, D, D}, slot.gradient(slot.count, from, chunk.count).t(), slot.matrix, add);
    }
  }

  void write_hidden() {
    const int64_t N = problem_.N, D = problem_.D, tail = N / kR * kR;
    if constexpr (kDirect) {
      if (!has_panel_gradients_) convert(hidden_room_.get(), out_.hidden + tail * D, (N - tail) * D);
    } else in_parallel((N + kR - 1) / kR, [&](int64_t r) {
      convert(hidden_room_.get() + r * kR * D, out_.hidden + r * kR * D, std::min(kR, N - r * kR) * D);
    });
  }

  const Problem<T>& problem_;
  KeptProducts<const A> kept_;
  Gradients<T> out_;
  bool has_panel_gradients_;  // else torch's products
  Tokens<T> tokens_;
  std::optional<Panels> panels_;
  int64_t padded_, limit_;
  std::vector<A> cotangents_;  // lse, filled up with infinity; grad_lse, grad_target, grad_mean / words, with zeros
  std::vector<A> grad_bias_;
  Room<A> hidden_room_;
  Room<float> token_panels_;
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
    with_type(hidden.scalar_type(), [&](auto stored) {
      using T = decltype(stored);
      using A = Arithmetic<T>;
      const Problem<T> problem(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index);
      const Tensor dense_lse = torch::stable::contiguous(lse), dense_grad_lse = torch::stable::contiguous(grad_lse),
                   dense_grad_target = torch::stable::contiguous(grad_target), dense_grad_mean = torch::stable::contiguous(grad_mean);
      auto from = [](const Tensor& tensor) { return tensor.numel() ? static_cast<const A*>(tensor.const_data_ptr()) : nullptr; };
      auto to = [](const Tensor& tensor, bool needed) { return needed ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr; };
      const Tensor dense_kept = kept ? torch::stable::contiguous(*kept) : torch::stable::new_empty(hidden, {0, N}, wide);
      Backward<T>(problem, {from(dense_lse), from(dense_grad_lse), from(dense_grad_target), from(dense_grad_mean)},
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
