// Picks the instruction set when the library is loaded; pydisp/ops/native.py reads and changes it through the C functions at the end.

#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace pydisp {
namespace {

constexpr int kCount = 4;
const char* const kNames[kCount] = {"generic", "avx2", "avx512", "avx512bf16"};

bool has(int isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (isa == 2)
    return has(1) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
  if (isa == 3) return has(2) && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi2");
#endif
  return isa == 0;
}

int chosen() {
  if (const char* wanted = std::getenv("PYDISP_CPU_ISA"))
    for (int isa = 0; isa < kCount; ++isa)
      if (std::strcmp(wanted, kNames[isa]) == 0 && has(isa)) return isa;
  int newest = kCount - 1;
  while (!has(newest)) --newest;
  return newest;
}

std::atomic<int> in_use{chosen()};

}  // namespace

Isa isa() { return static_cast<Isa>(in_use.load(std::memory_order_relaxed)); }
bool supports(Isa set) { return has(static_cast<int>(set)); }

}  // namespace pydisp

#define PYDISP_EXPORT extern "C" __attribute__((visibility("default")))

// Name of instruction set number `isa`, or null behind the last one.
PYDISP_EXPORT const char* pydisp_isa_name(int isa) { return isa >= 0 && isa < pydisp::kCount ? pydisp::kNames[isa] : nullptr; }
// Whether this processor runs it.
PYDISP_EXPORT int pydisp_isa_supported(int isa) { return isa >= 0 && isa < pydisp::kCount && pydisp::has(isa); }
PYDISP_EXPORT int pydisp_isa_in_use() { return pydisp::in_use.load(); }
PYDISP_EXPORT void pydisp_use_isa(int isa) { if (pydisp_isa_supported(isa)) pydisp::in_use = isa; }
