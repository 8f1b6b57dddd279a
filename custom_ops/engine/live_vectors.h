// The vectors of a pruned matrix's gradient in which some weight is live: only they are computed.
#ifndef KERAS_EGRU_ENGINE_LIVE_VECTORS_H_
#define KERAS_EGRU_ENGINE_LIVE_VECTORS_H_

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

template <typename T>
class LiveVectors {
 public:
  // `mask`: [rows, 3 units], zero where a weight is pruned; null for no pruning.
  LiveVectors(const Kernels<T>& kernels, const Tiles<T>& tiles, const T* mask, int64_t rows)
      : kernels_(kernels), tiles_(tiles), mask_(mask), rows_(rows) {}

  void List(Team& team) {
    const int64_t lists = mask_ ? tiles_.count * rows_ : 0;
    for (int part = 0; part < kParts; ++part) {
      begin_[part].Resize(lists);
      count_[part].Resize(lists);
    }
    column_.Resize(lists * kMostVectors);
    team.Run(mask_ ? tiles_.count : 0, [&](int64_t tile, int) { List(tile); });
    live_ = 0;
    for (int64_t list = 0; list < lists; ++list) live_ += count_[kAll][list];
  }

  bool pruned() const { return mask_ != nullptr; }
  // The share of vectors that are live.
  double share() const { return static_cast<double>(live_) / static_cast<double>(std::max<int64_t>(1, Vectors())); }

  // Which gates: all, all but the last, the last.
  enum Part { kAll, kJoint, kLast, kParts };

  // The vectors of rows from `row` on of one tile, by their first column in [3, width].
  const int64_t* begin(Part part, int64_t tile, int64_t row) const { return begin_[part].get() + tile * rows_ + row; }
  const int32_t* count(Part part, int64_t tile, int64_t row) const { return count_[part].get() + tile * rows_ + row; }
  const int32_t* column() const { return column_.get(); }

  // Copies the numbers of one row and gate of a tile; in the place of pruned ones zeros.
  void Copy(int64_t tile, int64_t row, int gate, const T* from, T* to) const {
    if (mask_) {
      kernels_.copy_masked(from, Numbers(tile, row, gate), tiles_.valid(tile), to);
    } else {
      std::copy_n(from, tiles_.valid(tile), to);
    }
  }

 private:
  static constexpr int64_t kMostVectors = kGates * kMaxVectors;

  const T* Numbers(int64_t tile, int64_t row, int64_t gate) const {
    return mask_ + (row * kGates + gate) * tiles_.units + tiles_.first(tile);
  }

  int64_t Vectors() const {
    int64_t vectors = 0;
    for (int64_t tile = 0; tile < tiles_.count; ++tile) vectors += rows_ * kGates * tiles_.vectors(tile);
    return vectors;
  }

  void List(int64_t tile) const {
    int32_t index[kMaxTile];
    T value[kMaxTile];
    for (int64_t row = 0; row < rows_; ++row) {
      const int64_t list = tile * rows_ + row;
      const int64_t begin = list * kMostVectors;
      int32_t found = 0, joint = 0;
      for (int gate = 0; gate < kGates; ++gate) {
        if (gate == kGates - 1) joint = found;
        const int64_t live = kernels_.list_nonzero(Numbers(tile, row, gate), tiles_.valid(tile), index, value);
        int64_t end = 0;  // of the vector before
        for (int64_t e = 0; e < live; ++e) {
          if (index[e] < end) continue;
          const int64_t first = index[e] & -tiles_.lanes;
          column_[begin + found++] = static_cast<int32_t>(gate * tiles_.width + first);
          end = first + tiles_.lanes;
        }
      }
      begin_[kAll][list] = begin_[kJoint][list] = begin;
      begin_[kLast][list] = begin + joint;
      count_[kAll][list] = found;
      count_[kJoint][list] = joint;
      count_[kLast][list] = found - joint;
    }
  }

  const Kernels<T>& kernels_;
  const Tiles<T>& tiles_;
  const T* const mask_;
  const int64_t rows_;
  int64_t live_ = 0;
  Buffer<int64_t> begin_[kParts];
  Buffer<int32_t> count_[kParts];
  Buffer<int32_t> column_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_VECTORS_H_
