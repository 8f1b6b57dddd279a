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

constexpr int64_t kBatchBlock = 64;  // samples of one task: their rows of a tile fit the L2 cache with room to spare

inline int64_t BatchBlocks(int64_t batch) { return CeilDivide(batch, kBatchBlock); }

inline std::pair<int64_t, int64_t> BlockRange(int64_t block, int64_t batch) {
  return {block * kBatchBlock, std::min(batch, (block + 1) * kBatchBlock)};
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
