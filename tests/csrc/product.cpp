// csrc/product.h against plain loops in double, and against itself with other columns beside: `product [seed]`.

#include "../../csrc/product.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "check.h"

using namespace pydisp;

namespace {

const ProductKernels& kernels() { return PYDISP_ISA::product_kernels; }

// What the bfloat16 instruction sums: of each pair the second product first. The products are exact in float, so a sum is as good as a
// multiply-add. (It takes subnormal numbers as 0; normal values have none.)
float sum_of_pairs(const BFloat16* row, const BFloat16* column, int64_t depth) {
  float total = 0;
  for (int64_t d = 0; d < depth; d += kDepth) {
    float sum = 0;
    for (int64_t i = d; i < std::min(d + kDepth, depth); i += 2) {
      if (i + 1 < depth) sum += load_one(row[i + 1]) * load_one(column[i + 1]);
      sum += load_one(row[i]) * load_one(column[i]);
    }
    total = d > 0 ? total + sum : sum;
  }
  return total;
}

float rounded_as(float value, int64_t values) {
  BFloat16 narrow;
  store_one(narrow, value);
  return values == 2 ? load_one(narrow) : value;
}

// Rows of a gradient, as they are or across, times columns that lie across; the columns behind the last one are somebody else's.
template <class T>
void check_gradient(Random& random, const ProductOf<T>& product, int64_t count, int64_t columns, int64_t depth, int64_t extra, bool lie_across) {
  const int64_t panel = kernels().panel, wide = (columns + panel - 1) / panel * panel, stride = columns + extra;
  const int64_t long_side = lie_across ? count : depth, short_side = lie_across ? depth : count, row_stride = long_side + extra;
  const auto rows = exactly<float>(std::max<int64_t>((short_side - 1) * row_stride + long_side, 0));
  const auto given = exactly<T>(std::max<int64_t>((depth - 1) * stride + columns, 0));
  for (int64_t i = 0; i < (short_side - 1) * row_stride + long_side; ++i) rows[i] = random.normal();
  for (int64_t i = 0; i < (depth - 1) * stride + columns; ++i) store_one(given[i], random.normal());
  const auto panels = exactly<float>(panel_floats(product, wide, depth)), room = exactly<float>(product_room(depth));
  product.pack_across(given.get(), stride, columns, depth, panels.get());
  std::vector<float> before(count * columns);
  for (float& value : before) value = random.normal();
  std::vector<float> first_row(columns);
  for (const bool add : {false, true}) {
    const auto out = exactly<float>((count - 1) * stride + columns);
    for (int64_t r = 0; r < count && add; ++r) std::copy_n(before.data() + r * columns, columns, out.get() + r * stride);
    product.multiply_gradient({rows.get(), row_stride, lie_across}, count, depth, panels.get(), columns, out.get(), stride, add, room.get());
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        double sum = add ? double(before[r * columns + c]) : 0, size = std::fabs(sum);
        for (int64_t d = 0; d < depth; ++d) {
          const float value = rounded_as(lie_across ? rows[d * row_stride + r] : rows[r * row_stride + d], product.values);
          const double term = double(value) * double(load_one(given[d * stride + c]));
          sum += term, size += std::fabs(term);
        }
        CHECK(std::fabs(double(out[r * stride + c]) - sum) <= 1e-6 * size, "gradient (%d, %d) of %d x %d, depth %d, is %g, not %g", int(r),
              int(c), int(count), int(columns), int(depth), double(out[r * stride + c]), sum);
      }
      for (int64_t c = columns; c < stride && r < count - 1; ++c)
        CHECK(std::isnan(out[r * stride + c]), "column %d behind the last one of a gradient was written", int(c));
    }
    if (!add) std::copy_n(out.get(), columns, first_row.data());
  }
  const auto alone = exactly<float>(columns);
  product.multiply_gradient({rows.get(), row_stride, lie_across}, 1, depth, panels.get(), columns, alone.get(), columns, false, room.get());
  CHECK(std::memcmp(alone.get(), first_row.data(), columns * sizeof(float)) == 0, "the first row of a gradient has other bits by itself");
}

template <class T>
void check_product(Random& random, const ProductOf<T>& product, int64_t count, int64_t columns, int64_t depth, int64_t extra) {
  const int64_t panel = kernels().panel, wide = (columns + panel - 1) / panel * panel, stride = depth + extra, out_stride = wide + extra;
  const auto rows = exactly<T>((count - 1) * stride + depth), given = exactly<T>((columns - 1) * stride + depth);
  for (int64_t i = 0; i < (count - 1) * stride + depth; ++i) store_one(rows[i], random.normal());
  for (int64_t i = 0; i < (columns - 1) * stride + depth; ++i) store_one(given[i], random.normal());
  const auto panels = exactly<float>(panel_floats(product, wide, depth)), out = exactly<float>((count - 1) * out_stride + wide), room = exactly<float>(product_room(depth));
  std::memset(out.get(), 0xff, ((count - 1) * out_stride + wide) * sizeof(float));  // NaN
  product.pack(given.get(), stride, columns, depth, panels.get());
  product.multiply(rows.get(), stride, count, depth, panels.get(), wide, 0, columns, out.get(), out_stride, room.get());
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t c = 0; c < wide; ++c) {
      double sum = 0, size = 0;
      for (int64_t d = 0; d < depth && c < columns; ++d) {
        const double term = double(load_one(rows[r * stride + d])) * double(load_one(given[c * stride + d]));
        sum += term, size += std::fabs(term);
      }
      CHECK(std::fabs(double(out[r * out_stride + c]) - sum) <= 1e-6 * size, "element (%d, %d) of %d x %d, depth %d, is %g, not %g", int(r),
            int(c), int(count), int(columns), int(depth), double(out[r * out_stride + c]), sum);
    }
    for (int64_t c = wide; c < out_stride && r < count - 1; ++c)
      CHECK(std::isnan(out[r * out_stride + c]), "column %d behind the last one was written", int(c));
  }
  if (product.values == 2)
    for (int64_t c = 0; c < columns; ++c)
      CHECK(out[c] == sum_of_pairs(reinterpret_cast<const BFloat16*>(rows.get()), reinterpret_cast<const BFloat16*>(given.get() + c * stride), depth),
            "element %d has other bits than the instruction's order gives, depth %d", int(c), int(depth));
  // one column alone, by itself at the place of the first, and one row alone
  const int64_t column = random.below(columns), row = random.below(count);
  const auto one_panel = exactly<float>(panel_floats(product, panel, depth)), alone = exactly<float>(panel);
  product.pack(given.get() + column * stride, stride, 1, depth, one_panel.get());
  product.multiply(rows.get() + row * stride, stride, 1, depth, one_panel.get(), panel, 0, 1, alone.get(), panel, room.get());
  CHECK(std::memcmp(&alone[0], &out[row * out_stride + column], sizeof(float)) == 0, "element (%d, %d) has other bits by itself", int(row),
        int(column));
  // and the last panel alone, of all that were packed
  product.multiply(rows.get() + row * stride, stride, 1, depth, panels.get(), wide, wide - panel, columns, alone.get(), panel, room.get());
  CHECK(std::memcmp(&alone[0], &out[row * out_stride + wide - panel], panel * sizeof(float)) == 0, "row %d of the last panel", int(row));
}

template <class T> void check_all(Random& random, const ProductOf<T>& product) {
  for (const int64_t count : {1, 6, 19})
    for (const int64_t columns : {1, 2, 3, 4, 16, 33, 150})
      for (const int64_t depth : {0, 1, 17, 255, 300, 600}) check_product(random, product, count, columns, depth, random.below(3));
  for (int64_t count = 2; count < 14; ++count) check_product(random, product, count, 7, 40, 1);
  for (const int64_t count : {1, 13})
    for (const int64_t columns : {1, 32, 65, 530})
      for (const int64_t depth : {1, 18, 257})
        for (const bool lie_across : {false, true}) check_gradient(random, product, count, columns, depth, random.below(3), lie_across);
}

}  // namespace

int main(int count, char** words) {
  Random random(count, words);
  check_all(random, kernels().of_float);
  check_all(random, kernels().of_bfloat16);
  check_all(random, kernels().of_half);
  check_all(random, kernels().of_pairs);
}
