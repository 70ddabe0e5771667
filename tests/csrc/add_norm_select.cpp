// csrc/add_norm_select_isa.cpp against plain loops in double: every width up to some vectors, both norms, forward and backward: `add_norm_select [seed]`.

#include "../../csrc/add_norm_select.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "../../csrc/element.h"
#include "check.h"

using namespace pydisp;
using pydisp::PYDISP_ISA::junction_kernels;

namespace {

template <class T> struct Of;
template <> struct Of<double> { static constexpr Element element = Element::float64; static constexpr double rounding = 1e-12; using Value = double; };
template <> struct Of<float> { static constexpr Element element = Element::float32; static constexpr double rounding = 2e-6; using Value = float; };
template <> struct Of<BFloat16> { static constexpr Element element = Element::bfloat16; static constexpr double rounding = 1. / 128; using Value = float; };
template <> struct Of<Half> { static constexpr Element element = Element::float16; static constexpr double rounding = 1. / 1024; using Value = float; };

struct Set {
  std::vector<int32_t> index;
  std::unique_ptr<uint8_t[]> mask;
};
Set draw_set(Random& random, int64_t D, int64_t percent) {
  const int64_t bytes = (D + 7) / 8;
  Set set{{}, exactly<uint8_t>(bytes)};
  std::fill_n(set.mask.get(), bytes, 0);
  for (int64_t d = 0; d < D; ++d)
    if (random.below(100) < percent) {
      set.index.push_back(int32_t(d));
      set.mask[d / 8] |= uint8_t(1u << d % 8);
    }
  return set;
}

template <class T> std::unique_ptr<T[]> draw(Random& random, int64_t n) {
  auto values = exactly<T>(n);
  for (int64_t i = 0; i < n; ++i) store_one(values[i], typename Of<T>::Value(random.below(8) ? random.normal() : -0.f));
  return values;
}

template <class T> void near(double found, double wanted, double scale, const char* what, int64_t D, int64_t at) {
  CHECK(std::fabs(found - wanted) <= Of<T>::rounding * std::max(scale, std::fabs(wanted)), "%s: %g, not %g (D %lld, at %lld, element %d)", what,
        found, wanted, static_cast<long long>(D), static_cast<long long>(at), int(Of<T>::element));
}

template <class T> void check(Random& random, int64_t M, int64_t D, int64_t add_percent, int64_t keep_percent, bool center, bool in_place) {
  using Value = typename Of<T>::Value;
  const int which = int(Of<T>::element);
  const Set add = draw_set(random, D, add_percent), keep = draw_set(random, D, keep_percent);
  const int64_t A = add.index.size(), K = keep.index.size();
  const auto residual = draw<T>(random, M * D), update = draw<T>(random, M * A), copy = exactly<T>(M * D);
  std::memcpy(copy.get(), residual.get(), M * D * sizeof(T));
  const auto weight = draw<float>(random, D);
  const auto gain = exactly<Value>(K + kNormRoom), shift = exactly<Value>(K + kNormRoom);
  const auto room = exactly<char>(room_bytes(D, K));
  const double offset = 0.5;
  junction_kernels.gather[int(Element::float32)][sizeof(Value) == 8](weight.get(), keep.mask.get(), D, K, offset, gain.get(), room.get());
  for (int64_t k = 0; k < K; ++k) {
    CHECK(gain[k] == Value(weight[keep.index[k]]) + Value(offset), "gather at %lld", static_cast<long long>(k));
    shift[k] = Value(random.normal());
  }
  for (int64_t k = K; k < K + kNormRoom; ++k) gain[k] = shift[k] = std::numeric_limits<Value>::quiet_NaN();

  // vectors of any dtype are gathered into the room behind a norm's
  const auto wide_weight = draw<double>(random, D);
  const int64_t each = norm_bytes(K, sizeof(Value));
  const auto both = exactly<char>(each + room_bytes(D, K));
  junction_kernels.gather[int(Element::float64)][sizeof(Value) == 8](wide_weight.get(), keep.mask.get(), D, K, offset, both.get(),
                                                                     both.get() + each);
  for (int64_t k = 0; k < K; ++k)
    CHECK(reinterpret_cast<Value*>(both.get())[k] == Value(wide_weight[keep.index[k]]) + Value(offset), "gather of doubles at %lld",
          static_cast<long long>(k));

  // forward
  const auto target = exactly<T>(M * D), selected = exactly<T>(M * K);
  T* stored = in_place ? residual.get() : target.get();
  const Norm norm{gain.get(), shift.get(), 1e-2, center};
  junction_kernels.forward[which](
      {residual.get(), update.get(), add.mask.get(), stored, keep.mask.get(), K ? selected.get() : nullptr, norm, M, D, A, K}, room.get());
  std::vector<double> means(M), rstds(M);
  for (int64_t m = 0; m < M; ++m) {
    std::vector<double> row(D);
    for (int64_t d = 0; d < D; ++d) row[d] = load_one(copy[m * D + d]);
    for (int64_t a = 0; a < A; ++a) row[add.index[a]] += load_one(update[m * A + a]);
    double mean = 0, square = 0;
    for (int64_t d = 0; d < D; ++d) {
      near<T>(load_one(stored[m * D + d]), row[d], 0, "new residual", D, d);
      CHECK(add.mask[d / 8] >> d % 8 & 1 || std::memcmp(&stored[m * D + d], &copy[m * D + d], sizeof(T)) == 0,
            "nothing is added at %lld, but its bits changed (element %d)", static_cast<long long>(d), which);
      row[d] = load_one(stored[m * D + d]);
      mean += center ? row[d] / D : 0;
    }
    for (int64_t d = 0; d < D; ++d) square += (row[d] - mean) * (row[d] - mean);
    means[m] = mean, rstds[m] = 1 / std::sqrt(square / D + 1e-2);
    for (int64_t k = 0; k < K; ++k)
      near<T>(load_one(selected[m * K + k]), (row[keep.index[k]] - mean) * rstds[m] * gain[k] + shift[k], 4, "selected", D, k);
  }

  // selection alone, and the norm of a row that nothing was added to
  const auto picked = exactly<T>(M * K), normed = exactly<T>(M * K);
  junction_kernels.select[which](stored, keep.mask.get(), picked.get(), M, D, K);
  for (int64_t m = 0; m < M; ++m)
    for (int64_t k = 0; k < K; ++k)
      CHECK(std::memcmp(&picked[m * K + k], &stored[m * D + keep.index[k]], sizeof(T)) == 0, "select at %lld", static_cast<long long>(k));
  if (K > 0) {
    junction_kernels.forward[which]({stored, nullptr, nullptr, nullptr, keep.mask.get(), normed.get(), norm, M, D, 0, K}, room.get());
    CHECK(std::memcmp(normed.get(), selected.get(), M * K * sizeof(T)) == 0, "norm_select and add_norm_select differ (D %lld)",
          static_cast<long long>(D));
  }

  // backward: sums over rows start at zero
  const auto grad_selected = draw<T>(random, M * K), grad_residual = draw<T>(random, M * D);
  const auto grad = exactly<T>(M * D), grad_update = exactly<T>(M * A);
  const auto grad_gain = exactly<Value>(K), grad_shift = exactly<Value>(K);
  std::fill_n(grad_gain.get(), K, Value(0)), std::fill_n(grad_shift.get(), K, Value(0));
  const bool whole = random.below(2);
  junction_kernels.backward[which]({grad_selected.get(), grad_residual.get(), stored, keep.mask.get(), add.mask.get(), whole ? grad.get() : nullptr,
                                    grad_update.get(), grad_gain.get(), grad_shift.get(), norm, M, D, A, K},
                                   room.get());
  std::vector<double> gain_sums(K), shift_sums(K);
  for (int64_t m = 0; m < M; ++m) {
    std::vector<double> spread(D), row(D);
    double along = 0, sum = 0;
    for (int64_t k = 0; k < K; ++k) {
      const double grad_out = load_one(grad_selected[m * K + k]);
      const double value = (load_one(stored[m * D + keep.index[k]]) - means[m]) * rstds[m];
      spread[keep.index[k]] = grad_out * gain[k];
      along += grad_out * gain[k] * value, sum += grad_out * gain[k];
      gain_sums[k] += grad_out * value, shift_sums[k] += grad_out;
    }
    for (int64_t d = 0; d < D; ++d) {
      const double value = (load_one(stored[m * D + d]) - means[m]) * rstds[m];
      row[d] = (spread[d] - value * along / D - (center ? sum / D : 0)) * rstds[m] + load_one(grad_residual[m * D + d]);
      if (whole) near<T>(load_one(grad[m * D + d]), row[d], 30, "grad", D, d);
    }
    for (int64_t a = 0; a < A; ++a) near<T>(load_one(grad_update[m * A + a]), row[add.index[a]], 30, "grad_update", D, a);
  }
  for (int64_t k = 0; k < K; ++k) {
    near<float>(grad_gain[k], gain_sums[k], 10 * M, "grad_gain", D, k);
    near<float>(grad_shift[k], shift_sums[k], 10 * M, "grad_shift", D, k);
  }

  // a mask is known by its index, and by no other
  const auto index = exactly<int32_t>(K);
  std::copy(keep.index.begin(), keep.index.end(), index.get());
  CHECK(junction_kernels.is_mask_of(index.get(), K, keep.mask.get(), D), "the mask of an index is refused (D %lld)", static_cast<long long>(D));
  const int64_t flipped = random.below((D + 7) / 8 * 8);
  keep.mask[flipped / 8] ^= uint8_t(1u << flipped % 8);
  CHECK(!junction_kernels.is_mask_of(index.get(), K, keep.mask.get(), D), "bit %lld may be wrong (D %lld)", static_cast<long long>(flipped),
        static_cast<long long>(D));
  keep.mask[flipped / 8] ^= uint8_t(1u << flipped % 8);
  if (K > 0) {
    index[random.below(K)] += 1;
    CHECK(!junction_kernels.is_mask_of(index.get(), K, keep.mask.get(), D), "a wrong index passes (D %lld)", static_cast<long long>(D));
  }
}

// Rows of one large value: less their mean they are zeros, and whatever a vector holds behind their end must not reach a gradient.
template <class T> void check_one_value(Random& random, int64_t D) {
  using Value = typename Of<T>::Value;
  const Set keep = draw_set(random, D, 60);
  const int64_t K = keep.index.size();
  const auto row = exactly<T>(D), grad_selected = draw<T>(random, K), grad = exactly<T>(D);
  for (int64_t d = 0; d < D; ++d) store_one(row[d], Value(0x1p120));
  const auto gain = exactly<Value>(K + kNormRoom);
  std::fill_n(gain.get(), K + kNormRoom, Value(1));
  const auto room = exactly<char>(room_bytes(D, K));
  junction_kernels.backward[int(Of<T>::element)]({grad_selected.get(), nullptr, row.get(), keep.mask.get(), nullptr, grad.get(), nullptr, nullptr,
                                                  nullptr, {gain.get(), nullptr, 1e-6, true}, 1, D, 0, K},
                                                 room.get());
  std::vector<double> spread(D);
  double sum = 0;
  for (int64_t k = 0; k < K; ++k) sum += spread[keep.index[k]] = load_one(grad_selected[k]);
  for (int64_t d = 0; d < D; ++d) near<T>(load_one(grad[d]), (spread[d] - sum / D) * 1000, 3000, "grad of one value", D, d);
}

template <class T> void check_all(Random& random) {
  const int64_t percents[][2] = {{50, 50}, {100, 100}, {0, 60}, {60, 0}, {3, 97}, {97, 3}};
  for (int64_t D = 1; D <= 70; ++D)
    for (const auto& [add, keep] : percents) check<T>(random, 1 + random.below(3), D, add, keep, random.below(2), random.below(2));
  for (const int64_t D : {127, 128, 513, 2048}) check<T>(random, 2, D, 50, 50, D % 2, true);
  if constexpr (Of<T>::element != Element::float16)
    for (int64_t D = 1; D <= 40; ++D) check_one_value<T>(random, D);
}

}  // namespace

int main(int count, char** words) {
  Random random(count, words);
  check_all<double>(random), check_all<float>(random), check_all<BFloat16>(random), check_all<Half>(random);
}
