// csrc/attention_mass_isa.cpp against plain loops: `attention_mass [seed]`.

#include "../../csrc/attention_mass.h"

#include <algorithm>
#include <vector>

#include "check.h"

using namespace pydisp;

namespace pydisp::PYDISP_ISA {
extern const AttentionMassKernels attention_mass_kernels;
}
const AttentionMassKernels& kernels = PYDISP_ISA::attention_mass_kernels;

template <class T> std::unique_ptr<T[]> normals(Random& random, int64_t n) {
  auto values = exactly<T>(n);
  for (int64_t i = 0; i < n; ++i) store_one(values[i], random.normal());
  return values;
}

void check_near(double found, double exact, const char* what) {
  const bool is_near = std::fabs(found - exact) <= 1e-4 * std::max(1.0, std::fabs(exact)) || found == exact;
  CHECK(is_near || (std::isnan(found) && std::isnan(exact)), "%s is %g, not %g", what, found, exact);
}

template <class T> void check_once(Random& random) {
  const int64_t few = random.below(3);  // 0: up to 4 rows, the form for decoding; 1: up to 16, that of the masses by key
  const int64_t G = 1 + random.below(few == 0 ? 4 : few == 1 ? 8 : 3);
  const int64_t Tq = 1 + random.below(few == 0 ? 4 / G : few == 1 ? kFewQueryRows / G : 90), Tk = Tq + random.below(150);
  const int64_t D = 1 + random.below(40), C = 1 + random.below(64), L = kernels.lanes;
  const Rule rule = {random.below(2) == 0, random.below(2) ? 1 + random.below(Tk) : 0, 0.3f, random.below(2) ? 2.f : 0.f};
  const auto q = normals<T>(random, G * Tq * D), k = normals<T>(random, Tk * D);
  std::vector<int32_t> position, query;
  for (int64_t j = 0; j < Tk; ++j)
    if (random.below(5)) position.push_back(int32_t(j));
  for (int64_t i = 0; i < Tq; ++i)
    if (random.below(5)) query.push_back(int32_t(i));
  const int64_t count = position.size();
  std::vector<uint64_t> bits(Tk);
  for (auto& one : bits) one = random.engine() & random.engine();
  std::vector<int64_t> first;
  std::vector<uint8_t> member;
  for (int64_t block = 0; block * kKeyBlock < count; ++block)
    for (int64_t c = 0; c < C; ++c) {
      first.push_back(member.size());
      for (int64_t j = block * kKeyBlock; j < std::min((block + 1) * kKeyBlock, count); ++j)
        if (bits[position[j]] >> c & 1) member.push_back(uint8_t(j - block * kKeyBlock));
    }
  first.push_back(member.size());
  const auto logit = [&](int64_t g, int64_t i, int64_t j) {
    const int64_t at = Tk - Tq + i;
    if ((rule.causal && j > at) || (rule.window > 0 && j <= at - rule.window)) return -double(INFINITY);
    double s = 0;
    for (int64_t d = 0; d < D; ++d) s += double(load_one(q[(g * Tq + i) * D + d])) * double(load_one(k[j * D + d]));
    s *= rule.scale;
    return rule.softcap > 0 ? rule.softcap * std::tanh(s / rule.softcap) : s;
  };
  const auto room = exactly<float>(kernels.room_floats(D));
  const int64_t blocks = (Tq * G + L - 1) / L, block = random.below(blocks), lanes = std::min(L, Tq * G - block * L);
  const int64_t begin = random.below(count + 1), end = begin + random.below(count + 1);
  const auto maximum = exactly<float>(L), total = exactly<float>(L), weighted = exactly<float>(L), mass = exactly<float>(C * L);
  kernels.mass(MassJob<T>{q.get(), Tq * D, D, k.get(), D, G, Tq, Tk, D, C, rule, {position.data(), count, first.data(), member.data()},
                          block * L, lanes, begin, end, maximum.get(), total.get(), weighted.get(), mass.get(), room.get()});
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const int64_t i = (block * L + lane) / G, g = (block * L + lane) % G;
    double top = -INFINITY, sum = 0, dot = 0;
    std::vector<double> sums(C);
    for (int64_t j = begin; j < std::min(end, count); ++j) top = std::max(top, logit(g, i, position[j]));
    for (int64_t j = begin; j < std::min(end, count); ++j) {
      const double s = logit(g, i, position[j]);
      if (s == -INFINITY) continue;
      sum += std::exp(s - top), dot += std::exp(s - top) * (s - top);
      for (int64_t c = 0; c < C; ++c) sums[c] += bits[position[j]] >> c & 1 ? std::exp(s - top) : 0;
    }
    check_near(maximum[lane], top, "maximum");
    check_near(total[lane], sum, "total");
    check_near(weighted[lane], dot, "weighted");
    for (int64_t c = 0; c < C; ++c) check_near(mass[c * L + lane], sums[c], "mass");
  }
  if (count == 0) return;
  const auto lse = exactly<float>(G * Tq), by_key = exactly<float>(G * Tk);
  for (int64_t i = 0; i < G * Tq; ++i) lse[i] = random.below(9) ? 2.f + random.normal() : -INFINITY;
  if (random.below(2)) lse[random.below(G * Tq)] = NAN;  // it shows in the keys that its row sees only
  std::fill(by_key.get(), by_key.get() + G * Tk, 0.f);
  const int64_t from = random.below(count), most = G * Tq <= kFewQueryRows ? count : L, keys = 1 + random.below(std::min(most, count - from));
  kernels.key_mass(KeyMassJob<T>{q.get(), Tq * D, D, k.get(), D, G, Tq, Tk, D, rule, lse.get(), query.data(), int64_t(query.size()),
                                 position.data() + from, keys, by_key.get(), room.get()});
  for (int64_t g = 0; g < G; ++g)
    for (int64_t j = 0; j < count; ++j) {
      double sum = 0;
      for (const int32_t i : query)
        if (const double s = logit(g, i, position[j]); j >= from && j < from + keys && lse[g * Tq + i] != -INFINITY && s != -INFINITY)
          sum += std::exp(s - lse[g * Tq + i]);
      check_near(by_key[g * Tk + position[j]], sum, "mass of a key");
    }
}

int main(int count, char** words) {
  Random random(count, words);
  for (int trial = 0; trial < 60; ++trial) check_once<float>(random), check_once<BFloat16>(random), check_once<Half>(random);
}
