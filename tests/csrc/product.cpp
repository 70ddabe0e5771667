// csrc/product.h against plain loops in double, and against itself with other columns beside: `product [seed]`.

#include "../../csrc/product.h"

#include <cmath>
#include <cstring>

#include "check.h"

using namespace pydisp;

namespace {

const ProductKernels& kernels() { return PYDISP_ISA::product_kernels; }

template <class T>
void check_product(Random& random, const ProductOf<T>& product, int64_t count, int64_t columns, int64_t depth, int64_t extra) {
  const int64_t panel = kernels().panel, wide = (columns + panel - 1) / panel * panel, stride = depth + extra, out_stride = wide + extra;
  const auto rows = exactly<T>((count - 1) * stride + depth), given = exactly<T>((columns - 1) * stride + depth);
  for (int64_t i = 0; i < (count - 1) * stride + depth; ++i) store_one(rows[i], random.normal());
  for (int64_t i = 0; i < (columns - 1) * stride + depth; ++i) store_one(given[i], random.normal());
  const auto panels = exactly<float>(wide * depth), out = exactly<float>((count - 1) * out_stride + wide), room = exactly<float>(product_room(depth));
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
  // one column alone, by itself at the place of the first, and one row alone
  const int64_t column = random.below(columns), row = random.below(count);
  const auto one_panel = exactly<float>(panel * depth), alone = exactly<float>(panel);
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
  for (int64_t count = 2; count < 5; ++count) check_product(random, product, count, 7, 40, 1);
}

}  // namespace

int main(int count, char** words) {
  Random random(count, words);
  check_all(random, kernels().of_float);
  check_all(random, kernels().of_bfloat16);
  check_all(random, kernels().of_half);
}
