// dL/dx = dA U^T: for all entries, as a dense product or, with few samples, as dot products.
#include <algorithm>

#include "dense_blocks.h"
#include "egru.h"
#include "tiles.h"
#include "work.h"

namespace keras_egru {

namespace {

// A task is a step and a block of samples, whose gradients are packed once for all features.
template <typename T>
void DenseInputGradient(const EgruShape& shape, const Kernels<T>& kernels, const Tiles<T>& tiles, const GateLayout<T>& layout,
                        const T* kernel, const T* gates, const T* candidate, T* grad_inputs, Team& team) {
  const int64_t width = tiles.width, row_blocks = CeilDivide(shape.batch, width);
  const WeightBlocks places = {CeilDivide(shape.features, width)};
  DenseBlocks<T> weights(kernels), left(kernels);
  weights.Resize(places.count(tiles.count));
  left.Resize(team.members() * kGates);
  team.Run(tiles.count * places.row_blocks, [&](int64_t task, int) {
    PackWeightBlock(kernels, tiles, kernel, shape.features, task / places.row_blocks, task % places.row_blocks, places,
                    weights, true);
  });
  const int64_t columns = places.row_blocks * width;
  Buffer<T> results(team.members() * width * columns);
  team.Run(shape.time * row_blocks, [&](int64_t task, int member) {
    const int64_t t = task / row_blocks, b0 = task % row_blocks * width, b1 = std::min(shape.batch, b0 + width);
    T* result = results.get() + member * width * columns;
    std::fill_n(result, width * columns, T{});
    for (int64_t tile = 0; tile < tiles.count; ++tile) {
      for (int gate = 0; gate < kGates; ++gate) {
        const bool from_candidate = candidate && gate == kGates - 1;
        RowPointers<T> rows;
        for (int64_t b = b0; b < b1; ++b) {
          rows.Add(from_candidate ? candidate + layout.candidate(t, tile, b)
                                  : gates + layout.gates(t, tile, b) + gate * width);
        }
        void* block = left[member * kGates + gate];
        kernels.dense.pack_left({rows.row, rows.count, 0, tiles.valid(tile), block});
        for (int64_t k = 0; k < places.row_blocks; ++k) {
          kernels.dense.multiply({b1 - b0, tiles.valid(tile), std::min(width, shape.features - k * width), block,
                                  weights[places.at(tile, k, gate)], result + k * width, columns});
        }
      }
    }
    for (int64_t b = b0; b < b1; ++b) {
      std::copy_n(result + (b - b0) * columns, shape.features, grad_inputs + (b * shape.time + t) * shape.features);
    }
  });
}

}  // namespace

template <typename T>
void EgruInputGradient(const EgruShape& shape, const EgruOptions& options, const T* kernel, const T* gates,
                       const T* candidate, T* grad_inputs, Scheduler* scheduler) {
  const Kernels<T>& kernels = SelectKernels<T>();
  const Tiles<T> tiles(kernels, shape.units);
  const GateLayout<T> layout{tiles, shape.batch};
  TiledWeights<T> weights(tiles, kernel, shape.features, ShouldPack(shape.batch * shape.time));
  Team team(scheduler, TeamSize(scheduler, shape));
  if (weights.packed() && DenseIsFaster(kernels, options.products, shape.batch, shape.features,
                                        shape.batch * shape.features, kernels.costs.dots)) {
    return DenseInputGradient(shape, kernels, tiles, layout, kernel, gates, options.reset_after ? candidate : nullptr,
                              grad_inputs, team);
  }
  weights.Pack(team);

  // Every feature of every sample, in segments of rows of U that stay in the cache.
  constexpr int64_t segment = kMaxTile;
  const int64_t segments = CeilDivide(shape.features, segment), blocks = BatchBlocks(shape);
  Buffer<int32_t> index(kBatchBlock * segment);
  for (int64_t i = 0; i < index.size(); ++i) index[i] = static_cast<int32_t>(i % segment);
  Buffer<T> results(team.members() * kBatchBlock * segment);
  team.Run(shape.time * blocks * segments, [&](int64_t task, int member) {
    const int64_t t = task / segments / blocks, first = task % segments * segment;
    const auto [b0, b1] = BlockRange(task / segments % blocks, shape);
    const int32_t columns = static_cast<int32_t>(std::min(segment, shape.features - first));
    int32_t count[kBatchBlock];
    std::fill_n(count, kBatchBlock, columns);
    T* result = results.get() + member * kBatchBlock * segment;
    std::fill_n(result, kBatchBlock * segment, T{});
    for (int64_t tile = 0; tile < tiles.count; ++tile) {
      TileRows<const T> left;
      for (int g = 0; g < kGates; ++g) {
        left.base[g] = gates + layout.gates(t, tile, b0) + g * tiles.width;
        left.stride[g] = kGates * tiles.width;
      }
      if (options.reset_after) {
        left.base[2] = candidate + layout.candidate(t, tile, b0);
        left.stride[2] = tiles.width;
      }
      kernels.dots[kGates - 1][tiles.vectors(tile) - 1]({b1 - b0, {index.get(), nullptr, count, nullptr, segment}, left,
                                                         weights.Rows(tile, first, 0, kGates), result});
    }
    for (int64_t b = b0; b < b1; ++b) {
      std::copy_n(result + (b - b0) * segment, columns, grad_inputs + (b * shape.time + t) * shape.features + first);
    }
  });
}

template void EgruInputGradient<float>(const EgruShape&, const EgruOptions&, const float*, const float*, const float*,
                                       float*, Scheduler*);
template void EgruInputGradient<double>(const EgruShape&, const EgruOptions&, const double*, const double*,
                                        const double*, double*, Scheduler*);

}  // namespace keras_egru
