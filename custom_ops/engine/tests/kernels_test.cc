// Every kernel of every instruction set that this processor has, against naive loops over awkward sizes.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "random_numbers.h"

namespace keras_egru {
namespace {

template <typename T>
std::vector<const Kernels<T>*> AvailableKernels() {
  std::vector<const Kernels<T>*> all = {ScalarKernels<T>()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && Avx2Kernels<T>()) all.push_back(Avx2Kernels<T>());
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && Avx512Kernels<T>()) {
    all.push_back(Avx512Kernels<T>());
    if (AmxKernels<T>()) all.push_back(AmxKernels<T>());
  }
#endif
  return all;
}

template <typename T>
double Tolerance() {
  return 200 * std::numeric_limits<T>::epsilon();  // sums of at most some hundred products of size one
}

// A matrix of `rows` rows of `gates` blocks, with room between the blocks.
template <typename T>
TileRows<T> RowsOf(T* data, int gates, int64_t block) {
  TileRows<T> rows;
  for (int g = 0; g < gates; ++g) {
    rows.base[g] = data + g * block;
    rows.stride[g] = gates * block;
  }
  return rows;
}

TEST_CASE_TEMPLATE("accumulate equals the naive sum", T, float, double) {
  for (const Kernels<T>* kernels : AvailableKernels<T>()) {
    for (int gates = 1; gates <= kGates; ++gates) {
      for (int vectors = 1; vectors <= kMaxVectors; ++vectors) {
        for (double density : {0.0, 0.2, 1.0}) {
          CAPTURE(kernels->name);
          CAPTURE(gates);
          CAPTURE(vectors);
          RandomNumbers random(gates * 10 + vectors);
          const int64_t outputs = 5, inputs = 19, width = vectors * kernels->lanes, block = width + 3;
          const auto x = random.Sparse<T>(outputs * inputs, density);
          const auto weights = random.Normal<T>(inputs * gates * block);
          auto result = random.Normal<T>(outputs * gates * block);
          auto expected = result;
          std::vector<int32_t> index(outputs * inputs), count(outputs);
          std::vector<T> value(outputs * inputs);
          for (int64_t o = 0; o < outputs; ++o) {
            for (int64_t i = 0; i < inputs; ++i) {
              if (x[o * inputs + i] == T(0)) continue;
              index[o * inputs + count[o]] = static_cast<int32_t>(i);
              value[o * inputs + count[o]++] = x[o * inputs + i];
              for (int g = 0; g < gates; ++g) {
                for (int64_t j = 0; j < width; ++j) {
                  expected[(o * gates + g) * block + j] += x[o * inputs + i] * weights[(i * gates + g) * block + j];
                }
              }
            }
          }
          kernels->accumulate[gates - 1][vectors - 1]({outputs,
                                                       {index.data(), value.data(), count.data(), nullptr, inputs},
                                                       RowsOf<T>(result.data(), gates, block),
                                                       RowsOf<T>(result.data(), gates, block),
                                                       RowsOf<const T>(weights.data(), gates, block)});
          for (size_t i = 0; i < result.size(); ++i) {
            REQUIRE(result[i] == doctest::Approx(expected[i]).epsilon(Tolerance<T>()));
          }
        }
      }
    }
  }
}

template <typename T, typename Weight>
void CheckStream(const Kernels<T>& kernels, void (*stream)(const StreamArguments<T, Weight>&), double most) {
  for (int rows = 0; rows <= kStreams; ++rows) {
    for (int vectors : {1, 4, 6}) {
      CAPTURE(kernels.name);
      CAPTURE(rows);
      RandomNumbers random(rows * 10 + vectors);
      const int64_t length = vectors * kernels.lanes, tile = kernels.tile_units, gap = 3;
      const bool scaled = sizeof(Weight) < sizeof(T);
      const auto numbers = random.Uniform<T>(rows * length, -most, most);
      std::vector<Weight> weights(numbers.size());
      for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<Weight>(scaled ? std::floor(numbers[i]) : numbers[i]);
      const auto factors = random.Normal<T>(kStreams), start = random.Normal<T>(2 * tile), scale = random.Normal<T>(length);
      std::vector<T> output(2 * (tile + gap));
      StreamArguments<T, Weight> a = {rows, {}, factors.data(), length, scaled ? scale.data() : nullptr, start.data(), tile,
                                      output.data(), tile + gap};
      for (int r = 0; r < rows; ++r) a.row[r] = weights.data() + r * length;
      stream(a);
      for (int64_t j = 0; j < length; ++j) {
        T sum = 0, size = 1;
        for (int r = 0; r < rows; ++r) {
          sum += factors[r] * weights[r * length + j];
          size += std::abs(factors[r] * weights[r * length + j]);
        }
        const T expected = start[j] + (scaled ? scale[j] * sum : sum);
        REQUIRE(std::abs(output[j / tile * (tile + gap) + j % tile] - expected) <= Tolerance<T>() * size);
      }
      for (int64_t j = 0; j < gap; ++j) REQUIRE(output[tile + j] == T(0));
    }
  }
}

TEST_CASE_TEMPLATE("stream equals the naive sum, of numbers and of 8-bit integers", T, float, double) {
  for (const Kernels<T>* kernels : AvailableKernels<T>()) {
    CheckStream<T, T>(*kernels, kernels->stream, 1.0);
    CheckStream<T, int8_t>(*kernels, kernels->stream_int8, 127.99);
  }
}

// The two ways to hold a matrix [rows, columns]: its rows as vectors, or its columns.
template <typename T>
std::vector<const T*> Vectors(const std::vector<T>& matrix, int64_t count, int64_t length, int64_t offset) {
  std::vector<const T*> vectors(count);
  for (int64_t i = 0; i < count; ++i) vectors[i] = matrix.data() + i * length - offset;
  return vectors;
}

TEST_CASE_TEMPLATE("multiply equals the naive product as closely as the number type allows", T, float, double) {
  for (const Kernels<T>* kernels : AvailableKernels<T>()) {
    const DenseKernels<T>& dense = kernels->dense;
    const int64_t tile = kernels->tile_units, sizes[] = {1, 3, tile / 2 + 1, tile - 1, tile};
    void* left = ::operator new(dense.block_bytes, std::align_val_t{64});
    void* right = ::operator new(dense.block_bytes, std::align_val_t{64});
    for (int64_t rows : sizes) {
      for (int64_t depth : sizes) {
        for (int64_t columns : sizes) {
          for (int transposed = 0; transposed < 4; ++transposed) {
            CAPTURE(kernels->name);
            CAPTURE(rows);
            CAPTURE(depth);
            CAPTURE(columns);
            CAPTURE(transposed);
            RandomNumbers random(rows * 100 + depth * 10 + columns);
            // Sizes that no rounding of a factor to few bits would survive; whatever was in the blocks before is no number.
            std::fill_n(static_cast<T*>(left), dense.block_bytes / sizeof(T), std::numeric_limits<T>::quiet_NaN());
            std::fill_n(static_cast<T*>(right), dense.block_bytes / sizeof(T), std::numeric_limits<T>::quiet_NaN());
            const auto a = random.Normal<T>(rows * depth), b = random.Normal<T>(depth * columns);
            const bool left_columns = transposed & 1, right_columns = transposed & 2;
            const int64_t offset = 7;
            const auto left_vectors = Vectors(a, left_columns ? depth : rows, left_columns ? rows : depth, offset);
            auto right_vectors = Vectors(b, right_columns ? columns : depth, right_columns ? depth : columns, offset);
            const bool missing = columns > 1 && depth > 1;  // the last vector is left out
            if (missing) right_vectors.back() = nullptr;
            (left_columns ? dense.pack_left_transposed : dense.pack_left)(
                {left_vectors.data(), static_cast<int64_t>(left_vectors.size()), offset, left_columns ? rows : depth, left});
            (right_columns ? dense.pack_right_transposed : dense.pack_right)(
                {right_vectors.data(), static_cast<int64_t>(right_vectors.size()), offset, right_columns ? depth : columns,
                 right});
            const int64_t padded = (columns + kernels->lanes - 1) / kernels->lanes * kernels->lanes, stride = padded + 5;
            std::vector<T> output(rows * stride, T(1));
            dense.multiply({rows, depth, columns, left, right, output.data(), stride});
            bool close = true, untouched = true;
            for (int64_t i = 0; i < rows; ++i) {
              for (int64_t j = 0; j < columns; ++j) {
                long double expected = 1, size = 1;
                for (int64_t k = 0; k < depth; ++k) {
                  if (missing && (right_columns ? j == columns - 1 : k == depth - 1)) continue;
                  const long double left_number = left_columns ? a[k * rows + i] : a[i * depth + k];
                  const long double right_number = right_columns ? b[j * depth + k] : b[k * columns + j];
                  expected += left_number * right_number;
                  size += std::fabs(left_number * right_number);
                }
                close = close &&
                        std::fabs(output[i * stride + j] - expected) <= 4 * std::numeric_limits<T>::epsilon() * size;
              }
              for (int64_t j = padded; j < stride; ++j) untouched = untouched && output[i * stride + j] == T(1);
            }
            REQUIRE(close);
            REQUIRE(untouched);
          }
        }
      }
    }
    ::operator delete(left, std::align_val_t{64});
    ::operator delete(right, std::align_val_t{64});
  }
}

TEST_CASE_TEMPLATE("multiply keeps infinities and NaN visible", T, float, double) {
  for (const Kernels<T>* kernels : AvailableKernels<T>()) {
    CAPTURE(kernels->name);
    const DenseKernels<T>& dense = kernels->dense;
    void* left = ::operator new(dense.block_bytes, std::align_val_t{64});
    void* right = ::operator new(dense.block_bytes, std::align_val_t{64});
    const T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
    const std::vector<T> a = {infinity, T(1), nan, T(0.3)}, b = {T(2), T(3)};
    const auto left_vectors = Vectors(a, 4, 1, 0);
    const auto right_vectors = Vectors(b, 1, 2, 0);
    dense.pack_left({left_vectors.data(), 4, 0, 1, left});
    dense.pack_right({right_vectors.data(), 1, 0, 2, right});
    std::vector<T> output(4 * kernels->lanes);
    dense.multiply({4, 1, 2, left, right, output.data(), kernels->lanes});
    CHECK_FALSE(std::isfinite(output[0]));
    CHECK(output[kernels->lanes] == T(2));
    CHECK(std::isnan(output[2 * kernels->lanes]));
    CHECK(output[3 * kernels->lanes + 1] == doctest::Approx(T(0.3) * T(3)));
    ::operator delete(left, std::align_val_t{64});
    ::operator delete(right, std::align_val_t{64});
  }
}

TEST_CASE_TEMPLATE("dots equals the naive dot products at the listed entries", T, float, double) {
  for (const Kernels<T>* kernels : AvailableKernels<T>()) {
    for (int gates = 1; gates <= kGates; ++gates) {
      for (int vectors = 1; vectors <= kMaxVectors; ++vectors) {
        for (double density : {0.0, 0.5, 1.0}) {
          CAPTURE(kernels->name);
          RandomNumbers random(gates * 10 + vectors);
          const int64_t outputs = 4, rows = kernels->tile_units, width = vectors * kernels->lanes, block = width + 1;
          const auto left = random.Normal<T>(outputs * gates * block);
          const auto weights = random.Normal<T>(rows * gates * block);
          std::vector<int32_t> index(outputs * rows), count(outputs);
          for (int64_t o = 0; o < outputs; ++o) {
            for (int64_t i = 0; i < rows; ++i) {
              if (random.Chance(density)) index[o * rows + count[o]++] = static_cast<int32_t>(i);
            }
          }
          std::vector<T> result(outputs * rows, T(1));
          kernels->dots[gates - 1][vectors - 1]({outputs,
                                                 {index.data(), nullptr, count.data(), nullptr, rows},
                                                 RowsOf<const T>(left.data(), gates, block),
                                                 RowsOf<const T>(weights.data(), gates, block),
                                                 result.data()});
          for (int64_t o = 0; o < outputs; ++o) {
            for (int32_t p = 0; p < count[o]; ++p) {
              double expected = 1;
              for (int g = 0; g < gates; ++g) {
                for (int64_t j = 0; j < width; ++j) {
                  expected += static_cast<double>(left[(o * gates + g) * block + j]) *
                              weights[(index[o * rows + p] * gates + g) * block + j];
                }
              }
              REQUIRE(std::abs(result[o * rows + p] - expected) < Tolerance<T>() * 10);
            }
          }
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("a start of stride 0 reaches every row, those without entries too", T, float, double) {
  for (const Kernels<T>* kernels : AvailableKernels<T>()) {
    CAPTURE(kernels->name);
    std::vector<T> bias(kernels->lanes, T(2)), weights(kernels->lanes, T(3)), result(3 * kernels->lanes, T(-1));
    const int32_t index[] = {0, 0, 0}, count[] = {0, 1, 0};
    const T value[] = {T(1), T(1), T(1)};
    TileRows<const T> start;
    start.base[0] = bias.data();
    kernels->accumulate[0][0]({3, {index, value, count, nullptr, 1}, start, RowsOf<T>(result.data(), 1, kernels->lanes),
                               RowsOf<const T>(weights.data(), 1, kernels->lanes)});
    for (int i = 0; i < 3 * kernels->lanes; ++i) CHECK(result[i] == (i / kernels->lanes == 1 ? T(5) : T(2)));
  }
}

TEST_CASE_TEMPLATE("lists hold the nonzero numbers, and the units that a gradient passes", T, float, double) {
  for (const Kernels<T>* kernels : AvailableKernels<T>()) {
    for (int64_t columns : {0, 1, 7, 16, 31, 32}) {
      CAPTURE(kernels->name);
      RandomNumbers random(static_cast<uint32_t>(columns));
      auto numbers = random.Sparse<T>(columns, 0.5);
      if (columns > 7) numbers[7] = std::numeric_limits<T>::quiet_NaN();
      std::vector<int32_t> index(48), expected;
      std::vector<T> value(48);
      for (int64_t i = 0; i < columns; ++i) {
        if (numbers[i] != T(0)) expected.push_back(static_cast<int32_t>(i));
      }
      const int64_t found = kernels->list_nonzero(numbers.data(), columns, index.data(), value.data());
      REQUIRE(found == static_cast<int64_t>(expected.size()));
      for (int64_t e = 0; e < found; ++e) {
        CHECK(index[e] == expected[e]);
        CHECK((value[e] == numbers[expected[e]] || std::isnan(value[e])));
      }

      const auto c = random.Normal<T>(columns);
      const std::vector<T> threshold(columns, T(0.3));
      expected.clear();
      for (int64_t i = 0; i < columns; ++i) {
        const T slope = T(0.7) * std::max(T(0), 1 - std::abs(c[i] - threshold[i]) * T(2));
        if ((c[i] > threshold[i]) + c[i] * slope != 0) expected.push_back(static_cast<int32_t>(i));
      }
      const int64_t passing =
          kernels->list_passing(c.data(), threshold.data(), columns, T(0.7), T(2), index.data());
      REQUIRE(passing == static_cast<int64_t>(expected.size()));
      for (int64_t e = 0; e < passing; ++e) CHECK(index[e] == expected[e]);
    }
  }
}

TEST_CASE_TEMPLATE("sigmoid is within four units in the last place, and total", T, float, double) {
  for (const Kernels<T>* kernels : AvailableKernels<T>()) {
    CAPTURE(kernels->name);
    std::vector<T> x;
    for (double value = -80; value <= 80; value += 0.0371) x.push_back(static_cast<T>(value));
    for (T value : {T(0), T(-0.0), T(1e-30), T(1000), T(-1000), std::numeric_limits<T>::infinity(),
                    -std::numeric_limits<T>::infinity(), std::numeric_limits<T>::quiet_NaN()}) {
      x.push_back(value);
    }
    while (x.size() % kernels->lanes) x.push_back(0);
    auto result = x;
    kernels->sigmoid(result.data(), static_cast<int64_t>(result.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i])) {
        CHECK(std::isnan(result[i]));
        continue;
      }
      const double expected = 1 / (1 + std::exp(-static_cast<double>(x[i])));
      CAPTURE(x[i]);
      if (std::abs(x[i]) > 80) {
        CHECK(std::abs(result[i] - expected) < 1e-30);
      } else {
        CHECK(std::abs(result[i] - expected) <= 4 * std::numeric_limits<T>::epsilon() * expected);
      }
    }
  }
}

}  // namespace
}  // namespace keras_egru
