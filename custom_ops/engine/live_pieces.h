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
      : kernels_(kernels), tiles_(tiles), groups_(groups), begin_(groups * tiles.units * kGates + 1) {
    const int64_t lists = begin_.size() - 1;
    Buffer<int32_t> numbers(lists), vectors(lists);
    ForLists(team, weights, [&](int64_t list, const T*, int64_t, int64_t, const int32_t* column, int64_t found) {
      numbers[list] = static_cast<int32_t>(found);
      vectors[list] = CountPieces(column, found, tiles_.lanes);
    });
    const double numbers_cost = Cost(std::accumulate(numbers.get(), numbers.get() + lists, int64_t{0}), 1);
    const double vectors_cost = Cost(std::accumulate(vectors.get(), vectors.get() + lists, int64_t{0}), tiles.lanes);
    cost_ = std::min(numbers_cost, vectors_cost);
    width_ = vectors_cost < numbers_cost ? tiles.lanes : 1;
    const Buffer<int32_t>& count = width_ > 1 ? vectors : numbers;
    begin_[0] = 0;
    for (int64_t list = 0; list < lists; ++list) begin_[list + 1] = begin_[list] + count[list];
    place_.Resize(begin_[lists]);
    value_.Resize(begin_[lists] * width_);
    ForLists(team, weights, [&](int64_t list, const T* row, int64_t first, int64_t columns, const int32_t* live, int64_t found) {
      Fill(begin_[list], row, first, columns, live, found);
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
  // The columns of one gate of a group, in `output` below.
  int64_t Stride(int64_t group) const {
    const auto [first, last] = TileRange(group);
    return (last - first) * tiles_.width;
  }

  // output[gate, column of the group] += factor[e] * V[index[e], gate, column] over `events` events and gates
  // [first_gate, first_gate + gates).
  void Add(int64_t group, int first_gate, int gates, int64_t events, const int32_t* index, const T* factor, T* output) const {
    const int64_t* begin = begin_.get() + group * tiles_.units * kGates + first_gate;
    kernels_.add_pieces[width_ == 1 ? 0 : 1](
        {events, index, factor, begin, begin + gates, kGates, place_.get(), value_.get(), output});
  }

 private:
  static constexpr int64_t kRowsTogether = 16;  // of a task

  // visit(list, row of the gate in the group, place of its first column, its columns, those that are live, how many): a list
  // is a row's in a group and gate, [groups, rows, 3].
  template <typename Visit>
  void ForLists(Team& team, const T* weights, const Visit& visit) const {
    const int64_t room = tiles_.units + tiles_.lanes;
    Buffer<int32_t> column(team.members() * room);
    Buffer<T> value(team.members() * room);
    team.Run(groups_ * CeilDivide(tiles_.units, kRowsTogether), [&](int64_t task, int member) {
      const int64_t group = task % groups_, first_row = task / groups_ * kRowsTogether;
      const auto [first, last] = TileRange(group);
      const int64_t columns = std::min(tiles_.units, last * tiles_.width) - tiles_.first(first);
      int32_t* const found = column.get() + member * room;
      for (int64_t row = first_row; row < std::min(tiles_.units, first_row + kRowsTogether); ++row) {
        for (int64_t gate = 0; gate < kGates; ++gate) {
          const T* from = weights + (row * kGates + gate) * tiles_.units + tiles_.first(first);
          visit((group * tiles_.units + row) * kGates + gate, from, gate * Stride(group), columns, found,
                kernels_.list_nonzero(from, columns, found, value.get() + member * room));
        }
      }
    });
  }

  static int32_t CountPieces(const int32_t* column, int64_t found, int64_t width) {
    int32_t pieces = 0;
    int64_t end = 0;  // of the piece before
    for (int64_t e = 0; e < found; ++e) {
      if (column[e] < end) continue;
      end = (column[e] & -width) + width;
      ++pieces;
    }
    return pieces;
  }

  void Fill(int64_t piece, const T* row, int64_t first, int64_t columns, const int32_t* column, int64_t found) const {
    int64_t end = 0;
    for (int64_t e = 0; e < found; ++e) {
      if (column[e] < end) continue;
      const int64_t begin = column[e] & -width_, valid = std::min(width_, columns - begin);
      T* to = value_.get() + piece * width_;
      std::copy_n(row + begin, valid, to);
      std::fill(to + valid, to + width_, T{});
      place_[piece++] = static_cast<int32_t>(first + begin);
      end = begin + width_;
    }
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
  int64_t width_ = 1;  // a power of two
  double cost_;
  const Buffer<int64_t> begin_;  // of the pieces of every list, and the end of the last
  Buffer<int32_t> place_;        // of a piece: its gate's place and its first column in the group
  Buffer<T> value_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_PIECES_H_
