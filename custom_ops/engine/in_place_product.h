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
#include "tiles.h"
#include "work.h"

namespace keras_egru {

// Rows of the pre-activations of one tile: what a product starts from and where it goes. The two are one, or `start` is a
// bias, of stride 0. The rows of the next tile are a step further.
template <typename T>
struct ProductRows {
  TileRows<const T> start;
  TileRows<T> output;
  int64_t start_step[kGates], output_step[kGates];
};

template <typename T>
class InPlaceProduct {
 public:
  // Reads the recurrent kernel of `in`, in floats or in 8 bits, or `pieces` of it where they are not null.
  InPlaceProduct(const Kernels<T>& kernels, const Tiles<T>& tiles, const EgruInputs<T>& in, const LivePieces<T>* pieces,
                 int64_t batch)
      : kernels_(kernels),
        tiles_(tiles),
        in_(in),
        pieces_(pieces),
        sums_(pieces ? pieces->groups() * tiles.count * kGates * tiles.width : 0),
        batch_(batch),
        index_(batch * tiles.units),
        value_(batch * tiles.units),
        count_(batch) {}

  // Joins the lists of all tiles; `values` stands beside their indices.
  void Join(const SegmentedLists<T>& events, const T* values) const {
    for (int64_t b = 0; b < batch_; ++b) {
      int32_t found = 0;
      for (int64_t tile = 0; tile < tiles_.count; ++tile) {
        const int64_t slot = events.slot(tile, b);
        for (int32_t e = 0; e < events.count[slot]; ++e, ++found) {
          const int64_t entry = slot * tiles_.width + e;
          index_[b * tiles_.units + found] = static_cast<int32_t>(tiles_.first(tile) + events.index[entry]);
          value_[b * tiles_.units + found] = values[entry];
        }
      }
      count_[b] = found;
    }
  }

  // Adds the rows of V that the joined events select, gates [first_gate, first_gate + gates), for tiles [first, last) and
  // samples [b0, b1). `to`: the rows of tile `first` from sample b0 on.
  void Add(int64_t first, int64_t last, int64_t b0, int64_t b1, int first_gate, int gates, const ProductRows<T>& to) const {
    if (pieces_) {
      AddPieces(first, last, b0, b1, first_gate, gates, to);
    } else if (in_.recurrent_kernel) {
      Add(in_.recurrent_kernel, kernels_.stream, first, last, b0, b1, first_gate, gates, to);
    } else {
      Add(in_.recurrent_int8, kernels_.stream_int8, first, last, b0, b1, first_gate, gates, to);
    }
  }

 private:
  // Sums lie in one piece while they grow: a place there is a column.
  void AddPieces(int64_t first, int64_t last, int64_t b0, int64_t b1, int first_gate, int gates,
                 const ProductRows<T>& to) const {
    const int64_t group = pieces_->GroupAt(first), stride = pieces_->Stride(group), width = tiles_.width;
    T* sums = sums_.get() + group * tiles_.count * kGates * width;
    for (int64_t b = b0; b < b1; ++b) {
      std::fill_n(sums + first_gate * stride, gates * stride, T{});
      pieces_->Add(group, first_gate, gates, count_[b], index_.get() + b * tiles_.units, value_.get() + b * tiles_.units, sums);
      for (int g = 0; g < gates; ++g) {
        const T* sum = sums + (first_gate + g) * stride;
        for (int64_t tile = 0; tile < last - first; ++tile, sum += width) {
          const T* start = to.start.base[g] + (b - b0) * to.start.stride[g] + tile * to.start_step[g];
          T* output = to.output.base[g] + (b - b0) * to.output.stride[g] + tile * to.output_step[g];
          for (int64_t i = 0; i < width; ++i) output[i] = start[i] + sum[i];
        }
      }
    }
  }

  template <typename Weight>
  void Add(const Weight* weights, void (*stream)(const StreamArguments<T, Weight>&), int64_t first, int64_t last, int64_t b0,
           int64_t b1, int first_gate, int gates, const ProductRows<T>& to) const {
    const int64_t column = tiles_.first(first), end = tiles_.first(last - 1) + tiles_.valid(last - 1);
    for (int64_t b = b0; b < b1; ++b) {
      const int32_t* index = index_.get() + b * tiles_.units;
      const T* value = value_.get() + b * tiles_.units;
      for (int64_t e = 0; e == 0 || e < count_[b]; e += kStreams) {
        StreamArguments<T, Weight> a;
        a.rows = static_cast<int>(std::min<int64_t>(kStreams, count_[b] - e));
        a.factor = value + e;
        a.length = end - column;
        for (int g = 0; g < gates; ++g) {
          const int64_t offset = (first_gate + g) * tiles_.units + column;
          for (int r = 0; r < a.rows; ++r) a.row[r] = weights + index[e + r] * kGates * tiles_.units + offset;
          a.scale = in_.recurrent_scale ? in_.recurrent_scale + offset : nullptr;
          a.output = to.output.base[g] + (b - b0) * to.output.stride[g];
          a.output_step = to.output_step[g];
          a.start = e > 0 ? a.output : to.start.base[g] + (b - b0) * to.start.stride[g];
          a.start_step = e > 0 ? to.output_step[g] : to.start_step[g];
          stream(a);
        }
      }
    }
  }

  const Kernels<T>& kernels_;
  const Tiles<T>& tiles_;
  const EgruInputs<T>& in_;
  const LivePieces<T>* const pieces_;
  const Buffer<T> sums_;  // of all gates of a group's tiles, for every group
  const int64_t batch_;
  const Buffer<int32_t> index_;  // the events of all tiles of a sample, [batch, units]
  const Buffer<T> value_;
  const Buffer<int32_t> count_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_IN_PLACE_PRODUCT_H_
