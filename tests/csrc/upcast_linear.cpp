// csrc/upcast_linear.h against plain loops in double, both of its kernels (float32 has one), on buffers of exactly their size: `upcast_linear [seed]`.

#include "../../csrc/upcast_linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "check.h"

namespace pydisp::PYDISP_ISA { extern const UpcastLinearKernels upcast_linear_kernels; }
using namespace pydisp;

// What csrc/upcast_linear.cpp does with the kernels, on one thread; `few` chooses between them.
template <class T>
void run(const UpcastKernels<T>& kernels, const T* x, int64_t x_stride, const UpcastLinear<T>& linear, bool few) {
  const int64_t I = linear.I, O = linear.O;
  if (few) {
    const auto widened = exactly<float>(linear.M * padded(I));
    kernels.widen_rows(x, x_stride, linear.M, I, widened.get());
    kernels.few_rows(linear, widened.get(), 0, O / 2);
    kernels.few_rows(linear, widened.get(), O / 2, O);
    return;
  }
  const int64_t blocks = (I + kInputBlock - 1) / kInputBlock;
  for (int64_t row = 0; row < linear.M; row += kRowBlock) {
    UpcastLinear<T> part = linear;
    part.M = std::min(kRowBlock, linear.M - row);
    part.out = linear.out + row * O;
    const auto widened = exactly<float>(blocks * part.M * kInputBlock), room = exactly<float>(upcast_room());
    for (int64_t b = 0; b < blocks; ++b)
      kernels.widen_block(x + row * x_stride, x_stride, part.M, I, b * kInputBlock, widened.get() + b * part.M * kInputBlock);
    for (int64_t output = 0; output < O; output += kOutputBlock)
      kernels.block(part, widened.get(), output, std::min(output + kOutputBlock, O), room.get());
  }
}

template <class T>
void check(const UpcastKernels<T>& kernels, Random& random, int64_t M, int64_t I, int64_t O, double rounding, const char* type) {
  const int64_t x_stride = I + random.below(3), weight_stride = I + random.below(3);
  // the last row ends where its last value does
  const auto x = exactly<T>((M - 1) * x_stride + I), weight = exactly<T>((O - 1) * weight_stride + I), bias = exactly<T>(O);
  for (int64_t i = 0; i < (M - 1) * x_stride + I; ++i) store_one(x[i], random.normal());
  for (int64_t i = 0; i < (O - 1) * weight_stride + I; ++i) store_one(weight[i], random.normal());
  for (int64_t i = 0; i < O; ++i) store_one(bias[i], random.normal());
  const bool has_bias = random.below(2);
  std::vector<std::unique_ptr<T[]>> outs;
  for (const bool few : {true, false}) {
    if (few ? M > (kernels.block ? kFewRows : kFewFloatRows) : !kernels.block) continue;
    outs.push_back(exactly<T>(M * O));
    run(kernels, x.get(), x_stride, {weight.get(), weight_stride, has_bias ? bias.get() : nullptr, outs.back().get(), M, I, O}, few);
  }
  for (int64_t m = 0; m < M; ++m)
    for (int64_t o = 0; o < O; ++o) {
      double exact = has_bias ? load_one(bias[o]) : 0, size = std::fabs(exact);
      for (int64_t i = 0; i < I; ++i) {
        const double product = double(load_one(x[m * x_stride + i])) * load_one(weight[o * weight_stride + i]);
        exact += product, size += std::fabs(product);
      }
      for (const auto& out : outs) {
        const double found = load_one(out[m * O + o]);
        // one rounding to the type, and float32 roundings of sums no larger than `size`
        CHECK(std::fabs(found - exact) <= rounding * std::fabs(exact) + 1e-7 * 32 * size + 1e-7, "%s %lld x %lld -> %lld: [%lld, %lld] is %g, not %g", type,
              (long long)M, (long long)I, (long long)O, (long long)m, (long long)o, found, exact);
        CHECK(std::memcmp(&out[m * O + o], &outs[0][m * O + o], sizeof(T)) == 0, "%s: the two kernels differ at [%lld, %lld]", type, (long long)m, (long long)o);
      }
    }
}

int main(int count, char** words) {
  Random random(count, words);
  const UpcastLinearKernels& kernels = PYDISP_ISA::upcast_linear_kernels;
  const auto all = [&](int64_t M, int64_t I, int64_t O) {
    check(kernels.bfloat16, random, M, I, O, 0x1p-8, "bfloat16");
    check(kernels.half, random, M, I, O, 0x1p-11, "float16");
    if (M <= kFewFloatRows) check(kernels.single, random, M, I, O, 0x1p-24, "float32");
  };
  for (int64_t M = 1; M <= kFewFloatRows; ++M) all(M, 1 + random.below(70), 1 + random.below(20));
  all(1, 1, 1), all(kRowBlock, 16, kOutputBlock), all(kRowBlock + 1, 17, kOutputBlock + 1), all(14, kInputBlock, 5), all(13, kInputBlock + 1, 6);
  for (int trial = 0; trial < 40; ++trial) all(1 + random.below(30), 1 + random.below(1200), 1 + random.below(80));
}
