// The live pieces of the rows of a pruned matrix, for a few samples that read the rows which their events select: vectors
// where whole vectors were pruned (blocks such as 1x16), else single numbers.
#ifndef KERAS_EGRU_ENGINE_LIVE_PIECES_H_
#define KERAS_EGRU_ENGINE_LIVE_PIECES_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

template <typename T>
class LivePieces {
 public:
  // Cuts V [units, 3 units] into `groups` of tiles, each the columns of one task.
  LivePieces(const Kernels<T>& kernels, const Tiles<T>& tiles, int64_t groups, Team& team, const T* weights)
      : kernels_(kernels),
        tiles_(tiles),
        groups_(groups),
        weights_(weights),
        count_(groups * kGates * tiles.units),
        begin_(groups * kGates * tiles.units) {
    Count(team, tiles.lanes);
    const int64_t vectors = pieces_;
    Count(team, 1);
    width_ = vectors * kernels.costs.live_vector < pieces_ * kernels.costs.live_number ? tiles.lanes : 1;
    if (width_ > 1) Count(team, tiles.lanes);
    place_.Resize(pieces_);
    value_.Resize(pieces_ * width_);
    team.Run(groups * tiles.count, [&](int64_t task, int) { Fill(task / tiles.count, task % tiles.count); });
  }

  int64_t groups() const { return groups_; }
  int64_t width() const { return width_; }  // of a piece
  int64_t pieces() const { return pieces_; }
  std::pair<int64_t, int64_t> TileRange(int64_t group) const {
    return {tiles_.count * group / groups_, tiles_.count * (group + 1) / groups_};
  }
  // The group whose first tile is `tile`.
  int64_t GroupAt(int64_t tile) const { return CeilDivide(tile * groups_, tiles_.count); }

  // output[column of the group] += factor[e] * V[index[e], gate, column] over `events` events.
  void Add(int64_t group, int gate, int64_t events, const int32_t* index, const T* factor, T* output) const {
    const int64_t list = (group * kGates + gate) * tiles_.units;
    kernels_.add_pieces[width_ == 1 ? 0 : 1](
        {events, index, factor, begin_.get() + list, count_.get() + list, place_.get(), value_.get(), output});
  }

 private:
  static constexpr int64_t kListsTogether = 64;  // of a task

  // The columns of a row in one group and gate.
  const T* Columns(int64_t list, int64_t* columns) const {
    const int64_t group = list / (kGates * tiles_.units), gate = list / tiles_.units % kGates, row = list % tiles_.units;
    const auto [first, last] = TileRange(group);
    *columns = std::min(tiles_.units, last * tiles_.width) - tiles_.first(first);
    return weights_ + (row * kGates + gate) * tiles_.units + tiles_.first(first);
  }

  static bool IsLive(const T* from, int64_t width) {
    for (int64_t j = 0; j < width; ++j) {
      if (from[j] != T(0)) return true;
    }
    return false;
  }

  void Count(Team& team, int64_t width) {
    const int64_t lists = groups_ * kGates * tiles_.units;
    team.Run(CeilDivide(lists, kListsTogether), [&](int64_t task, int) {
      for (int64_t list = task * kListsTogether; list < std::min(lists, (task + 1) * kListsTogether); ++list) {
        int64_t columns;
        const T* from = Columns(list, &columns);
        int32_t found = 0;
        for (int64_t j = 0; j < columns; j += width) found += IsLive(from + j, std::min(width, columns - j));
        count_[list] = found;
      }
    });
    pieces_ = 0;
    for (int64_t list = 0; list < lists; ++list) {
      begin_[list] = pieces_;
      pieces_ += count_[list];
    }
  }

  // The lists of a group for the rows of one tile.
  void Fill(int64_t group, int64_t part) const {
    const int64_t first_row = tiles_.first(part);
    for (int64_t gate = 0; gate < kGates; ++gate) {
      for (int64_t row = first_row; row < first_row + tiles_.valid(part); ++row) {
        const int64_t list = (group * kGates + gate) * tiles_.units + row;
        int64_t columns, piece = begin_[list];
        const T* from = Columns(list, &columns);
        for (int64_t j = 0; j < columns; j += width_) {
          const int64_t valid = std::min(width_, columns - j);
          if (!IsLive(from + j, valid)) continue;
          T* to = value_.get() + piece * width_;
          std::copy_n(from + j, valid, to);
          std::fill(to + valid, to + width_, T{});
          place_[piece++] = static_cast<int32_t>(j);
        }
      }
    }
  }

  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const int64_t groups_;
  const T* const weights_;
  int64_t width_ = 1, pieces_ = 0;
  const Buffer<int32_t> count_;  // [groups, 3, units], of the pieces of a row
  const Buffer<int64_t> begin_;
  Buffer<int32_t> place_;  // of a piece: its first column in the group
  Buffer<T> value_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_PIECES_H_
