// The recurrent product of many samples with the live weights of a pruned matrix. Samples are the lanes of a vector, so the
// pattern of the mask does not matter; each live weight is read once for all of them, silent or not.
#ifndef KERAS_EGRU_ENGINE_LIVE_PRODUCT_H_
#define KERAS_EGRU_ENGINE_LIVE_PRODUCT_H_

#include <algorithm>
#include <cstdint>

#include "event_list.h"
#include "live_lists.h"
#include "product_rows.h"
#include "tiles.h"

namespace keras_egru {

template <typename T>
class LiveProduct {
 public:
  // `columns` may be null, and then nothing else is called. With `gated` there are two kinds of samples: y, and r * y.
  LiveProduct(const Kernels<T>& kernels, const Tiles<T>& tiles, const LiveLists<T>* columns, int64_t batch, bool gated,
              int members)
      : kernels_(kernels),
        tiles_(tiles),
        columns_(columns),
        batch_(batch),
        samples_(columns ? Numbers() : 0),
        gated_samples_(columns && gated ? Numbers() : 0),
        sums_(columns ? members * tiles.width * tiles.width : 0) {}

  // Makes the events of one tile, with `values` beside their indices, and of a block of samples from `b0` on ready for Add.
  void Spread(const SegmentedLists<T>& events, const T* values, bool gated, int64_t tile, int64_t b0) const {
    T* rows = Samples(gated, tiles_.first(tile), b0);
    std::fill_n(rows, tiles_.valid(tile) * tiles_.width, T{});
    for (int64_t b = b0; b < std::min(batch_, b0 + tiles_.width); ++b) {
      const int64_t begin = events.slot(tile, b) * tiles_.width, end = begin + events.count(tile, b);
      for (int64_t e = begin; e < end; ++e) rows[events.index[e] * tiles_.width + b - b0] = values[e];
    }
  }

  // The live weights of one tile times all samples [b0, b1). `to`: the rows of the tile from sample b0 on.
  void Add(bool gated, int64_t tile, int64_t b0, int64_t b1, int first_gate, int gates, const ProductRows<T>& to,
           int member) const {
    const int64_t width = tiles_.width;
    T* sums = sums_.get() + member * width * width;
    for (int64_t b = b0; b < b1; b += width) {
      const int64_t count = std::min(width, b1 - b);
      for (int g = 0; g < gates; ++g) {
        for (int64_t k = 0; k < tiles_.count; ++k) {
          columns_->Add(k, tile, first_gate + g, CeilDivide(count, tiles_.lanes), k == 0, Samples(gated, 0, b), sums);
        }
        kernels_.transpose({tiles_.valid(tile), count, sums, width, to.start.base[g] + (b - b0) * to.start.stride[g],
                            to.start.stride[g], to.output.base[g] + (b - b0) * to.output.stride[g], to.output.stride[g]});
      }
    }
  }

 private:
  int64_t Numbers() const { return CeilDivide(batch_, tiles_.width) * tiles_.units * tiles_.width; }
  T* Samples(bool gated, int64_t unit, int64_t b) const {
    return (gated ? gated_samples_ : samples_).get() + (b / tiles_.width * tiles_.units + unit) * tiles_.width;
  }

  const Kernels<T>& kernels_;
  const Tiles<T>& tiles_;
  const LiveLists<T>* const columns_;
  const int64_t batch_;
  const Buffer<T> samples_, gated_samples_;  // [blocks of samples, units, samples]
  const Buffer<T> sums_;                     // [members, width, width]
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIVE_PRODUCT_H_
