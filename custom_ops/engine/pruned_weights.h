// What the passes need of pruned kernels. It depends on the weights, or on their masks, alone, so that it can be kept for as
// long as they do not change.
#ifndef KERAS_EGRU_ENGINE_PRUNED_WEIGHTS_H_
#define KERAS_EGRU_ENGINE_PRUNED_WEIGHTS_H_

#include <algorithm>
#include <cstdint>
#include <memory>

#include "egru.h"
#include "live_lists.h"
#include "live_pieces.h"
#include "live_vectors.h"
#include "work.h"

namespace keras_egru {

template <typename T>
struct PrunedWeights {
  std::unique_ptr<const LivePieces<T>> pieces;    // for few samples
  std::unique_ptr<const LiveLists<T>> columns;  // for many samples
};

// Above this share of live weights none of the products that leave out the others is faster: not looked at further.
constexpr double kMostLive = 0.7;

constexpr int64_t kSampledRows = 16;  // for a first look at a matrix

// The share of numbers that are not zero in some rows of a matrix, evenly spread; of the first alone where it is above
// `enough`.
template <typename T>
double SampledDensity(const T* matrix, int64_t rows, int64_t columns, double enough) {
  const int64_t sampled = std::min(rows, kSampledRows);
  int64_t live = 0, seen = 0;
  for (int64_t s = 0; s < sampled && (seen == 0 || live <= enough * seen); ++s, seen += columns) {
    const T* row = matrix + rows * s / sampled * columns;
    live += columns - std::count(row, row + columns, T(0));
  }
  return seen == 0 ? 1.0 : static_cast<double>(live) / static_cast<double>(seen);
}

// Whether products from pieces of rows are made for this batch; else from lists.
inline bool UsesPieces(const EgruShape& shape) { return !ShouldPack(shape.batch); }

// Whether to look at all weights.
template <typename T>
bool MayBePruned(const EgruOptions& options, int64_t units, const T* recurrent_kernel) {
  return options.products != Products::kDense &&
         SampledDensity(recurrent_kernel, units, kGates * units, kMostLive) <= kMostLive;
}

// Listing weights costs about as much as a few samples gain in so many steps: less is not worth it for a single call.
constexpr int64_t kStepsWorthListing = 40;
inline bool WorthForOneCall(const EgruShape& shape) {
  return !UsesPieces(shape) || shape.batch * shape.time >= kStepsWorthListing;
}

// Null where whole rows are read sooner than their live pieces. With Products::kSparse any zeros will do.
template <typename T>
std::unique_ptr<const LivePieces<T>> FindPieces(const Kernels<T>& kernels, const Tiles<T>& tiles, int64_t groups,
                                                const EgruOptions& options, Team& team, const T* recurrent_kernel);

// Null where the weights are not pruned, or so little that all of them had better be read. With Products::kSparse any zeros
// will do. What is found fits this batch, layer and scheduler.
template <typename T>
std::unique_ptr<const PrunedWeights<T>> FindPruned(const EgruShape& shape, const EgruOptions& options,
                                                   const T* recurrent_kernel, Scheduler* scheduler);

// Of the gradient of a kernel [rows, 3 units] with a mask.
template <typename T>
std::unique_ptr<const LiveVectors<T>> FindLive(int64_t rows, int64_t units, const T* mask, Scheduler* scheduler);

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_PRUNED_WEIGHTS_H_
