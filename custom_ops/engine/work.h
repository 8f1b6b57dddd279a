// How the work of a sequence is cut: batch blocks, packing and the number of threads. All depend on shapes alone, and
// only the number of threads on the machine, so that results never depend on it.
#ifndef KERAS_EGRU_ENGINE_WORK_H_
#define KERAS_EGRU_ENGINE_WORK_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "egru.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

// Samples of one task: many, since every task reads its weights from far memory, but their rows of a tile must fit the L2
// cache; fewer where a layer is so small that there would be too few tasks. A multiple of every tile.
constexpr int64_t kBatchBlock = 128;
constexpr int64_t kSmallLayer = 512;  // units

inline int64_t BatchBlock(const EgruShape& shape) { return shape.units < kSmallLayer ? kBatchBlock / 2 : kBatchBlock; }

inline int64_t BatchBlocks(const EgruShape& shape) { return CeilDivide(shape.batch, BatchBlock(shape)); }

inline std::pair<int64_t, int64_t> BlockRange(int64_t block, const EgruShape& shape) {
  return {block * BatchBlock(shape), std::min(shape.batch, (block + 1) * BatchBlock(shape))};
}

// Packing reads and writes a matrix once; it pays where several samples then read each of its rows.
constexpr int64_t kMostInPlace = 4;  // samples that read a matrix in place
inline bool ShouldPack(int64_t readers) { return readers > kMostInPlace; }

// One thread below this many multiplications a step: meeting costs about a microsecond.
constexpr int64_t kWorthSharing = 1 << 18;

inline int TeamSize(Scheduler* scheduler, const EgruShape& shape) {
  const int64_t step = shape.batch * shape.units * 3 * (shape.units + shape.features);
  return scheduler && step >= kWorthSharing ? scheduler->threads() : 1;
}

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_WORK_H_
