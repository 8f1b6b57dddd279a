// The recurrent product of a few samples: from weights that are read where they are, without packing, or from the live pieces
// of pruned ones.
//
// Weights in place come from far memory, once a step. There one list of all events of a sample is better than one for each
// tile, whose rows of weights would stay in the cache; and rows are read best in long pieces, a few at once.
#ifndef KERAS_EGRU_ENGINE_IN_PLACE_PRODUCT_H_
#define KERAS_EGRU_ENGINE_IN_PLACE_PRODUCT_H_

#include <algorithm>
#include <cstdint>

#include "egru.h"
#include "event_list.h"
#include "live_pieces.h"
#include "product_rows.h"
#include "tiles.h"
#include "work.h"

namespace keras_egru {

template <typename T>
class InPlaceProduct {
 public:
  // Reads the recurrent kernel of `in`, in floats or in 8 bits, or `pieces` of it where they are not null.
  InPlaceProduct(const Kernels<T>& kernels, const Tiles<T>& tiles, const EgruInputs<T>& in, const LivePieces<T>* pieces,
                 int64_t groups, int64_t batch)
      : kernels_(kernels),
        tiles_(tiles),
        in_(in),
        pieces_(pieces),
        sums_(pieces ? pieces->groups() * tiles.count * kGates * tiles.width : 0),
        index_(groups * batch * tiles.units),
        value_(groups * batch * tiles.units) {}

  // Adds the rows of V that the events select, beside whose indices stand `values`, for gates [first_gate, first_gate + gates),
  // the tiles [first, last) of group `group` and samples [b0, b1). `to`: the rows of tile `first` from sample b0 on.
  void Add(const SegmentedLists<T>& events, const T* values, int64_t group, int64_t first, int64_t last, int64_t b0, int64_t b1,
           int first_gate, int gates, const ProductRows<T>& to) const {
    for (int64_t b = b0; b < b1; ++b) {
      const Joined joined = Join(events, values, group, b);
      const ProductRows<T> rows = OfSample(to, b - b0);
      if (pieces_) {
        AddPieces(joined, group, last - first, first_gate, gates, rows);
      } else if (in_.recurrent_kernel) {
        AddRows(joined, in_.recurrent_kernel, kernels_.stream, first, last, first_gate, gates, rows);
      } else {
        AddRows(joined, in_.recurrent_int8, kernels_.stream_int8, first, last, first_gate, gates, rows);
      }
    }
  }

 private:
  // The events of all tiles of a sample.
  struct Joined {
    const int32_t* index;
    const T* value;
    int64_t count;
  };

  // Every group joins them for itself: that is sooner done than told to another core.
  Joined Join(const SegmentedLists<T>& events, const T* values, int64_t group, int64_t b) const {
    const int64_t place = (group * events.rows + b) * tiles_.units;
    int32_t* const index = index_.get() + place;
    T* const value = value_.get() + place;
    int64_t found = 0;
    for (int64_t tile = 0; tile < tiles_.count; ++tile) {
      const int64_t begin = events.slot(tile, b) * tiles_.width, end = begin + events.count(tile, b);
      for (int64_t entry = begin; entry < end; ++entry, ++found) {
        index[found] = static_cast<int32_t>(tiles_.first(tile) + events.index[entry]);
        value[found] = values[entry];
      }
    }
    return {index, value, found};
  }

  static ProductRows<T> OfSample(ProductRows<T> rows, int64_t b) {
    for (int g = 0; g < kGates; ++g) {
      rows.start.base[g] += b * rows.start.stride[g];
      rows.output.base[g] += b * rows.output.stride[g];
    }
    return rows;
  }

  // Sums lie in one piece while they grow: a place there is a column.
  void AddPieces(const Joined& events, int64_t group, int64_t tiles, int first_gate, int gates,
                 const ProductRows<T>& to) const {
    const int64_t stride = pieces_->Stride(group), width = tiles_.width;
    T* sums = sums_.get() + group * tiles_.count * kGates * width;
    std::fill_n(sums + first_gate * stride, gates * stride, T{});
    pieces_->Add(group, first_gate, events.count, events.index, events.value, sums);
    for (int g = 0; g < gates; ++g) {
      const T* sum = sums + (first_gate + g) * stride;
      for (int64_t tile = 0; tile < tiles; ++tile, sum += width) {
        const T* start = to.start.base[g] + tile * to.start_step[g];
        T* output = to.output.base[g] + tile * to.output_step[g];
        for (int64_t i = 0; i < width; ++i) output[i] = start[i] + sum[i];
      }
    }
  }

  template <typename Weight>
  void AddRows(const Joined& events, const Weight* weights, void (*stream)(const StreamArguments<T, Weight>&), int64_t first,
               int64_t last, int first_gate, int gates, const ProductRows<T>& to) const {
    const int64_t column = tiles_.first(first), end = tiles_.first(last - 1) + tiles_.valid(last - 1);
    for (int64_t e = 0; e == 0 || e < events.count; e += kStreams) {
      StreamArguments<T, Weight> a;
      a.rows = static_cast<int>(std::min<int64_t>(kStreams, events.count - e));
      a.factor = events.value + e;
      a.length = end - column;
      for (int g = 0; g < gates; ++g) {
        const int64_t offset = (first_gate + g) * tiles_.units + column;
        for (int r = 0; r < a.rows; ++r) a.row[r] = weights + events.index[e + r] * kGates * tiles_.units + offset;
        a.scale = in_.recurrent_scale ? in_.recurrent_scale + offset : nullptr;
        a.output = to.output.base[g];
        a.output_step = to.output_step[g];
        a.start = e > 0 ? a.output : to.start.base[g];
        a.start_step = e > 0 ? to.output_step[g] : to.start_step[g];
        stream(a);
      }
    }
  }

  const Kernels<T>& kernels_;
  const Tiles<T>& tiles_;
  const EgruInputs<T>& in_;
  const LivePieces<T>* const pieces_;
  const Buffer<T> sums_;  // of all gates of a group's tiles, for every group
  const Buffer<int32_t> index_;  // joined events, [groups, batch, units]
  const Buffer<T> value_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_IN_PLACE_PRODUCT_H_
