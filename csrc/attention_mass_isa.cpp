// The kernels of attention_mass and attention_key_mass for one instruction set (setup.py compiles this file once for each).
//
// Both ops score tiles of rows against vectors of lanes. attention_mass has the queries in the lanes, so that the maximum, the sum and the
// group sums of a query need no sum across a vector. attention_key_mass has the keys in the lanes, because its results are sums per key.
// There are separate forms for few rows, further down.

#include <algorithm>

#include "attention_mass.h"
#include "simd.h"

namespace pydisp::PYDISP_ISA {
namespace {

constexpr int kVectors = 6;  // two tiles of 3 vectors; 4 rows x 3 vectors of sums and their 4 operands are AVX2's 16 registers
constexpr int kLanes = kVectors * kWidth;
const float kInfinity = std::numeric_limits<float>::infinity();

// e^x for x <= 0 to about 2 units in the last place, 0 below -87.3; NaN stays. No upper bound to guard makes it half as long as vexp.
PYDISP_INLINE Floats exp_of_nonpositive(Floats x) {
  const Floats magic = splat(12582912.f + 127.f);  // 1.5 * 2^23: adding it rounds to a whole number; 127: the exponent's bias
  const Floats shifted = fma(x, splat(1.44269504088896341f), magic);
  const Floats r = fma(shifted - magic, splat(-0.693147180559945309f), x);
  Floats p = splat(1.3933644e-3f);  // (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2, Chebyshev fit of degree 4
  p = fma(p, r, splat(8.3631752e-3f));
  p = fma(p, r, splat(4.1666467e-2f));
  p = fma(p, r, splat(1.66665763e-1f));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r * r, r) + splat(1.f);
  const Floats power = Floats(Ints(shifted) << 23);
  return x < splat(-87.33f) ? zeros() : p * power;
}

PYDISP_INLINE Floats tanh_of(Floats x) {
  const Floats magnitude = Floats(Ints(x) & 0x7fffffff);
  const Floats e = exp_of_nonpositive(magnitude * splat(-2.f));
  const Floats large = (splat(1.f) - e) / (splat(1.f) + e);
  const Floats z = x * x;
  Floats p = splat(2.2973938e-3f);  // (tanh(x) / x - 1) / x^2 on |x| <= 0.62, where `large` would cancel
  p = fma(p, z, splat(-8.3483439e-3f));
  p = fma(p, z, splat(2.1770375e-2f));
  p = fma(p, z, splat(-5.3959455e-2f));
  p = fma(p, z, splat(1.33333042e-1f));
  p = fma(p, z, splat(-3.3333334e-1f));
  const Floats small = fma(p * z, x, x);
  const Floats signed_large = Floats(Ints(large) | (Ints(x) & Ints(splat(-0.f))));
  return magnitude < splat(0.62f) ? small : signed_large;
}

PYDISP_INLINE Ints splat_int(int32_t value) { return Ints{} + value; }

// logits[r][lane] = sum over d of rows[r][d] * lanes[d][lane]: one chain of fused products a logit, the same in every tile.
template <int R, int N>
PYDISP_INLINE void score_tile(const float* const* rows, const float* lanes, int64_t D, float* logits) {
  Floats sum[R][N];
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) sum[r][n] = zeros();
  for (int64_t d = 0; d < D; ++d) {
    Floats lane[N];
    for (int n = 0; n < N; ++n) lane[n] = load(lanes + d * kLanes + n * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Floats value = splat(rows[r][d]);
      for (int n = 0; n < N; ++n) sum[r][n] = fma(value, lane[n], sum[r][n]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) store(logits + r * kLanes + n * kWidth, sum[r][n]);
}

template <int R, int N>
PYDISP_INLINE void score_rows(const float* const* rows, int64_t count, const float* lanes, int64_t D, float* logits) {
  for (int64_t r = 0; r < count; r += R) score_tile<R, N>(rows + r, lanes, D, logits + r * kLanes);
}

// `rows` has 8 spare entries behind `count` that can be read.
void score(const float* const* rows, int64_t count, const float* lanes, int64_t vectors, int64_t D, float* logits) {
  for (int64_t v = 0; v < vectors; v += 3) {
    const float* from = lanes + v * kWidth;
    float* to = logits + v * kWidth;
    if (vectors - v >= 3) score_rows<4, 3>(rows, count, from, D, to);
    else if (vectors - v == 2) score_rows<6, 2>(rows, count, from, D, to);
    else score_rows<8, 1>(rows, count, from, D, to);
  }
}

PYDISP_INLINE const float* as_floats(const float* row, float*, int64_t) { return row; }
template <class T> PYDISP_INLINE const float* as_floats(const T* row, float* copy, int64_t D) {
  int64_t d = 0;
  for (; d + kWidth <= D; d += kWidth) store(copy + d, load(row + d));
  for (; d < D; ++d) copy[d] = load_one(row[d]);
  return copy;
}

// lanes[d][lane] = factor * row[d]
template <class T> PYDISP_INLINE void fill_lane(const T* row, float factor, int64_t D, float* lane) {
  for (int64_t d = 0; d < D; ++d) lane[d * kLanes] = factor * load_one(row[d]);
}
PYDISP_INLINE void clear_lane(int64_t D, float* lane) {
  for (int64_t d = 0; d < D; ++d) lane[d * kLanes] = 0.f;
}

// The product is scaled through the lanes' side, once; with a softcap what tanh takes is.
PYDISP_INLINE float lane_factor(const Rule& rule) { return rule.softcap > 0 ? rule.scale / rule.softcap : rule.scale; }

PYDISP_INLINE Floats seen(Floats s, Ints query, Ints key, bool causal, int32_t window) {
  const Floats hidden = splat(-kInfinity);
  if (causal) s = key <= query ? s : hidden;
  if (window > 0) s = key > query - window ? s : hidden;
  return s;
}

// Caps and masks the logits of N vectors in place and returns their maxima.
template <int N, bool kCapped, bool kMasked>
PYDISP_INLINE void finish_logits(float* logits, int64_t count, const int32_t* position, const Ints* query, const Rule& rule,
                                 Floats* top) {
  const Floats cap = splat(rule.softcap);
  for (int64_t j = 0; j < count; ++j)
    for (int n = 0; n < N; ++n) {
      Floats s = load(logits + j * kLanes + n * kWidth);
      if (kCapped) s = cap * tanh_of(s);
      if (kMasked) s = seen(s, query[n], splat_int(position[j]), rule.causal, int32_t(rule.window));
      if (kCapped || kMasked) store(logits + j * kLanes + n * kWidth, s);
      top[n] = vmax(s, top[n]);
    }
}

// One step of the online softmax for N vectors of lanes: logits become p in place, the sums move on to the new maximum.
template <int N>
PYDISP_INLINE void soften(float* logits, int64_t count, const int32_t* position, const Ints* query, bool masked, const Rule& rule,
                          float* maximum, float* total, float* weighted, float* factor) {
  Floats top[N], shift[N], sum[N], dot[N];
  for (int n = 0; n < N; ++n) top[n] = load(maximum + n * kWidth);
  if (rule.softcap > 0) {
    if (masked) finish_logits<N, true, true>(logits, count, position, query, rule, top);
    else finish_logits<N, true, false>(logits, count, position, query, rule, top);
  } else {
    if (masked) finish_logits<N, false, true>(logits, count, position, query, rule, top);
    else finish_logits<N, false, false>(logits, count, position, query, rule, top);
  }
  for (int n = 0; n < N; ++n) {
    shift[n] = top[n] == splat(-kInfinity) ? zeros() : top[n];
    sum[n] = dot[n] = zeros();
  }
  for (int64_t j = 0; j < count; ++j)
    for (int n = 0; n < N; ++n) {
      const Floats distance = load(logits + j * kLanes + n * kWidth) - shift[n];
      const Floats p = exp_of_nonpositive(distance);
      sum[n] += p;
      dot[n] = fma(p, vmax(splat(-100.f), distance), dot[n]);  // 0 * -inf would be NaN
      store(logits + j * kLanes + n * kWidth, p);
    }
  for (int n = 0; n < N; ++n) {
    const Floats before = load(maximum + n * kWidth), l = load(total + n * kWidth);
    // no lower than -100: finite maxima can lie further apart than the largest float, and -inf times alpha, 0, would be NaN
    const Floats moved = before == splat(-kInfinity) ? zeros() : vmax(splat(-100.f), before - top[n]);
    const Floats alpha = before == splat(-kInfinity) ? zeros() : exp_of_nonpositive(moved);
    store(factor + n * kWidth, alpha);
    store(maximum + n * kWidth, top[n]);
    store(total + n * kWidth, fma(l, alpha, sum[n]));
    store(weighted + n * kWidth, fma(fma(l, moved, load(weighted + n * kWidth)), alpha, dot[n]));
  }
}

// mass = mass * factor + the sum of p over the members, for N vectors of lanes; the first row of p is the block's key `skipped`.
template <int N>
PYDISP_INLINE void add_members(const float* p, const uint8_t* member, const uint8_t* end, int64_t skipped, const float* factor,
                               float* mass) {
  Floats sum[N];
  for (int n = 0; n < N; ++n) sum[n] = zeros();
  for (; member < end; ++member)
    for (int n = 0; n < N; ++n) sum[n] += load(p + (*member - skipped) * kLanes + n * kWidth);
  for (int n = 0; n < N; ++n) store(mass + n * kWidth, fma(load(mass + n * kWidth), load(factor + n * kWidth), sum[n]));
}

// How many of the sorted values are below `value`. Not std::lower_bound: the linker may keep the copy of a newer instruction set.
int64_t place(const int32_t* sorted, int64_t count, int64_t value) {
  int64_t low = 0;
  while (low < count) {
    const int64_t middle = (low + count) / 2;
    if (sorted[middle] < value) low = middle + 1;
    else count = middle;
  }
  return low;
}

// The places in keys that a job's lanes may see, when its lowest and highest query stand at `first` and `last`.
template <class T> void clip(const MassJob<T>& job, int64_t first, int64_t last, int64_t& begin, int64_t& end) {
  const Keys& keys = job.keys;
  begin = job.first_key, end = std::min(job.end_key, keys.count);
  if (job.rule.causal) end = std::min(end, place(keys.position, keys.count, last + 1));
  if (job.rule.window > 0) begin = std::max(begin, place(keys.position, keys.count, first - job.rule.window + 1));
}

// The members of list `list` among the `count` keys of its block behind the first `skipped`.
struct Members {
  const uint8_t *begin, *end;
};

Members members(const Keys& keys, int64_t list, int64_t skipped, int64_t count) {
  Members range = {keys.member + keys.first[list], keys.member + keys.first[list + 1]};
  while (range.begin < range.end && *range.begin < skipped) ++range.begin;
  while (range.end > range.begin && range.end[-1] >= skipped + count) --range.end;
  return range;
}

// Few rows of queries, as when one token is decoded, would leave most of a vector empty, and putting keys into lanes would take longer than
// scoring them. So here the head dimension is along the vectors while scoring; afterwards the logits of L rows per key are side by side.
// logits[j * L + l] = row l of `lanes` times rows[j]; `rows` has 3 spare entries behind `count` that can be read.
// Keys are read one after the other: several streams within one page look irregular to the processor's prefetching. It is also late for
// consecutive rows: prefetching 2 KiB ahead saves a fifth of the time (LOG.md).
template <int L, class T>
PYDISP_INLINE void score_few(const T* const* rows, int64_t count, const float* lanes, int64_t padded, int64_t D, float* logits) {
  constexpr int S = L > 2 ? 2 : 4;  // sums a logit, to hide the latency of an addition
  for (int64_t j = 0; j < count; j += 4 / L) {
    Floats sums[4];
    for (int at = 0; at < 4; at += L) {
      const T* row = rows[j + at / L];
      for (uintptr_t line = uintptr_t(row) + 2048; line < uintptr_t(row + D) + 2048; line += 64)
        __builtin_prefetch(reinterpret_cast<void*>(line));
      Floats sum[S][L];
      for (int s = 0; s < S; ++s)
        for (int l = 0; l < L; ++l) sum[s][l] = zeros();
      const auto step = [&](int s, int64_t d, Floats value) __attribute__((always_inline)) {
        for (int l = 0; l < L; ++l) sum[s][l] = fma(value, load(lanes + l * padded + d), sum[s][l]);
      };
      int64_t d = 0;
      for (; d + S * kWidth <= D; d += S * kWidth)
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) step(s, d + s * kWidth, load(row + d + s * kWidth));
      for (; d + kWidth <= D; d += kWidth) step(0, d, load(row + d));
      if (d < D) step(1, d, load_part(row + d, D - d));
      for (int l = 0; l < L; ++l) {
        for (int s = 1; s < S; ++s) sum[0][l] += sum[s][l];
        sums[at + l] = sum[0][l];
      }
    }
    store_as(logits + j * L, sums_of(sums[0], sums[1], sums[2], sums[3]));
  }
}

// values[i % L] in lane i
template <int L> PYDISP_INLINE Floats repeated(const float* values) {
  Floats out;
  for (int i = 0; i < kWidth; ++i) out[i] = values[i % L];
  return out;
}

// out[l]: the lanes l, l + L, l + 2 L, ... joined
template <int L, class Join> PYDISP_INLINE void fold(Floats value, float* out, Join join) {
  float lanes[kWidth];
  store(lanes, value);
  for (int width = kWidth / 2; width >= L; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] = join(lanes[i], lanes[i + width]);
  for (int l = 0; l < L; ++l) out[l] = lanes[l];
}

// Shared by the forms for few rows: scores up to kKeyBlock keys against L rows.
template <class T> struct FewRows {
  const T* k;
  int64_t k_token_stride, D;
  Rule rule;
  float* lanes;  // the rows as floats, scaled, each `padded` apart
  int32_t* query;  // their positions
  float* logits;

  static int64_t padded(int64_t D) { return (D + kWidth - 1) / kWidth * kWidth; }

  void set(int64_t row, const T* from, int64_t position) const {
    const float factor = lane_factor(rule);
    float* lane = lanes + row * padded(D);
    for (int64_t d = 0; d < padded(D); ++d) lane[d] = d < D ? factor * load_one(from[d]) : 0.f;
    query[row] = int32_t(position);
  }

  // logits[j * L + l]: of key j and row first + l, capped and masked, up to a whole vector; what lies behind the last key repeats it.
  // Calls each(place, vector) for what it stores and returns how many floats these are.
  template <int L, class Each> PYDISP_INLINE int64_t score(int64_t first, const int32_t* position, int64_t count, Each each) const {
    const T* rows[kKeyBlock + 3];
    for (int64_t j = 0; j < count + 3; ++j) rows[j] = k + int64_t(position[std::min(j, count - 1)]) * k_token_stride;
    score_few<L>(rows, count, lanes + first * padded(D), padded(D), D, logits);
    const int64_t floats = (count * L + kWidth - 1) / kWidth * kWidth;
    for (int64_t at = count * L; at < floats; ++at) logits[at] = logits[at - L];
    int32_t low = query[first], high = low;
    Ints row;
    for (int i = 0; i < kWidth; ++i) {
      const int32_t one = row[i] = query[first + i % L];
      low = one < low ? one : low, high = one > high ? one : high;
    }
    const bool masked = (rule.causal && position[count - 1] > low) || (rule.window > 0 && position[0] <= high - rule.window);
    const Floats cap = splat(rule.softcap);
    for (int64_t at = 0; at < floats; at += kWidth) {
      Floats s = load(logits + at);
      if (rule.softcap > 0) s = cap * tanh_of(s);
      if (masked) {
        Ints key;
        for (int i = 0; i < kWidth; ++i) key[i] = position[std::min((at + i) / L, count - 1)];
        s = seen(s, row, key, rule.causal, int32_t(rule.window));
      }
      each(at, s);
    }
    return floats;
  }
};

template <int L> struct Group { typedef float Sums __attribute__((vector_size(4 * L))); };
template <> struct Group<1> { typedef float Sums; };

template <int L, class T> void mass_of_few(const MassJob<T>& job) {
  using Sums = typename Group<L>::Sums;
  const int64_t D = job.D, offset = job.Tk - job.Tq;
  int32_t query[L];
  const FewRows<T> few = {job.k, job.k_token_stride, D, job.rule, job.room, query, job.room + L * FewRows<T>::padded(D)};
  float maximum[L], total[L], weighted[L], alpha[L];
  for (int64_t lane = 0; lane < L; ++lane) {
    const int64_t at = job.first_lane + std::min(lane, job.lanes - 1), i = at / job.G, g = at % job.G;  // the last row fills up
    few.set(lane, job.q + g * job.q_head_stride + i * job.q_token_stride, offset + i);
    maximum[lane] = -kInfinity;
    total[lane] = weighted[lane] = 0.f;
  }
  for (int64_t c = 0; c < job.C; ++c)
    for (int64_t lane = 0; lane < L; ++lane) job.mass[c * kLanes + lane] = 0.f;
  const Keys& keys = job.keys;
  int64_t begin, end;
  clip(job, query[0], query[L - 1], begin, end);
  for (int64_t from = begin; from < end;) {
    const int64_t block = from / kKeyBlock, skipped = from - block * kKeyBlock;
    const int64_t count = std::min((block + 1) * kKeyBlock, end) - from;
    float* s = few.logits;
    Floats top = splat(-kInfinity);
    const int64_t floats = few.template score<L>(0, keys.position + from, count, [&](int64_t at, Floats value) {
      store(s + at, value);
      top = vmax(value, top);
    });
    for (int64_t at = count * L; at < floats; ++at) s[at] = -kInfinity;  // the last key was repeated, for the maximum
    float highest[L], shift[L], moved[L], sums[L], dots[L];
    fold<L>(top, highest, [](float a, float b) { return a > b ? a : b; });
    for (int l = 0; l < L; ++l) {
      const float before = maximum[l], now = highest[l] > before ? highest[l] : before, down = before - now;
      shift[l] = now == -kInfinity ? 0.f : now;
      moved[l] = before == -kInfinity ? 0.f : down < -100.f ? -100.f : down;  // as in soften
      alpha[l] = before == -kInfinity ? 0.f : exp_of_nonpositive(splat(moved[l]))[0];
      maximum[l] = now;
    }
    const Floats below = repeated<L>(shift);
    Floats sum = zeros(), dot = zeros();
    for (int64_t at = 0; at < floats; at += kWidth) {
      const Floats distance = load(s + at) - below;
      const Floats p = exp_of_nonpositive(distance);
      sum += p;
      dot = fma(p, vmax(splat(-100.f), distance), dot);
      store(s + at, p);
    }
    fold<L>(sum, sums, [](float a, float b) { return a + b; });
    fold<L>(dot, dots, [](float a, float b) { return a + b; });
    for (int l = 0; l < L; ++l) {
      weighted[l] = (weighted[l] + total[l] * moved[l]) * alpha[l] + dots[l];
      total[l] = total[l] * alpha[l] + sums[l];
    }
    const Sums factor = load_as<Sums>(alpha);
    for (int64_t c = 0; c < job.C; ++c) {
      auto [member, behind] = members(keys, block * job.C + c, skipped, count);
      Sums sum_of[4] = {};  // four, to hide the latency of an addition
      for (; behind - member >= 4; member += 4)
        for (int n = 0; n < 4; ++n) sum_of[n] += load_as<Sums>(s + (member[n] - skipped) * L);
      for (; member < behind; ++member) sum_of[0] += load_as<Sums>(s + (*member - skipped) * L);
      float* mass = job.mass + c * kLanes;
      store_as(mass, load_as<Sums>(mass) * factor + ((sum_of[0] + sum_of[1]) + (sum_of[2] + sum_of[3])));
    }
    from += count;
  }
  for (int64_t lane = 0; lane < job.lanes; ++lane)
    job.maximum[lane] = maximum[lane], job.total[lane] = total[lane], job.weighted[lane] = weighted[lane];
}

template <class T> void mass(const MassJob<T>& job) {
  switch (job.Tq * job.G) {
    case 1: return mass_of_few<1>(job);
    case 2: return mass_of_few<2>(job);
    case 3:
    case 4: return mass_of_few<4>(job);
  }
  const int64_t D = job.D, vectors = (job.lanes + kWidth - 1) / kWidth;
  float* lanes = job.room;
  float* logits = lanes + kLanes * D;
  float* copies = logits + kLanes * (kKeyBlock + 8);
  const float factor = lane_factor(job.rule);
  const int64_t offset = job.Tk - job.Tq;
  const int64_t first = offset + job.first_lane / job.G, last = offset + (job.first_lane + job.lanes - 1) / job.G;
  Ints query[kVectors];
  for (int64_t lane = 0; lane < vectors * kWidth; ++lane) {
    const int64_t at = job.first_lane + std::min(lane, job.lanes - 1), i = at / job.G, g = at % job.G;
    query[lane / kWidth][lane % kWidth] = int32_t(offset + i);
    if (lane < job.lanes) fill_lane(job.q + g * job.q_head_stride + i * job.q_token_stride, factor, D, lanes + lane);
    else clear_lane(D, lanes + lane);
  }
  for (int64_t lane = 0; lane < vectors * kWidth; ++lane) {
    job.maximum[lane] = -kInfinity;
    job.total[lane] = job.weighted[lane] = 0.f;
    for (int64_t c = 0; c < job.C; ++c) job.mass[c * kLanes + lane] = 0.f;
  }
  const Keys& keys = job.keys;
  int64_t begin, end;
  clip(job, first, last, begin, end);
  const float* rows[kKeyBlock + 8];
  float alpha[kLanes];
  for (int64_t from = begin; from < end;) {
    const int64_t block = from / kKeyBlock, skipped = from - block * kKeyBlock;
    const int64_t count = std::min((block + 1) * kKeyBlock, end) - from;
    const int32_t* position = keys.position + from;
    for (int64_t j = 0; j < count; ++j) rows[j] = as_floats(job.k + position[j] * job.k_token_stride, copies + j * D, D);
    for (int64_t j = count; j < count + 8; ++j) rows[j] = rows[count - 1];
    score(rows, count, lanes, vectors, D, logits);
    const bool masked =
        (job.rule.causal && position[count - 1] > first) || (job.rule.window > 0 && position[0] <= last - job.rule.window);
    for (int64_t v = 0; v < vectors; v += 3) {
      const int64_t at = v * kWidth;
      const auto step = [&]<int N>() {
        soften<N>(logits + at, count, position, query + v, masked, job.rule, job.maximum + at, job.total + at, job.weighted + at,
                  alpha + at);
      };
      if (vectors - v >= 3) step.template operator()<3>();
      else if (vectors - v == 2) step.template operator()<2>();
      else step.template operator()<1>();
    }
    for (int64_t c = 0; c < job.C; ++c) {
      const auto [member, behind] = members(keys, block * job.C + c, skipped, count);
      float* sums = job.mass + c * kLanes;
      int64_t v = 0;
      if (vectors == kVectors) add_members<kVectors>(logits, member, behind, skipped, alpha, sums), v = kVectors;
      for (; v < vectors; ++v)
        add_members<1>(logits + v * kWidth, member, behind, skipped, alpha + v * kWidth, sums + v * kWidth);
    }
    from += count;
  }
}

// A key that a row does not see gets no mass, even if the row's lse is NaN; a row with lse -infinity sees no key.
PYDISP_INLINE Floats share_of(Floats s, Floats lse) { return s == splat(-kInfinity) ? zeros() : vexp(s - lse); }

template <class T> void key_mass_of_few(const KeyMassJob<T>& job) {
  const int64_t D = job.D, offset = job.Tk - job.Tq;
  int32_t query[kFewQueryRows];
  const FewRows<T> few = {job.k, job.k_token_stride, D, job.rule, job.room, query,
                          job.room + kFewQueryRows * FewRows<T>::padded(D)};
  float lse[kFewQueryRows];
  float* mass[kFewQueryRows];
  int64_t rows = 0;
  for (int64_t g = 0; g < job.G; ++g)
    for (int64_t n = 0; n < job.queries; ++n) {
      const int64_t i = job.query[n];
      if (job.lse[g * job.Tq + i] == -kInfinity) continue;
      few.set(rows, job.q + g * job.q_head_stride + i * job.q_token_stride, offset + i);
      lse[rows] = job.lse[g * job.Tq + i];
      mass[rows++] = job.mass + g * job.Tk;
    }
  if (rows == 0) return;
  if (rows % 4 == 3) {  // fills up four
    std::memcpy(few.lanes + rows * FewRows<T>::padded(D), few.lanes + (rows - 1) * FewRows<T>::padded(D), FewRows<T>::padded(D) * 4);
    query[rows] = query[rows - 1], lse[rows] = lse[rows - 1];
  }
  int64_t begin = 0, end = job.keys;
  if (job.rule.causal) end = place(job.key, job.keys, offset + job.query[job.queries - 1] + 1);
  if (job.rule.window > 0) begin = place(job.key, job.keys, offset + job.query[0] - job.rule.window + 1);
  for (int64_t from = begin; from < end; from += kKeyBlock) {
    const int64_t count = std::min<int64_t>(kKeyBlock, end - from);
    const int32_t* key = job.key + from;
    const auto add = [&]<int L>(int64_t first) {
      const Floats of_row = repeated<L>(lse + first);
      few.template score<L>(first, key, count, [&](int64_t at, Floats s) { store(few.logits + at, share_of(s, of_row)); });
      for (int64_t row = first; row < std::min(first + L, rows); ++row)
        for (int64_t j = 0; j < count; ++j) mass[row][key[j]] += few.logits[j * L + row - first];
    };
    int64_t row = 0;
    for (; rows - row >= 3; row += 4) add.template operator()<4>(row);
    if (rows - row == 2) add.template operator()<2>(row);
    else if (rows - row == 1) add.template operator()<1>(row);
  }
}

template <class T> void key_mass(const KeyMassJob<T>& job) {
  if (job.G * job.Tq <= kFewQueryRows) return key_mass_of_few(job);
  const int64_t D = job.D, vectors = (job.keys + kWidth - 1) / kWidth, offset = job.Tk - job.Tq;
  float* lanes = job.room;
  float* logits = lanes + kLanes * D;
  float* copies = logits + kLanes * (kKeyBlock + 8);
  const float factor = lane_factor(job.rule);
  const Floats cap = splat(job.rule.softcap);
  Ints key[kVectors];
  for (int64_t lane = 0; lane < vectors * kWidth; ++lane) {
    const int32_t position = job.key[std::min(lane, job.keys - 1)];
    key[lane / kWidth][lane % kWidth] = position;
    if (lane < job.keys) fill_lane(job.k + position * job.k_token_stride, factor, D, lanes + lane);
    else clear_lane(D, lanes + lane);
  }
  const int64_t first = job.key[0], last = job.key[job.keys - 1];
  int64_t begin = 0, end = job.queries;
  if (job.rule.causal) begin = place(job.query, job.queries, first - offset);
  if (job.rule.window > 0) end = place(job.query, job.queries, last + job.rule.window - offset);
  const float* rows[kKeyBlock + 8];
  for (int64_t g = 0; g < job.G; ++g) {
    Floats total[kVectors];
    for (int64_t v = 0; v < vectors; ++v) total[v] = zeros();
    for (int64_t from = begin; from < end; from += kKeyBlock) {
      const int64_t count = std::min<int64_t>(kKeyBlock, end - from);
      const int32_t* query = job.query + from;
      for (int64_t i = 0; i < count; ++i)
        rows[i] = as_floats(job.q + g * job.q_head_stride + query[i] * job.q_token_stride, copies + i * D, D);
      for (int64_t i = count; i < count + 8; ++i) rows[i] = rows[count - 1];
      score(rows, count, lanes, vectors, D, logits);
      const bool masked = (job.rule.causal && last > query[0] + offset) ||
                          (job.rule.window > 0 && first <= query[count - 1] + offset - job.rule.window);
      for (int64_t v = 0; v < vectors; ++v) {
        Floats sum = zeros();
        for (int64_t i = 0; i < count; ++i) {
          const float lse = job.lse[g * job.Tq + query[i]];
          if (lse == -kInfinity) continue;
          Floats s = load(logits + i * kLanes + v * kWidth);
          if (job.rule.softcap > 0) s = cap * tanh_of(s);
          if (masked) s = seen(s, splat_int(int32_t(query[i] + offset)), key[v], job.rule.causal, int32_t(job.rule.window));
          sum += share_of(s, splat(lse));
        }
        total[v] += sum;
      }
    }
    float* mass = job.mass + g * job.Tk;
    for (int64_t lane = 0; lane < job.keys; ++lane) mass[job.key[lane]] += total[lane / kWidth][lane % kWidth];
  }
}

}  // namespace

extern const AttentionMassKernels attention_mass_kernels;
const AttentionMassKernels attention_mass_kernels = {kLanes, mass, mass, mass, key_mass, key_mass, key_mass};

}  // namespace pydisp::PYDISP_ISA
