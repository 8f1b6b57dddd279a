// The kernels and lists for pruned weights, of every instruction set that this processor has, against naive loops.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "../live_lists.h"
#include "../live_pieces.h"
#include "../live_vectors.h"
#include "random_numbers.h"

namespace keras_egru {
namespace {

template <typename T, typename Check>
void ForAllKernels(const Check& check) {
  static const char* const given = std::getenv("KERAS_EGRU_ISA");
  static const std::string only = given ? given : "";
  for (const std::string isa : {"scalar", "avx2", "avx512"}) {
    if (!only.empty() && only != isa) continue;
    setenv("KERAS_EGRU_ISA", isa.c_str(), 1);
    CAPTURE(isa);
    check(SelectKernels<T>());
  }
  only.empty() ? unsetenv("KERAS_EGRU_ISA") : setenv("KERAS_EGRU_ISA", only.c_str(), 1);
}

TEST_CASE_TEMPLATE("transpose swaps rows and columns, adds a start and fills up with zeros", T, float, double) {
  ForAllKernels<T>([](const Kernels<T>& kernels) {
    const int64_t lanes = kernels.lanes, room = 3 * lanes;
    for (int64_t rows : {int64_t{1}, lanes, 2 * lanes - 1}) {
      for (int64_t columns : {int64_t{1}, lanes + 1, 2 * lanes}) {
        for (bool start : {false, true}) {
          RandomNumbers random(3);
          const auto from = random.Normal<T>(room * room), begin = random.Normal<T>(room * room);
          std::vector<T> to(room * room, T(7));
          kernels.transpose({rows, columns, from.data(), room, start ? begin.data() : nullptr, room, to.data(), room});
          const int64_t written = (rows + lanes - 1) / lanes * lanes;
          bool equal = true;
          for (int64_t j = 0; j < room; ++j) {
            for (int64_t i = 0; i < room; ++i) {
              T expected = T(7);
              if (j < columns && i < written) {
                expected = (i < rows ? from[i * room + j] : T(0)) + (start ? begin[j * room + i] : T(0));
              }
              equal = equal && to[j * room + i] == expected;
            }
          }
          REQUIRE(equal);
        }
      }
    }
  });
}

// A matrix [units, 3 units] of which the share `density` is live, and what multiplies it.
template <typename T>
struct Matrix {
  Matrix(int64_t units, double density) : units(units), random(9), weights(random.Sparse<T>(units * kGates * units, density)) {}
  T at(int64_t row, int64_t gate, int64_t column) const { return weights[(row * kGates + gate) * units + column]; }

  int64_t units;
  RandomNumbers random;
  std::vector<T> weights;
};

TEST_CASE_TEMPLATE("lists of columns and of rows give the product with every live weight", T, float, double) {
  ForAllKernels<T>([](const Kernels<T>& kernels) {
    for (int pattern = 0; pattern < 5; ++pattern) {  // no weight, some, all; and all or some four together
      const double density[] = {0.0, 0.3, 1.0, 1.0, 0.3};
      Matrix<T> matrix(2 * kernels.tile_units + (pattern < 3 ? 3 : 4), density[pattern]);
      for (size_t w = 0; pattern == 4 && w < matrix.weights.size(); ++w) {
        if (w % 4 && matrix.weights[w - w % 4] == T(0)) matrix.weights[w] = T(0);
        if (w % 4 && matrix.weights[w - w % 4] != T(0)) matrix.weights[w] += T(1);
      }
      const Tiles<T> tiles(kernels, matrix.units);
      const int64_t width = tiles.width, vectors = 1 + pattern % kMaxVectors;
      Team team(nullptr, 1);
      for (bool columns : {true, false}) {
        using Of = typename LiveLists<T>::Of;
        const LiveLists<T> lists(kernels, tiles, team, matrix.weights.data(), columns ? Of::kColumns : Of::kRows);
        const auto source = matrix.random.template Normal<T>(tiles.count * kGates * width * width);
        int64_t live = 0;
        for (T weight : matrix.weights) live += weight != T(0);
        REQUIRE(lists.multiplied() == live);
        REQUIRE((lists.together() > 1) == (pattern > 2));
        for (int64_t row_tile = 0; row_tile < tiles.count; ++row_tile) {
          for (int64_t tile = 0; tile < tiles.count; ++tile) {
            for (int gate = 0; gate < kGates; ++gate) {
              const bool begins = gate == 1;
              std::vector<T> output(width * width, T(2));
              lists.Add(row_tile, tile, gate, vectors, begins, source.data(), output.data());
              for (int64_t o = 0; o < tiles.valid(columns ? tile : row_tile); ++o) {
                for (int64_t b = 0; b < vectors * tiles.lanes; ++b) {
                  double expected = begins ? 0 : 2;
                  for (int64_t k = 0; k < tiles.valid(columns ? row_tile : tile); ++k) {
                    const int64_t i = tiles.first(row_tile) + (columns ? k : o), j = tiles.first(tile) + (columns ? o : k);
                    const int64_t place = columns ? i : (tile * kGates + gate) * width + k;
                    expected += double(matrix.at(i, gate, j)) * source[place * width + b];
                  }
                  REQUIRE(std::abs(output[o * width + b] - expected) < 1e-4);
                }
              }
            }
          }
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("pieces of rows give the products with the rows that are named", T, float, double) {
  ForAllKernels<T>([](const Kernels<T>& kernels) {
    bool met[kPieceForms] = {};
    for (int pattern = 0; pattern < 5; ++pattern) {  // no weight, hardly any, a third, all; whole vectors
      const double density[] = {0.0, 0.002, 0.3, 1.0, 0.3};
      Matrix<T> matrix(2 * kernels.tile_units + 5, density[pattern]);
      const Tiles<T> tiles(kernels, matrix.units);
      for (size_t w = 0; pattern == 4 && w < matrix.weights.size(); ++w) {
        const size_t first = w - w % matrix.units % kernels.lanes;
        if (w > first) matrix.weights[w] = matrix.weights[first] == T(0) ? T(0) : matrix.weights[w] + T(1);
      }
      Team team(nullptr, 1);
      for (int64_t groups : {1, 3}) {
        for (bool split : {false, true}) {
          const LivePieces<T> pieces(kernels, tiles, groups, split, team, matrix.weights.data());
          met[static_cast<int>(pieces.form())] = true;
          const std::vector<int32_t> index = {0, 7, 3, 12, 1, static_cast<int32_t>(matrix.units - 1)};
          const std::vector<T> factor = {T(2), T(-1), T(0.5), T(1), T(3), T(-2)};
          const int64_t rows = static_cast<int64_t>(index.size());
          for (int64_t group = 0; group < groups; ++group) {
            const int64_t first = tiles.first(pieces.TileRange(group).first), stride = pieces.Stride(group);
            const auto source = matrix.random.template Normal<T>(kGates * stride);
            for (int part = 0; part < (split ? 2 : 1); ++part) {
              const int first_gate = part == 0 ? 0 : kGates - 1, end = split && part == 0 ? kGates - 1 : kGates;
              std::vector<T> output(kGates * stride, T(1)), dots(rows, T(9));
              std::vector<double> expected(kGates * stride, 1.0), products(rows, 0.0);
              pieces.Add(group, first_gate, rows, index.data(), factor.data(), output.data());
              pieces.Dot(group, first_gate, 0, rows, index.data(), source.data(), dots.data());
              for (int64_t r = 0; r < rows; ++r) {
                for (int g = first_gate; g < end; ++g) {
                  for (int64_t column = 0; column < stride && first + column < matrix.units; ++column) {
                    const double weight = matrix.at(index[r], g, first + column);
                    expected[g * stride + column] += factor[r] * weight;
                    products[r] += weight * source[g * stride + column];
                  }
                }
              }
              bool equal = true;
              for (size_t i = 0; i < output.size(); ++i) equal = equal && std::abs(output[i] - expected[i]) < 1e-4;
              REQUIRE(equal);
              for (int64_t r = 0; r < rows; ++r) REQUIRE(std::abs(dots[r] - products[r]) < 1e-4);
              T later = T(0);  // the same row, named from another one on
              const int32_t of_later = index[1] - 2;
              pieces.Dot(group, first_gate, 2, 1, &of_later, source.data(), &later);
              REQUIRE(later == doctest::Approx(dots[1]));
            }
          }
        }
      }
    }
    for (int form = 0; form < kPieceForms; ++form) REQUIRE(met[form] == (kernels.pieces.add[form] != nullptr));
  });
}

TEST_CASE_TEMPLATE("selected vectors alone are accumulated", T, float, double) {
  ForAllKernels<T>([](const Kernels<T>& kernels) {
    Matrix<T> matrix(2 * kernels.tile_units + 3, 0.05);
    const Tiles<T> tiles(kernels, matrix.units);
    const int64_t width = tiles.width, sources = 6;
    Team team(nullptr, 1);
    const LiveVectors<T> live(kernels, tiles, team, matrix.weights.data(), matrix.units);
    REQUIRE(live.share() < 1);
    const auto rows = matrix.random.template Normal<T>(sources * kGates * width);
    const std::vector<int32_t> index = {1, 4, 5};
    const std::vector<T> value = {T(1), T(3), T(-2)};
    std::vector<int32_t> count(tiles.units, 3), order;
    for (int64_t row = tiles.units; row-- > 0;) order.push_back(static_cast<int32_t>(row));
    const std::vector<int64_t> begin(tiles.units, 0);
    TileRows<const T> source;
    for (int g = 0; g < kGates; ++g) {
      source.base[g] = rows.data() + g * width;
      source.stride[g] = kGates * width;
    }
    const std::vector<T> ones(width, T(1));
    for (int64_t row = 0; row < matrix.units; ++row) {
      for (int64_t tile = 0; tile < tiles.count; ++tile) {
        for (int g = 0; g < kGates; ++g) {
          std::vector<T> copy(width + 1, T(7));
          live.Copy(tile, row, g, ones.data(), copy.data());
          bool right = true;
          for (int64_t i = 0; i <= width; ++i) {
            const bool there = i < tiles.valid(tile);
            right = right && copy[i] == (there ? T(matrix.at(row, g, tiles.first(tile) + i) != T(0)) : T(7));
          }
          REQUIRE(right);
        }
      }
    }
    for (int part = 0; part < LiveVectors<T>::kParts; ++part) {
      for (int64_t tile = 0; tile < tiles.count; ++tile) {
        std::vector<T> output(tiles.units * kGates * width);
        const auto of = static_cast<typename LiveVectors<T>::Part>(part);
        kernels.accumulate_selected({tiles.units, order.data(), {index.data(), value.data(), count.data(), begin.data(), 0},
                                     live.begin(of, tile, 0), live.count(of, tile, 0), live.column(), output.data(), source});
        for (int64_t row = 0; row < tiles.units; ++row) {
          for (int g = 0; g < kGates; ++g) {
            const bool wanted = part == 0 || (part == 2) == (g == kGates - 1);
            for (int64_t i = 0; i < tiles.valid(tile); ++i) {
              const int64_t first = i / tiles.lanes * tiles.lanes;
              bool any = false;
              for (int64_t j = first; j < std::min(first + tiles.lanes, tiles.valid(tile)); ++j) {
                any = any || matrix.at(row, g, tiles.first(tile) + j) != T(0);
              }
              double expected = 0;
              for (int e = 0; e < 3 && any && wanted; ++e) expected += double(value[e]) * rows[(index[e] * kGates + g) * width + i];
              REQUIRE(std::abs(output[(row * kGates + g) * width + i] - expected) < 1e-4);
            }
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace keras_egru
