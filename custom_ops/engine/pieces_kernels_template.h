// The kernels for pieces of rows of pruned weights (live_pieces.h), written once and compiled once an instruction set;
// internal linkage throughout, as vector_math.h says.
#ifndef KERAS_EGRU_ENGINE_PIECES_KERNELS_TEMPLATE_H_
#define KERAS_EGRU_ENGINE_PIECES_KERNELS_TEMPLATE_H_

#include <cstdint>

#include "kernels.h"
#include "vector_math.h"

namespace keras_egru {
namespace {

template <typename T>
inline int Mask(const T* numbers, int64_t count) {
  int mask = 0;
#ifdef __AVX512F__
  if (count >= Simd<T>::kLanes) {
    if constexpr (sizeof(T) == 4) {
      return _mm512_cmp_ps_mask((__m512)Load(numbers), _mm512_setzero_ps(), _CMP_NEQ_UQ);
    } else {
      return _mm512_cmp_pd_mask((__m512d)Load(numbers), _mm512_setzero_pd(), _CMP_NEQ_UQ);
    }
  }
#endif
  for (int64_t i = 0; i < count && i < Simd<T>::kLanes; ++i) mask |= (numbers[i] != T(0)) << i;
  return mask;
}

template <typename T>
LiveCount MaskNonzero(const T* numbers, int64_t columns, int64_t vectors, uint16_t* mask) {
  constexpr int64_t lanes = Simd<T>::kLanes;
  LiveCount count = {0, 0};
  for (int64_t v = 0; v < vectors; ++v) {
    const int lanes_of_vector = Mask(numbers + v * lanes, columns - v * lanes);
    mask[v] = static_cast<uint16_t>(lanes_of_vector);
    count.numbers += __builtin_popcount(lanes_of_vector);
    count.vectors += lanes_of_vector != 0;
  }
  return count;
}

template <typename T>
void AddNumbers(const PieceLists<T>& lists, int64_t rows, const int32_t* index, const T* factor, T* output) {
  const PieceLists<T> a = lists;  // a copy that no store can change
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t* list = a.begin + index[r] * a.stride;
    for (int64_t p = list[0]; p < list[1]; ++p) output[a.place[p]] += factor[r] * a.value[p];
  }
}

template <typename T>
void DotNumbers(const PieceLists<T>& lists, int64_t rows, const int32_t* index, const T* source, T* result) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t* list = lists.begin + index[r] * lists.stride;
    T sum = T(0);
    for (int64_t p = list[0]; p < list[1]; ++p) sum += lists.value[p] * source[lists.place[p]];
    result[r] = sum;
  }
}

template <typename T>
void AddVectors(const PieceLists<T>& lists, int64_t rows, const int32_t* index, const T* factor, T* output) {
  const PieceLists<T> a = lists;  // a copy that no store can change
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t* list = a.begin + index[r] * a.stride;
    const T scale = factor[r];
    for (int64_t bunch = list[0]; bunch < list[1]; ++bunch) {
      const T* value = a.value + bunch * kPiecesTogether * Simd<T>::kLanes;
      const int32_t* place = a.place + bunch * kPiecesTogether;
#pragma GCC unroll 4
      for (int p = 0; p < kPiecesTogether; ++p) {
        T* to = output + place[p];
        Store<T>(to, Load<T>(to) + scale * Load(value + p * Simd<T>::kLanes));
      }
    }
  }
}

template <typename T>
void DotVectors(const PieceLists<T>& lists, int64_t rows, const int32_t* index, const T* source, T* result) {
  const PieceLists<T> a = lists;  // a copy that no store can change
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t* list = a.begin + index[r] * a.stride;
    Vec<T> sum[kPiecesTogether] = {};
    for (int64_t bunch = list[0]; bunch < list[1]; ++bunch) {
      const T* value = a.value + bunch * kPiecesTogether * Simd<T>::kLanes;
      const int32_t* place = a.place + bunch * kPiecesTogether;
#pragma GCC unroll 4
      for (int p = 0; p < kPiecesTogether; ++p) sum[p] += Load(source + place[p]) * Load(value + p * Simd<T>::kLanes);
    }
    result[r] = Sum<T>((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
}

#ifdef __AVX512F__
constexpr int kRowsTogether = 4;

// The next numbers of a row in the lanes that are live, zero in the others.
template <typename T>
inline Vec<T> Expand(int mask, const T*& numbers) {
  Vec<T> result;
  if constexpr (sizeof(T) == 4) {
    result = (Vec<T>)_mm512_maskz_expandloadu_ps(static_cast<__mmask16>(mask), numbers);
  } else {
    result = (Vec<T>)_mm512_maskz_expandloadu_pd(static_cast<__mmask8>(mask), numbers);
  }
  numbers += __builtin_popcount(mask);
  return result;
}

template <typename T, int together>
inline void AddMaskedRows(const PieceLists<T>& a, const int32_t* index, const T* factor, T* output) {
  const T* value[together];
  const uint16_t* mask[together];
#pragma GCC unroll 4
  for (int r = 0; r < together; ++r) {
    value[r] = a.value + a.begin[index[r] * a.stride];
    mask[r] = a.mask + index[r] * a.mask_stride;
  }
  for (int64_t v = 0; v < a.vectors; ++v, output += Simd<T>::kLanes) {
    Vec<T> sum = Load(output);
#pragma GCC unroll 4
    for (int r = 0; r < together; ++r) sum += factor[r] * Expand(mask[r][v], value[r]);
    Store<T>(output, sum);
  }
}

template <typename T>
void AddMasked(const PieceLists<T>& lists, int64_t rows, const int32_t* index, const T* factor, T* output) {
  const PieceLists<T> a = lists;  // a copy that no store can change
  int64_t r = 0;
  for (; r + kRowsTogether <= rows; r += kRowsTogether) AddMaskedRows<T, kRowsTogether>(a, index + r, factor + r, output);
  for (; r < rows; ++r) AddMaskedRows<T, 1>(a, index + r, factor + r, output);
}

template <typename T, int together>
inline void DotMaskedRows(const PieceLists<T>& a, const int32_t* index, const T* source, T* result) {
  const T* value[together];
  const uint16_t* mask[together];
  Vec<T> sum[together] = {};
#pragma GCC unroll 4
  for (int r = 0; r < together; ++r) {
    value[r] = a.value + a.begin[index[r] * a.stride];
    mask[r] = a.mask + index[r] * a.mask_stride;
  }
  for (int64_t v = 0; v < a.vectors; ++v, source += Simd<T>::kLanes) {
    const Vec<T> numbers = Load(source);
#pragma GCC unroll 4
    for (int r = 0; r < together; ++r) sum[r] += numbers * Expand(mask[r][v], value[r]);
  }
  for (int r = 0; r < together; ++r) result[r] = Sum<T>(sum[r]);
}

template <typename T>
void DotMasked(const PieceLists<T>& lists, int64_t rows, const int32_t* index, const T* source, T* result) {
  const PieceLists<T> a = lists;  // a copy that no store can change
  int64_t r = 0;
  for (; r + kRowsTogether <= rows; r += kRowsTogether) DotMaskedRows<T, kRowsTogether>(a, index + r, source, result + r);
  for (; r < rows; ++r) DotMaskedRows<T, 1>(a, index + r, source, result + r);
}
#endif

template <typename T>
constexpr PieceKernels<T> MakePieceKernels() {
  return {MaskNonzero<T>,
#ifdef __AVX512F__
          {AddNumbers<T>, AddVectors<T>, AddMasked<T>},
          {DotNumbers<T>, DotVectors<T>, DotMasked<T>}};
#else
          {AddNumbers<T>, AddVectors<T>, nullptr},
          {DotNumbers<T>, DotVectors<T>, nullptr}};
#endif
}

}  // namespace
}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_PIECES_KERNELS_TEMPLATE_H_
