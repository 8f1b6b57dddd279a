// The live weights of a pruned matrix one by one, in lists: for products whose vectors hold samples. Each weight that is not
// zero is then multiplied with all samples at once, whatever the pattern of the mask.
#ifndef KERAS_EGRU_ENGINE_LIVE_LISTS_H_
#define KERAS_EGRU_ENGINE_LIVE_LISTS_H_

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

// V [units, 3 units] is cut into squares: the rows of one tile and the columns of one gate of one tile. In each square either
// every column lists its rows, for a product that adds up rows of V, or every row lists its columns, for one with V transposed.
template <typename T>
class LiveLists {
 public:
  enum class Of { kColumns, kRows };

  LiveLists(const Kernels<T>& kernels, const Tiles<T>& tiles, Team& team, const T* weights, Of of)
      : tiles_(tiles),
        of_(of),
        order_(Squares() * tiles.width),
        count_(Squares() * tiles.width),
        begin_(Squares() * tiles.width) {
    // All squares of a tile's rows together, since rows are read in order.
    Buffer<int64_t> first(Squares() + 1), next(team.members() * tiles.count * kGates * tiles.width);
    team.Run(tiles.count, [&](int64_t row_tile, int) { Count(kernels, weights, row_tile, first); });
    first[0] = 0;
    for (int64_t s = 0; s < Squares(); ++s) first[s + 1] += first[s];
    live_ = first[Squares()];
    index_.Resize(live_);
    value_.Resize(live_);
    team.Run(tiles.count, [&](int64_t row_tile, int member) {
      Fill(kernels, weights, row_tile, first, next.get() + member * tiles.count * kGates * tiles.width);
    });
  }

  int64_t live() const { return live_; }

  // output[o] = start[o] + sum over the list of o: value * source[index], for the columns or rows o of one square. Rows are
  // named by their number, columns by their place in [tiles, 3, tile_units].
  AccumulateArguments<T> Product(int64_t row_tile, int64_t tile, int gate) const {
    const int64_t list = SquareAt(row_tile, tile, gate) * tiles_.width;
    AccumulateArguments<T> product = {};
    product.outputs = tiles_.valid(of_ == Of::kColumns ? tile : row_tile);
    product.lists = {index_.get(), value_.get(), count_.get() + list, begin_.get() + list, 0};
    product.order = order_.get() + list;
    return product;
  }

 private:
  // visit(row in the tile, tile of columns, gate, columns of the square that are live, their values, how many)
  template <typename Visit>
  void ForRows(const Kernels<T>& kernels, const T* weights, int64_t row_tile, const Visit& visit) const {
    int32_t column[kMaxTile];
    T value[kMaxTile];
    for (int64_t i = 0; i < tiles_.valid(row_tile); ++i) {
      const T* row = weights + (tiles_.first(row_tile) + i) * kGates * tiles_.units;
      for (int64_t gate = 0; gate < kGates; ++gate) {
        for (int64_t tile = 0; tile < tiles_.count; ++tile) {
          const T* from = row + gate * tiles_.units + tiles_.first(tile);
          visit(i, tile, gate, column, value, kernels.list_nonzero(from, tiles_.valid(tile), column, value));
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

  // Sets `count_` and how many weights of each square are live.
  void Count(const Kernels<T>& kernels, const T* weights, int64_t row_tile, const Buffer<int64_t>& live) const {
    for (int64_t square = 0; square < tiles_.count * kGates; ++square) {
      const int64_t s = SquareAt(row_tile, square / kGates, square % kGates);
      std::fill_n(count_.get() + s * tiles_.width, tiles_.width, 0);
      live[s + 1] = 0;
    }
    ForRows(kernels, weights, row_tile,
            [&](int64_t i, int64_t tile, int64_t gate, const int32_t* column, const T*, int64_t found) {
              const int64_t s = SquareAt(row_tile, tile, gate);
              int32_t* count = count_.get() + s * tiles_.width;
              live[s + 1] += found;
              if (of_ == Of::kRows) {
                count[i] = static_cast<int32_t>(found);
              } else {
                for (int64_t e = 0; e < found; ++e) ++count[column[e]];
              }
            });
  }

  // Lists of one length follow each other, so that the end of a list can be guessed. `next`: room for the squares of a tile.
  void Fill(const Kernels<T>& kernels, const T* weights, int64_t row_tile, const Buffer<int64_t>& first, int64_t* next) const {
    const int64_t width = tiles_.width;
    for (int64_t square = 0; square < tiles_.count * kGates; ++square) {
      const int64_t s = SquareAt(row_tile, square / kGates, square % kGates);
      const int64_t outputs = tiles_.valid(of_ == Of::kColumns ? square / kGates : row_tile);
      int32_t *order = order_.get() + s * width, *count = count_.get() + s * width;
      int32_t place[kMaxTile + 2] = {};  // of the first list of each length
      for (int64_t o = 0; o < outputs; ++o) ++place[count[o] + 1];
      for (int64_t length = 0; length < width; ++length) place[length + 1] += place[length];
      for (int64_t o = 0; o < outputs; ++o) order[place[count[o]]++] = static_cast<int32_t>(o);
      int64_t entry = first[s];
      for (int64_t o = 0; o < outputs; ++o) {
        begin_[s * width + order[o]] = next[square * width + order[o]] = entry;
        entry += count[order[o]];
      }
    }
    const int64_t first_row = tiles_.first(row_tile);
    ForRows(kernels, weights, row_tile,
            [&](int64_t i, int64_t tile, int64_t gate, const int32_t* column, const T* value, int64_t found) {
              int64_t* list = next + (tile * kGates + gate) * width;
              const int64_t first_column = (tile * kGates + gate) * width;
              for (int64_t e = 0; e < found; ++e) {
                const int64_t entry = list[of_ == Of::kColumns ? column[e] : i]++;
                index_[entry] = static_cast<int32_t>(of_ == Of::kColumns ? first_row + i : first_column + column[e]);
                value_[entry] = value[e];
              }
            });
  }

  const Tiles<T> tiles_;
  const Of of_;
  int64_t live_ = 0;
  const Buffer<int32_t> order_, count_;  // [squares, width]
  const Buffer<int64_t> begin_;
  Buffer<int32_t> index_;
  Buffer<T> value_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_LISTS_H_
