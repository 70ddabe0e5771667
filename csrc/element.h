#pragma once
// The 16-bit float types in memory, and their conversions one value at a time. No torch here: the sanitizers build it alone.

#include <cstdint>
#include <cstring>

// Everything in these headers is inlined into the kernel that uses it, and so compiled for that kernel's instruction set. Otherwise the
// linker could pick a copy made for a newer set for an older one.
#define PYDISP_INLINE __attribute__((always_inline)) inline

namespace pydisp {

struct BFloat16 { uint16_t bits; };
struct Half { uint16_t bits; };

PYDISP_INLINE uint32_t bits_of(float value) { uint32_t bits; std::memcpy(&bits, &value, 4); return bits; }
PYDISP_INLINE float float_of(uint32_t bits) { float value; std::memcpy(&value, &bits, 4); return value; }

PYDISP_INLINE double load_one(double value) { return value; }
PYDISP_INLINE float load_one(float value) { return value; }
PYDISP_INLINE float load_one(BFloat16 value) { return float_of(uint32_t(value.bits) << 16); }
PYDISP_INLINE float load_one(Half value) {
  const uint32_t magnitude = uint32_t(value.bits & 0x7fffu) << 13;
  // times 2^112 moves the exponent's bias from 15 to 127 and makes subnormals normal
  uint32_t bits = bits_of(float_of(magnitude) * 0x1p112f);
  bits = magnitude >= 0x0f800000u ? (magnitude | 0x7f800000u) : bits;  // infinity and NaN
  return float_of(bits | (uint32_t(value.bits & 0x8000u) << 16));
}

PYDISP_INLINE void store_one(double& out, double value) { out = value; }
PYDISP_INLINE void store_one(float& out, float value) { out = value; }
PYDISP_INLINE void store_one(BFloat16& out, float value) {  // to nearest, ties to even
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out.bits = uint16_t((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}
PYDISP_INLINE void store_one(Half& out, float value) {  // to nearest, ties to even
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
  // subnormal halves: adding 0.5 lines the last bit of a half up with the last bit of the float, and the adder rounds
  const uint32_t small = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t half = magnitude < 0x38800000u ? small : (magnitude >= 0x47800000u ? large : normal);
  out.bits = uint16_t(half | ((bits >> 16) & 0x8000u));
}

}  // namespace pydisp
