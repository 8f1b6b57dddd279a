// Dense products in blocks, for any instruction set: what sparse products cannot beat when little is silent. Included by
// kernels_template.h.
//
// A left block is cut into panels of kPanel rows, [panels, depth, kPanel], so that one step of depth reads the factors of
// a panel in one piece; a right block is [depth, tile_units].
#ifndef KERAS_EGRU_ENGINE_DENSE_TEMPLATE_H_
#define KERAS_EGRU_ENGINE_DENSE_TEMPLATE_H_

#include <cstdint>

#include "kernels.h"
#include "vector_math.h"

namespace keras_egru {
namespace {

// Rows and vectors of an output that stay in registers: 24 of 32 registers with 64-byte vectors, 8 of 16 otherwise.
template <typename T>
struct DenseShape {
  static constexpr bool kMany = KERAS_EGRU_VECTOR_BYTES == 64;
  static constexpr int kPanel = kMany ? 6 : 4;
  static constexpr int kVectors = kMany ? 4 : 2;
  static constexpr int kTile = Simd<T>::kLanes * kMaxVectors;
  static constexpr int64_t kPanels = (kTile + kPanel - 1) / kPanel;
};

template <typename T>
constexpr int64_t DenseBlockBytes() {
  return DenseShape<T>::kPanels * DenseShape<T>::kPanel * DenseShape<T>::kTile * static_cast<int64_t>(sizeof(T));
}

// The vectors are rows of the left matrix, or (transposed) its columns. Missing rows of the last panel are zero: it is read
// whole, and what meets only itself must still be a number.
template <typename T, bool transposed>
void PackLeft(const PackArguments<T>& a) {
  constexpr int64_t panel = DenseShape<T>::kPanel, tile = DenseShape<T>::kTile;
  const int64_t rows = transposed ? a.length : a.count, depths = transposed ? a.count : a.length;
  for (int64_t first = 0; first < rows; first += panel) {
    T* to = static_cast<T*>(a.block) + first * tile;
    const int64_t valid = rows - first < panel ? rows - first : panel;
    const T* from[panel] = {};
    for (int64_t r = 0; !transposed && r < valid; ++r) from[r] = a.vectors[first + r] ? a.vectors[first + r] + a.offset : nullptr;
    for (int64_t depth = 0; depth < depths; ++depth, to += panel) {
      if (transposed) {
        const T* vector = a.vectors[depth] ? a.vectors[depth] + a.offset + first : nullptr;
        if (vector && valid == panel) {
          __builtin_memcpy(to, vector, panel * sizeof(T));
        } else {
          for (int64_t r = 0; r < panel; ++r) to[r] = vector && r < valid ? vector[r] : T(0);
        }
      } else {
        for (int64_t r = 0; r < panel; ++r) to[r] = from[r] ? from[r][depth] : T(0);
      }
    }
  }
}

// The vectors are rows of the right matrix, or (transposed) its columns.
template <typename T, bool transposed>
void PackRight(const PackArguments<T>& a) {
  constexpr int64_t lanes = Simd<T>::kLanes, tile = DenseShape<T>::kTile;
  T* block = static_cast<T*>(a.block);
  for (int64_t v = 0; v < a.count; ++v) {
    const T* from = a.vectors[v] ? a.vectors[v] + a.offset : nullptr;
    for (int64_t i = 0; i < a.length; ++i) block[transposed ? i * tile + v : v * tile + i] = from ? from[i] : T(0);
  }
  const int64_t depths = transposed ? a.length : a.count, columns = transposed ? a.count : a.length;
  for (int64_t column = columns; column % lanes != 0; ++column) {
    for (int64_t depth = 0; depth < depths; ++depth) block[depth * tile + column] = T(0);
  }
}

template <typename T, int vectors>
inline void MultiplyPanel(const T* left, const T* right, int64_t depth, T* output, int64_t stride, int64_t rows,
                          const T* start) {
  constexpr int lanes = Simd<T>::kLanes, panel = DenseShape<T>::kPanel, tile = DenseShape<T>::kTile;
  Vec<T> sum[panel][vectors] = {};
  for (int64_t k = 0; k < depth; ++k, left += panel, right += tile) {
    Vec<T> row[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) row[v] = Load(right + v * lanes);
#pragma GCC unroll 6
    for (int r = 0; r < panel; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[r][v] += left[r] * row[v];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < panel; ++r) {
    if (r >= rows) return;
    T* to = output + r * stride;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) Store<T>(to + v * lanes, Load<T>((start ? start : to) + v * lanes) + sum[r][v]);
  }
}

template <typename T>
void Multiply(const MultiplyArguments<T>& a) {
  constexpr int64_t lanes = Simd<T>::kLanes, panel = DenseShape<T>::kPanel, tile = DenseShape<T>::kTile;
  constexpr int64_t most = DenseShape<T>::kVectors;
  const T* left = static_cast<const T*>(a.left);
  const T* right = static_cast<const T*>(a.right);
  const int64_t vectors = (a.columns + lanes - 1) / lanes, panels = (a.rows + panel - 1) / panel;
  for (int64_t p = 0; p < panels; ++p) {
    FetchShare(a.ahead, p, panels);
    T* output = a.output + p * panel * a.stride;
    const T* from = left + p * panel * tile;
    const int64_t rows = a.rows - p * panel;
    for (int64_t v = 0; v < vectors; v += most) {
      const T* to_right = right + v * lanes;
      T* to = output + v * lanes;
      const T* start = a.start ? a.start + v * lanes : nullptr;
      switch (vectors - v < most ? vectors - v : most) {
        case 1: MultiplyPanel<T, 1>(from, to_right, a.depth, to, a.stride, rows, start); break;
        case 2: MultiplyPanel<T, 2>(from, to_right, a.depth, to, a.stride, rows, start); break;
        case 3: MultiplyPanel<T, most < 3 ? 2 : 3>(from, to_right, a.depth, to, a.stride, rows, start); break;
        default: MultiplyPanel<T, most>(from, to_right, a.depth, to, a.stride, rows, start);
      }
    }
  }
}

}  // namespace
}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_DENSE_TEMPLATE_H_
