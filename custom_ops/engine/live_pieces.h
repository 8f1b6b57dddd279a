// The live weights of the rows of a pruned matrix, for a few samples that read the rows which their events select (or,
// backwards, the rows whose gradient is needed). Of three forms the one that is cheapest to read is kept: whole vectors, where
// such were pruned (blocks such as 1x16); numbers beside the masks of all vectors; or numbers and their places, where there are
// no instructions for masks, or hardly any numbers.
#ifndef KERAS_EGRU_ENGINE_LIVE_PIECES_H_
#define KERAS_EGRU_ENGINE_LIVE_PIECES_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

// What is larger than this does not stay in the caches of the cores from step to step.
constexpr double kNearBytes = 2 << 20;

// Nanoseconds of reading `bytes` that take `near` where they are in the caches.
inline double NearOrFar(const Costs& costs, double near, double bytes) {
  return bytes > kNearBytes ? std::max(near, bytes * costs.far_byte) : near;
}

struct PiecesChoice {
  Pieces form;
  double cost;  // nanoseconds of multiplying all rows once
};

// The form that is read soonest, of a matrix with so many live numbers, vectors with some of them, and vectors in all.
template <typename T>
PiecesChoice CheapestPieces(const Kernels<T>& kernels, double numbers, double vectors, double all) {
  const Costs& costs = kernels.costs;
  const double place = sizeof(int32_t), number = sizeof(T), vector = number * kernels.lanes;
  PiecesChoice best = {Pieces::kNumbers, NearOrFar(costs, numbers * costs.live_number, numbers * (place + number))};
  const auto consider = [&](Pieces form, double near, double bytes) {
    const double cost = NearOrFar(costs, near, bytes);
    if (cost < best.cost) best = {form, cost};
  };
  consider(Pieces::kVectors, vectors * costs.live_vector, vectors * (place + vector));
  if (kernels.pieces.add[static_cast<int>(Pieces::kMasked)]) {
    consider(Pieces::kMasked, all * costs.live_masked, numbers * number + all * sizeof(uint16_t));
  }
  return best;
}

template <typename T>
class LivePieces {
 public:
  // Cuts V [units, 3 units] into `groups` of tiles, each the columns of one task. The gates of a row are read all at once, or
  // with `split` u and r together and z alone.
  LivePieces(const Kernels<T>& kernels, const Tiles<T>& tiles, int64_t groups, bool split, Team& team, const T* weights)
      : kernels_(kernels),
        tiles_(tiles),
        groups_(groups),
        parts_(split ? 2 : 1),
        begin_(groups * tiles.units * parts_ + 1),
        mask_(tiles.units * kGates * tiles.count * tiles.width / tiles.lanes) {
    const int64_t lists = begin_.size() - 1;
    Buffer<LiveCount> count(lists);
    ForLists(team, [&](int64_t list, int64_t group, int64_t row, int64_t part, int) {
      count[list] = MaskRow(weights, group, row, part);
    });
    int64_t numbers = 0, vectors = 0;
    for (int64_t list = 0; list < lists; ++list) {
      numbers += count[list].numbers;
      vectors += count[list].vectors;
    }
    form_ = CheapestPieces(kernels, static_cast<double>(numbers), static_cast<double>(vectors),
                           static_cast<double>(mask_.size())).form;
    begin_[0] = 0;
    for (int64_t list = 0; list < lists; ++list) {
      begin_[list + 1] = begin_[list] + (form_ == Pieces::kVectors ? CeilDivide(count[list].vectors, kPiecesTogether)
                                                                   : count[list].numbers);
    }
    const int64_t pieces = begin_[lists] * (form_ == Pieces::kVectors ? kPiecesTogether : 1);
    if (form_ != Pieces::kMasked) place_.Resize(pieces);
    value_.Resize(pieces * (form_ == Pieces::kVectors ? tiles.lanes : 1));
    const int64_t room = tiles.units + tiles.lanes;
    Buffer<int32_t> place(team.members() * room);
    Buffer<T> value(team.members() * room);
    ForLists(team, [&](int64_t list, int64_t group, int64_t row, int64_t part, int member) {
      if (form_ == Pieces::kVectors) {
        FillVectors(weights, list, group, row, part);
      } else {
        FillNumbers(weights, list, group, row, part, place.get() + member * room, value.get() + member * room);
      }
    });
  }

  int64_t groups() const { return groups_; }
  Pieces form() const { return form_; }
  std::pair<int64_t, int64_t> TileRange(int64_t group) const {
    return {tiles_.count * group / groups_, tiles_.count * (group + 1) / groups_};
  }
  // The columns of one gate of a group, in `output` and `source` below.
  int64_t Stride(int64_t group) const {
    const auto [first, last] = TileRange(group);
    return (last - first) * tiles_.width;
  }

  // output[gate, column of the group] += factor[r] * V[index[r], gate, column] over `rows` rows and the gates from `first_gate`
  // on that are read together.
  void Add(int64_t group, int first_gate, int64_t rows, const int32_t* index, const T* factor, T* output) const {
    kernels_.pieces.add[static_cast<int>(form_)](Lists(group, 0, first_gate), rows, index, factor,
                                                 output + first_gate * Stride(group));
  }

  // result[r] = <V[first_row + index[r], gates, :], source[gates, :]> over the same gates.
  void Dot(int64_t group, int first_gate, int64_t first_row, int64_t rows, const int32_t* index, const T* source,
           T* result) const {
    kernels_.pieces.dot[static_cast<int>(form_)](Lists(group, first_row, first_gate), rows, index,
                                                 source + first_gate * Stride(group), result);
  }

 private:
  static constexpr int64_t kRowsTogether = 16;  // of a task

  // visit(list, group, row, part, member): the lists are [groups, rows, parts].
  template <typename Visit>
  void ForLists(Team& team, const Visit& visit) const {
    team.Run(groups_ * CeilDivide(tiles_.units, kRowsTogether), [&](int64_t task, int member) {
      const int64_t group = task % groups_, first_row = task / groups_ * kRowsTogether;
      for (int64_t row = first_row; row < std::min(tiles_.units, first_row + kRowsTogether); ++row) {
        for (int64_t part = 0; part < parts_; ++part) {
          visit((group * tiles_.units + row) * parts_ + part, group, row, part, member);
        }
      }
    });
  }

  int FirstGate(int64_t part) const { return part == 0 ? 0 : kGates - 1; }
  int Gates(int64_t part) const { return parts_ == 1 ? kGates : part == 0 ? kGates - 1 : 1; }

  // The masks of a row's vectors, [groups, rows, 3, vectors of the group].
  int64_t Vectors(int64_t group) const { return Stride(group) / tiles_.lanes; }
  uint16_t* Masks(int64_t group, int64_t row, int gate) const {
    const int64_t before = TileRange(group).first * tiles_.width / tiles_.lanes;  // vectors of the groups before
    return mask_.get() + (before * tiles_.units + row * Vectors(group)) * kGates + gate * Vectors(group);
  }
  const T* Numbers(const T* weights, int64_t group, int64_t row, int gate) const {
    return weights + (row * kGates + gate) * tiles_.units + tiles_.first(TileRange(group).first);
  }
  int64_t Columns(int64_t group) const {
    const auto [first, last] = TileRange(group);
    return std::min(tiles_.units, last * tiles_.width) - tiles_.first(first);
  }

  LiveCount MaskRow(const T* weights, int64_t group, int64_t row, int64_t part) const {
    LiveCount count = {0, 0};
    for (int gate = FirstGate(part); gate < FirstGate(part) + Gates(part); ++gate) {
      const LiveCount found = kernels_.pieces.mask_nonzero(Numbers(weights, group, row, gate), Columns(group), Vectors(group),
                                                           Masks(group, row, gate));
      count.numbers += found.numbers;
      count.vectors += found.vectors;
    }
    return count;
  }

  void FillVectors(const T* weights, int64_t list, int64_t group, int64_t row, int64_t part) const {
    const int64_t lanes = tiles_.lanes, vectors = Vectors(group);
    int64_t piece = begin_[list] * kPiecesTogether;
    for (int gate = 0; gate < Gates(part); ++gate) {
      const uint16_t* mask = Masks(group, row, FirstGate(part) + gate);
      const T* numbers = Numbers(weights, group, row, FirstGate(part) + gate);
      for (int64_t v = 0; v < vectors; ++v) {
        if (mask[v] == 0) continue;
        const int64_t valid = std::min(lanes, Columns(group) - v * lanes);
        T* to = value_.get() + piece * lanes;
        std::copy_n(numbers + v * lanes, valid, to);
        std::fill(to + valid, to + lanes, T{});
        place_[piece++] = static_cast<int32_t>((gate * vectors + v) * lanes);
      }
    }
    // The last bunch is filled up with zeros: here and there, since rows that add to one sum wait for each other.
    for (; piece < begin_[list + 1] * kPiecesTogether; ++piece) {
      std::fill_n(value_.get() + piece * lanes, lanes, T{});
      place_[piece] = static_cast<int32_t>(piece % (Gates(part) * vectors) * lanes);
    }
  }

  // `place` and `value`: scratch for the columns of a gate and a vector.
  void FillNumbers(const T* weights, int64_t list, int64_t group, int64_t row, int64_t part, int32_t* place, T* value) const {
    int64_t piece = begin_[list];
    for (int gate = 0; gate < Gates(part); ++gate) {
      const int64_t found =
          kernels_.list_nonzero(Numbers(weights, group, row, FirstGate(part) + gate), Columns(group), place, value);
      std::copy_n(value, found, value_.get() + piece);
      for (int64_t i = 0; form_ == Pieces::kNumbers && i < found; ++i) {
        place_[piece + i] = static_cast<int32_t>(gate * Stride(group) + place[i]);
      }
      piece += found;
    }
  }

  PieceLists<T> Lists(int64_t group, int64_t first_row, int first_gate) const {
    const int64_t part = first_gate == 0 ? 0 : 1;
    return {begin_.get() + (group * tiles_.units + first_row) * parts_ + part,
            parts_,
            place_.get(),
            Masks(group, first_row, FirstGate(part)),
            kGates * Vectors(group),
            Gates(part) * Vectors(group),
            value_.get()};
  }

  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const int64_t groups_, parts_;
  Pieces form_;
  const Buffer<int64_t> begin_;  // of the pieces of every list, and the end of the last
  const Buffer<uint16_t> mask_;
  Buffer<int32_t> place_;        // of a piece in its part of a row: gate and column of the group
  Buffer<T> value_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_PIECES_H_
