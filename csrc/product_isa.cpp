// The products of product.h for one instruction set.

#include "product.h"

#include <algorithm>
#include <type_traits>

#include "simd.h"

namespace pydisp::PYDISP_ISA {
namespace {

constexpr int64_t kPanel = 2 * kWidth;
#if defined(PYDISP_AVX512)
constexpr int64_t kTileRows = 12;  // 24 sums, two of a panel's vectors and a row's value fill 27 of 32 registers
constexpr int64_t kColumns = 512;  // columns of a pass: their panels, 256 or 512 KiB, stay in a core's second cache
#else
constexpr int64_t kTileRows = 6;   // 12 sums, two of a panel's vectors and a row's value fill 15 of AVX2's 16 registers
constexpr int64_t kColumns = 128;  // 128 KiB
#endif
constexpr int64_t kAcross = (kTileRows + kWidth - 1) / kWidth * kWidth;  // between steps of a tile whose rows lie across
static_assert(kTileRows <= kMostTileRows && kAcross <= kMostTileRows && kColumns % kPanel == 0);

// A product of singles or pairs: how many values of the depth a step takes, 32 bits of either side, and what it adds.
struct Singles {
  static constexpr int64_t kValues = 1;
  static PYDISP_INLINE Floats add(Floats row, Floats panel, Floats sum) { return fma(row, panel, sum); }
  static PYDISP_INLINE Bits across(Floats first, Floats) { return Bits(first); }
  template <class T> static PYDISP_INLINE uint32_t step(const T* values, int64_t) { return bits_of(float(load_one(*values))); }
  static PYDISP_INLINE void fill(float* room, Floats values, int64_t at) { store(room + at, values); }
};
struct Pairs {
  static constexpr int64_t kValues = 2;
  static PYDISP_INLINE Floats add(Floats row, Floats panel, Floats sum) {
#if defined(__AVX512BF16__)
    return Floats(_mm512_dpbf16_ps(__m512(sum), __m512bh(row), __m512bh(panel)));
#else
    sum = fma(Floats(Bits(row) & 0xffff0000u), Floats(Bits(panel) & 0xffff0000u), sum);
    return fma(Floats(Bits(row) << 16), Floats(Bits(panel) << 16), sum);
#endif
  }
  static PYDISP_INLINE Bits across(Floats first, Floats second) { return rounded_to_bfloat16(first) | rounded_to_bfloat16(second) << 16; }
  static PYDISP_INLINE uint32_t step(const BFloat16* values, int64_t count) {
    return values[0].bits | (count > 1 ? uint32_t(values[1].bits) << 16 : 0u);
  }
  static PYDISP_INLINE void fill(float* room, Floats values, int64_t at) { store(reinterpret_cast<BFloat16*>(room) + at, values); }
};
template <class Kind> constexpr int64_t steps(int64_t depth) { return (depth + Kind::kValues - 1) / Kind::kValues; }
PYDISP_INLINE Floats splat_step(const float* from) { return Floats(Bits{} + load_as<uint32_t>(from)); }

template <class Kind, class T> void pack(const T* columns, int64_t stride, int64_t count, int64_t depth, float* panels) {
  for (int64_t d = 0; d < depth; d += kDepth) {
    const int64_t part = std::min(kDepth, depth - d), all = steps<Kind>(part);
    for (int64_t first = 0; first < count; first += kPanel, panels += all * kPanel)
      for (int64_t c = 0; c < kPanel; ++c) {
        const T* column = columns + (first + c) * stride + d;
        for (int64_t i = 0; i < all; ++i) {
          const int64_t at = i * Kind::kValues;
          store_as(panels + i * kPanel + c, first + c < count ? Kind::step(column + at, part - at) : 0u);
        }
      }
  }
}

template <class Kind, class T> void pack_across(const T* rows, int64_t stride, int64_t count, int64_t depth, float* panels) {
  const auto row = [&](const T* from, int64_t n) __attribute__((always_inline)) { return n >= kWidth ? load(from) : load_part(from, std::max<int64_t>(n, 0)); };
  for (int64_t d = 0; d < depth; d += kDepth) {
    const int64_t part = std::min(kDepth, depth - d), all = steps<Kind>(part), whole = (count + kPanel - 1) / kPanel * kPanel;
    for (int64_t i = 0; i < all; ++i) {
      const int64_t at = d + i * Kind::kValues;
      const bool has_second = Kind::kValues == 2 && at + 1 < depth;
      for (int64_t c = 0; c < whole; c += kWidth) {
        const Floats first = row(rows + at * stride + c, count - c);
        const Floats second = has_second ? row(rows + (at + 1) * stride + c, count - c) : zeros();
        store_as(panels + c / kPanel * kPanel * all + i * kPanel + c % kPanel, Kind::across(first, second));
      }
    }
    panels += whole * all;
  }
}

// The rows of a tile, kRoomStride apart; rows past the end are copies of the last row, and their results are not stored.
template <class Kind, class T> PYDISP_INLINE void fill_tile(const T* rows, int64_t stride, int64_t count, int64_t depth, float* room) {
  for (int64_t r = 0; r < kTileRows; ++r) {
    const T* row = rows + std::min(r, count - 1) * stride;
    int64_t d = 0;
    for (; d + kWidth <= depth; d += kWidth) Kind::fill(room + r * kRoomStride, load(row + d), d);
    // with zeros behind the end, so that the last pair is whole: a row of the room is longer than kDepth
    if (d < depth) Kind::fill(room + r * kRoomStride, load_part(row + d, depth - d), d);
  }
}
// The same of rows that lie across, `count` of them or more than a tile has, kAcross steps apart.
template <class Kind> PYDISP_INLINE void fill_across(const float* rows, int64_t stride, int64_t count, int64_t depth, float* room) {
  const auto lanes = [&](int64_t d, int64_t v) __attribute__((always_inline)) {
    const float* from = rows + d * stride + v;
    return d >= depth || v >= count ? zeros() : count - v >= kWidth ? load(from) : load_part(from, count - v);
  };
  for (int64_t i = 0; i < steps<Kind>(depth); ++i)
    for (int64_t v = 0; v < kAcross; v += kWidth)
      store_as(room + i * kAcross + v, Kind::across(lanes(i * Kind::kValues, v), Kind::kValues == 2 ? lanes(i * Kind::kValues + 1, v) : zeros()));
}

// kTileRows rows by S vectors of a panel, over `all` steps; the first `count` rows are stored.
template <class Kind, int S, int64_t kRow, int64_t kStep>
PYDISP_INLINE void tile(int64_t count, const float* rows, const float* panel, int64_t all, float* out, int64_t out_stride, bool add) {
  Floats sum[kTileRows][S];
  for (int r = 0; r < kTileRows; ++r)
    for (int s = 0; s < S; ++s) sum[r][s] = zeros();
#pragma GCC unroll 4  // without it 2 to 9 % slower
  for (int64_t d = 0; d < all; ++d) {
    Floats column[S];
    for (int s = 0; s < S; ++s) column[s] = load(panel + d * kPanel + s * kWidth);
    for (int r = 0; r < kTileRows; ++r) {
      const Floats value = splat_step(rows + r * kRow + d * kStep);
      for (int s = 0; s < S; ++s) sum[r][s] = Kind::add(value, column[s], sum[r][s]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
    if (r == count) break;
    for (int s = 0; s < S; ++s) {
      float* to = out + r * out_stride + s * kWidth;
      store(to, add ? load(to) + sum[r][s] : sum[r][s]);
    }
  }
}
#if defined(PYDISP_AVX2) || defined(PYDISP_AVX512)
#define PYDISP_FEW_COLUMNS 1
// Four values of row k, of row k + 4 behind them, and so on: as many rows as fill a vector.
template <class T> using Rows = const T* const (&)[kWidth];
PYDISP_INLINE __m256 load_fours(const float* low, const float* high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}
PYDISP_INLINE __m128i load_shorts(const void* low, const void* high) {
  return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(_mm_loadl_epi64(static_cast<const __m128i*>(low))), static_cast<const __m64*>(high)));
}
PYDISP_INLINE __m256 load_fours(const BFloat16* low, const BFloat16* high) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_shorts(low, high)), 16));
}
PYDISP_INLINE __m256 load_fours(const Half* low, const Half* high) { return _mm256_cvtph_ps(load_shorts(low, high)); }
template <class T> PYDISP_INLINE Floats fours(Rows<T> row, int k, int64_t at) {
  const __m256 first = load_fours(row[k] + at, row[k + 4] + at);
#if defined(PYDISP_AVX512)
  return Floats(_mm512_insertf32x8(_mm512_castps256_ps512(first), load_fours(row[k + 8] + at, row[k + 12] + at), 1));
#else
  return Floats(first);
#endif
}

// From rows (0, 4, ..., then 1, 5, ...) with four values each to values with a vector of rows each.
PYDISP_INLINE void transpose(Floats x[4]) {
#if defined(PYDISP_AVX512)
  const __m512 first = _mm512_unpacklo_ps(__m512(x[0]), __m512(x[1])), second = _mm512_unpackhi_ps(__m512(x[0]), __m512(x[1]));
  const __m512 third = _mm512_unpacklo_ps(__m512(x[2]), __m512(x[3])), fourth = _mm512_unpackhi_ps(__m512(x[2]), __m512(x[3]));
  x[0] = Floats(_mm512_shuffle_ps(first, third, 0x44));
  x[1] = Floats(_mm512_shuffle_ps(first, third, 0xee));
  x[2] = Floats(_mm512_shuffle_ps(second, fourth, 0x44));
  x[3] = Floats(_mm512_shuffle_ps(second, fourth, 0xee));
#else
  const __m256 first = _mm256_unpacklo_ps(__m256(x[0]), __m256(x[1])), second = _mm256_unpackhi_ps(__m256(x[0]), __m256(x[1]));
  const __m256 third = _mm256_unpacklo_ps(__m256(x[2]), __m256(x[3])), fourth = _mm256_unpackhi_ps(__m256(x[2]), __m256(x[3]));
  x[0] = Floats(_mm256_shuffle_ps(first, third, 0x44));
  x[1] = Floats(_mm256_shuffle_ps(first, third, 0xee));
  x[2] = Floats(_mm256_shuffle_ps(second, fourth, 0x44));
  x[3] = Floats(_mm256_shuffle_ps(second, fourth, 0xee));
#endif
}

// The first C columns of a panel, rows along the vectors: every row is read once. The sums are a tile's, to the bit. A vector of rows at a
// time: on a Zen 3 sixteen streams are slower to read than eight, and the rows often lie so that the first cache keeps eight of them.
template <class Kind, int C, class T>
void multiply_few(const T* rows, int64_t stride, int64_t count, int64_t depth, const float* panels, int64_t packed, int64_t begin,
                  float* out, int64_t out_stride, float* columns) {
  using Step = std::conditional_t<Kind::kValues == 2, float, T>;  // what a step reads of a row; of a pair the 32 bits
  // without the rest of the panel: a cache line for each value of the depth would be as much to read as eight rows
  for (int64_t d = 0; d < depth; d += kDepth) {
    const int64_t all = steps<Kind>(std::min(kDepth, depth - d)), first = d / Kind::kValues;
    for (int64_t i = 0; i < all; ++i)
      for (int c = 0; c < C; ++c) columns[(first + i) * C + c] = panels[first * packed + begin * all + i * kPanel + c];
  }
  for (int64_t r = 0; r < count; r += kWidth) {
    const int64_t ahead = r + 2 * kWidth <= count ? kWidth * stride * int64_t(sizeof(T)) : 0;
    Floats total[C];
    for (int64_t d = 0; d < depth || d == 0; d += kDepth) {
      const int64_t part = std::min(kDepth, depth - d), whole = part / Kind::kValues;
      const Step* row[kWidth];
      for (int64_t k = 0; k < kWidth; ++k) row[k] = reinterpret_cast<const Step*>(rows + std::min(r + k, count - 1) * stride + d);
      Floats sum[C];
      for (int c = 0; c < C; ++c) sum[c] = zeros();
      const auto step = [&](int64_t i, int64_t at, int64_t values) __attribute__((always_inline)) {
        Floats x[4];
        for (int k = 0; k < 4; ++k) x[k] = fours<Step>(row, k, at);
        transpose(x);
        for (int64_t k = 0; k < values; ++k)
          for (int c = 0; c < C; ++c) sum[c] = Kind::add(x[k], splat_step(columns + (d / Kind::kValues + i + k) * C + c), sum[c]);
      };
      constexpr int64_t kLine = 64 / int64_t(sizeof(Step));
      int64_t i = 0;
      for (; i + kLine <= whole; i += kLine) {
        for (int k = 0; k < kWidth; ++k)  // the next rows, into the second cache
          __builtin_prefetch(reinterpret_cast<const char*>(row[k] + i) + ahead, 0, 2);
        for (int64_t j = i; j < i + kLine; j += 4) step(j, j, 4);
      }
      for (; i + 4 <= whole; i += 4) step(i, i, 4);
      if (i * Kind::kValues < part) {
        Step rest[kWidth][4] = {};
        for (int k = 0; k < kWidth; ++k) {
          std::memcpy(rest[k], row[k] + i, (part - i * Kind::kValues) * sizeof(T));
          row[k] = rest[k];
        }
        step(i, 0, steps<Kind>(part) - i);
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

template <class Kind, class T>
void multiply(const T* rows, int64_t stride, int64_t count, int64_t depth, const float* panels, int64_t packed, int64_t begin, int64_t end,
              float* out, int64_t out_stride, float* room) {
#if defined(PYDISP_FEW_COLUMNS)
  static_assert(kFewColumns == 4);
  switch (end - begin) {
    case 1: return multiply_few<Kind, 1>(rows, stride, count, depth, panels, packed, begin, out, out_stride, room);
    case 2: return multiply_few<Kind, 2>(rows, stride, count, depth, panels, packed, begin, out, out_stride, room);
    case 3: return multiply_few<Kind, 3>(rows, stride, count, depth, panels, packed, begin, out, out_stride, room);
    case 4: return multiply_few<Kind, 4>(rows, stride, count, depth, panels, packed, begin, out, out_stride, room);
  }
#endif
  // The tile of rows from r on by the columns [first, last), over one stretch of the depth.
  const auto pass = [&](int64_t first, int64_t last, int64_t d, int64_t r) __attribute__((always_inline)) {
    const int64_t part = std::min(kDepth, depth - d), all = (last - first + kPanel - 1) / kPanel, tall = std::min(kTileRows, count - r);
    fill_tile<Kind>(rows + r * stride + d, stride, tall, part, room);
    const int64_t ahead = std::min(kTileRows, count - r - kTileRows);  // rows of the next tile, fetched while this one is multiplied
    const T* next = rows + (r + kTileRows) * stride + d;
    for (int64_t c = first; c < last; c += kPanel) {
      for (int64_t a = (c - first) / kPanel; a < ahead; a += all)
        for (int64_t i = 0; i < part; i += 64 / int64_t(sizeof(T))) __builtin_prefetch(next + a * stride + i);
      const float* panel = panels + d / Kind::kValues * packed + c * steps<Kind>(part);
      float* to = out + r * out_stride + (c - begin);
      if (last - c > kWidth) {
        tile<Kind, 2, kRoomStride, 1>(tall, room, panel, steps<Kind>(part), to, out_stride, d > 0);
        continue;
      }
      tile<Kind, 1, kRoomStride, 1>(tall, room, panel, steps<Kind>(part), to, out_stride, d > 0);
      for (int64_t a = 0; a < tall; ++a) store(to + a * out_stride + kWidth, zeros());
    }
  };
  if (end - begin <= 2 * kPanel) {
    // Little to multiply: what counts is how the rows are read, each to its end (bfloat16 on a Zen 5, 4 to 16 columns: 11 GB/s, else 5.5).
    for (int64_t r = 0; r < count; r += kTileRows)
      for (int64_t d = 0; d < depth || d == 0; d += kDepth) pass(begin, end, d, r);
    return;
  }
  for (int64_t first = begin; first < end; first += kColumns)
    for (int64_t d = 0; d < depth || d == 0; d += kDepth)
      for (int64_t r = 0; r < count; r += kTileRows) pass(first, std::min(first + kColumns, end), d, r);
}

template <class Kind>
void multiply_gradient(const GradientRows& rows, int64_t count, int64_t depth, const float* panels, int64_t columns, float* out,
                       int64_t out_stride, bool add, float* room) {
  const int64_t packed = (columns + kPanel - 1) / kPanel * kPanel;
  float edge[kTileRows * kPanel];
  for (int64_t first = 0; first < columns; first += kColumns) {
    const int64_t last = std::min(first + kColumns, columns);
    for (int64_t d = 0; d < depth || d == 0; d += kDepth) {
      const int64_t part = std::min(kDepth, depth - d), all = steps<Kind>(part);
      for (int64_t r = 0; r < count; r += kTileRows) {
        const int64_t tall = std::min(kTileRows, count - r);
        if (rows.lie_across) fill_across<Kind>(rows.data + d * rows.stride + r, rows.stride, count - r, part, room);
        else fill_tile<Kind>(rows.data + r * rows.stride + d, rows.stride, tall, part, room);
        const int64_t share = r + kTileRows < count && rows.lie_across ? (part * kPanel + last - first - 1) / (last - first) : 0;
        for (int64_t c = first; c < last; c += kPanel) {
          // The next tile is fetched meanwhile where it lies across: each value of the depth is on a page of its own, which no processor
          // fetches ahead. The line that it ends in, for the one that it begins in is mostly this tile's.
          for (int64_t at = (c - first) / kPanel * share, to = std::min(at + share, part); at < to; ++at)
            __builtin_prefetch(rows.data + (d + at) * rows.stride + r + 2 * kTileRows - 1);
          const float* panel = panels + d / Kind::kValues * packed + c * all;
          const bool is_whole = c + kPanel <= columns, adds = add || d > 0;
          float* to = out + r * out_stride + c;
          float* sums = is_whole ? to : edge;
          const int64_t apart = is_whole ? out_stride : kPanel;
          if (rows.lie_across) tile<Kind, 2, 1, kAcross>(tall, room, panel, all, sums, apart, adds && is_whole);
          else tile<Kind, 2, kRoomStride, 1>(tall, room, panel, all, sums, apart, adds && is_whole);
          for (int64_t a = 0; a < tall && !is_whole; ++a)
            for (int64_t i = 0; i < columns - c; ++i) to[a * out_stride + i] = (adds ? to[a * out_stride + i] : 0.f) + edge[a * kPanel + i];
        }
      }
    }
  }
}

template <class Kind, class T> constexpr ProductOf<T> product_of() {
  return {Kind::kValues, pack<Kind, T>, pack_across<Kind, T>, multiply<Kind, T>, multiply_gradient<Kind>};
}

}  // namespace

extern const ProductKernels product_kernels;
const ProductKernels product_kernels = {
    kPanel, product_of<Singles, float>(), product_of<Singles, BFloat16>(), product_of<Singles, Half>(), product_of<Pairs, BFloat16>(),
};

}  // namespace pydisp::PYDISP_ISA

