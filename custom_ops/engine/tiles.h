// How units are cut into tiles, and weights packed tile by tile.
#ifndef KERAS_EGRU_ENGINE_TILES_H_
#define KERAS_EGRU_ENGINE_TILES_H_

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "parallel.h"
#include "scratch.h"

namespace keras_egru {

inline int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Scratch memory, aligned to cache lines and left uninitialised.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size = 0) { Resize(size); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { ReturnScratch(data_, Bytes()); }

  void Resize(int64_t size) {
    ReturnScratch(data_, Bytes());
    data_ = nullptr;
    size_ = 0;
    if (size <= 0) return;
    data_ = static_cast<T*>(TakeScratch(size * sizeof(T)));
    size_ = size;
  }
  void Zero() const { std::fill(data_, data_ + size_, T{}); }
  T* get() const { return data_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  std::size_t Bytes() const { return size_ * sizeof(T); }

  T* data_ = nullptr;
  int64_t size_ = 0;
};

// The tiles of `units` units for the given kernels.
template <typename T>
struct Tiles {
  Tiles(const Kernels<T>& kernels, int64_t units)
      : units(units),
        width(kernels.tile_units),
        count(CeilDivide(units, kernels.tile_units)),
        lanes(kernels.lanes) {}

  int64_t first(int64_t tile) const { return tile * width; }
  int64_t valid(int64_t tile) const { return std::min(width, units - tile * width); }
  int vectors(int64_t tile) const { return static_cast<int>(CeilDivide(valid(tile), lanes)); }

  int64_t units, width, count, lanes;
};

// A weight matrix [rows, 3 units] cut into tiles [rows, 3, width], padded with zeros. Read in place, without a copy, where the
// units fill whole vectors and the matrix is read too few times for packing to pay.
template <typename T>
class TiledWeights {
 public:
  TiledWeights(const Tiles<T>& tiles, const T* weights, int64_t rows, bool pack)
      : tiles_(tiles), weights_(weights), rows_(rows), packed_(pack || tiles.units % tiles.lanes != 0) {}

  // Packs all tiles, unless that has been done or the matrix is read in place. No memory is taken before.
  void Pack(Team& team) {
    if (!packed_ || storage_.size() > 0) return;
    storage_.Resize(tiles_.count * rows_ * kGates * tiles_.width);
    team.Run(tiles_.count, [&](int64_t tile, int) { Pack(tile); });
  }

  // Rows from `first_row` on of one tile, gates [first_gate, first_gate + gates).
  TileRows<const T> Rows(int64_t tile, int64_t first_row, int first_gate, int gates) const {
    TileRows<const T> result;
    for (int g = 0; g < gates; ++g) {
      const int64_t gate = first_gate + g;
      if (packed_) {
        result.base[g] = storage_.get() + ((tile * rows_ + first_row) * kGates + gate) * tiles_.width;
        result.stride[g] = kGates * tiles_.width;
      } else {
        result.base[g] = weights_ + (first_row * kGates + gate) * tiles_.units + tiles_.first(tile);
        result.stride[g] = kGates * tiles_.units;
      }
    }
    return result;
  }

  bool packed() const { return packed_; }

  // The memory of `rows` rows from `first_row` on of one tile; nothing where it is not in one piece.
  Ahead Memory(int64_t tile, int64_t first_row, int64_t rows) const {
    if (!packed_ || tile >= tiles_.count || first_row >= rows_) return {};
    const int64_t row_size = kGates * tiles_.width;
    return {reinterpret_cast<const char*>(storage_.get() + (tile * rows_ + first_row) * row_size),
            std::min(rows, rows_ - first_row) * row_size * static_cast<int64_t>(sizeof(T))};
  }

 private:
  void Pack(int64_t tile) const {
    const int64_t valid = tiles_.valid(tile), used = tiles_.vectors(tile) * tiles_.lanes;
    for (int64_t row = 0; row < rows_; ++row) {
      for (int gate = 0; gate < kGates; ++gate) {
        const T* from = weights_ + (row * kGates + gate) * tiles_.units + tiles_.first(tile);
        T* to = storage_.get() + ((tile * rows_ + row) * kGates + gate) * tiles_.width;
        std::copy(from, from + valid, to);
        std::fill(to + valid, to + used, T{});
      }
    }
  }

  const Tiles<T>& tiles_;
  const T* weights_;
  int64_t rows_;
  bool packed_;
  Buffer<T> storage_;
};

// Gates saved as [time, tiles, batch, 3, width] and the candidate as [time, tiles, batch, width].
template <typename T>
struct GateLayout {
  const Tiles<T>& tiles;
  int64_t batch;

  int64_t row(int64_t t, int64_t tile, int64_t b) const { return (t * tiles.count + tile) * batch + b; }
  int64_t gates(int64_t t, int64_t tile, int64_t b) const { return row(t, tile, b) * kGates * tiles.width; }
  int64_t candidate(int64_t t, int64_t tile, int64_t b) const { return row(t, tile, b) * tiles.width; }
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_TILES_H_
