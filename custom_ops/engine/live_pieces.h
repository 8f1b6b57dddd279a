// The live pieces of the rows of a pruned matrix, for a few samples that read the rows which their events select: vectors
// where whole vectors were pruned (blocks such as 1x16), else single numbers.
#ifndef KERAS_EGRU_ENGINE_LIVE_PIECES_H_
#define KERAS_EGRU_ENGINE_LIVE_PIECES_H_

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "kernels.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

// What is larger than this does not stay in the caches of the cores from step to step.
constexpr double kNearBytes = 4 << 20;

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
    const int64_t lists = count_.size(), room = tiles.units + tiles.lanes;
    Buffer<int32_t> vectors(lists), index(team.members() * room);
    Buffer<T> value(team.members() * room);
    const auto for_lists = [&](const auto& visit) {
      team.Run(CeilDivide(lists, kListsTogether), [&](int64_t task, int member) {
        for (int64_t list = task * kListsTogether; list < std::min(lists, (task + 1) * kListsTogether); ++list) {
          int64_t columns;
          const T* from = Columns(list, &columns);
          int32_t* const at = index.get() + member * room;
          visit(list, from, columns, at, kernels.list_nonzero(from, columns, at, value.get() + member * room));
        }
      });
    };
    for_lists([&](int64_t list, const T*, int64_t, const int32_t* at, int64_t found) {
      count_[list] = static_cast<int32_t>(found);
      vectors[list] = 0;
      for (int64_t e = 0; e < found; ++e) vectors[list] += e == 0 || at[e] / tiles_.lanes != at[e - 1] / tiles_.lanes;
    });
    const double numbers_cost = Cost(std::accumulate(count_.get(), count_.get() + lists, int64_t{0}), 1);
    const double vectors_cost = Cost(std::accumulate(vectors.get(), vectors.get() + lists, int64_t{0}), tiles.lanes);
    cost_ = std::min(numbers_cost, vectors_cost);
    if (vectors_cost < numbers_cost) {
      width_ = tiles.lanes;
      std::copy_n(vectors.get(), lists, count_.get());
    }
    for (int64_t list = 0; list < lists; ++list) {
      begin_[list] = pieces_;
      pieces_ += count_[list];
    }
    place_.Resize(pieces_);
    value_.Resize(pieces_ * width_);
    for_lists([&](int64_t list, const T* from, int64_t columns, const int32_t* at, int64_t found) {
      int64_t piece = begin_[list];
      for (int64_t e = 0; e < found; ++e) {
        if (e > 0 && at[e] / width_ == at[e - 1] / width_) continue;
        const int64_t first = at[e] / width_ * width_, valid = std::min(width_, columns - first);
        T* to = value_.get() + piece * width_;
        std::copy_n(from + first, valid, to);
        std::fill(to + valid, to + width_, T{});
        place_[piece++] = static_cast<int32_t>(first);
      }
    });
  }

  int64_t groups() const { return groups_; }
  int64_t width() const { return width_; }  // of a piece
  // Nanoseconds of multiplying all rows once.
  double cost() const { return cost_; }
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

  double Cost(int64_t pieces, int64_t width) const {
    const Costs& costs = kernels_.costs;
    const double bytes = static_cast<double>(pieces) * static_cast<double>(sizeof(int32_t) + width * sizeof(T));
    const double near = static_cast<double>(pieces) * (width > 1 ? costs.live_vector : costs.live_number);
    return bytes > kNearBytes ? std::max(near, bytes * costs.far_byte) : near;
  }

  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const int64_t groups_;
  const T* const weights_;
  int64_t width_ = 1, pieces_ = 0;
  double cost_;
  const Buffer<int32_t> count_;  // [groups, 3, units], of the pieces of a row
  const Buffer<int64_t> begin_;
  Buffer<int32_t> place_;  // of a piece: its first column in the group
  Buffer<T> value_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_PIECES_H_
