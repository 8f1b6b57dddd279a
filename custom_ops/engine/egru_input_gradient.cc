// dL/dx = dA U^T: dot products of the input weights with the gradients of the pre-activations, for all entries.
#include <algorithm>

#include "egru.h"
#include "tiles.h"
#include "work.h"

namespace keras_egru {

template <typename T>
void EgruInputGradient(const EgruShape& shape, const EgruOptions& options, const T* kernel, const T* gates,
                       const T* candidate, T* grad_inputs, Scheduler* scheduler) {
  const Kernels<T>& kernels = SelectKernels<T>();
  const Tiles<T> tiles(kernels, shape.units);
  const GateLayout<T> layout{tiles, shape.batch};
  const TiledWeights<T> weights(tiles, kernel, shape.features, ShouldPack(shape.batch * shape.time));
  Team team(scheduler, TeamSize(scheduler, shape));
  team.Run(tiles.count, [&](int64_t tile, int) { weights.Pack(tile); });

  // Every feature of every sample, in segments of rows of U that stay in the cache.
  constexpr int64_t segment = kMaxSegment;
  const int64_t segments = CeilDivide(shape.features, segment), blocks = BatchBlocks(shape.batch);
  Buffer<int32_t> index(kBatchBlock * segment);
  for (int64_t i = 0; i < index.size(); ++i) index[i] = static_cast<int32_t>(i % segment);
  Buffer<T> results(team.members() * kBatchBlock * segment);
  team.Run(shape.time * blocks * segments, [&](int64_t task, int member) {
    const int64_t t = task / segments / blocks, first = task % segments * segment;
    const auto [b0, b1] = BlockRange(task / segments % blocks, shape.batch);
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
