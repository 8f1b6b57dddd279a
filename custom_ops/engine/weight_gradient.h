// The gradient of a weight matrix over all steps at once: gradient[i, :] = sum over rows (t, b) of source[(t, b), i] times
// the gradients of the pre-activations of that row. Where the source is mostly zero, its nonzero entries are listed unit
// by unit and only they are multiplied; else the product is dense. Of a pruned matrix only the vectors with live weights are
// computed, unless nearly all are such or the dense product is faster still; pruned weights get zero.
#ifndef KERAS_EGRU_ENGINE_WEIGHT_GRADIENT_H_
#define KERAS_EGRU_ENGINE_WEIGHT_GRADIENT_H_

#include <algorithm>
#include <cstdint>

#include "column_lists.h"
#include "dense_blocks.h"
#include "egru.h"
#include "live_vectors.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

// Rows of the saved gates (or of their gradients) of one tile, with the last gate taken from `candidate` if given.
template <typename T>
TileRows<const T> ReadGates(const Tiles<T>& tiles, const T* gates, const T* candidate, int first_gate, int count) {
  TileRows<const T> rows;
  for (int g = 0; g < count; ++g) {
    rows.base[g] = gates + (first_gate + g) * tiles.width;
    rows.stride[g] = kGates * tiles.width;
  }
  if (candidate) {
    rows.base[count - 1] = candidate;
    rows.stride[count - 1] = tiles.width;
  }
  return rows;
}

template <typename T>
class WeightGradient {
 public:
  // `rows`: of the gradient, the size of a source row. `gates`: gradients of the pre-activations in the layout `layout`;
  // `candidate`: those of a_z where they are not the third block of `gates`, or null. `live`: of a pruned matrix, or null.
  WeightGradient(const Kernels<T>& kernels, const Tiles<T>& tiles, const GateLayout<T>& layout, Products products,
                 int64_t time, int64_t rows, const T* gates, const T* candidate, const LiveVectors<T>* live)
      : kernels_(kernels),
        tiles_(tiles),
        layout_(layout),
        products_(products),
        time_(time),
        rows_(rows),
        gates_(gates),
        candidate_(candidate),
        live_(live),
        lists_(kernels, time * layout.batch, rows) {}

  // Counts, and lists where that will be needed. source(t, b): the row's numbers, or null for a row to leave out. With
  // `split` the third gate is multiplied by other values, which SplitValues sets for what is listed.
  template <typename Source>
  void List(Team& team, bool split, const Source& source) {
    split_ = split;
    const auto row_data = [&](int64_t row) { return source(row / layout_.batch, row % layout_.batch); };
    lists_.Count(team, row_data);
    const double cost = kernels_.costs.gradient;
    const double live_cost = live_ ? live_->share() * kernels_.costs.live_gradient : cost;
    selected_ = live_ && (live_cost < cost || products_ == Products::kSparse);
    dense_ = DenseIsFaster(kernels_, products_, time_ * layout_.batch, rows_, lists_.entries(), selected_ ? live_cost : cost);
    if (dense_ && !split) return;
    // Rows are named by their place in the gates, so that one base serves a whole tile.
    lists_.Fill(team, split, row_data,
                [&](int64_t row) { return layout_.row(row / layout_.batch, 0, row % layout_.batch); });
  }

  // value(unit, place in the gates of tile 0, value)
  template <typename Value>
  void SplitValues(Team& team, const Value& value) {
    lists_.FillExtra(team, value);
  }

  int64_t entries() const { return lists_.entries(); }

  // Writes `gradient`, [rows, 3 units]. `source` as it was listed.
  template <typename Source>
  void Compute(Team& team, const Source& source, T* gradient) const {
    const int64_t blocks = CeilDivide(rows_, kBlock), width = tiles_.width;
    const int64_t tile_size = std::min(kBlock, rows_) * kGates * width, together = dense_ ? kTilesTogether : 1;
    Buffer<T> scratch(team.members() * together * tile_size);
    DenseBlocks<T> packed(kernels_);
    if (dense_) packed.Resize(team.members() * kPackedBlocks);
    team.Run(CeilDivide(tiles_.count, together) * blocks, [&](int64_t task, int member) {
      const int64_t begin = task / blocks * together, end = std::min(begin + together, tiles_.count);
      const int64_t first = task % blocks * kBlock, count = std::min(kBlock, rows_ - first);
      T* weights = scratch.get() + member * together * tile_size;
      std::fill_n(weights, (end - begin) * tile_size, T{});
      const int joint = split_ ? kGates - 1 : kGates;  // gates that share the values of the source
      if (dense_) AddDense(source, begin, end, first, count, joint, weights, tile_size, packed, member * kPackedBlocks);
      for (int64_t tile = begin; tile < end; ++tile, weights += tile_size) {
        if (!dense_) AddSparse(tile, first, count, 0, joint, weights);
        if (split_) AddSparse(tile, first, count, joint, 1, weights);
        for (int64_t row = 0; row < count; ++row) {
          for (int g = 0; g < kGates; ++g) {
            const T* from = weights + (row * kGates + g) * width;
            T* to = gradient + ((first + row) * kGates + g) * tiles_.units + tiles_.first(tile);
            if (live_) {
              live_->Copy(tile, first + row, g, from, to);
            } else {
              std::copy_n(from, tiles_.valid(tile), to);
            }
          }
        }
      }
    });
  }

 private:
  static constexpr int64_t kBlock = ColumnLists<T>::kBlock;  // rows of one task: its part of the gradient fits the L2 cache
  static constexpr int64_t kTilesTogether = 2;  // of one task with dense products, which pack the source once for both
  static constexpr int64_t kPackedBlocks = kTilesTogether * kGates + 1;

  void AddSparse(int64_t tile, int64_t first, int64_t count, int first_gate, int gates, T* weights) const {
    if (selected_) return AddSelected(tile, first, count, first_gate, gates, weights);
    const bool second_values = split_ && first_gate > 0;
    TileRows<T> output;
    for (int g = 0; g < gates; ++g) {
      output.base[g] = weights + (first_gate + g) * tiles_.width;
      output.stride[g] = kGates * tiles_.width;
    }
    const int64_t place = layout_.row(0, tile, 0);
    const TileRows<const T> source =
        ReadGates<T>(tiles_, gates_ + place * kGates * tiles_.width,
                     candidate_ && first_gate + gates == kGates ? candidate_ + place * tiles_.width : nullptr, first_gate,
                     gates);
    for (int64_t chunk = 0; chunk < lists_.chunks(); ++chunk) {
      kernels_.accumulate[gates - 1][tiles_.vectors(tile) - 1](
          {count, lists_.From(chunk, first, second_values), output, output, source, NextChunk(chunk, tile),
           lists_.order(chunk, first)});
    }
  }

  // The same for vectors with live weights.
  void AddSelected(int64_t tile, int64_t first, int64_t count, int first_gate, int gates, T* weights) const {
    using Live = LiveVectors<T>;
    const bool second_values = split_ && first_gate > 0;
    const auto part = gates == kGates ? Live::kAll : first_gate == 0 ? Live::kJoint : Live::kLast;
    const int64_t place = layout_.row(0, tile, 0);
    const TileRows<const T> source = ReadGates<T>(tiles_, gates_ + place * kGates * tiles_.width,
                                                  candidate_ ? candidate_ + place * tiles_.width : nullptr, 0, kGates);
    for (int64_t chunk = 0; chunk < lists_.chunks(); ++chunk) {
      kernels_.accumulate_selected({count, lists_.order(chunk, first), lists_.From(chunk, first, second_values),
                                    live_->begin(part, tile, first), live_->count(part, tile, first), live_->column(), weights,
                                    source});
    }
  }

  // The gates that the chunk after this one reads, as far as they are in one piece.
  Ahead NextChunk(int64_t chunk, int64_t tile) const {
    const int64_t row = (chunk + 1) * ColumnLists<T>::kChunk, t = row / layout_.batch, b = row % layout_.batch;
    if (t >= time_) return {};
    const int64_t rows = std::min(ColumnLists<T>::kChunk, layout_.batch - b);
    return {reinterpret_cast<const char*>(gates_ + layout_.gates(t, tile, b)),
            rows * kGates * tiles_.width * static_cast<int64_t>(sizeof(T))};
  }

  // Uses kPackedBlocks blocks from `scratch` on.
  template <typename Source>
  void AddDense(const Source& source, int64_t first_tile, int64_t end_tile, int64_t first, int64_t count, int gates,
                T* weights, int64_t tile_size, const DenseBlocks<T>& blocks, int64_t scratch) const {
    const int64_t width = tiles_.width, all = time_ * layout_.batch;
    const auto gate_block = [&](int64_t tile, int gate) { return blocks[scratch + 1 + (tile - first_tile) * kGates + gate]; };
    for (int64_t begin = 0; begin < all; begin += width) {
      RowPointers<T> left;
      for (int64_t row = begin; row < std::min(all, begin + width); ++row) left.Add(source(row / layout_.batch, row % layout_.batch));
      for (int64_t tile = first_tile; tile < end_tile; ++tile) {
        for (int gate = 0; gate < gates; ++gate) {
          const bool from_candidate = candidate_ && gate == kGates - 1;
          RowPointers<T> right;
          for (int64_t row = begin; row < begin + left.count; ++row) {
            const int64_t t = row / layout_.batch, b = row % layout_.batch;
            right.Add(from_candidate ? candidate_ + layout_.candidate(t, tile, b)
                                     : gates_ + layout_.gates(t, tile, b) + gate * width);
          }
          kernels_.dense.pack_right({right.row, right.count, 0, tiles_.valid(tile), gate_block(tile, gate)});
        }
      }
      for (int64_t row = 0; row < count; row += width) {
        const int64_t valid = std::min(width, count - row);
        kernels_.dense.pack_left_transposed({left.row, left.count, first + row, valid, blocks[scratch]});
        for (int64_t tile = first_tile; tile < end_tile; ++tile) {
          for (int gate = 0; gate < gates; ++gate) {
            kernels_.dense.multiply({valid, left.count, tiles_.valid(tile), blocks[scratch], gate_block(tile, gate),
                                     weights + (tile - first_tile) * tile_size + (row * kGates + gate) * width,
                                     kGates * width});
          }
        }
      }
    }
  }

  const Kernels<T>& kernels_;
  const Tiles<T>& tiles_;
  const GateLayout<T>& layout_;
  const Products products_;
  const int64_t time_, rows_;
  const T *const gates_, *const candidate_;
  bool split_ = false, dense_ = false, selected_ = false;
  const LiveVectors<T>* const live_;
  ColumnLists<T> lists_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_WEIGHT_GRADIENT_H_
