#include "pruned_weights.h"

#include <algorithm>

namespace keras_egru {
namespace {

// Less would be within what this estimate, and the costs, are worth.
constexpr double kWorthwhile = 0.85;

// Whether pieces would be read sooner than rows of V in place, by the look of some rows.
template <typename T>
bool PiecesPay(const Kernels<T>& kernels, int64_t units, const T* weights) {
  const int64_t sampled = std::min<int64_t>(units, kSampledRows), vectors = CeilDivide(kGates * units, kernels.lanes);
  Buffer<uint16_t> mask(vectors);
  LiveCount live = {0, 0};
  for (int64_t s = 0; s < sampled; ++s) {
    const T* row = weights + units * s / sampled * kGates * units;
    const LiveCount found = kernels.pieces.mask_nonzero(row, kGates * units, vectors, mask.get());
    live.numbers += found.numbers;
    live.vectors += found.vectors;
  }
  const double rows = static_cast<double>(units) / static_cast<double>(sampled);  // that a sampled one stands for
  const double all = static_cast<double>(units * vectors);
  const double bytes = all * static_cast<double>(kernels.lanes * sizeof(T));
  const double whole = NearOrFar(kernels.costs, all * kernels.costs.stream, bytes);
  return CheapestPieces(kernels, rows * live.numbers, rows * live.vectors, all).cost < kWorthwhile * whole;
}

}  // namespace

template <typename T>
std::unique_ptr<const LivePieces<T>> FindPieces(const Kernels<T>& kernels, const Tiles<T>& tiles, int64_t groups,
                                                const EgruOptions& options, Team& team, const T* recurrent_kernel) {
  if (!MayBePruned(options, tiles.units, recurrent_kernel)) return nullptr;
  if (options.products == Products::kAuto && !PiecesPay(kernels, tiles.units, recurrent_kernel)) return nullptr;
  return std::make_unique<LivePieces<T>>(kernels, tiles, groups, !options.reset_after, team, recurrent_kernel);
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
