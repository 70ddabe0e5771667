#pragma once
// The junction between two pruned blocks, for rows in memory: the output of the first block is added into the residual stream, the norm of
// the stream is taken at full width, and the dimensions that the second block reads are written side by side.
//
//   r[m, :]        = residual[m, :];  r[m, add_index[a]] += update[m, a]
//   selected[m, k] = (r[m, i] - mean_m) * rstd_m * gain[k] + shift[k],  i = select_index[k]      mean_m = 0 for RMSNorm
//
// M rows, D hidden, A added, K kept dimensions; index sets come as byte masks (compress.h). Pointers are to contiguous rows of one
// element type; statistics, gain and shift are float (double for double). No torch here.

#include "dispatch.h"

namespace pydisp {

enum class Element : int { float64 = 0, float32 = 1, bfloat16 = 2, float16 = 3 };
constexpr int kElements = 4;

constexpr int64_t kNormRoom = 16;

// The size in bytes of a vector of a Norm, with values of `value_bytes` each; rounded up, so that any type may follow in memory.
inline int64_t norm_bytes(int64_t K, int64_t value_bytes) { return ((K + kNormRoom) * value_bytes + 15) / 16 * 16; }

struct Norm {
  const void* gain;   // (K,), and kNormRoom more values that may be read
  const void* shift;  // the same, or null
  double eps;
  bool center;
};

struct Junction {
  const void* residual;        // (M, D)
  const void* update;          // (M, A)
  const uint8_t* add_mask;
  void* new_residual;          // (M, D), may be residual itself; null: nothing is added
  const uint8_t* select_mask;
  void* selected;              // (M, K), or null: no norm follows
  Norm norm;
  int64_t M, D, A, K;
};

struct JunctionGradient {
  const void* grad_selected;   // (M, K)
  const void* grad_residual;   // (M, D) or null
  const void* residual;        // (M, D) the normed rows
  const uint8_t* select_mask;
  const uint8_t* add_mask;     // of grad_update
  void* grad;                  // (M, D) or null: to the normed rows
  void* grad_update;           // (M, A) or null
  void* grad_gain;             // (K,) in the type of the arithmetic, or null: summed over the given rows
  void* grad_shift;            // likewise
  Norm norm;                   // without shift
  int64_t M, D, A, K;
};

// Every table is indexed by Element. `room` is scratch memory of room_bytes; calls that run at the same time need one each.
struct JunctionKernels {
  void (*forward[kElements])(const Junction&, void* room);
  void (*backward[kElements])(const JunctionGradient&, void* room);
  void (*select[kElements])(const void* x, const uint8_t* mask, void* out, int64_t M, int64_t D, int64_t K);
  // out[k] = source[index[k]] + offset, from any element to float ([0]) or double ([1])
  void (*gather[kElements][2])(const void* source, const uint8_t* mask, int64_t D, int64_t K, double offset, void* out, void* room);
  bool (*is_mask_of)(const int32_t* index, int64_t K, const uint8_t* mask, int64_t D);
};

// Enough for any kernel above: two rows of the widest arithmetic and their ends.
inline int64_t room_bytes(int64_t D, int64_t K) { return (D + 2 * K + 64) * int64_t(sizeof(double)); }

}  // namespace pydisp

PYDISP_DECLARE(JunctionKernels, junction_kernels)
