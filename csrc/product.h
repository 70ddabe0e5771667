#pragma once
// Matrix products summed in float: rows in memory times columns that were packed into panels. No torch here, so the sanitizers can build it
// alone.
//
// A panel is `panel` columns, side by side for each value of the depth; a tile of some rows by one panel stays in registers. All panels are
// stored for the first kDepth values of the depth, then for the next ones, so that a pass reads one piece of memory. (If each panel were
// stored with its whole depth, panels would be a power of two apart and share the sets of the second cache: 10 to 20 % slower.)
// Every element of the result is one sum over the depth in one order (sums of kDepth values, added one after the other). So its bits depend
// only on its row and its column, not on the number of rows and columns. MKL's product does not guarantee that, and is not fast on every
// processor: on a Zen 3 it reaches 70 GFLOP/s of the 100 that AVX2 gives, this one 75 to 90 (512 columns, D = 1024). With AVX2 and AVX-512,
// up to four columns are computed in another way, with rows along the vectors; it gives the same bits and reads the rows at three quarters
// of the speed of memory or better.
//
// There are two kinds. Singles: both sides are converted to float. Pairs: both sides are bfloat16, two values of the depth in 32 bits, as
// the bfloat16 instruction of AVX-512 takes them. It adds the product of the second value of a pair, then that of the first, each rounded
// to float as by a multiply-add (observed on a Zen 5: two million random sums, equal to the bit). Products of bfloat16 are exact in float,
// so pairs differ from singles only by the order of the sum, and by subnormal numbers, which the instruction reads and writes as 0. Where a
// processor lacks it, two multiply-adds serve: slowly, the tests run them.

#include <algorithm>
#include <cstdint>

#include "dispatch.h"
#include "element.h"

namespace pydisp {

constexpr int64_t kDepth = 256;     // depth of a pass; even, so that no pair is split between two passes

constexpr int64_t kFewColumns = 4;  // so few columns or fewer are computed in another way with AVX2 and AVX-512

constexpr int64_t kMostTileRows = 16;         // no instruction set has more
constexpr int64_t kRoomStride = kDepth + 16;  // between the rows of a tile: at a power of two they would share the sets of the first cache

// Size of a product's scratch memory, in floats.
inline int64_t product_room(int64_t depth) { return std::max(kMostTileRows * kRoomStride, kFewColumns * depth); }
// The rows of a product for a gradient: (count, depth), or (depth, count) if they lie across (transposed).
struct GradientRows {
  const float* data;
  int64_t stride;
  bool lie_across;
};

template <class T> struct ProductOf {
  int64_t values;  // of the depth in one float of a panel: 1, or 2 of pairs
  // Makes panels of columns that are stored as rows of depth values; the last panel is filled up with zeros.
  void (*pack)(const T* columns, int64_t stride, int64_t count, int64_t depth, float* panels);
  // The same for columns that lie across: depth rows of count values.
  void (*pack_across)(const T* rows, int64_t stride, int64_t count, int64_t depth, float* panels);
  // out (count, whole panels) = rows (count, depth) times the columns [begin, end) of `packed` ones; begin and packed are multiples of
  // panel, columns from end on are those of the panel or 0, and room has product_room(depth) floats.
  void (*multiply)(const T* rows, int64_t stride, int64_t count, int64_t depth, const float* panels, int64_t packed, int64_t begin,
                   int64_t end, float* out, int64_t out_stride, float* room);
  // out (count, columns), or what it holds if `add`, plus rows times all columns. Pairs round the rows to bfloat16.
  void (*multiply_gradient)(const GradientRows& rows, int64_t count, int64_t depth, const float* panels, int64_t columns, float* out,
                            int64_t out_stride, bool add, float* room);
};

// Floats of the panels of so many columns, whole panels.
template <class T> int64_t panel_floats(const ProductOf<T>& product, int64_t columns, int64_t depth) {
  return columns * ((depth + product.values - 1) / product.values);
}

struct ProductKernels {
  int64_t panel;
  ProductOf<float> of_float;
  ProductOf<BFloat16> of_bfloat16;
  ProductOf<Half> of_half;
  ProductOf<BFloat16> of_pairs;
};

}  // namespace pydisp

PYDISP_DECLARE(ProductKernels, product_kernels)
