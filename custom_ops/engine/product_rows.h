// Where a recurrent product goes.
#ifndef KERAS_EGRU_ENGINE_PRODUCT_ROWS_H_
#define KERAS_EGRU_ENGINE_PRODUCT_ROWS_H_

#include <cstdint>

#include "kernels.h"

namespace keras_egru {

// Rows of the pre-activations of one tile: what a product starts from and where it goes. The two are one, or `start` is a
// bias, of stride 0. The rows of the next tile are a step further.
template <typename T>
struct ProductRows {
  TileRows<const T> start;
  TileRows<T> output;
  int64_t start_step[kGates], output_step[kGates];
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_PRODUCT_ROWS_H_
