// Hands attention_mass and attention_key_mass to torch's dispatcher through the stable ABI; pydisp/ops/attention_mass.py has the schemas.
//
// Work is cut into blocks of lanes (attention_mass.h). The results of a block depend only on its own row of the batch, and partial sums are
// added in one fixed order, so neither the batch nor the number of threads changes a bit. float64 uses the plain loops at the end.

#include "attention_mass.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/macros/Macros.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "dispatch.h"

PYDISP_DECLARE(AttentionMassKernels, attention_mass_kernels)

namespace {

using pydisp::AttentionMassKernels;
using pydisp::BFloat16;
using pydisp::Half;
using pydisp::kKeyBlock;
using pydisp::Keys;
using pydisp::KeyMassJob;
using pydisp::MassJob;
using pydisp::Rule;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Masses = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

// A decoding step has only one block of lanes, or few rows, per key head; so its keys are cut into runs of this length for the threads.
constexpr int64_t kRun = 1024;

struct Sizes {
  int64_t B, H, Hk, G, Tq, Tk, D;
  Sizes(const Tensor& q, const Tensor& k)
      : B(q.size(0)), H(q.size(1)), Hk(k.size(1)), G(H / Hk), Tq(q.size(2)), Tk(k.size(2)), D(q.size(3)) {}
};

Tensor with_dense_rows(const Tensor& given) {
  return given.stride(3) == 1 || given.size(3) == 1 ? given : torch::stable::contiguous(given);
}

Rule rule_of(bool causal, int64_t window, double scale, double softcap, int64_t Tk) {
  return {causal, window >= Tk ? 0 : window, float(scale), float(softcap)};  // a window of all positions hides none
}

template <class V> const V* values(const std::optional<Tensor>& tensor) {
  return tensor ? static_cast<const V*>(tensor->const_data_ptr()) : nullptr;
}

std::optional<Tensor> dense(const std::optional<Tensor>& given) {
  return given ? std::optional<Tensor>(torch::stable::contiguous(*given)) : std::nullopt;
}

// Places where the mask (may be null) is true.
std::vector<int32_t> places(const bool* mask, int64_t count) {
  std::vector<int32_t> visible;
  visible.reserve(count);
  for (int64_t i = 0; i < count; ++i)
    if (!mask || mask[i]) visible.push_back(int32_t(i));
  return visible;
}

// The memory behind Keys, for one row of the batch.
struct KeyLists {
  std::vector<int32_t> position;
  std::vector<int64_t> first;
  std::vector<uint8_t> member;

  KeyLists(const bool* mask, const int64_t* groups, int64_t Tk, int64_t C) : position(places(mask, Tk)) {
    const int64_t count = position.size(), blocks = (count + kKeyBlock - 1) / kKeyBlock;
    first.reserve(blocks * C + 1);
    for (int64_t block = 0; block < blocks; ++block)
      for (int64_t c = 0; c < C; ++c) {
        first.push_back(member.size());
        for (int64_t j = block * kKeyBlock; j < std::min((block + 1) * kKeyBlock, count); ++j)
          if (uint64_t(groups[position[j]]) >> c & 1) member.push_back(uint8_t(j - block * kKeyBlock));
      }
    first.push_back(member.size());
  }
  Keys keys() const { return {position.data(), int64_t(position.size()), first.data(), member.data()}; }
};

// The results of one run over keys, for a block of lanes; C + 3 rows of floats.
struct Run {
  float* base;
  int64_t lanes;
  float* maximum() const { return base; }
  float* total() const { return base + lanes; }
  float* weighted() const { return base + 2 * lanes; }
  float* mass() const { return base + 3 * lanes; }
};

struct Output {
  float *mass, *entropy, *lse, *maximum;  // of the first of the G heads; mass may be null
  double* mass_sum;                       // (G, C), added to
  const float* sinks;                     // of the first of the G heads; may be null
  const bool* query_mask;                 // (Tq,); may be null
};

float scaled_exp(float from, float to) { return from == -INFINITY ? 0.f : std::exp(from - to); }

// Merges the runs of a block of lanes, adds the sinks and writes the results of the queries in the lanes.
void finish(const Run* runs, int64_t count, int64_t first_lane, int64_t lanes, int64_t C, const Sizes& sizes, const Output& out) {
  std::vector<float> factor(count);
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const int64_t i = (first_lane + lane) / sizes.G, g = (first_lane + lane) % sizes.G, row = g * sizes.Tq + i;
    float top = -INFINITY;
    for (int64_t r = 0; r < count; ++r) top = std::max(top, runs[r].maximum()[lane]);
    const float sink = out.sinks ? out.sinks[g] : -INFINITY, shift = std::max(top, sink);
    float total = scaled_exp(sink, shift), weighted = total > 0 ? total * (sink - shift) : 0.f;
    bool is_nan = false;  // among the keys: the sink is not in the maximum
    for (int64_t r = 0; r < count; ++r) {
      const float highest = runs[r].maximum()[lane], l = runs[r].total()[lane];
      const float down = highest - shift, moved = down < -100.f ? -100.f : down;  // -inf would make NaN of the factor 0
      // a NaN among the logits is in the sums, whatever the maximum is
      factor[r] = highest == -INFINITY ? (l == 0.f ? 0.f : NAN) : std::exp(highest - shift);
      is_nan |= l != l;
      total += l * factor[r];
      weighted += (runs[r].weighted()[lane] + (highest == -INFINITY ? 0.f : l * moved)) * factor[r];
    }
    const float inverse = total == 0.f ? 0.f : 1.f / total, log_total = std::log(total);
    const float entropy = total == 0.f ? 0.f : log_total - weighted * inverse;
    out.maximum[row] = is_nan ? NAN : top;
    out.lse[row] = total == 0.f ? -INFINITY : shift + log_total;
    out.entropy[row] = entropy < 0.f ? 0.f : entropy;
    const bool counts = !out.query_mask || out.query_mask[i];
    for (int64_t c = 0; c < C; ++c) {
      float mass = 0.f;
      for (int64_t r = 0; r < count; ++r) mass += runs[r].mass()[c * runs[r].lanes + lane] * factor[r];
      mass = total != total ? NAN : mass * inverse;
      if (out.mass) out.mass[row * C + c] = mass;
      if (counts) out.mass_sum[g * C + c] += mass;
    }
  }
}

// Block number of step `i` of `count`: light and heavy blocks (few and many visible keys) take turns, so equal ranges are equal work.
int64_t balanced(int64_t i, int64_t count) { return i % 2 ? count - 1 - i / 2 : i / 2; }

template <class T>
void run_mass(const Tensor& q, const Tensor& k, const int64_t* groups, int64_t C, const Rule& rule, const float* sinks,
              const bool* key_mask, const bool* query_mask, float* mass, float* mass_sum, float* entropy, float* lse, float* maximum) {
  const Sizes n(q, k);
  const AttentionMassKernels& kernels = PYDISP_PICK(attention_mass_kernels);
  const int64_t L = kernels.lanes, blocks = (n.Tq * n.G + L - 1) / L;
  const int64_t runs = blocks == 1 ? std::max<int64_t>(1, (n.Tk + kRun - 1) / kRun) : 1, run_floats = (C + 3) * L;
  std::vector<KeyLists> lists;
  for (int64_t b = 0; b < n.B; ++b) lists.emplace_back(key_mask ? key_mask + b * n.Tk : nullptr, groups + b * n.Tk, n.Tk, C);
  const T *qs = static_cast<const T*>(q.const_data_ptr()), *ks = static_cast<const T*>(k.const_data_ptr());
  std::vector<double> partial(n.B * n.Hk * blocks * n.G * C);
  std::vector<float> split(runs > 1 ? n.B * n.Hk * runs * run_floats : 0);
  const auto finish_block = [&](int64_t head, int64_t block, const Run* results) {
    const int64_t b = head / n.Hk, first_head = head * n.G, rows = first_head * n.Tq;
    const Output out = {mass ? mass + rows * C : nullptr, entropy + rows, lse + rows, maximum + rows,
                        partial.data() + (head * blocks + block) * n.G * C,
                        sinks ? sinks + first_head % n.H : nullptr, query_mask ? query_mask + b * n.Tq : nullptr};
    finish(results, runs, block * L, std::min(L, n.Tq * n.G - block * L), C, n, out);
  };
  torch::stable::parallel_for(0, n.B * n.Hk * blocks * runs, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> room(kernels.room_floats(n.D)), own(runs > 1 ? 0 : run_floats);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t run = item % runs, head = item / runs / blocks, block = balanced(item / runs % blocks, blocks), b = head / n.Hk;
      const Run result = {runs > 1 ? split.data() + item * run_floats : own.data(), L};
      kernels.mass(MassJob<T>{qs + b * q.stride(0) + head % n.Hk * n.G * q.stride(1), q.stride(1), q.stride(2),
                              ks + b * k.stride(0) + head % n.Hk * k.stride(1), k.stride(2), n.G, n.Tq, n.Tk, n.D, C, rule, lists[b].keys(),
                              block * L, std::min(L, n.Tq * n.G - block * L), run * kRun, runs > 1 ? (run + 1) * kRun : n.Tk,
                              result.maximum(), result.total(), result.weighted(), result.mass(), room.data()});
      if (runs == 1) finish_block(head, block, &result);
    }
  });
  if (runs > 1)
    torch::stable::parallel_for(0, n.B * n.Hk, 16, [&](int64_t begin, int64_t end) {
      std::vector<Run> results(runs);
      for (int64_t head = begin; head < end; ++head) {
        for (int64_t run = 0; run < runs; ++run) results[run] = {split.data() + (head * runs + run) * run_floats, L};
        finish_block(head, 0, results.data());
      }
    });
  for (int64_t head = 0; head < n.B * n.Hk; ++head)
    for (int64_t i = 0; i < n.G * C; ++i) {
      double sum = 0;
      for (int64_t block = 0; block < blocks; ++block) sum += partial[(head * blocks + block) * n.G * C + i];
      mass_sum[head * n.G * C + i] = float(sum);
    }
}

template <class T>
void run_key_mass(const Tensor& q, const Tensor& k, const float* lse, const Rule& rule, const bool* key_mask, const bool* query_mask,
                  float* mass) {
  const Sizes n(q, k);
  const AttentionMassKernels& kernels = PYDISP_PICK(attention_mass_kernels);
  const int64_t most = n.G * n.Tq <= pydisp::kFewQueryRows ? kRun : kernels.lanes, blocks = (n.Tk + most - 1) / most;  // keys of a job
  std::vector<std::vector<int32_t>> keys, queries;
  for (int64_t b = 0; b < n.B; ++b) {
    keys.push_back(places(key_mask ? key_mask + b * n.Tk : nullptr, n.Tk));
    queries.push_back(places(query_mask ? query_mask + b * n.Tq : nullptr, n.Tq));
  }
  const T *qs = static_cast<const T*>(q.const_data_ptr()), *ks = static_cast<const T*>(k.const_data_ptr());
  std::fill(mass, mass + n.B * n.H * n.Tk, 0.f);
  torch::stable::parallel_for(0, n.B * n.Hk * blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> room(kernels.room_floats(n.D));
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / blocks, first = balanced(item % blocks, blocks) * most, b = head / n.Hk, h = head % n.Hk;
      const int64_t count = std::min<int64_t>(most, int64_t(keys[b].size()) - first);
      if (count <= 0) continue;
      kernels.key_mass(KeyMassJob<T>{qs + b * q.stride(0) + h * n.G * q.stride(1), q.stride(1), q.stride(2),
                                     ks + b * k.stride(0) + h * k.stride(1), k.stride(2), n.G, n.Tq, n.Tk, n.D, rule,
                                     lse + head * n.G * n.Tq, queries[b].data(), int64_t(queries[b].size()), keys[b].data() + first,
                                     count, mass + head * n.G * n.Tk, room.data()});
    }
  });
}

// float64: one row at a time; the measure for the other types.
struct PlainRow {
  const double *q, *k;
  int64_t k_stride, D, position, Tk;
  bool causal;
  int64_t window;
  double scale, softcap;
  const bool* key_mask;

  double logit(int64_t j) const {  // -infinity: not seen
    if ((key_mask && !key_mask[j]) || (causal && j > position) || (window > 0 && j <= position - window)) return -INFINITY;
    double s = 0;
    for (int64_t d = 0; d < D; ++d) s += q[d] * k[j * k_stride + d];
    s *= scale;
    return softcap > 0 ? softcap * std::tanh(s / softcap) : s;
  }
};

PlainRow plain_row(const Tensor& q, const Tensor& k, int64_t b, int64_t h, int64_t i, bool causal, int64_t window, double scale,
                   double softcap, const bool* key_mask) {
  const Sizes n(q, k);
  return {static_cast<const double*>(q.const_data_ptr()) + b * q.stride(0) + h * q.stride(1) + i * q.stride(2),
          static_cast<const double*>(k.const_data_ptr()) + b * k.stride(0) + h / n.G * k.stride(1),
          k.stride(2), n.D, n.Tk - n.Tq + i, n.Tk, causal, window, scale, softcap, key_mask ? key_mask + b * n.Tk : nullptr};
}

void plain_mass(const Tensor& q, const Tensor& k, const int64_t* groups, int64_t C, bool causal, int64_t window, double scale,
                double softcap, const double* sinks, const bool* key_mask, const bool* query_mask, double* mass, double* mass_sum,
                double* entropy, double* lse, double* maximum) {
  const Sizes n(q, k);
  torch::stable::parallel_for(0, n.B * n.H, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> s(n.Tk), sums(C);
    for (int64_t head = begin; head < end; ++head) {
      const int64_t b = head / n.H, h = head % n.H;
      std::fill(mass_sum + head * C, mass_sum + (head + 1) * C, 0.0);
      for (int64_t i = 0; i < n.Tq; ++i) {
        const PlainRow row = plain_row(q, k, b, h, i, causal, window, scale, softcap, key_mask);
        double top = -INFINITY;
        bool is_nan = false;  // among the keys: the sink is not in the maximum
        for (int64_t j = 0; j < n.Tk; ++j) {
          top = std::max(top, s[j] = row.logit(j));
          is_nan |= s[j] != s[j];
        }
        const double sink = sinks ? sinks[h] : -INFINITY, shift = std::max(top, sink);
        double total = sink == -INFINITY ? 0 : std::exp(sink - shift), weighted = total > 0 ? total * (sink - shift) : 0;
        std::fill(sums.begin(), sums.end(), 0.0);
        for (int64_t j = 0; j < n.Tk; ++j) {
          if (s[j] == -INFINITY) continue;
          const double p = std::exp(s[j] - shift);
          total += p;
          weighted += p > 0 ? p * (s[j] - shift) : p;
          for (int64_t c = 0; c < C; ++c) sums[c] += uint64_t(groups[b * n.Tk + j]) >> c & 1 ? p : 0;
        }
        const double inverse = total == 0 ? 0 : 1 / total;
        const int64_t at = head * n.Tq + i;
        maximum[at] = is_nan ? NAN : top;
        lse[at] = total == 0 ? -INFINITY : shift + std::log(total);
        entropy[at] = total == 0 ? 0 : std::max(std::log(total) - weighted * inverse, 0.0);
        for (int64_t c = 0; c < C; ++c) {
          if (mass) mass[at * C + c] = sums[c] * inverse;
          if (!query_mask || query_mask[b * n.Tq + i]) mass_sum[head * C + c] += sums[c] * inverse;
        }
      }
    }
  });
}

void plain_key_mass(const Tensor& q, const Tensor& k, const double* lse, bool causal, int64_t window, double scale, double softcap,
                    const bool* key_mask, const bool* query_mask, double* mass) {
  const Sizes n(q, k);
  torch::stable::parallel_for(0, n.B * n.H, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      const int64_t b = head / n.H, h = head % n.H;
      std::fill(mass + head * n.Tk, mass + (head + 1) * n.Tk, 0.0);
      for (int64_t i = 0; i < n.Tq; ++i) {
        if (query_mask && !query_mask[b * n.Tq + i]) continue;
        const PlainRow row = plain_row(q, k, b, h, i, causal, window, scale, softcap, key_mask);
        for (int64_t j = 0; j < n.Tk; ++j) {
          const double s = row.logit(j);
          if (s != -INFINITY) mass[head * n.Tk + j] += std::exp(s - lse[head * n.Tq + i]);
        }
      }
    }
  });
}

ScalarType wide(const Tensor& q) { return q.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float; }

void check(const char* op, const Tensor& q, const Tensor& k) {
  STD_TORCH_CHECK(q.dim() == 4 && k.dim() == 4 && q.scalar_type() == k.scalar_type() && q.size(0) == k.size(0) && q.size(3) == k.size(3) &&
                      k.size(1) > 0 && q.size(1) % k.size(1) == 0 && q.size(2) <= k.size(2) && k.size(2) < (int64_t(1) << 31),
                  op, ": q and k must be (B, H, Tq, Dh) and (B, Hk, Tk, Dh) of one dtype, H a multiple of Hk, Tq <= Tk < 2**31");
}

void check_like(const char* op, const char* name, const std::optional<Tensor>& given, ScalarType type, int64_t rows, int64_t columns) {
  STD_TORCH_CHECK(!given || (given->scalar_type() == type && given->numel() == rows * columns), op, ": ", name, " must have ", rows, " x ",
                  columns, " values of the right dtype");
}

template <class V> V* data(Tensor& tensor) { return static_cast<V*>(tensor.mutable_data_ptr()); }

Masses attention_mass(Tensor given_q, Tensor given_k, Tensor given_groups, int64_t C, bool causal, int64_t window, double scale,
                      double softcap, std::optional<Tensor> given_sinks, std::optional<Tensor> given_key_mask,
                      std::optional<Tensor> given_query_mask, bool per_query) {
  check("attention_mass", given_q, given_k);
  const Tensor q = with_dense_rows(given_q), k = with_dense_rows(given_k), groups = torch::stable::contiguous(given_groups);
  const Sizes n(q, k);
  STD_TORCH_CHECK(C >= 1 && C <= 64, "attention_mass: num_groups must be from 1 to 64");
  const ScalarType type = wide(q);
  if (given_sinks) given_sinks = torch::stable::to(*given_sinks, type);
  const std::optional<Tensor> sinks = dense(given_sinks), key_mask = dense(given_key_mask), query_mask = dense(given_query_mask);
  check_like("attention_mass", "groups", groups, ScalarType::Long, n.B, n.Tk);
  check_like("attention_mass", "sinks", sinks, type, 1, n.H);
  check_like("attention_mass", "key_mask", key_mask, ScalarType::Bool, n.B, n.Tk);
  check_like("attention_mass", "query_mask", query_mask, ScalarType::Bool, n.B, n.Tq);
  const auto empty = [&](std::vector<int64_t> shape) { return torch::stable::new_empty(q, shape, type); };
  Tensor mass = per_query ? empty({n.B, n.H, n.Tq, C}) : empty({0}), mass_sum = empty({n.B, n.H, C});
  Tensor entropy = empty({n.B, n.H, n.Tq}), lse = empty({n.B, n.H, n.Tq}), maximum = empty({n.B, n.H, n.Tq});
  const int64_t* bits = static_cast<const int64_t*>(groups.const_data_ptr());
  const bool *keys = values<bool>(key_mask), *queries = values<bool>(query_mask);
  const auto run = [&]<class T>() {
    run_mass<T>(q, k, bits, C, rule_of(causal, window, scale, softcap, n.Tk), values<float>(sinks), keys, queries,
                per_query ? data<float>(mass) : nullptr, data<float>(mass_sum), data<float>(entropy), data<float>(lse),
                data<float>(maximum));
  };
  switch (q.scalar_type()) {
    case ScalarType::Float: run.template operator()<float>(); break;
    case ScalarType::BFloat16: run.template operator()<BFloat16>(); break;
    case ScalarType::Half: run.template operator()<Half>(); break;
    case ScalarType::Double:
      plain_mass(q, k, bits, C, causal, window, scale, softcap, values<double>(sinks), keys, queries,
                 per_query ? data<double>(mass) : nullptr, data<double>(mass_sum), data<double>(entropy), data<double>(lse),
                 data<double>(maximum));
      break;
    default: STD_TORCH_CHECK(false, "attention_mass: q must be float16, bfloat16, float32 or float64");
  }
  return {mass, mass_sum, entropy, lse, maximum};
}

Tensor attention_key_mass(Tensor given_q, Tensor given_k, Tensor given_lse, bool causal, int64_t window, double scale, double softcap,
                          std::optional<Tensor> given_key_mask, std::optional<Tensor> given_query_mask) {
  check("attention_key_mass", given_q, given_k);
  const Tensor q = with_dense_rows(given_q), k = with_dense_rows(given_k), lse = torch::stable::contiguous(given_lse);
  const Sizes n(q, k);
  const std::optional<Tensor> key_mask = dense(given_key_mask), query_mask = dense(given_query_mask);
  check_like("attention_key_mass", "lse", lse, wide(q), n.B * n.H, n.Tq);
  check_like("attention_key_mass", "key_mask", key_mask, ScalarType::Bool, n.B, n.Tk);
  check_like("attention_key_mass", "query_mask", query_mask, ScalarType::Bool, n.B, n.Tq);
  Tensor mass = torch::stable::new_empty(q, {n.B, n.H, n.Tk}, wide(q));
  const bool *keys = values<bool>(key_mask), *queries = values<bool>(query_mask);
  const auto run = [&]<class T>() {
    run_key_mass<T>(q, k, static_cast<const float*>(lse.const_data_ptr()), rule_of(causal, window, scale, softcap, n.Tk), keys, queries,
                    data<float>(mass));
  };
  switch (q.scalar_type()) {
    case ScalarType::Float: run.template operator()<float>(); break;
    case ScalarType::BFloat16: run.template operator()<BFloat16>(); break;
    case ScalarType::Half: run.template operator()<Half>(); break;
    case ScalarType::Double:
      plain_key_mass(q, k, static_cast<const double*>(lse.const_data_ptr()), causal, window, scale, softcap, keys, queries,
                     data<double>(mass));
      break;
    default: STD_TORCH_CHECK(false, "attention_key_mass: q must be float16, bfloat16, float32 or float64");
  }
  return mass;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydisp, CPU, m) {
  m.impl("attention_mass", TORCH_BOX(&attention_mass));
  m.impl("attention_key_mass", TORCH_BOX(&attention_key_mass));
}
