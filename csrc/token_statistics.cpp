// token_statistics and its backward on CPUs: blocks of logits by torch's own matrix product, the passes of token_statistics_isa.cpp
// between. The schemas and what they mean are in pydisp/ops/token_statistics.py.
//
// N tokens, D hidden, T type in memory, M type of the matrix products, A type of the arithmetic. 16-bit words are made float block by
// block (M = float) unless the processor multiplies bfloat16 itself.
//
// Every product for a token has kBlockTokens tokens, the last ones filled up with zeros, and as many words as its block of the vocabulary:
// a BLAS may round otherwise for another shape, so this is what makes a token's result the same in every batch. Blocks of words are merged
// in their order, whichever thread computed them. 128 tokens: at 512 tokens the loss takes 0.93 to 0.95 of one bare product, with 64 0.98,
// with 32 more than 1.1 (AVX2, float, D = 1024, V = 128,256); a single token pays for all of them.

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "token_statistics.h"

namespace {

using pydisp::BFloat16;
using pydisp::Half;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kHiddenBytes = 8 << 20;     // hidden states copied or made float at a time
constexpr int64_t kMaxTokens = 8192;          // tokens whose running sums are held at a time
constexpr int64_t kMaxGradientTokens = 1024;  // tokens whose probabilities are held at a time, for a block of words

template <class T> constexpr ScalarType kType = ScalarType::Float;
template <> constexpr ScalarType kType<double> = ScalarType::Double;
template <> constexpr ScalarType kType<BFloat16> = ScalarType::BFloat16;
template <> constexpr ScalarType kType<Half> = ScalarType::Half;
template <class M> using Arithmetic = std::conditional_t<std::is_same_v<M, double>, double, float>;
template <class M> constexpr int64_t kTokens = pydisp::kBlockTokens<Arithmetic<M>>;

int64_t rounded_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Memory on a cache line's edge, not initialised.
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

// out = a b, or out += a b, by the functions of torch that compiled models call: no autograd, no dispatcher.
template <class M> void multiply(Matrix<M> out, Matrix<const M> a, Matrix<const M> b, bool add = false) {
  if (out.rows == 0 || out.columns == 0 || (add && a.columns == 0)) return;
  const Tensor result = out.tensor(), left = a.tensor(), right = b.tensor();
  STABLE_TORCH_ERROR_CODE_CHECK(add ? aoti_torch_cpu_addmm_out(result.get(), result.get(), left.get(), right.get(), 1.0, 1.0)
                                    : aoti_torch_cpu_mm_out(result.get(), left.get(), right.get()));
}

const pydisp::TokenStatisticsKernels& kernels() { return PYDISP_PICK(token_statistics_kernels); }
template <class T> void convert(const T* from, T* to, int64_t count) { if (count) std::memcpy(to, from, count * sizeof(T)); }
void convert(const BFloat16* from, float* to, int64_t count) { kernels().widen_bfloat16(from, to, count); }
void convert(const Half* from, float* to, int64_t count) { kernels().widen_half(from, to, count); }
void convert(const float* from, BFloat16* to, int64_t count) { kernels().narrow_bfloat16(from, to, count); }
void convert(const float* from, Half* to, int64_t count) { kernels().narrow_half(from, to, count); }
void summarise(const pydisp::LogitBlock<float>& block, const pydisp::LogitSummary<float>& out) { kernels().summarise_float(block, out); }
void summarise(const pydisp::LogitBlock<double>& block, const pydisp::LogitSummary<double>& out) { kernels().summarise_double(block, out); }
void differentiate(const pydisp::LogitBlock<float>& block, const pydisp::LogitGradient<float>& given) {
  kernels().differentiate_float(block, given);
}
void differentiate(const pydisp::LogitBlock<double>& block, const pydisp::LogitGradient<double>& given) {
  kernels().differentiate_double(block, given);
}

// Items [0, count) in threads; the order of the work in one item is all that results may depend on.
template <class Each> void in_parallel(int64_t count, const Each& each) {
  if (count == 1) return each(0);
  torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) each(i);
  });
}

// A block of consecutive words of weight or of appended.
template <class T> struct Words {
  const T* rows;
  int64_t stride, count;
  int64_t first;  // its first word, appended ones counted behind the vocabulary
};

// What forward and backward share: the arguments, checked, and the vocabulary in blocks.
template <class T, class M> struct Problem {
  using A = Arithmetic<M>;
  static constexpr int64_t kR = kTokens<M>;
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
    // 1.5 MiB of float words (1 to 2 are as good, 3 worse, 512 tokens at D = 1024), a size that depends on nothing but D and the types,
    // so that batches do not matter
    const int64_t values = int64_t(std::is_same_v<M, A> ? 3 : 16) << 17;
    block_words = std::clamp<int64_t>(values / std::max<int64_t>(D, 1) / 64 * 64, 128, 1024);
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

  pydisp::LogitOptions<A> options(int64_t first_word) const { return {has_bias ? bias.get() + first_word : nullptr, scale, softcap}; }

  Room<M> word_room() const { return Room<M>(std::is_same_v<T, M> ? 0 : block_words * D); }
  Matrix<const M> matrix(const Words<T>& block, const Room<M>& room) const {
    if constexpr (std::is_same_v<T, M>) return {block.rows, block.count, D, block.stride};
    else {
      if (block.stride == D) convert(block.rows, room.get(), block.count * D);
      else for (int64_t v = 0; v < block.count; ++v) convert(block.rows + v * block.stride, room.get() + v * D, D);
      return {room.get(), block.count, D, D};
    }
  }

  // Products of a block of words with tokens; narrow is room for them where M is narrower than A.
  void products(Matrix<const M> block, Matrix<const M> tokens, A* x, int64_t stride, const Room<M>& narrow) const {
    const int64_t count = tokens.rows;
    if constexpr (std::is_same_v<M, A>) multiply<M>({x, block.rows, count, stride}, block, tokens.t());
    else {
      multiply<M>({narrow.get(), block.rows, count, count}, block, tokens.t());
      for (int64_t v = 0; v < block.rows; ++v) convert(narrow.get() + v * count, x + v * stride, count);
    }
  }
  Room<M> narrow_room(int64_t tokens) const { return Room<M>(std::is_same_v<M, A> ? 0 : block_words * tokens); }
};

// Hidden states [begin, end) in the type of the products, kR at a time on the edge of a cache line: in place if they lie so, else copied.
template <class T, class M> class Tokens {
  static constexpr int64_t kR = kTokens<M>;

 public:
  Tokens(const Problem<T, M>& problem, int64_t limit) : problem_(problem), stride_(rounded_up(problem.D, 64 / sizeof(M))) {
    const T* rows = static_cast<const T*>(problem.hidden.const_data_ptr());
    in_place_ = std::is_same_v<T, M> && reinterpret_cast<uintptr_t>(rows) % 64 == 0 && problem.hidden.stride(0) * sizeof(T) % 64 == 0;
    if (!in_place_) limit = std::min(limit, std::max<int64_t>(kHiddenBytes / (stride_ * int64_t(sizeof(M)) + 1), 1));
    limit_ = std::min(rounded_up(limit, kR), rounded_up(problem.N, kR));
  }

  int64_t limit() const { return limit_; }  // tokens at a time, a multiple of kR

  void take(int64_t begin, int64_t end) {
    begin_ = begin;
    copied_from_ = in_place_ ? end / kR * kR : begin;
    if (in_place_ && end % kR == 0) return;
    if (!room_.get()) room_ = Room<M>((in_place_ ? kR : limit_) * stride_);
    const int64_t D = problem_.D, padded = rounded_up(end, kR);
    for (int64_t i = copied_from_; i < padded; ++i) {
      M* to = room_.get() + (i - copied_from_) * stride_;
      if (i < end) convert(row(i), to, D);
      std::fill(to + (i < end ? D : 0), to + stride_, M{});
    }
  }

  Matrix<const M> block(int64_t token, int64_t count = kR) const {  // a multiple of kR, those behind the last one are zero
    if constexpr (std::is_same_v<T, M>)
      if (token < copied_from_) return {row(token), count, problem_.D, problem_.hidden.stride(0)};
    return {room_.get() + (token - copied_from_) * stride_, count, problem_.D, stride_};
  }

  Matrix<const M> all(int64_t count) const {  // the count tokens that were taken
    if constexpr (std::is_same_v<T, M>)
      if (in_place_) return {row(begin_), count, problem_.D, problem_.hidden.stride(0)};
    return {room_.get(), count, problem_.D, stride_};
  }

 private:
  const T* row(int64_t token) const { return static_cast<const T*>(problem_.hidden.const_data_ptr()) + token * problem_.hidden.stride(0); }

  const Problem<T, M>& problem_;
  int64_t stride_, limit_, begin_ = 0, copied_from_ = 0;
  bool in_place_;
  Room<M> room_;
};

struct Wanted { bool mean, entropy, rank, argmax; };

template <class A> struct Results {
  A *lse, *target_logit, *mean_logit, *entropy;
  int64_t *rank, *argmax;
};

// Products of the first words with every token, before bias, scale and softcap: what backward need not make again.
template <class A> struct Kept { A* data; int64_t words, tokens; };

// The statistics of the tokens [begin, end).
template <class T, class M> class Sweep {
  using A = Arithmetic<M>;
  static constexpr int64_t kR = kTokens<M>;

 public:
  Sweep(const Problem<T, M>& problem, Wanted wanted, const Kept<A>& kept, int64_t begin, int64_t end, int64_t threads, Tokens<T, M>& tokens)
      : problem_(problem), wanted_(wanted), kept_(kept), begin_(begin), end_(end), tokens_(tokens), running_(end - begin),
        threshold_(rounded_up(end - begin, kR)) {
    const int64_t slots = std::min<int64_t>(threads, problem.blocks.size());
    for (int64_t i = 0; i < slots; ++i) slots_.emplace_back(problem, rounded_up(end - begin, kR));
  }

  void run(const Results<A>& out) {
    tokens_.take(begin_, end_);
    if (wanted_.rank) {
      // The target's logit must be known before the words are counted that exceed it. A product with just the targets' rows gives it, to
      // the bit if the BLAS adds up in the same order; where it does not, words are counted again with the bits that the block gave.
      guess_targets();
      sweep();
      bool same = true;
      for (int64_t i = 0; i < end_ - begin_; ++i)
        if (problem_.target(begin_ + i) >= 0 && threshold_[i] != running_[i].target) threshold_[i] = running_[i].target, same = false;
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
    Slot(const Problem<T, M>& problem, int64_t tokens)
        : words(problem.word_room()), narrow(problem.narrow_room(kR)), logits(problem.block_words * kR), summaries(6 * tokens) {}
    Room<M> words, narrow;
    Room<A> logits, summaries;
  };

  pydisp::LogitSummary<A> summary(const Slot& slot, int64_t i) const {  // i counts tokens of the sweep
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
    const Matrix<const M> words = problem_.matrix(block, slot.words);
    A* z = slot.logits.get();
    for (int64_t i = 0; i < end_ - begin_; i += kR) {
      problem_.products(words, tokens_.block(begin_ + i), z, kR, slot.narrow);
      keep(block, z, begin_ + i);
      summarise(pydisp::LogitBlock<A>{z, block.count, kR, problem_.options(block.first)}, summary(slot, i));
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
      const auto found = summary(slot, i / kR * kR);
      const int64_t j = i % kR;
      Running& sofar = running_[i];
      const double highest = found.highest[j], both = std::max(sofar.highest, highest);
      const double old_factor = std::exp(sofar.highest - both), factor = std::exp(highest - both);
      if (found.weighted) {  // sum of e^(z - both) * (z - both)
        // a side without any probability adds nothing, however far below it lies
        const double old_part = old_factor > 0 ? old_factor * (sofar.weighted + sofar.total * (sofar.highest - both)) : 0;
        const double part = factor > 0 ? factor * (found.weighted[j] + found.total[j] * (highest - both)) : 0;
        sofar.weighted = old_part + part;
      }
      sofar.total = sofar.total * old_factor + found.total[j] * factor;
      sofar.highest = both;
      if (found.sum) sofar.sum += found.sum[j];
      if (found.above) sofar.above += int64_t(found.above[j]);
      if (found.best && found.highest[j] > sofar.best_logit) {
        sofar.best_logit = found.highest[j];
        sofar.best = block.first + int64_t(found.best[j]);
      }
    }
  }

  void guess_targets() {
    const int64_t D = problem_.D, count = end_ - begin_;
    Room<M> words(kR * D), narrow = problem_.narrow_room(kR);
    Room<A> z(kR * kR), unused(2 * kR);
    A bias[kR] = {};
    for (int64_t i = 0; i < count; i += kR) {
      for (int64_t j = 0; j < kR; ++j) {
        const int64_t v = i + j < count ? std::max<int64_t>(problem_.target(begin_ + i + j), 0) : 0;
        convert(problem_.word(v), words.get() + j * D, D);
        if (problem_.has_bias) bias[j] = problem_.bias.get()[v];
      }
      problem_.products({words.get(), kR, D, D}, tokens_.block(begin_ + i), z.get(), kR, narrow);
      summarise(pydisp::LogitBlock<A>{z.get(), kR, kR, {problem_.has_bias ? bias : nullptr, problem_.scale, problem_.softcap}},
                pydisp::LogitSummary<A>{unused.get(), unused.get() + kR, nullptr, nullptr, nullptr, nullptr, nullptr});
      for (int64_t j = 0; j < kR; ++j) {
        const bool is_word = i + j < count && problem_.target(begin_ + i + j) >= 0;
        threshold_[i + j] = is_word ? z.get()[j * kR + j] : std::numeric_limits<A>::infinity();
      }
    }
  }

  void write(const Results<A>& out, int64_t token, const Running& found) const {
    out.lse[token] = A(found.highest + std::log(found.total));
    const bool is_word = problem_.target(token) >= 0;
    out.target_logit[token] = is_word ? found.target : (problem_.is_ignored(token) ? A(0) : std::numeric_limits<A>::quiet_NaN());
    if (out.mean_logit) out.mean_logit[token] = A(found.sum / double(problem_.words));
    if (out.entropy) out.entropy[token] = A(std::log(found.total) - found.weighted / found.total);
    if (out.rank) out.rank[token] = found.above;
    if (out.argmax) out.argmax[token] = found.best;
  }

  const Problem<T, M>& problem_;
  Wanted wanted_;
  Kept<A> kept_;
  int64_t begin_, end_;
  Tokens<T, M>& tokens_;
  std::vector<Running> running_;
  std::vector<A> threshold_;
  std::vector<Slot> slots_;
};

template <class T, class M>
void forward(const Problem<T, M>& problem, Wanted wanted, const Results<Arithmetic<M>>& out, const Kept<Arithmetic<M>>& kept) {
  const int64_t threads = torch::stable::get_num_threads();
  int64_t limit = kMaxTokens;
  // a small vocabulary has too few blocks for all threads: share out the tokens
  if (int64_t(problem.blocks.size()) < threads) limit = std::min(limit, rounded_up((problem.N + threads - 1) / threads, kTokens<M>));
  limit = Tokens<T, M>(problem, limit).limit();
  const int64_t sweeps = (problem.N + limit - 1) / limit;
  const bool share_tokens = sweeps >= threads;
  auto sweep = [&](int64_t i) {
    Tokens<T, M> tokens(problem, limit);
    Sweep<T, M>(problem, wanted, kept, i * limit, std::min((i + 1) * limit, problem.N), share_tokens ? 1 : threads, tokens).run(out);
  };
  if (share_tokens) in_parallel(sweeps, sweep);
  else for (int64_t i = 0; i < sweeps; ++i) sweep(i);
}

template <class A> struct Cotangents { const A *lse, *grad_lse, *grad_target, *grad_mean; };

// Where gradients go; null where not needed. All are contiguous, grad_weight has the rows of weight.
template <class T> struct Gradients { T *hidden, *weight, *appended, *bias; };

template <class T, class M> class Backward {
  using A = Arithmetic<M>;
  static constexpr int64_t kR = kTokens<M>;
  static constexpr bool kDirect = std::is_same_v<T, A>;  // products are added up right in the result
  static constexpr int64_t kChunk = 2 * kR;  // tokens of one product: no loss is read off these, so fewer and larger ones serve
  static constexpr int64_t kPad = 16;        // rows of logits one cache line longer: rows at a power of two apart share cache sets

 public:
  Backward(const Problem<T, M>& problem, const Cotangents<A>& given, const Kept<const A>& kept, const Gradients<T>& out)
      : problem_(problem), kept_(kept), out_(out), tokens_(problem, kMaxGradientTokens), padded_(rounded_up(problem.N, kR)),
        cotangents_(4 * padded_), grad_bias_(out.bias ? problem.words : 0) {
    const int64_t N = problem.N;
    for (int64_t k = 0; k < 4; ++k) {
      const A* from = k == 0 ? given.lse : k == 1 ? given.grad_lse : k == 2 ? given.grad_target : given.grad_mean;
      A* to = cotangents_.data() + k * padded_;
      for (int64_t i = 0; from && i < N; ++i) to[i] = k == 3 ? from[i] / A(problem.words) : from[i];
    }
    // a loss of NaN has no other gradient: an optimizer must not take a step on it
    for (int64_t i = 0; i < N; ++i)
      if (problem.target(i) < 0 && !problem.is_ignored(i)) cotangents_[padded_ + i] = std::numeric_limits<A>::quiet_NaN();
    if (out.hidden) hidden_room_ = Room<A>((kDirect ? (N % kR ? kR : 0) : padded_) * problem.D);
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
        if (first == 0 || problem_.N > limit) tokens_.take(begin, end);
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

  struct Slot {
    Slot(const Problem<T, M>& problem, int64_t tokens, bool needs_words)
        : words(problem.word_room()), narrow(problem.narrow_room(kChunk)), grad(problem.block_words * (tokens + kPad)),
          narrow_grad(std::is_same_v<M, A> ? 0 : problem.block_words * (tokens + kPad)),
          grad_words(kDirect || !needs_words ? 0 : problem.block_words * problem.D),
          narrow_grad_words(std::is_same_v<M, A> || !needs_words ? 0 : problem.block_words * problem.D) {}
    Room<M> words, narrow;
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

  void differentiate_block(const Words<T>& block, Slot& slot, int64_t begin, int64_t end) {
    slot.stride = rounded_up(end - begin, kR) + kPad;
    if (block.first + block.count <= kept_.words) {  // whole blocks only: a product of other words may round otherwise
      for (int64_t v = 0; v < block.count; ++v) {
        A* row = slot.grad.get() + v * slot.stride;
        convert(kept_.data + (block.first + v) * kept_.tokens + begin, row, end - begin);
        std::fill(row + (end - begin), row + rounded_up(end - begin, kR), A(0));
      }
    } else for (const Chunk& chunk : chunks(begin, end))
      problem_.products(slot.matrix, tokens_.block(chunk.token, chunk.count), slot.grad.get() + (chunk.token - begin), slot.stride,
                        slot.narrow);
    for (int64_t i = begin; i < end; i += kR) {
      A* x = slot.grad.get() + (i - begin);
      int64_t target[kR];
      for (int64_t j = 0; j < kR; ++j) target[j] = (i + j < end ? problem_.target(i + j) : -1) - block.first;
      const A* given = cotangents_.data() + i;
      differentiate(pydisp::LogitBlock<A>{x, block.count, slot.stride, problem_.options(block.first)},
                    pydisp::LogitGradient<A>{given, given + padded_, given + 2 * padded_, given + 3 * padded_, target,
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
    for (int64_t i = 0; i < count; ++i) to[i] = (add ? to[i] : A(0)) + pydisp::load_one(from[i]);
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
  int64_t padded_;
  std::vector<A> cotangents_;  // lse, grad_lse, grad_target, grad_mean / words, each filled up with zeros
  std::vector<A> grad_bias_;
  Room<A> hidden_room_;
  std::vector<Slot> slots_;
};

// Whether torch multiplies bfloat16 faster than float here: measured 2.7 times with AVX-512 bf16, 8 times slower with AVX2 alone.
bool multiplies_bfloat16() {
  const char* wanted = std::getenv("PYDISP_BF16_MM");
  if (wanted && std::strcmp(wanted, "native") == 0) return true;
  if (wanted && std::strcmp(wanted, "upcast") == 0) return false;
  STD_TORCH_CHECK(!wanted || !*wanted || std::strcmp(wanted, "auto") == 0,
                  "PYDISP_BF16_MM is ", wanted, "; it must be native, upcast or auto");
#if defined(__x86_64__)
  static const bool has = [] { __builtin_cpu_init(); return bool(__builtin_cpu_supports("avx512bf16")); }();
  return has;
#else
  return false;
#endif
}

// Calls run(T{}, M{}) with the type in memory and that of the products.
template <class Run> void with_types(ScalarType type, const Run& run) {
  switch (type) {
    case ScalarType::Double: return run(double{}, double{});
    case ScalarType::Float: return run(float{}, float{});
    case ScalarType::BFloat16: return multiplies_bfloat16() ? run(BFloat16{}, BFloat16{}) : run(BFloat16{}, float{});
    case ScalarType::Half: return run(Half{}, float{});
    default: STD_TORCH_CHECK(false, "token_statistics: hidden must be float16, bfloat16, float32 or float64");
  }
}

void check(const Tensor& hidden, const Tensor& weight, const std::optional<Tensor>& appended, const std::optional<Tensor>& bias,
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

using Seven = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

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
    with_types(hidden.scalar_type(), [&](auto stored, auto multiplied) {
      using T = decltype(stored);
      using M = decltype(multiplied);
      using A = Arithmetic<M>;
      const Problem<T, M> problem(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index);
      auto data = [](const Tensor& tensor, bool wanted) { return wanted ? static_cast<A*>(tensor.mutable_data_ptr()) : nullptr; };
      auto indices = [](const Tensor& tensor, bool wanted) { return wanted ? static_cast<int64_t*>(tensor.mutable_data_ptr()) : nullptr; };
      forward(problem, Wanted{mean, entropy, rank, argmax},
              Results<A>{data(lse, true), data(target_logit, true), data(mean_logit, mean), data(entropies, entropy), indices(ranks, rank),
                         indices(best, argmax)},
              Kept<A>{data(kept, true), kept_words, N});
    });
  return {lse, target_logit, mean_logit, entropies, ranks, best, kept};
}

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

STABLE_TORCH_LIBRARY_IMPL(pydisp, CPU, m) {
  m.impl("token_statistics", TORCH_BOX(&token_statistics));
  m.impl("token_statistics_backward", TORCH_BOX(&token_statistics_backward));
}
