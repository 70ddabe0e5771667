#pragma once
// Chooses one of the instruction sets that are compiled into this library. A binding takes its kernels by PYDISP_PICK(<op>_kernels): a
// table of that name exists in the namespace of each set (<op>_isa.cpp).

#include <cstdint>

namespace pydisp {

// avx512 is what all such processors have (F, BW, VL, DQ); avx512bf16 has the bfloat16 instructions and VBMI2 besides (Zen 4, Sapphire Rapids).
enum class Isa : int32_t { generic = 0, avx2 = 1, avx512 = 2, avx512bf16 = 3 };  // each includes those before it

Isa isa();               // the set in use
bool supports(Isa set);  // whether this processor runs it

}  // namespace pydisp

#if defined(__x86_64__)
#define PYDISP_DECLARE(Type, name) \
  namespace pydisp::generic { extern const Type name; } \
  namespace pydisp::avx2 { extern const Type name; } \
  namespace pydisp::avx512 { extern const Type name; } \
  namespace pydisp::avx512bf16 { extern const Type name; }
#define PYDISP_PICK(name) \
  (::pydisp::isa() == ::pydisp::Isa::avx512bf16 ? ::pydisp::avx512bf16::name \
   : ::pydisp::isa() == ::pydisp::Isa::avx512   ? ::pydisp::avx512::name \
   : ::pydisp::isa() == ::pydisp::Isa::avx2     ? ::pydisp::avx2::name \
                                                : ::pydisp::generic::name)
#else
#define PYDISP_DECLARE(Type, name) \
  namespace pydisp::generic { extern const Type name; }
#define PYDISP_PICK(name) ::pydisp::generic::name
#endif
