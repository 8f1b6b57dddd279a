// How the recurrent product of a step is made. It is chosen anew for every step, by counted work times measured costs.
#ifndef KERAS_EGRU_ENGINE_PRODUCT_CHOICE_H_
#define KERAS_EGRU_ENGINE_PRODUCT_CHOICE_H_

#include <cstdint>
#include <limits>

#include "dense_blocks.h"
#include "egru.h"
#include "kernels.h"
#include "tiles.h"

namespace keras_egru {

// The entries that count (events, or gradients that are needed), whole matrices, or the live weights of all rows.
enum class Way { kSparse, kDense, kLive };

constexpr double kNoLiveWeights = std::numeric_limits<double>::infinity();

// The work with live weights, the share `density` of all, as a number of entries of the cost `entry_cost`: each is multiplied
// with whole vectors of samples.
template <typename T>
double LiveAsEntries(const Kernels<T>& kernels, const EgruShape& shape, double density, double cost, double entry_cost) {
  const int64_t samples = CeilDivide(shape.batch, kernels.lanes) * kernels.lanes;
  return density * static_cast<double>(shape.units * samples) * cost / entry_cost;
}

// `entries` that count, or `live` as many with live weights, which Products::kSparse asks for wherever there are such.
template <typename T>
Way ChooseWay(const Kernels<T>& kernels, Products products, const EgruShape& shape, double entries, double live,
              double entry_cost) {
  Way way = Way::kSparse;
  if (live != kNoLiveWeights && (products == Products::kSparse || live < entries)) {
    entries = live;
    way = Way::kLive;
  }
  return DenseIsFaster(kernels, products, shape.batch, shape.units, entries, entry_cost) ? Way::kDense : way;
}

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_PRODUCT_CHOICE_H_
