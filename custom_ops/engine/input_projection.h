// x U + b, the part of the pre-activations that waits for no earlier step. The inputs of a block of steps are listed (or
// packed, for a dense product) together; their products are made for all these steps at once, or step by step.
#ifndef KERAS_EGRU_ENGINE_INPUT_PROJECTION_H_
#define KERAS_EGRU_ENGINE_INPUT_PROJECTION_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "dense_blocks.h"
#include "egru.h"
#include "event_list.h"
#include "parallel.h"
#include "tiles.h"
#include "work.h"

namespace keras_egru {

template <typename T>
class InputProjection {
 public:
  InputProjection(const Kernels<T>& kernels, const Tiles<T>& tiles, const EgruShape& shape, Products products,
                  const EgruInputs<T>& in)
      : kernels_(StepsAtOnce(shape) * shape.batch <= kFewRows ? KernelsForFewRows(kernels) : kernels),
        tiles_(tiles),
        shape_(shape),
        products_(products),
        in_(in),
        steps_at_once_(StepsAtOnce(shape)),
        segments_(CeilDivide(shape.features, kMaxTile)),
        weights_(tiles, in.kernel, shape.features, ShouldPack(shape.batch * shape.time)),
        events_(segments_, steps_at_once_ * shape.batch, kMaxTile),
        places_{CeilDivide(shape.features, tiles.width)},
        weight_blocks_(kernels_),
        feature_blocks_(kernels_) {}

  int64_t steps_at_once() const { return steps_at_once_; }

  // Whether the products of a block of steps should be made together, so that each tile of weights is read once for all;
  // else the pre-activations of a step had better be made where they are used, while they are in the cache.
  bool ahead() const { return !ShouldPack(shape_.batch) || shape_.features > 2 * shape_.batch; }

  // Makes ready for steps [begin, begin + steps). Returns the number of nonzero inputs.
  int64_t Prepare(Team& team, int64_t begin, int64_t steps) {
    std::atomic<int64_t> listed{0};
    const int64_t blocks = BatchBlocks(shape_);
    team.Run(steps * blocks, [&](int64_t task, int) { listed += List(begin, task / blocks, task % blocks); });
    steps_ = steps;
    const int64_t rows = steps * shape_.batch;
    dense_ = weights_.packed() && shape_.features > 0 &&
             DenseIsFaster(kernels_, products_, rows, shape_.features, listed, kernels_.costs.accumulate);
    if (!dense_) {
      weights_.Pack(team);
      return listed;
    }
    if (weight_blocks_.empty()) {
      weight_blocks_.Resize(places_.count(tiles_.count));
      feature_blocks_.Resize(CeilDivide(steps_at_once_ * shape_.batch, CallRows()) * places_.row_blocks * RowBlocks());
      team.Run(tiles_.count * places_.row_blocks, [&](int64_t task, int) {
        PackWeightBlock(kernels_, tiles_, in_.kernel, shape_.features, task / places_.row_blocks,
                        task % places_.row_blocks, places_, weight_blocks_, false);
      });
    }
    team.Run(calls() * places_.row_blocks,
             [&](int64_t task, int) { PackFeatures(begin, task % calls(), task / calls()); });
    return listed;
  }

  // A call covers the samples of one step, or, with dense products, all prepared steps of a single sample.
  int64_t calls() const { return dense_ ? CeilDivide(steps_ * shape_.batch, CallRows()) : steps_; }
  int64_t call_rows() const { return dense_ && shape_.batch == 1 ? steps_ : shape_.batch; }

  // Writes rows [r0, r1) of a call for one tile. `bias`: rows of stride 0.
  void Project(int64_t call, int64_t tile, int64_t r0, int64_t r1, const TileRows<const T>& bias,
               const TileRows<T>& gates) const {
    if (dense_) {
      const int64_t first = call * places_.row_blocks * RowBlocks();
      return MultiplyBlocks(kernels_, tiles_,
                            BlockProduct<T>{feature_blocks_, first, RowBlocks(), shape_.features, weight_blocks_, places_, tile,
                                            0, kGates, r0, r1},
                            bias, gates);
    }
    for (int64_t s = 0; s < std::max<int64_t>(1, segments_); ++s) {
      kernels_.accumulate[kGates - 1][tiles_.vectors(tile) - 1](
          {r1 - r0, events_.From(s, call * shape_.batch + r0), s == 0 ? bias : TileRows<const T>(gates), gates,
           weights_.Rows(tile, s * kMaxTile, 0, kGates)});
    }
  }

 private:
  static constexpr int64_t kFewRows = 128;

  // Enough rows to read each tile of weights rarely, few enough that lists and gates stay in the cache.
  static int64_t StepsAtOnce(const EgruShape& shape) {
    constexpr int64_t rows = 512;
    return std::clamp<int64_t>(rows / shape.batch, 1, shape.time);
  }

  int64_t CallRows() const { return shape_.batch == 1 ? steps_at_once_ : shape_.batch; }
  int64_t RowBlocks() const { return CeilDivide(CallRows(), tiles_.width); }
  int64_t Row(int64_t t, int64_t b) const { return b * shape_.time + t; }
  bool Valid(int64_t t, int64_t b) const { return !in_.mask || in_.mask[Row(t, b)]; }

  int64_t List(int64_t begin, int64_t slot, int64_t block) {
    const auto [b0, b1] = BlockRange(block, shape_);
    int64_t found = 0;
    for (int64_t b = b0; b < b1; ++b) {
      for (int64_t s = 0; s < segments_; ++s) {
        const int64_t row = slot * shape_.batch + b, first = s * kMaxTile;
        if (Valid(begin + slot, b)) {
          const int64_t columns = std::min<int64_t>(kMaxTile, shape_.features - first);
          found += events_.Fill(kernels_, s, row, in_.inputs + Row(begin + slot, b) * shape_.features + first, columns);
        } else {
          events_.Clear(s, row);
        }
      }
    }
    return found;
  }

  // Block `k` of the features of all rows of a call.
  void PackFeatures(int64_t begin, int64_t call, int64_t k) const {
    const int64_t first = k * tiles_.width, end = std::min(steps_ * shape_.batch, (call + 1) * CallRows());
    for (int64_t block = 0; block < RowBlocks(); ++block) {
      RowPointers<T> pointers;
      const int64_t from = call * CallRows() + block * tiles_.width;
      for (int64_t row = from; row < std::min(end, from + tiles_.width); ++row) {
        const int64_t t = begin + row / shape_.batch, b = row % shape_.batch;
        pointers.Add(Valid(t, b) ? in_.inputs + Row(t, b) * shape_.features : nullptr);
      }
      if (pointers.count == 0) break;
      kernels_.dense.pack_left({pointers.row, pointers.count, first, std::min(tiles_.width, shape_.features - first),
                                feature_blocks_[(call * places_.row_blocks + k) * RowBlocks() + block]});
    }
  }

  const Kernels<T>& kernels_;
  const Tiles<T>& tiles_;
  const EgruShape shape_;
  const Products products_;
  const EgruInputs<T>& in_;
  const int64_t steps_at_once_, segments_;
  TiledWeights<T> weights_;
  const SegmentedLists<T> events_;  // of the prepared steps
  const WeightBlocks places_;
  DenseBlocks<T> weight_blocks_, feature_blocks_;
  int64_t steps_ = 0;
  bool dense_ = false;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_INPUT_PROJECTION_H_
