// The kernels for pruned weights, written once and compiled once an instruction set; internal linkage throughout, as
// vector_math.h says.
#ifndef KERAS_EGRU_ENGINE_LIVE_KERNELS_TEMPLATE_H_
#define KERAS_EGRU_ENGINE_LIVE_KERNELS_TEMPLATE_H_

#include <cstdint>
#include <utility>

#include "kernels.h"
#include "vector_math.h"

namespace keras_egru {
namespace {

template <typename T, int vectors>
inline void LoadSums(bool begins, const T* from, Vec<T>* sum) {
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) sum[v] = begins ? Vec<T>{} : Load(from + v * Simd<T>::kLanes);
}

template <typename T, int vectors>
inline void StoreSums(const Vec<T>* sum, T* to) {
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) Store<T>(to + v * Simd<T>::kLanes, sum[v]);
}

template <typename T, int vectors>
inline void AddScaled(T factor, const T* row, Vec<T>* sum) {
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) sum[v] += factor * Load(row + v * Simd<T>::kLanes);
}

template <typename T, int vectors>
void AddLive(const LiveArguments<T>& arguments) {
  const LiveArguments<T> a = arguments;  // a copy that no store can change
  for (int64_t next = 0; next < a.outputs; ++next) {
    const int64_t o = a.order[next], count = a.lists.count[o];
    if (count == 0 && !a.begins) continue;
    const int32_t* index = a.lists.index + a.lists.begin[o];
    const T* value = a.lists.value + a.lists.begin[o];
    // Two entries at once: so few sums would wait for each other.
    Vec<T> sum[vectors], other[vectors];
    LoadSums<T, vectors>(a.begins, a.sums + o * a.width, sum);
    LoadSums<T, vectors>(true, nullptr, other);
    int64_t e = 0;
    for (; e + 1 < count; e += 2) {
      AddScaled<T, vectors>(value[e], a.source + index[e] * a.width, sum);
      AddScaled<T, vectors>(value[e + 1], a.source + index[e + 1] * a.width, other);
    }
    if (e < count) AddScaled<T, vectors>(value[e], a.source + index[e] * a.width, sum);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[v] += other[v];
    StoreSums<T, vectors>(sum, a.sums + o * a.width);
  }
}

template <typename T, int vectors>
void AddLiveColumns(const LiveArguments<T>& arguments) {
  constexpr int lanes = Simd<T>::kLanes;
  constexpr int together = kLiveTogether;
  constexpr int columns = KERAS_EGRU_VECTOR_BYTES == 64 ? together : 2;  // as many sums as there are registers for
  const LiveArguments<T> a = arguments;                                  // a copy that no store can change
  for (int64_t next = 0; next < a.outputs; ++next) {
    const int64_t o = a.order[next], count = a.lists.count[o];
    if (count == 0 && !a.begins) continue;
    const int32_t* index = a.lists.index + a.lists.begin[o];
    for (int first = 0; first < together; first += columns) {
      const T* value = a.lists.value + a.lists.begin[o] * together + first;
      T* sums = a.sums + (o * together + first) * a.width;
      Vec<T> sum[columns][vectors];
#pragma GCC unroll 4
      for (int q = 0; q < columns; ++q) LoadSums<T, vectors>(a.begins, sums + q * a.width, sum[q]);
      for (int64_t e = 0; e < count; ++e, value += together) {
        const T* row = a.source + index[e] * a.width;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
          const Vec<T> numbers = Load(row + v * lanes);
#pragma GCC unroll 4
          for (int q = 0; q < columns; ++q) sum[q][v] += value[q] * numbers;
        }
      }
#pragma GCC unroll 4
      for (int q = 0; q < columns; ++q) StoreSums<T, vectors>(sum[q], sums + q * a.width);
    }
  }
}

template <typename T, int vectors>
void AddLiveRows(const LiveArguments<T>& arguments) {
  constexpr int together = kLiveTogether;
  const LiveArguments<T> a = arguments;  // a copy that no store can change
  for (int64_t next = 0; next < a.outputs; ++next) {
    const int64_t o = a.order[next], count = a.lists.count[o];
    if (count == 0 && !a.begins) continue;
    const int32_t* index = a.lists.index + a.lists.begin[o];
    const T* value = a.lists.value + a.lists.begin[o] * together;
    Vec<T> sum[vectors], other[vectors];
    LoadSums<T, vectors>(a.begins, a.sums + o * a.width, sum);
    LoadSums<T, vectors>(true, nullptr, other);
    for (int64_t e = 0; e < count; ++e, value += together) {
      const T* row = a.source + index[e] * a.width;
#pragma GCC unroll 2
      for (int q = 0; q < together; q += 2) {
        AddScaled<T, vectors>(value[q], row + q * a.width, sum);
        AddScaled<T, vectors>(value[q + 1], row + (q + 1) * a.width, other);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[v] += other[v];
    StoreSums<T, vectors>(sum, a.sums + o * a.width);
  }
}

// Every other number of two vectors: of their first halves (`low`), or of their second halves.
template <typename V, int... lane>
inline V Interleave(V a, V b, bool low, std::integer_sequence<int, lane...>) {
  constexpr int lanes = sizeof...(lane);
  return low ? __builtin_shufflevector(a, b, (lane % 2 * lanes + lane / 2)...)
             : __builtin_shufflevector(a, b, (lane % 2 * lanes + lane / 2 + lanes / 2)...);
}

template <typename T>
void Transpose(const TransposeArguments<T>& arguments) {
  constexpr int lanes = Simd<T>::kLanes;
  using Lanes = std::make_integer_sequence<int, lanes>;
  const TransposeArguments<T> a = arguments;  // a copy that no store can change
  for (int64_t i = 0; i < a.rows; i += lanes) {
    for (int64_t j = 0; j < a.columns; j += lanes) {
      Vec<T> block[lanes];
#pragma GCC unroll 16
      for (int k = 0; k < lanes; ++k) block[k] = i + k < a.rows ? Load(a.from + (i + k) * a.from_stride + j) : Vec<T>{};
      // Each round rotates the digits of a number's place by one: after log2(lanes) rounds rows and columns are swapped.
#pragma GCC unroll 4
      for (int round = 1; round < lanes; round *= 2) {
        Vec<T> next[lanes];
#pragma GCC unroll 8
        for (int k = 0; k < lanes / 2; ++k) {
          next[2 * k] = Interleave(block[k], block[k + lanes / 2], true, Lanes{});
          next[2 * k + 1] = Interleave(block[k], block[k + lanes / 2], false, Lanes{});
        }
#pragma GCC unroll 16
        for (int k = 0; k < lanes; ++k) block[k] = next[k];
      }
      const int64_t count = a.columns - j < lanes ? a.columns - j : lanes;
#pragma GCC unroll 16
      for (int k = 0; k < lanes; ++k) {
        if (k >= count) break;
        const Vec<T> start = a.start ? Load(a.start + (j + k) * a.start_stride + i) : Vec<T>{};
        Store<T>(a.to + (j + k) * a.to_stride + i, start + block[k]);
      }
    }
  }
}

// `vectors` of one output row, by their columns.
template <typename T, int vectors, bool same_stride>
inline void AccumulateColumns(const SelectedArguments<T>& a, int64_t o, const int32_t* column, T* output) {
  constexpr int tile = Simd<T>::kLanes * kMaxVectors;
  const int64_t count = a.lists.count[o], begin = a.lists.begin ? a.lists.begin[o] : o * a.lists.capacity;
  const int32_t* index = a.lists.index + begin;
  const T* value = a.lists.value + begin;
  const T* source[vectors];
  int64_t stride[vectors];
  Vec<T> sum[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    const int gate = column[v] / tile;
    source[v] = a.source.base[gate] + column[v] % tile;
    stride[v] = a.source.stride[gate];
    sum[v] = Load(output + column[v]);
  }
  for (int64_t e = 0; e < count; ++e) {
    const T factor = value[e];
    const int64_t i = index[e], place = i * a.source.stride[0];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[v] += factor * Load(source[v] + (same_stride ? place : i * stride[v]));
  }
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) Store<T>(output + column[v], sum[v]);
}

template <typename T, bool same_stride>
void AccumulateSelectedRows(const SelectedArguments<T>& arguments) {
  constexpr int64_t row_size = Simd<T>::kLanes * kMaxVectors * kGates;
  const SelectedArguments<T> a = arguments;  // a copy that no store can change
  for (int64_t next = 0; next < a.outputs; ++next) {
    const int64_t o = a.order[next];
    if (a.lists.count[o] == 0) continue;
    T* output = a.output + o * row_size;
    const int32_t* column = a.column + a.begin[o];
    int64_t left = a.count[o];
    for (; left >= 4; left -= 4, column += 4) AccumulateColumns<T, 4, same_stride>(a, o, column, output);
    switch (left) {
      case 3: AccumulateColumns<T, 3, same_stride>(a, o, column, output); break;
      case 2: AccumulateColumns<T, 2, same_stride>(a, o, column, output); break;
      case 1: AccumulateColumns<T, 1, same_stride>(a, o, column, output); break;
    }
  }
}

template <typename T>
void AccumulateSelected(const SelectedArguments<T>& a) {
  if (a.source.stride[0] == a.source.stride[1] && a.source.stride[0] == a.source.stride[2]) {
    AccumulateSelectedRows<T, true>(a);
  } else {
    AccumulateSelectedRows<T, false>(a);
  }
}

}  // namespace
}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_KERNELS_TEMPLATE_H_
