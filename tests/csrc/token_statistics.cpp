// csrc/token_statistics.h against plain loops in double: `token_statistics [seed]`.

#include "../../csrc/token_statistics.h"

#include <cmath>
#include <vector>

#include "check.h"

using namespace pydisp;

namespace {

const TokenStatisticsKernels& kernels() { return PYDISP_ISA::token_statistics_kernels; }
void summarise(const LogitBlock<float>& block, const LogitSummary<float>& out) { kernels().summarise_float(block, out); }
void summarise(const LogitBlock<double>& block, const LogitSummary<double>& out) { kernels().summarise_double(block, out); }
void differentiate(const LogitBlock<float>& block, const LogitGradient<float>& given) { kernels().differentiate_float(block, given); }
void differentiate(const LogitBlock<double>& block, const LogitGradient<double>& given) { kernels().differentiate_double(block, given); }

template <class A> void check_near(A found, double exact, double tolerance, const char* what, int64_t words, int64_t token) {
  CHECK(std::fabs(double(found) - exact) <= tolerance * std::fmax(1, std::fabs(exact)), "%s of token %d over %d words is %g, not %g", what,
        int(token), int(words), double(found), exact);
}

template <class A> void check_block(Random& random, int64_t words, int64_t R, int64_t stride, bool has_bias, A scale, A softcap) {
  const double tolerance = sizeof(A) == 8 ? 1e-12 : 2e-5;
  const auto x = exactly<A>((words - 1) * stride + R), copy = exactly<A>((words - 1) * stride + R), bias = exactly<A>(words);
  for (int64_t i = 0; i < (words - 1) * stride + R; ++i) x[i] = copy[i] = A(4 * random.normal());
  for (int64_t v = 0; v < words; ++v) bias[v] = has_bias ? A(random.normal()) : A(0);
  const auto logit = [&](int64_t v, int64_t j) {
    const double plain = double(scale) * (double(copy[v * stride + j]) + double(bias[v]));
    return softcap == 0 ? plain : softcap * std::tanh(plain / softcap);
  };
  const LogitOptions<A> options{has_bias ? bias.get() : nullptr, scale, softcap};

  const auto results = exactly<A>(6 * R), threshold = exactly<A>(R);
  A* const out = results.get();
  // the last word's own logit where nothing changes it, as a target's is: a word is not above itself
  for (int64_t j = 0; j < R; ++j) threshold[j] = !has_bias && scale == 1 && softcap == 0 ? x[(words - 1) * stride + j] : A(random.normal());
  summarise(LogitBlock<A>{x.get(), words, stride, R, options},
            LogitSummary<A>{out, out + R, out + 2 * R, out + 3 * R, out + 4 * R, out + 5 * R, threshold.get()});
  for (int64_t j = 0; j < R; ++j) {
    double highest = -INFINITY, total = 0, weighted = 0, sum = 0;
    int64_t above = 0, best = 0;
    for (int64_t v = 0; v < words; ++v) {
      highest = std::fmax(highest, logit(v, j));
      sum += logit(v, j);
      above += x[v * stride + j] > threshold[j];
      best = x[v * stride + j] > x[best * stride + j] ? v : best;
      check_near(x[v * stride + j], logit(v, j), tolerance, "a logit", words, j);
    }
    for (int64_t v = 0; v < words; ++v) {
      const double below = logit(v, j) - highest;
      total += std::exp(below), weighted += std::exp(below) * below;
    }
    check_near(out[j], highest, tolerance, "the largest logit", words, j);
    check_near(out[R + j], total, tolerance, "the sum of e^z", words, j);
    check_near(out[2 * R + j], weighted, tolerance, "the sum of e^z z", words, j);
    check_near(out[3 * R + j], sum, 20 * tolerance, "the sum of z", words, j);
    CHECK(out[4 * R + j] == A(above) && out[5 * R + j] == A(best), "token %d: %g above, word %g best", int(j), double(out[4 * R + j]),
          double(out[5 * R + j]));
  }

  const auto given = exactly<A>(4 * R), grad_bias = exactly<A>(words);
  const auto target = exactly<int64_t>(R);
  for (int64_t j = 0; j < R; ++j) {
    given[j] = A(out[j] + std::log(double(out[R + j])));
    for (int64_t k = 1; k < 4; ++k) given[k * R + j] = A(random.normal());
    target[j] = random.below(3 * words) - words;
  }
  for (int64_t v = 0; v < words; ++v) grad_bias[v] = A(v);
  for (int64_t i = 0; i < (words - 1) * stride + R; ++i) x[i] = copy[i];
  differentiate(LogitBlock<A>{x.get(), words, stride, R, options},
                LogitGradient<A>{given.get(), given.get() + R, given.get() + 2 * R, given.get() + 3 * R, target.get(), grad_bias.get()});
  for (int64_t v = 0; v < words; ++v) {
    double row = double(v);
    for (int64_t j = 0; j < R; ++j) {
      const double z = logit(v, j), slope = scale * (softcap == 0 ? 1 : 1 - (z / softcap) * (z / softcap));
      const double grad = slope * (std::exp(z - given[j]) * given[R + j] + (target[j] == v ? given[2 * R + j] : 0) + given[3 * R + j]);
      check_near(x[v * stride + j], grad, tolerance, "the gradient", v, j);
      row += grad;
    }
    check_near(grad_bias[v], row, 20 * tolerance, "the bias' gradient", v, 0);
  }
}

template <class A> void check_extremes() {
  constexpr int64_t R = kBlockTokens<A>;
  std::vector<A> x(3 * R, -std::numeric_limits<A>::infinity()), out(6 * R), threshold(R);
  x[2 * R + 1] = A(5);                             // one possible word
  x[2] = x[R + 2] = std::numeric_limits<A>::max() / 2;  // two large ones
  x[3] = std::numeric_limits<A>::quiet_NaN();
  summarise(LogitBlock<A>{x.data(), 3, R, R, {nullptr, A(1), A(0)}},
            LogitSummary<A>{&out[0], &out[R], &out[2 * R], &out[3 * R], &out[4 * R], &out[5 * R], threshold.data()});
  CHECK(out[R] == 0 && out[2 * R] == 0 && out[5 * R] == 0, "a token without any possible word");
  CHECK(out[1] == 5 && out[R + 1] == 1 && out[2 * R + 1] == 0 && out[5 * R + 1] == 2, "a token with one possible word");
  CHECK(out[R + 2] == 2 && out[2 * R + 2] == 0 && out[5 * R + 2] == 0, "a token with two large logits");
  CHECK(std::isnan(out[R + 3]), "a NaN got lost");
}

template <class T> void check_conversions(void (*widen)(const T*, float*, int64_t), void (*narrow)(const float*, T*, int64_t)) {
  for (int64_t count = 0; count < 70; ++count) {
    const auto from = exactly<T>(count), back = exactly<T>(count);
    const auto wide = exactly<float>(count);
    for (int64_t i = 0; i < count; ++i) store_one(from[i], float(i) - 7);
    widen(from.get(), wide.get(), count), narrow(wide.get(), back.get(), count);
    for (int64_t i = 0; i < count; ++i)
      CHECK(wide[i] == float(i) - 7 && back[i].bits == from[i].bits, "value %d of %d", int(i), int(count));
  }
}

template <class A> void check_all(Random& random) {
  for (const int64_t words : {1, 2, 7, 128, 301})
    for (const int64_t extra : {0, 3, 64}) {
      const int64_t all = kBlockTokens<A>, tokens = extra == 3 ? 16 : extra == 64 ? all - 16 : all, stride = all + extra;
      check_block<A>(random, words, tokens, stride, false, A(1), A(0));
      check_block<A>(random, words, tokens, stride, true, A(1), A(0));
      check_block<A>(random, words, tokens, stride, false, A(-0.5), A(0));
      check_block<A>(random, words, tokens, stride, true, A(0.7), A(3));
      check_block<A>(random, words, tokens, stride, false, A(0.01), A(30));
    }
  check_extremes<A>();
}

}  // namespace

int main(int count, char** words) {
  Random random(count, words);
  check_all<float>(random);
  check_all<double>(random);
  check_conversions<BFloat16>(kernels().widen_bfloat16, kernels().narrow_bfloat16);
  check_conversions<Half>(kernels().widen_half, kernels().narrow_half);
}
