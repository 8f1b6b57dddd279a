// The live weights of a pruned matrix in lists, for products whose vectors hold samples. A weight that is not zero is then
// multiplied with all samples at once, whatever the pattern of the mask: one by one, or four of a row together where they were
// pruned in blocks.
#ifndef KERAS_EGRU_ENGINE_LIVE_LISTS_H_
#define KERAS_EGRU_ENGINE_LIVE_LISTS_H_

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

// V [units, 3 units] is cut into squares: the rows of one tile and the columns of one gate of one tile. In each square either
// the columns list their rows, for a product that adds up rows of V, or the rows list their columns, for one with V transposed.
template <typename T>
class LiveLists {
 public:
  enum class Of { kColumns, kRows };

  LiveLists(const Kernels<T>& kernels, const Tiles<T>& tiles, Team& team, const T* weights, Of of)
      : kernels_(kernels),
        tiles_(tiles),
        of_(of),
        together_(Together(weights)),
        order_(Squares() * tiles.width),
        count_(Squares() * tiles.width),
        begin_(Squares() * tiles.width) {
    // All squares of a tile's rows together, since rows are read in order.
    Buffer<int64_t> first(Squares() + 1), next(team.members() * tiles.count * kGates * tiles.width);
    team.Run(tiles.count, [&](int64_t row_tile, int) { Count(weights, row_tile, first); });
    first[0] = 0;
    for (int64_t s = 0; s < Squares(); ++s) first[s + 1] += first[s];
    pieces_ = first[Squares()];
    index_.Resize(pieces_);
    value_.Resize(pieces_ * together_);
    team.Run(tiles.count, [&](int64_t row_tile, int member) {
      Fill(weights, row_tile, first, next.get() + member * tiles.count * kGates * tiles.width);
    });
  }

  // Weights that are multiplied; zeros are among them where they stand beside live ones.
  int64_t multiplied() const { return pieces_ * together_; }
  double density() const {  // of those
    return static_cast<double>(multiplied()) / static_cast<double>(tiles_.units * kGates * tiles_.units);
  }
  int64_t together() const { return together_; }
  // Nanoseconds a vector of multiply-adds.
  double cost() const { return together_ > 1 ? kernels_.costs.live_together : kernels_.costs.live; }

  // sums[o] += over the list of o: value * source[index], for the columns or rows o of one square, in rows of `width` numbers
  // of which the first `vectors` vectors are samples; `begins`: the sums start from zero. Rows of V are named by their number
  // in `source`, columns by their place in [tiles, 3, tile_units].
  void Add(int64_t row_tile, int64_t tile, int gate, int64_t vectors, bool begins, const T* source, T* sums) const {
    const int64_t list = SquareAt(row_tile, tile, gate) * tiles_.width, width = tiles_.width;
    const int64_t outputs = of_ == Of::kColumns ? CeilDivide(tiles_.valid(tile), together_) : tiles_.valid(row_tile);
    const Lists<T> lists = {index_.get(), value_.get(), count_.get() + list, begin_.get() + list, 0};
    const auto add = together_ == 1         ? kernels_.add_live
                     : of_ == Of::kColumns ? kernels_.add_live_columns
                                           : kernels_.add_live_rows;
    add[vectors - 1]({outputs, lists, order_.get() + list, begins, source, sums, width});
  }

 private:
  // Four weights of a row where that multiplies few zeros, by the pattern of some rows.
  int64_t Together(const T* weights) const {
    constexpr double kMostFilled = 1.3;
    const int64_t columns = kGates * tiles_.units, sampled = std::min<int64_t>(tiles_.units, 16);
    if (tiles_.units % kLiveTogether != 0) return 1;
    int64_t live = 0, pieces = 0;
    for (int64_t s = 0; s < sampled; ++s) {
      const T* row = weights + tiles_.units * s / sampled * columns;
      for (int64_t j = 0; j < columns; j += kLiveTogether) {
        const int64_t found = kLiveTogether - std::count(row + j, row + j + kLiveTogether, T(0));
        live += found;
        pieces += found > 0;
      }
    }
    return static_cast<double>(pieces * kLiveTogether) <= kMostFilled * static_cast<double>(live) ? kLiveTogether : 1;
  }

  // visit(row in the tile, tile of columns, gate, the places of its pieces in the square, their numbers, how many)
  template <typename Visit>
  void ForRows(const T* weights, int64_t row_tile, const Visit& visit) const {
    int32_t place[kMaxTile];
    T value[kMaxTile];
    for (int64_t i = 0; i < tiles_.valid(row_tile); ++i) {
      const T* row = weights + (tiles_.first(row_tile) + i) * kGates * tiles_.units;
      for (int64_t gate = 0; gate < kGates; ++gate) {
        for (int64_t tile = 0; tile < tiles_.count; ++tile) {
          const T* from = row + gate * tiles_.units + tiles_.first(tile);
          int64_t found = kernels_.list_nonzero(from, tiles_.valid(tile), place, value);
          if (together_ > 1) {
            int64_t pieces = 0;
            for (int64_t e = 0; e < found; ++e) {
              const int32_t piece = place[e] / static_cast<int32_t>(kLiveTogether);
              if (pieces == 0 || place[pieces - 1] != piece) place[pieces++] = piece;
            }
            for (int64_t p = 0; p < pieces; ++p) {
              std::copy_n(from + place[p] * kLiveTogether, kLiveTogether, value + p * kLiveTogether);
            }
            found = pieces;
          }
          visit(i, tile, gate, place, value, found);
        }
      }
    }
  }

  // Squares that one product reads after each other are neighbours.
  int64_t Squares() const { return tiles_.count * tiles_.count * kGates; }
  int64_t SquareAt(int64_t row_tile, int64_t tile, int64_t gate) const {
    return of_ == Of::kColumns ? (tile * kGates + gate) * tiles_.count + row_tile
                               : (row_tile * tiles_.count + tile) * kGates + gate;
  }

  // Sets `count_` and how many pieces each square has.
  void Count(const T* weights, int64_t row_tile, const Buffer<int64_t>& pieces) const {
    for (int64_t square = 0; square < tiles_.count * kGates; ++square) {
      const int64_t s = SquareAt(row_tile, square / kGates, square % kGates);
      std::fill_n(count_.get() + s * tiles_.width, tiles_.width, 0);
      pieces[s + 1] = 0;
    }
    ForRows(weights, row_tile, [&](int64_t i, int64_t tile, int64_t gate, const int32_t* place, const T*, int64_t found) {
      const int64_t s = SquareAt(row_tile, tile, gate);
      int32_t* count = count_.get() + s * tiles_.width;
      pieces[s + 1] += found;
      if (of_ == Of::kRows) {
        count[i] = static_cast<int32_t>(found);
      } else {
        for (int64_t p = 0; p < found; ++p) ++count[place[p]];
      }
    });
  }

  // Lists of one length follow each other, so that the end of a list can be guessed. `next`: room for the squares of a tile.
  void Fill(const T* weights, int64_t row_tile, const Buffer<int64_t>& first, int64_t* next) const {
    const int64_t width = tiles_.width;
    for (int64_t square = 0; square < tiles_.count * kGates; ++square) {
      const int64_t s = SquareAt(row_tile, square / kGates, square % kGates);
      const int64_t columns = CeilDivide(tiles_.valid(square / kGates), together_);
      const int64_t outputs = of_ == Of::kColumns ? columns : tiles_.valid(row_tile);
      int32_t *order = order_.get() + s * width, *count = count_.get() + s * width;
      int32_t place[kMaxTile + 2] = {};  // of the first list of each length
      for (int64_t o = 0; o < outputs; ++o) ++place[count[o] + 1];
      for (int64_t length = 0; length < width; ++length) place[length + 1] += place[length];
      for (int64_t o = 0; o < outputs; ++o) order[place[count[o]]++] = static_cast<int32_t>(o);
      int64_t piece = first[s];
      for (int64_t o = 0; o < outputs; ++o) {
        begin_[s * width + order[o]] = next[square * width + order[o]] = piece;
        piece += count[order[o]];
      }
    }
    const int64_t first_row = tiles_.first(row_tile);
    ForRows(weights, row_tile,
            [&](int64_t i, int64_t tile, int64_t gate, const int32_t* place, const T* value, int64_t found) {
              int64_t* list = next + (tile * kGates + gate) * width;
              const int64_t first_column = (tile * kGates + gate) * width;
              for (int64_t p = 0; p < found; ++p) {
                const int64_t piece = list[of_ == Of::kColumns ? place[p] : i]++;
                index_[piece] = static_cast<int32_t>(of_ == Of::kColumns ? first_row + i : first_column + place[p] * together_);
                std::copy_n(value + p * together_, together_, value_.get() + piece * together_);
              }
            });
  }

  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const Of of_;
  const int64_t together_;  // weights of a piece
  int64_t pieces_ = 0;
  const Buffer<int32_t> order_, count_;  // [squares, width]
  const Buffer<int64_t> begin_;
  Buffer<int32_t> index_;
  Buffer<T> value_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_LISTS_H_
