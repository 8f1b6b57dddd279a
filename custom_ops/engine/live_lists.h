// The live weights of a pruned matrix one by one, in lists: for products whose vectors hold samples. Each weight that is not
// zero is then multiplied with all samples at once, whatever the pattern of the mask.
#ifndef KERAS_EGRU_ENGINE_LIVE_LISTS_H_
#define KERAS_EGRU_ENGINE_LIVE_LISTS_H_

#include <algorithm>
#include <cstdint>

#include "column_lists.h"
#include "kernels.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

// By column within chunks of rows: a column of the forward product takes the rows that its list names.
template <typename T>
class LiveColumns {
 public:
  LiveColumns(const Kernels<T>& kernels, Team& team, const T* weights, int64_t rows, int64_t columns)
      : lists_(kernels, rows, columns) {
    const auto row_data = [&](int64_t row) { return weights + row * columns; };
    lists_.Count(team, row_data);
    lists_.Fill(team, false, row_data, [](int64_t row) { return row; });
  }

  int64_t live() const { return lists_.entries(); }
  int64_t chunks() const { return lists_.chunks(); }
  Lists<T> From(int64_t chunk, int64_t column) const { return lists_.From(chunk, column, false); }

 private:
  ColumnLists<T> lists_;
};

// By row within the columns of one gate of one tile: a row of the backward product takes the columns that its list names.
// They are numbered as in [tiles, 3, tile_units].
template <typename T>
class LiveRows {
 public:
  LiveRows(const Kernels<T>& kernels, const Tiles<T>& tiles, Team& team, const T* weights)
      : rows_(tiles.units), count_(tiles.count * kGates * rows_), begin_(tiles.count * kGates * rows_) {
    const int64_t lists = kGates * rows_;  // of a tile
    const auto columns = [&](int64_t list) {
      const int64_t tile = list / lists, gate = list / rows_ % kGates, row = list % rows_;
      return weights + (row * kGates + gate) * tiles.units + tiles.first(tile);
    };
    team.Run(tiles.count, [&](int64_t tile, int) {
      for (int64_t list = tile * lists; list < (tile + 1) * lists; ++list) {
        const T* from = columns(list);
        count_[list] = static_cast<int32_t>(tiles.valid(tile) - std::count(from, from + tiles.valid(tile), T(0)));
      }
    });
    for (int64_t list = 0; list < tiles.count * lists; ++list) {
      begin_[list] = live_;
      live_ += count_[list];
    }
    index_.Resize(live_);
    value_.Resize(live_);
    team.Run(tiles.count, [&](int64_t tile, int) {
      int32_t index[kMaxTile];
      T value[kMaxTile];
      for (int64_t list = tile * lists; list < (tile + 1) * lists; ++list) {
        kernels.list_nonzero(columns(list), tiles.valid(tile), index, value);
        const int32_t first = static_cast<int32_t>((tile * kGates + list / rows_ % kGates) * tiles.width);
        for (int32_t e = 0; e < count_[list]; ++e) index_[begin_[list] + e] = first + index[e];
        std::copy_n(value, count_[list], value_.get() + begin_[list]);
      }
    });
  }

  int64_t live() const { return live_; }
  Lists<T> From(int64_t tile, int gate, int64_t row) const {
    const int64_t list = (tile * kGates + gate) * rows_ + row;
    return {index_.get(), value_.get(), count_.get() + list, begin_.get() + list, 0};
  }

 private:
  const int64_t rows_;
  int64_t live_ = 0;
  const Buffer<int32_t> count_;
  const Buffer<int64_t> begin_;
  Buffer<int32_t> index_;
  Buffer<T> value_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_LISTS_H_
