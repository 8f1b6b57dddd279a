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
std::unique_ptr<const PrunedWeights<T>> FindPruned(const EgruShape& shape, const EgruOptions& options,
                                                   const T* recurrent_kernel, Scheduler* scheduler) {
  if (!MayBePruned(shape, options, recurrent_kernel)) return nullptr;
  const Kernels<T>& kernels = SelectKernels<T>();
  const int members = TeamSize(scheduler, shape);
  Team team(scheduler, members);
  auto found = std::make_unique<PrunedWeights<T>>();
  const Tiles<T> tiles(kernels, shape.units);
  if (UsesPieces(shape)) {
    const int64_t groups = std::min<int64_t>(tiles.count, members);
    auto pieces = std::make_unique<LivePieces<T>>(kernels, tiles, groups, team, recurrent_kernel);
    const double whole = WholeCost(kernels, shape.units * kGates * shape.units);
    if (options.products == Products::kAuto && pieces->cost() >= whole) return nullptr;
    found->pieces = std::move(pieces);
  } else {
    const auto of = LiveLists<T>::Of::kColumns;
    found->columns = std::make_unique<LiveLists<T>>(kernels, tiles, team, recurrent_kernel, of);
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
