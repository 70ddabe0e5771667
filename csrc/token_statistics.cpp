// token_statistics on CPUs: products of words with tokens, block by block, and the passes of token_statistics_isa.cpp over each block. The
// schema and the reference are in pydisp/ops/token_statistics.py.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include "token_statistics_products.h"

namespace pydisp::token_statistics {
namespace {

constexpr int64_t kMaxTokens = 8192;  // tokens whose running sums are held at a time

struct Wanted { bool mean, entropy, rank, argmax; };

template <class A> struct Results {
  A *lse, *target_logit, *mean_logit, *entropy;
  int64_t *rank, *argmax;
};

// The statistics of the tokens [begin, end).
template <class T, class Product> class Sweep {
  using A = Arithmetic<T>;
  static constexpr int64_t kR = kTokens<T>;

 public:
  Sweep(const Problem<T>& problem, Wanted wanted, const KeptProducts<A>& kept, int64_t begin, int64_t end, int64_t threads, Product& product)
      : problem_(problem), wanted_(wanted), kept_(kept), begin_(begin), end_(end), product_(product), running_(end - begin),
        threshold_(rounded_up(end - begin, kR)) {
    const int64_t slots = std::min<int64_t>(threads, problem.blocks.size());
    for (int64_t i = 0; i < slots; ++i) slots_.emplace_back(problem, product, rounded_up(end - begin, kR));
  }

  void run(const Results<A>& out) {
    product_.take(begin_, end_);
    if (wanted_.rank) {
      // The target's logit must be known before the words above it are counted. A product with only the rows of the targets gives it, equal
      // to the bit if the BLAS sums in the same order. If not, the words are counted again, with the logit from the block.
      guess_targets();
      sweep();
      bool same = true;
      for (int64_t i = 0; i < end_ - begin_; ++i) {
        const A target = running_[i].target;  // NaN: nothing is above it, whatever was guessed
        if (problem_.target(begin_ + i) >= 0 && threshold_[i] != target && target == target) threshold_[i] = target, same = false;
      }
      if (!same) {
        std::fill(running_.begin(), running_.end(), Running{});
        sweep();
      }
    } else sweep();
    for (int64_t i = 0; i < end_ - begin_; ++i) write(out, begin_ + i, running_[i]);
  }

 private:
  struct Running {
    double highest = std::numeric_limits<double>::lowest(), total = 0, weighted = 0, sum = 0;
    A best_logit = -std::numeric_limits<A>::infinity(), target = 0;
    int64_t above = 0, best = 0;
  };
  // What one thread needs, and the summaries of one block of words: six rows a block of tokens.
  struct Slot {
    Slot(const Problem<T>& problem, const Product& product, int64_t tokens)
        : work(product.work()), logits(problem.block_words * kR), summaries(6 * tokens) {}
    typename Product::Work work;
    Room<A> logits, summaries;
  };

  LogitSummary<A> summary(const Slot& slot, int64_t i) const {  // i counts tokens of the sweep
    A* rows = slot.summaries.get() + 6 * i;
    return {rows, rows + kR, wanted_.entropy ? rows + 2 * kR : nullptr, wanted_.mean ? rows + 3 * kR : nullptr,
            wanted_.rank ? rows + 4 * kR : nullptr, wanted_.argmax ? rows + 5 * kR : nullptr, threshold_.data() + i};
  }

  void sweep() {
    const int64_t blocks = problem_.blocks.size(), slots = slots_.size();
    for (int64_t first = 0; first < blocks; first += slots) {
      const int64_t count = std::min(slots, blocks - first);
      in_parallel(count, [&](int64_t s) { summarise_block(problem_.blocks[first + s], slots_[s]); });
      for (int64_t s = 0; s < count; ++s) merge(problem_.blocks[first + s], slots_[s]);
    }
  }

  void summarise_block(const Words<T>& block, const Slot& slot) {
    const auto& words = product_.prepare(block, slot.work);
    A* z = slot.logits.get();
    for (int64_t i = 0; i < end_ - begin_; i += kR) {
      const int64_t columns = product_.columns(end_ - begin_ - i);
      product_.multiply(words, begin_ + i, columns, z, kR, slot.work);
      keep(block, z, begin_ + i);
      summarise(LogitBlock<A>{z, block.count, kR, columns, problem_.options(block.first)}, summary(slot, i));
      for (int64_t j = 0; j < std::min(kR, end_ - begin_ - i); ++j) {
        const int64_t v = problem_.target(begin_ + i + j) - block.first;
        if (v >= 0 && v < block.count) running_[i + j].target = z[v * kR + j];
      }
    }
  }

  void keep(const Words<T>& block, const A* x, int64_t token) const {
    const int64_t count = std::min(block.count, kept_.words - block.first), tokens = std::min(kR, end_ - token);
    for (int64_t v = 0; v < count; ++v) convert(x + v * kR, kept_.data + (block.first + v) * kept_.tokens + token, tokens);
  }

  void merge(const Words<T>& block, const Slot& slot) {
    for (int64_t i = 0; i < end_ - begin_; ++i) {
      const auto of_block = summary(slot, i / kR * kR);
      const int64_t j = i % kR;
      Running& sofar = running_[i];
      const double highest = of_block.highest[j], both = std::max(sofar.highest, highest);
      const double old_factor = std::exp(sofar.highest - both), factor = std::exp(highest - both);
      if (of_block.weighted) {  // sum of e^(z - both) * (z - both)
        // a side with probability 0 adds nothing, however small its logits are
        const double old_part = old_factor > 0 ? old_factor * (sofar.weighted + sofar.total * (sofar.highest - both)) : 0;
        const double part = factor > 0 ? factor * (of_block.weighted[j] + of_block.total[j] * (highest - both)) : 0;
        sofar.weighted = old_part + part;
      }
      sofar.total = sofar.total * old_factor + of_block.total[j] * factor;
      sofar.highest = both;
      if (of_block.sum) sofar.sum += of_block.sum[j];
      if (of_block.above) sofar.above += int64_t(of_block.above[j]);
      if (of_block.best && of_block.highest[j] > sofar.best_logit) {
        sofar.best_logit = of_block.highest[j];
        sofar.best = block.first + int64_t(of_block.best[j]);
      }
    }
  }

  void guess_targets() {
    const int64_t D = problem_.D, count = end_ - begin_;
    Room<T> rows(kR * D);
    Room<A> z(kR * kR), unused(2 * kR);
    A bias[kR] = {};
    const auto work = product_.work();
    for (int64_t i = 0; i < count; i += kR) {
      const int64_t columns = product_.columns(count - i);
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t v = i + j < count ? std::max<int64_t>(problem_.target(begin_ + i + j), 0) : 0;
        convert(problem_.word(v), rows.get() + j * D, D);
        if (problem_.has_bias) bias[j] = problem_.bias.get()[v];
      }
      product_.multiply(product_.prepare(Words<T>{rows.get(), D, columns, 0}, work), begin_ + i, columns, z.get(), kR, work);
      summarise(LogitBlock<A>{z.get(), columns, kR, columns, {problem_.has_bias ? bias : nullptr, problem_.scale, problem_.softcap}},
                LogitSummary<A>{unused.get(), unused.get() + kR, nullptr, nullptr, nullptr, nullptr, nullptr});
      for (int64_t j = 0; j < columns; ++j) {
        const bool is_word = i + j < count && problem_.target(begin_ + i + j) >= 0;
        threshold_[i + j] = is_word ? z.get()[j * kR + j] : std::numeric_limits<A>::infinity();
      }
    }
  }

  void write(const Results<A>& out, int64_t token, const Running& running) const {
    out.lse[token] = A(running.highest + std::log(running.total));
    const bool is_word = problem_.target(token) >= 0;
    out.target_logit[token] = is_word ? running.target : (problem_.is_ignored(token) ? A(0) : std::numeric_limits<A>::quiet_NaN());
    if (out.mean_logit) out.mean_logit[token] = A(running.sum / double(problem_.words));
    if (out.entropy) out.entropy[token] = A(std::log(running.total) - running.weighted / running.total);
    if (out.rank) out.rank[token] = running.above;
    if (out.argmax) out.argmax[token] = running.best;
  }

  const Problem<T>& problem_;
  Wanted wanted_;
  KeptProducts<A> kept_;
  int64_t begin_, end_;
  Product& product_;
  std::vector<Running> running_;
  std::vector<A> threshold_;
  std::vector<Slot> slots_;
};

template <class Product, class T>
void forward(const Problem<T>& problem, Wanted wanted, const Results<Arithmetic<T>>& out, const KeptProducts<Arithmetic<T>>& kept) {
  const int64_t threads = torch::stable::get_num_threads();
  int64_t limit = kMaxTokens;
  // a small vocabulary has too few blocks for all threads, so the tokens are divided too
  if (int64_t(problem.blocks.size()) < threads) limit = std::min(limit, rounded_up((problem.N + threads - 1) / threads, kTokens<T>));
  limit = Product(problem, limit).limit();
  const int64_t sweeps = (problem.N + limit - 1) / limit;
  const bool share_tokens = sweeps >= threads;
  auto sweep = [&](int64_t i) {
    Product product(problem, limit);
    Sweep<T, Product>(problem, wanted, kept, i * limit, std::min((i + 1) * limit, problem.N), share_tokens ? 1 : threads, product).run(out);
  };
  if (share_tokens) in_parallel(sweeps, sweep);
  else for (int64_t i = 0; i < sweeps; ++i) sweep(i);
}

using Seven = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Seven token_statistics(Tensor hidden, Tensor weight, std::optional<Tensor> appended, std::optional<Tensor> bias, Tensor targets,
                       std::optional<double> softcap, double scale, int64_t vocab_size, int64_t ignore_index, bool mean, bool entropy,
                       bool rank, bool argmax, int64_t keep_bytes) {
  check(hidden, weight, appended, bias, targets, vocab_size);
  const int64_t N = hidden.size(0), words = vocab_size + (appended ? appended->size(0) : 0);
  const ScalarType wide = hidden.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  auto room = [&](bool wanted, ScalarType type) { return torch::stable::new_empty(hidden, {wanted ? N : 0}, type); };
  Tensor lse = room(true, wide), target_logit = room(true, wide), mean_logit = room(mean, wide), entropies = room(entropy, wide),
         ranks = room(rank, ScalarType::Long), best = room(argmax, ScalarType::Long);
  const int64_t row_bytes = std::max<int64_t>(N, 1) * (wide == ScalarType::Double ? 8 : 4);
  const int64_t kept_words = std::min(words, keep_bytes / row_bytes);
  Tensor kept = torch::stable::new_empty(hidden, {kept_words, N}, wide);
  if (N > 0)
    with_type(hidden.scalar_type(), [&](auto stored) {
      using T = decltype(stored);
      using A = Arithmetic<T>;
      const Problem<T> problem(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index);
      auto data = [](const Tensor& tensor, bool wanted) { return wanted ? static_cast<A*>(tensor.mutable_data_ptr()) : nullptr; };
      auto indices = [](const Tensor& tensor, bool wanted) { return wanted ? static_cast<int64_t*>(tensor.mutable_data_ptr()) : nullptr; };
      const Wanted wanted{mean, entropy, rank, argmax};
      const Results<A> results{data(lse, true),         data(target_logit, true), data(mean_logit, mean),
                               data(entropies, entropy), indices(ranks, rank),     indices(best, argmax)};
      const KeptProducts<A> keep{data(kept, true), kept_words, N};
      if constexpr (!std::is_same_v<T, double>)
        if (has_faster_product<T>()) return forward<PanelProduct<T>>(problem, wanted, results, keep);
      forward<TorchProduct<T>>(problem, wanted, results, keep);
    });
  return {lse, target_logit, mean_logit, entropies, ranks, best, kept};
}

}  // namespace
}  // namespace pydisp::token_statistics

STABLE_TORCH_LIBRARY_IMPL(pydisp, CPU, m) { m.impl("token_statistics", TORCH_BOX(&pydisp::token_statistics::token_statistics)); }
