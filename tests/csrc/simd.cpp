// csrc/simd.h against the C library and the scalar conversions of csrc/element.h: `simd [seed]`.

#include "../../csrc/simd.h"
#include "check.h"

using namespace pydisp;
using namespace pydisp::PYDISP_ISA;

// Units in the last place between e^x and vexp, over its whole range.
void check_exponential() {
  double worst = 0;
  for (float x = -87.3f; x < 88.7f; x += kWidth * 1e-4f) {
    Floats at;
    for (int i = 0; i < kWidth; ++i) at[i] = x + i * 1e-4f;
    const Floats found = vexp(at);
    for (int i = 0; i < kWidth; ++i) {
      const double exact = std::exp(double(at[i]));
      const float near = float(exact);
      const double error = std::fabs(double(found[i]) - exact) / (double(std::nextafter(near, INFINITY)) - double(near));
      worst = error > worst ? error : worst;
    }
  }
  CHECK(worst <= 2, "e^x is %g units in the last place off", worst);
  CHECK(vexp(splat(-INFINITY))[0] == 0 && vexp(splat(-88.f))[0] == 0, "e^-inf must be 0");
  CHECK(vexp(splat(INFINITY))[0] == INFINITY && vexp(splat(89.f))[0] == INFINITY, "e^inf must be inf");
  CHECK(vexp(splat(0.f))[0] == 1 && std::isnan(vexp(splat(NAN))[0]), "e^0 must be 1 and e^NaN NaN");
  std::printf("e^x: at most %.2f units in the last place\n", worst);
}

// Every 16-bit value, and floats with every exponent, through the vector and the scalar conversion.
void check_conversions(Random& random) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    Half halves[kWidth];
    BFloat16 brains[kWidth];
    for (int i = 0; i < kWidth; ++i) halves[i].bits = brains[i].bits = uint16_t(bits);
    const float wide = load_one(halves[0]);
    CHECK(bits_of(load(halves)[kWidth - 1]) == bits_of(wide) || std::isnan(wide), "float16 %04x", bits);
    CHECK(bits_of(load(brains)[kWidth - 1]) == bits_of(load_one(brains[0])), "bfloat16 %04x", bits);
  }
  for (int trial = 0; trial < 1 << 20; ++trial) {
    const float value = float_of(uint32_t(random.engine()));
    Half halves[kWidth], half;
    BFloat16 brains[kWidth], brain;
    store(halves, splat(value)), store_one(half, value);
    store(brains, splat(value)), store_one(brain, value);
    CHECK(brains[kWidth - 1].bits == brain.bits, "%a becomes bfloat16 %04x, not %04x", value, brains[0].bits, brain.bits);
    CHECK(halves[kWidth - 1].bits == half.bits || std::isnan(value), "%a becomes float16 %04x, not %04x", value, halves[0].bits, half.bits);
  }
}

// Parts of vectors touch nothing behind their end (the sanitizer looks), and reductions see every lane.
template <class T> void check_parts() {
  for (int n = 0; n < kWidth; ++n) {
    const auto from = exactly<T>(n), to = exactly<T>(n);
    for (int i = 0; i < n; ++i) store_one(from[i], float(i + 1));
    const Floats part = load_part(from.get(), n);
    CHECK(reduce_add(part) == n * (n + 1) / 2, "%d of %d lanes", n, kWidth);
    store_part(to.get(), part, n);
    for (int i = 0; i < n; ++i) CHECK(load_one(to[i]) == float(i + 1), "lane %d of %d", i, n);
  }
}

int main(int count, char** words) {
  Random random(count, words);
  check_exponential();
  check_conversions(random);
  check_parts<float>(), check_parts<BFloat16>(), check_parts<Half>();
  CHECK(std::signbit(splat(-0.f)[0]), "splat(-0) lost its sign");
  CHECK(vmax(splat(1), splat(2))[0] == 2 && vmin(splat(1), splat(2))[0] == 1 && fma(splat(2), splat(3), splat(4))[0] == 10, "arithmetic");
}
