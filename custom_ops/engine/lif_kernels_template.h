// The kernels of lif_kernels.h, written once and compiled once an instruction set; internal linkage throughout, as
// vector_math.h says.
#ifndef KERAS_EGRU_ENGINE_LIF_KERNELS_TEMPLATE_H_
#define KERAS_EGRU_ENGINE_LIF_KERNELS_TEMPLATE_H_

#include <cstdint>

#include "lif_kernels.h"
#include "vector_math.h"

namespace keras_egru {
namespace {

template <typename T>
void Membrane(const MembraneArguments<T>& arguments) {
  const MembraneArguments<T> a = arguments;  // a copy that no store can change
  const Vec<T> zero = {}, rest = zero + a.v_rest, one = zero + T(1), two = zero + T(2);
  for (int64_t j = 0; j < a.width; j += Simd<T>::kLanes) {
    Vec<T> v = rest + Load(a.alpha + j) * (Load(a.u + j) - rest);
    if (a.beta) {
      const Vec<T> current = Load(a.current + j);
      v += Load(a.gamma + j) * current;
      Store<T>(a.current + j, Load(a.beta + j) * current);
    } else {
      v += Load(a.drive + j);
    }
    Store<T>(a.u + j, v);
    const Vec<T> above = v - a.threshold;
    const Vec<T> near = above > zero - a.surrogate_width ? one : zero;
    // A NaN is above no threshold and near none; it stays in the membrane and shows there.
    Store<T>(a.flags + j, above > zero ? two : near);
  }
}

template <typename T>
void Costate(const CostateArguments<T>& arguments) {
  const CostateArguments<T> a = arguments;  // a copy that no store can change
  for (int64_t j = 0; j < a.width; j += Simd<T>::kLanes) {
    const Vec<T> q = Load(a.q + j);
    if (a.beta) Store<T>(a.m + j, Load(a.beta + j) * Load(a.m + j) + Load(a.gamma + j) * q);
    Store<T>(a.q + j, Load(a.alpha + j) * q);
  }
}

// As many sums as fit the registers beside a row.
template <typename T>
constexpr int kSums = sizeof(Vec<T>) == 64 ? 16 : 8;

// The sums of `vectors` vectors stay in registers while all rows pass.
template <typename T, int vectors>
void AddRowsPart(int64_t width, int64_t count, const int32_t* index, const T* value, const T* weights, T* output) {
  Vec<T> sum[vectors];
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) sum[v] = Load(output + v * Simd<T>::kLanes);
  for (int64_t r = 0; r < count; ++r) {
    const T* row = weights + index[r] * width;
    const T factor = value[r];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) sum[v] += factor * Load(row + v * Simd<T>::kLanes);
  }
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) Store<T>(output + v * Simd<T>::kLanes, sum[v]);
}

// Columns from j on. What is left of a width goes at once as well: the end of a loop over few rows costs as much as several
// of them.
template <typename T, int vectors>
void AddRowsFrom(int64_t j, int64_t width, int64_t count, const int32_t* index, const T* value, const T* weights,
                 T* output) {
  constexpr int64_t part = vectors * Simd<T>::kLanes;
  for (; j + part <= width; j += part) AddRowsPart<T, vectors>(width, count, index, value, weights + j, output + j);
  if constexpr (vectors > 1) AddRowsFrom<T, vectors - 1>(j, width, count, index, value, weights, output);
}

template <typename T>
void AddRows(int64_t width, int64_t count, const int32_t* index, const T* value, const T* weights, T* output) {
  AddRowsFrom<T, kSums<T>>(0, width, count, index, value, weights, output);
}

template <typename T>
void AddToRows(int64_t width, int64_t count, const int32_t* index, const T* value, const T* vector, T* weights) {
  for (int64_t r = 0; r < count; ++r) {
    T* row = weights + index[r] * width;
    const T factor = value[r];
    for (int64_t j = 0; j < width; j += Simd<T>::kLanes) Store<T>(row + j, Load(row + j) + factor * Load(vector + j));
  }
}

// The products of `rows` rows with a vector that is loaded once for all of them.
template <typename T, int rows>
inline void DotRowsTogether(int64_t width, const int32_t* index, const T* weights, const T* vector, T* result) {
  const T* row[rows];
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) row[r] = weights + index[r] * width;
  Vec<T> sum[rows] = {};
  for (int64_t j = 0; j < width; j += Simd<T>::kLanes) {
    const Vec<T> v = Load(vector + j);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) sum[r] += Load(row[r] + j) * v;
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) result[r] = Sum<T>(sum[r]);
}

template <typename T>
void DotRows(int64_t width, int64_t count, const int32_t* index, const T* weights, const T* vector, T* result) {
  int64_t r = 0;
  for (; r + 4 <= count; r += 4) DotRowsTogether<T, 4>(width, index + r, weights, vector, result + r);
  for (; r < count; ++r) DotRowsTogether<T, 1>(width, index + r, weights, vector, result + r);
}

template <typename T>
void AddProduct(int64_t width, const T* a, const T* b, T* output) {
  for (int64_t j = 0; j < width; j += Simd<T>::kLanes) Store<T>(output + j, Load(output + j) + Load(a + j) * Load(b + j));
}

template <typename T>
void DifferenceOfProducts(int64_t width, const T* a, const T* b, const T* c, const T* d, T* output) {
  for (int64_t j = 0; j < width; j += Simd<T>::kLanes) {
    Store<T>(output + j, Load(a + j) * Load(b + j) - Load(c + j) * Load(d + j));
  }
}

template <typename T>
constexpr LifKernels<T> MakeLifKernels() {
  return {Membrane<T>, Costate<T>, AddRows<T>, AddToRows<T>, DotRows<T>, AddProduct<T>, DifferenceOfProducts<T>};
}

}  // namespace
}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIF_KERNELS_TEMPLATE_H_
