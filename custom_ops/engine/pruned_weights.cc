#include "pruned_weights.h"

namespace keras_egru {
namespace {

// Nanoseconds of reading all rows of V whole.
template <typename T>
double WholeCost(const Kernels<T>& kernels, int64_t weights) {
  const double bytes = static_cast<double>(weights) * sizeof(T);
  const double near = static_cast<double>(weights) / kernels.lanes * kernels.costs.stream;
  return bytes > kNearBytes ? std::max(near, bytes * kernels.costs.far_byte) : near;
}

}  // namespace

template <typename T>
std::unique_ptr<const LivePieces<T>> FindPieces(const Kernels<T>& kernels, const Tiles<T>& tiles, int64_t groups,
                                                const EgruOptions& options, Team& team, const T* recurrent_kernel) {
  const int64_t weights = tiles.units * kGates * tiles.units;
  if (!MayBePruned(options, tiles.units, recurrent_kernel)) return nullptr;
  auto pieces = std::make_unique<LivePieces<T>>(kernels, tiles, groups, !options.reset_after, team, recurrent_kernel);
  if (options.products == Products::kAuto && pieces->cost() >= WholeCost(kernels, weights)) return nullptr;
  return pieces;
}

template <typename T>
std::unique_ptr<const PrunedWeights<T>> FindPruned(const EgruShape& shape, const EgruOptions& options,
                                                   const T* recurrent_kernel, Scheduler* scheduler) {
  if (!MayBePruned(options, shape.units, recurrent_kernel)) return nullptr;
  const Kernels<T>& kernels = SelectKernels<T>();
  const int members = TeamSize(scheduler, shape);
  Team team(scheduler, members);
  auto found = std::make_unique<PrunedWeights<T>>();
  const Tiles<T> tiles(kernels, shape.units);
  if (UsesPieces(shape)) {
    found->pieces = FindPieces(kernels, tiles, std::min<int64_t>(tiles.count, members), options, team, recurrent_kernel);
    if (!found->pieces) return nullptr;
  } else {
    const auto of = LiveLists<T>::Of::kColumns;
    found->columns = std::make_unique<LiveLists<T>>(kernels, tiles, team, recurrent_kernel, of);
  }
  return found;
}

template <typename T>
std::unique_ptr<const LiveVectors<T>> FindLive(int64_t rows, int64_t units, const T* mask, Scheduler* scheduler) {
  const Kernels<T>& kernels = SelectKernels<T>();
  Team team(scheduler, TeamSize(scheduler, {1, 1, rows, units}));
  return std::make_unique<LiveVectors<T>>(kernels, Tiles<T>(kernels, units), team, mask, rows);
}

#define INSTANTIATE(T)                                                                                           \
  template std::unique_ptr<const LivePieces<T>> FindPieces<T>(const Kernels<T>&, const Tiles<T>&, int64_t,       \
                                                              const EgruOptions&, Team&, const T*);              \
  template std::unique_ptr<const LiveVectors<T>> FindLive<T>(int64_t, int64_t, const T*, Scheduler*);            \
  template std::unique_ptr<const PrunedWeights<T>> FindPruned<T>(const EgruShape&, const EgruOptions&, const T*, \
                                                                 Scheduler*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
