// The kernels of influence_kernels.h, written once and compiled once an instruction set; internal linkage throughout, as
// vector_math.h says.
#ifndef KERAS_EGRU_ENGINE_INFLUENCE_KERNELS_TEMPLATE_H_
#define KERAS_EGRU_ENGINE_INFLUENCE_KERNELS_TEMPLATE_H_

#include <cstdint>

#include "influence_kernels.h"
#include "vector_math.h"

namespace keras_egru {
namespace {

// Columns from j on, `vectors` vectors of `rows` output rows in registers while the list passes.
template <typename T, int rows, int vectors>
inline void CombinePart(const CombineArguments<T>& a, int64_t j) {
  constexpr int lanes = Simd<T>::kLanes;
  Vec<T> sum[rows][vectors] = {};
  if (a.start) {
#pragma GCC unroll 4
    for (int q = 0; q < rows; ++q) {
      const T* row = a.rows + a.start[q] * a.width + j;
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) sum[q][v] = a.start_factor[q] * Load(row + v * lanes);
    }
  }
  for (int64_t r = 0; r < a.count; ++r) {
    const T* row = a.rows + a.index[r] * a.width + j;
    Vec<T> factor[rows];
#pragma GCC unroll 4
    for (int q = 0; q < rows; ++q) factor[q] = Vec<T>{} + a.value[r * rows + q];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) {
      const Vec<T> source = Load(row + v * lanes);
#pragma GCC unroll 4
      for (int q = 0; q < rows; ++q) sum[q][v] += factor[q] * source;
    }
  }
#pragma GCC unroll 4
  for (int q = 0; q < rows; ++q) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) Store<T>(a.output + q * a.width + j + v * lanes, sum[q][v]);
  }
}

template <typename T, int rows, int vectors>
void CombineFrom(const CombineArguments<T>& a, int64_t j) {
  constexpr int64_t part = vectors * Simd<T>::kLanes;
  for (; j + part <= a.width; j += part) CombinePart<T, rows, vectors>(a, j);
  if constexpr (vectors > 1) CombineFrom<T, rows, vectors - 1>(a, j);
}

template <typename T>
void Combine(const CombineArguments<T>& arguments) {
  const CombineArguments<T> a = arguments;  // a copy that no store can change
  CombineFrom<T, 1, sizeof(Vec<T>) == 64 ? 8 : 6>(a, 0);
}

template <typename T>
void CombineTogether(const CombineArguments<T>& arguments) {
  const CombineArguments<T> a = arguments;
  CombineFrom<T, kRowsTogether, sizeof(Vec<T>) == 64 ? 4 : 2>(a, 0);
}

template <typename T>
int64_t CountNonzero(const T* numbers, int64_t count) {
  int64_t zeros = 0;
  for (int64_t i = 0; i < count; ++i) zeros += numbers[i] == T(0);
  return count - zeros;
}

template <typename T>
constexpr InfluenceKernels<T> MakeInfluenceKernels() {
  return {Combine<T>, CombineTogether<T>, CountNonzero<T>};
}

}  // namespace
}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_INFLUENCE_KERNELS_TEMPLATE_H_
