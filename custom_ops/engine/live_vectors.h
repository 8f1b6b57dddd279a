// The vectors of a pruned matrix's gradient in which some weight is live: only they are computed. Found in the mask, so that it
// is read no more until it changes.
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
  // `mask`: [rows, 3 units], zero where a weight is pruned.
  LiveVectors(const Kernels<T>& kernels, const Tiles<T>& tiles, Team& team, const T* mask, int64_t rows)
      : kernels_(kernels), tiles_(tiles), rows_(rows), lanes_(tiles.count * rows * kMostVectors), column_(lanes_.size()) {
    for (int part = 0; part < kParts; ++part) {
      begin_[part].Resize(tiles.count * rows);
      count_[part].Resize(tiles.count * rows);
    }
    team.Run(CeilDivide(rows, kRowsTogether), [&](int64_t task, int) {
      for (int64_t row = task * kRowsTogether; row < std::min(rows, (task + 1) * kRowsTogether); ++row) {
        for (int64_t tile = 0; tile < tiles_.count; ++tile) List(mask, tile, row);
      }
    });
    int64_t live = 0, all = 0;
    for (int64_t list = 0; list < tiles.count * rows; ++list) live += count_[kAll][list];
    for (int64_t tile = 0; tile < tiles.count; ++tile) all += rows * kGates * tiles.vectors(tile);
    share_ = static_cast<double>(live) / static_cast<double>(std::max<int64_t>(1, all));
  }

  // The share of vectors that are live.
  double share() const { return share_; }

  // Which gates: all, all but the last, the last.
  enum Part { kAll, kJoint, kLast, kParts };

  // The vectors of rows from `row` on of one tile, by their first column in [3, width].
  const int64_t* begin(Part part, int64_t tile, int64_t row) const { return begin_[part].get() + tile * rows_ + row; }
  const int32_t* count(Part part, int64_t tile, int64_t row) const { return count_[part].get() + tile * rows_ + row; }
  const int32_t* column() const { return column_.get(); }

  // Copies the numbers of one row and gate of a tile; in the place of pruned ones zeros.
  void Copy(int64_t tile, int64_t row, int gate, const T* from, T* to) const {
    kernels_.copy_masked(from, Lanes(tile, row, gate), tiles_.valid(tile), to);
  }

 private:
  static constexpr int64_t kRowsTogether = 16;  // of a task
  static constexpr int64_t kMostVectors = kGates * kMaxVectors;

  // A bit for every lane of a row's vectors of one gate.
  uint16_t* Lanes(int64_t tile, int64_t row, int gate) const {
    return lanes_.get() + (tile * rows_ + row) * kMostVectors + gate * kMaxVectors;
  }

  void List(const T* mask, int64_t tile, int64_t row) const {
    const int64_t list = tile * rows_ + row, begin = list * kMostVectors;
    int32_t found = 0, joint = 0;
    for (int gate = 0; gate < kGates; ++gate) {
      if (gate == kGates - 1) joint = found;
      uint16_t* const lanes = Lanes(tile, row, gate);
      kernels_.pieces.mask_nonzero(mask + (row * kGates + gate) * tiles_.units + tiles_.first(tile), tiles_.valid(tile),
                                   kMaxVectors, lanes);
      for (int vector = 0; vector < kMaxVectors; ++vector) {
        if (lanes[vector]) column_[begin + found++] = static_cast<int32_t>(gate * tiles_.width + vector * tiles_.lanes);
      }
    }
    begin_[kAll][list] = begin_[kJoint][list] = begin;
    begin_[kLast][list] = begin + joint;
    count_[kAll][list] = found;
    count_[kJoint][list] = joint;
    count_[kLast][list] = found - joint;
  }

  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const int64_t rows_;
  double share_;
  const Buffer<uint16_t> lanes_;
  const Buffer<int32_t> column_;
  Buffer<int64_t> begin_[kParts];
  Buffer<int32_t> count_[kParts];
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_VECTORS_H_
