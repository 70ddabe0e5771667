// The products of product.h for one instruction set.

#include "product.h"

#include <algorithm>

#include "simd.h"

namespace pydisp::PYDISP_ISA {
namespace {

constexpr int64_t kPanel = 2 * kWidth;

template <class T> void pack(const T* columns, int64_t stride, int64_t count, int64_t depth, float* panels) {
  for (int64_t d = 0; d < depth; d += kDepth) {
    const int64_t part = std::min(kDepth, depth - d);
    for (int64_t first = 0; first < count; first += kPanel, panels += part * kPanel)
      for (int64_t c = 0; c < kPanel; ++c) {
        const T* column = columns + (first + c) * stride + d;
        for (int64_t i = 0; i < part; ++i) panels[i * kPanel + c] = first + c < count ? load_one(column[i]) : 0.f;
      }
  }
}

// The rows of a tile as floats, kRoomStride apart; past the end the last row stands in: what it gives is not stored.
template <class T> PYDISP_INLINE void widen_tile(const T* rows, int64_t stride, int64_t count, int64_t depth, float* room) {
  for (int64_t r = 0; r < kTileRows; ++r) {
    const T* row = rows + std::min(r, count - 1) * stride;
    int64_t d = 0;
    for (; d + kWidth <= depth; d += kWidth) store(room + r * kRoomStride + d, load(row + d));
    if (d < depth) store_part(room + r * kRoomStride + d, load_part(row + d, depth - d), depth - d);
  }
}

template <int R> PYDISP_INLINE void tile(const float* rows, const float* panel, int64_t depth, float* out, int64_t out_stride, bool add) {
  Floats sum[kTileRows][2];
  for (int r = 0; r < kTileRows; ++r) sum[r][0] = sum[r][1] = zeros();
#pragma GCC unroll 4  // without it 2 to 9 % slower
  for (int64_t d = 0; d < depth; ++d) {
    const Floats first = load(panel + d * kPanel), second = load(panel + d * kPanel + kWidth);
    for (int r = 0; r < kTileRows; ++r) {
      const Floats value = splat(rows[r * kRoomStride + d]);
      sum[r][0] = fma(value, first, sum[r][0]);
      sum[r][1] = fma(value, second, sum[r][1]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int s = 0; s < 2; ++s) {
      float* to = out + r * out_stride + s * kWidth;
      store(to, add ? load(to) + sum[r][s] : sum[r][s]);
    }
}

PYDISP_INLINE void partial_tile(int64_t count, const float* rows, const float* panel, int64_t depth, float* out, int64_t out_stride, bool add) {
  switch (count) {
    case 1: return tile<1>(rows, panel, depth, out, out_stride, add);
    case 2: return tile<2>(rows, panel, depth, out, out_stride, add);
    case 3: return tile<3>(rows, panel, depth, out, out_stride, add);
    case 4: return tile<4>(rows, panel, depth, out, out_stride, add);
    default: return tile<5>(rows, panel, depth, out, out_stride, add);
  }
}

#if defined(PYDISP_AVX2)
// Four values of two rows, one row in either half.
PYDISP_INLINE Floats load_fours(const float* low, const float* high) {
  return Floats(_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1));
}
PYDISP_INLINE __m128i load_shorts(const void* low, const void* high) {
  return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(_mm_loadl_epi64(static_cast<const __m128i*>(low))), static_cast<const __m64*>(high)));
}
PYDISP_INLINE Floats load_fours(const BFloat16* low, const BFloat16* high) {
  return Floats(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_shorts(low, high)), 16));
}
PYDISP_INLINE Floats load_fours(const Half* low, const Half* high) { return Floats(_mm256_cvtph_ps(load_shorts(low, high))); }

// From rows (0 and 4, 1 and 5, ...) with four values each to values with eight rows each.
PYDISP_INLINE void transpose(Floats x[4]) {
  const __m256 first = _mm256_unpacklo_ps(__m256(x[0]), __m256(x[1])), second = _mm256_unpackhi_ps(__m256(x[0]), __m256(x[1]));
  const __m256 third = _mm256_unpacklo_ps(__m256(x[2]), __m256(x[3])), fourth = _mm256_unpackhi_ps(__m256(x[2]), __m256(x[3]));
  x[0] = Floats(_mm256_shuffle_ps(first, third, 0x44));
  x[1] = Floats(_mm256_shuffle_ps(first, third, 0xee));
  x[2] = Floats(_mm256_shuffle_ps(second, fourth, 0x44));
  x[3] = Floats(_mm256_shuffle_ps(second, fourth, 0xee));
}

// The first C columns of a panel, rows along the vectors: every row is read once. The sums are a tile's, to the bit. Eight rows at a time:
// sixteen streams are slower to read than eight, and the rows often lie so that the first cache keeps eight of them.
template <int C, class T>
void multiply_few(const T* rows, int64_t stride, int64_t count, int64_t depth, const float* panels, int64_t packed, int64_t begin,
                  float* out, int64_t out_stride, float* columns) {
  // without the rest of the panel: a cache line for each value of the depth would be as much to read as eight rows
  for (int64_t d = 0; d < depth; d += kDepth) {
    const int64_t part = std::min(kDepth, depth - d);
    for (int64_t i = 0; i < part; ++i)
      for (int c = 0; c < C; ++c) columns[(d + i) * C + c] = panels[d * packed + begin * part + i * kPanel + c];
  }
  for (int64_t r = 0; r < count; r += kWidth) {
    const int64_t ahead = r + 2 * kWidth <= count ? kWidth * stride : 0;
    Floats total[C];
    for (int64_t d = 0; d < depth || d == 0; d += kDepth) {
      const int64_t part = std::min(kDepth, depth - d);
      const T* row[kWidth];
      for (int64_t k = 0; k < kWidth; ++k) row[k] = rows + std::min(r + k, count - 1) * stride + d;
      Floats sum[C];
      for (int c = 0; c < C; ++c) sum[c] = zeros();
      const auto step = [&](int64_t i, int64_t at, int64_t values) __attribute__((always_inline)) {
        Floats x[4];
        for (int k = 0; k < 4; ++k) x[k] = load_fours(row[k] + at, row[k + 4] + at);
        transpose(x);
        for (int64_t k = 0; k < values; ++k)
          for (int c = 0; c < C; ++c) sum[c] = fma(x[k], splat(columns[(d + i + k) * C + c]), sum[c]);
      };
      constexpr int64_t kLine = 64 / int64_t(sizeof(T));
      int64_t i = 0;
      for (; i + kLine <= part; i += kLine) {
        for (int k = 0; k < kWidth; ++k) __builtin_prefetch(row[k] + i + ahead, 0, 2);  // the next eight, into the second cache
        for (int64_t j = i; j < i + kLine; j += 4) step(j, j, 4);
      }
      for (; i + 4 <= part; i += 4) step(i, i, 4);
      if (i < part) {
        T rest[kWidth][4] = {};
        for (int k = 0; k < kWidth; ++k) {
          std::copy_n(row[k] + i, part - i, rest[k]);
          row[k] = rest[k];
        }
        step(i, 0, part - i);
      }
      for (int c = 0; c < C; ++c) total[c] = d > 0 ? total[c] + sum[c] : sum[c];
    }
    for (int64_t k = 0; k < kWidth && r + k < count; ++k) {
      float* to = out + (r + k) * out_stride;
      store(to, zeros()), store(to + kWidth, zeros());
      for (int c = 0; c < C; ++c) to[c] = total[c][k];
    }
  }
}
#endif

template <class T>
void multiply(const T* rows, int64_t stride, int64_t count, int64_t depth, const float* panels, int64_t packed, int64_t begin, int64_t end,
              float* out, int64_t out_stride, float* room) {
#if defined(PYDISP_AVX2)
  static_assert(kFewColumns == 4);
  switch (end - begin) {
    case 1: return multiply_few<1>(rows, stride, count, depth, panels, packed, begin, out, out_stride, room);
    case 2: return multiply_few<2>(rows, stride, count, depth, panels, packed, begin, out, out_stride, room);
    case 3: return multiply_few<3>(rows, stride, count, depth, panels, packed, begin, out, out_stride, room);
    case 4: return multiply_few<4>(rows, stride, count, depth, panels, packed, begin, out, out_stride, room);
  }
#endif
  end = (end + kPanel - 1) / kPanel * kPanel;
  for (int64_t first = begin; first < end; first += kColumns) {
    const int64_t last = std::min(first + kColumns, end);
    for (int64_t d = 0; d < depth || d == 0; d += kDepth) {
      const int64_t part = std::min(kDepth, depth - d);
      for (int64_t r = 0; r < count; r += kTileRows) {
        const int64_t tall = std::min(kTileRows, count - r);
        widen_tile(rows + r * stride + d, stride, tall, part, room);
        const int64_t ahead = std::min(kTileRows, count - r - kTileRows);  // rows of the next tile, fetched while this one is multiplied
        const T* next = rows + (r + kTileRows) * stride + d;
        for (int64_t c = first; c < last; c += kPanel) {
          for (int64_t a = (c - first) / kPanel; a < ahead; a += (last - first) / kPanel)
            for (int64_t i = 0; i < part; i += 64 / int64_t(sizeof(T))) __builtin_prefetch(next + a * stride + i);
          const float* panel = panels + d * packed + c * part;
          float* to = out + r * out_stride + (c - begin);
          if (tall == kTileRows) tile<kTileRows>(room, panel, part, to, out_stride, d > 0);
          else partial_tile(tall, room, panel, part, to, out_stride, d > 0);
        }
      }
    }
  }
}

}  // namespace

extern const ProductKernels product_kernels;
const ProductKernels product_kernels = {
    kPanel, {pack<float>, multiply<float>}, {pack<BFloat16>, multiply<BFloat16>}, {pack<Half>, multiply<Half>},
};

}  // namespace pydisp::PYDISP_ISA
