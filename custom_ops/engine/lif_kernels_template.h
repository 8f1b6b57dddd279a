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

// The sums of `vectors` vectors stay in registers while all rows pass.
template <typename T, int vectors>
inline void AddRowsPart(int64_t width, int64_t count, const int32_t* index, const T* value, const T* weights, T* output) {
  Vec<T> sum[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) sum[v] = Load(output + v * Simd<T>::kLanes);
  for (int64_t r = 0; r < count; ++r) {
    const T* row = weights + index[r] * width;
    const T factor = value[r];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) sum[v] += factor * Load(row + v * Simd<T>::kLanes);
  }
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) Store<T>(output + v * Simd<T>::kLanes, sum[v]);
}

template <typename T>
void AddRows(int64_t width, int64_t count, const int32_t* index, const T* value, const T* weights, T* output) {
  constexpr int64_t lanes = Simd<T>::kLanes;
  int64_t j = 0;
  for (; j + 8 * lanes <= width; j += 8 * lanes) AddRowsPart<T, 8>(width, count, index, value, weights + j, output + j);
  if (j + 4 * lanes <= width) {
    AddRowsPart<T, 4>(width, count, index, value, weights + j, output + j);
    j += 4 * lanes;
  }
  for (; j < width; j += lanes) AddRowsPart<T, 1>(width, count, index, value, weights + j, output + j);
}

template <typename T>
void AddToRows(int64_t width, int64_t count, const int32_t* index, const T* value, const T* vector, T* weights) {
  for (int64_t r = 0; r < count; ++r) {
    T* row = weights + index[r] * width;
    const T factor = value[r];
    for (int64_t j = 0; j < width; j += Simd<T>::kLanes) Store<T>(row + j, Load(row + j) + factor * Load(vector + j));
  }
}

template <typename T>
void DotRows(int64_t width, int64_t count, const int32_t* index, const T* weights, const T* vector, T* result) {
  constexpr int64_t lanes = Simd<T>::kLanes, together = 4;
  for (int64_t r = 0; r < count; ++r) {
    const T* row = weights + index[r] * width;
    Vec<T> sum[together] = {};
    int64_t j = 0;
    for (; j + together * lanes <= width; j += together * lanes) {
#pragma GCC unroll 4
      for (int s = 0; s < together; ++s) sum[s] += Load(row + j + s * lanes) * Load(vector + j + s * lanes);
    }
    for (; j < width; j += lanes) sum[0] += Load(row + j) * Load(vector + j);
    result[r] = Sum<T>((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
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
