#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "../column_lists.h"
#include "../event_list.h"
#include "../tiles.h"
#include "random_numbers.h"

namespace keras_egru {
namespace {

TEST_CASE("a segmented list holds the nonzero entries, NaN among them") {
  const Kernels<float>& kernels = *ScalarKernels<float>();
  const SegmentedLists<float> lists(2, 3, 4);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float row[] = {0.0f, 2.0f, nan, -0.0f};
  CHECK(lists.Fill(kernels, 1, 2, row, 4) == 2);
  const Lists<float> found = lists.From(1, 2);
  CHECK(found.count[0] == 2);
  CHECK(found.index[0] == 1);
  CHECK(found.index[1] == 2);
  CHECK(found.value[0] == 2.0f);
  CHECK(found.value[1] != found.value[1]);
  const float full[] = {1, 2, 3, 4};
  CHECK(lists.Fill(kernels, 0, 0, full, 4) == 4);
  lists.Clear(0, 0);
  CHECK(lists.From(0, 0).count[0] == 0);
  CHECK(lists.Fill(kernels, 0, 0, full, 0) == 0);
}

TEST_CASE("column lists give back the matrix, without the rows left out") {
  RandomNumbers random(3);
  for (int64_t rows : {1, 63, 64, 65, 200}) {
    const int64_t columns = 7;
    const auto matrix = random.Sparse<double>(rows * columns, 0.3);
    ColumnLists<double> lists(SelectKernels<double>(), rows, columns);
    Team team(nullptr, 1);
    const auto row_data = [&](int64_t row) -> const double* {
      return row % 5 == 4 ? nullptr : matrix.data() + row * columns;
    };
    lists.Count(team, row_data);
    lists.Fill(team, true, row_data, [](int64_t row) { return 10 * row; });
    lists.FillExtra(team, [](int64_t column, int64_t index, double value) { return column + index + value; });
    std::vector<double> rebuilt(rows * columns), extra(rows * columns);
    int64_t entries = 0;
    for (int64_t chunk = 0; chunk < lists.chunks(); ++chunk) {
      for (int64_t first : {0, 3}) {
        const Lists<double> values = lists.From(chunk, first, false), extras = lists.From(chunk, first, true);
        for (int64_t column = first; column < (first == 0 ? 3 : columns); ++column) {
          for (int64_t e = 0; e < values.count[column - first]; ++e) {
            const int64_t entry = values.begin[column - first] + e, row = values.index[entry] / 10;
            rebuilt[row * columns + column] = values.value[entry];
            CHECK(extras.value[entry] == column + 10 * row + values.value[entry]);
            ++entries;
          }
        }
      }
    }
    CHECK(entries == lists.entries());
    for (int64_t i = 0; i < rows * columns; ++i) CHECK(rebuilt[i] == (i / columns % 5 == 4 ? 0 : matrix[i]));
  }
}

TEST_CASE_TEMPLATE("packed weights hold every number in its place and zeros beyond the last unit", T, float, double) {
  RandomNumbers random(4);
  const Kernels<T>& kernels = *ScalarKernels<T>();
  for (int64_t units : {1, 15, 16, 17, 40}) {
    const int64_t rows = 5;
    const auto weights = random.Normal<T>(rows * 3 * units);
    const Tiles<T> tiles(kernels, units);
    for (bool pack : {false, true}) {
      TiledWeights<T> tiled(tiles, weights.data(), rows, pack);
      Team alone(nullptr, 1);
      tiled.Pack(alone);
      for (int64_t tile = 0; tile < tiles.count; ++tile) {
        const TileRows<const T> view = tiled.Rows(tile, 2, 1, 2);
        for (int64_t row = 0; row < rows - 2; ++row) {
          for (int g = 0; g < 2; ++g) {
            for (int64_t i = 0; i < tiles.vectors(tile) * tiles.lanes; ++i) {
              const int64_t unit = tiles.first(tile) + i;
              const T expected = unit < units ? weights[((row + 2) * 3 + 1 + g) * units + unit] : T(0);
              CHECK(view.base[g][row * view.stride[g] + i] == expected);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace keras_egru
