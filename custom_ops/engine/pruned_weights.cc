#include "pruned_weights.h"

#include "work.h"

namespace keras_egru {
namespace {

// Nanoseconds of a row of V: read whole, and its live pieces alone.
template <typename T>
bool PiecesAreFaster(const Kernels<T>& kernels, const EgruShape& shape, const LivePieces<T>& pieces) {
  const Costs& costs = kernels.costs;
  const double bytes = static_cast<double>(shape.units * kGates * shape.units * sizeof(T));
  const double vectors = static_cast<double>(shape.units * kGates * shape.units) / kernels.lanes;
  const double whole = vectors * (bytes > kNearBytes ? costs.stream_far : costs.stream_near);
  return static_cast<double>(pieces.pieces()) * (pieces.width() > 1 ? costs.live_vector : costs.live_number) < whole;
}

}  // namespace

template <typename T>
std::unique_ptr<const PrunedWeights<T>> FindPruned(const EgruShape& shape, const EgruOptions& options,
                                                   const T* recurrent_kernel, Scheduler* scheduler) {
  const bool few = !ShouldPack(shape.batch);
  if (options.products == Products::kDense) return nullptr;
  if (SampledDensity(recurrent_kernel, shape.units, kGates * shape.units) > kMostLive) return nullptr;
  const Kernels<T>& kernels = SelectKernels<T>();
  const int members = TeamSize(scheduler, shape);
  Team team(scheduler, members);
  auto found = std::make_unique<PrunedWeights<T>>();
  if (few) {
    const Tiles<T> tiles(kernels, shape.units);
    auto pieces = std::make_unique<LivePieces<T>>(kernels, tiles, std::min<int64_t>(tiles.count, members), team, recurrent_kernel);
    if (options.products == Products::kAuto && !PiecesAreFaster(kernels, shape, *pieces)) return nullptr;
    found->pieces = std::move(pieces);
  } else {
    found->columns = std::make_unique<LiveColumns<T>>(kernels, team, recurrent_kernel, shape.units, kGates * shape.units);
  }
  return found;
}

#define INSTANTIATE(T)                                                                                     \
  template std::unique_ptr<const PrunedWeights<T>> FindPruned<T>(const EgruShape&, const EgruOptions&, const T*, \
                                                                 Scheduler*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
