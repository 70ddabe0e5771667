#pragma once
// Matrix products in float, rows of T in memory times columns that were packed into panels. No torch here, so the sanitizers can build it
// alone.
//
// A panel is `panel` columns, lying side by side for each value of the depth: a tile of kTileRows rows by one panel stays in registers.
// Panels lie one behind the other for kDepth values, then for the next ones: what a pass reads is in one piece. (With the whole depth of
// a panel in one piece they are a power of two apart, and share the sets of the second cache: 10 to 20 % slower.)
// Every element of the result is one sum over the depth in one order (whole sums of kDepth values, one after the other), so its bits
// depend on its row and its column alone, not on how many there are. MKL's AVX2 product has neither that nor the speed on every processor:
// on a Zen 3 it reaches 70 GFLOP/s of the 100 that the instructions give, this one 75 to 90 (512 columns, D = 1024). Up to four columns go
// another way with AVX2, rows along the vectors, which gives the same bits and reads the rows at three quarters of the speed of memory or better.

#include <algorithm>
#include <cstdint>

#include "dispatch.h"
#include "element.h"

namespace pydisp {

constexpr int64_t kTileRows = 6;    // 12 sums, two of a panel's vectors and a row's value fill 15 of AVX2's 16 registers
constexpr int64_t kDepth = 256;     // of a pass: 128 columns of it (128 KiB) stay in a core's second cache
constexpr int64_t kColumns = 128;   // of a pass

constexpr int64_t kFewColumns = 4;  // and fewer go their own way

constexpr int64_t kRoomStride = kDepth + 16;  // of a tile's widened rows: a power of two apart they would share the sets of the first cache

// Floats that multiply() works in.
inline int64_t product_room(int64_t depth) { return std::max(kTileRows * kRoomStride, kFewColumns * depth); }

template <class T> struct ProductOf {
  // Panels of columns that lie as rows of depth values; the last one is filled up with zeros.
  void (*pack)(const T* columns, int64_t stride, int64_t count, int64_t depth, float* panels);
  // out (count, whole panels) = rows (count, depth) times the columns [begin, end) of `packed` ones; begin and packed are multiples of
  // panel, columns from end on are those of the panel or 0, and room has product_room(depth) floats.
  void (*multiply)(const T* rows, int64_t stride, int64_t count, int64_t depth, const float* panels, int64_t packed, int64_t begin,
                   int64_t end, float* out, int64_t out_stride, float* room);
};

struct ProductKernels {
  int64_t panel;
  ProductOf<float> of_float;
  ProductOf<BFloat16> of_bfloat16;
  ProductOf<Half> of_half;
};

}  // namespace pydisp

PYDISP_DECLARE(ProductKernels, product_kernels)
