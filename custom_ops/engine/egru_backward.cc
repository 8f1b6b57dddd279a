// The backward pass. Steps run backwards in time, one phase a step (two without reset_after), a task a tile and batch
// block:
//   dL/dy_t of the tile = upstream + rows of V times dA_{t+1}, only where e_t = dy_t/dc_t != 0      (Kernels::dots)
//   gradients of the pre-activations, of thresholds and biases, and what step t-1 inherits (Kernels::state_backward)
// dL/dy enters dL/dc times e, so leaving out entries with e = 0 changes nothing. The weight gradients follow, over all
// steps at once: row i of dV collects the events of unit i, row f of dU the nonzero inputs f (Kernels::accumulate).
#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "column_lists.h"
#include "egru.h"
#include "event_list.h"
#include "tiles.h"
#include "work.h"

namespace keras_egru {
namespace {

constexpr int64_t kGradientRows = 512;  // rows of a weight gradient in one task: its tile fits the L2 cache

// Rows of the saved gates (or of their gradients) of one tile, with the third gate taken from `candidate` if given.
template <typename T>
TileRows<const T> ReadGates(const Tiles<T>& tiles, const T* gates, const T* candidate, int first_gate, int count) {
  TileRows<const T> rows;
  for (int g = 0; g < count; ++g) {
    rows.base[g] = gates + (first_gate + g) * tiles.width;
    rows.stride[g] = kGates * tiles.width;
  }
  if (candidate) {
    rows.base[count - 1] = candidate;
    rows.stride[count - 1] = tiles.width;
  }
  return rows;
}

template <typename T>
class Backward {
 public:
  Backward(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& in, const T* y, const T* c,
           const T* grad_y, const T* grad_c, const EgruGradients<T>& out, Scheduler* scheduler)
      : shape_(shape),
        options_(options),
        in_(in),
        y_(y),
        c_(c),
        grad_y_(grad_y),
        grad_c_(grad_c),
        out_(out),
        kernels_(SelectKernels<T>()),
        tiles_(kernels_, shape.units),
        blocks_(BatchBlocks(shape.batch)),
        layout_{tiles_, shape.batch},
        recurrent_(tiles_, in.recurrent_kernel, shape.units, ShouldPack(shape.batch)),
        threshold_(tiles_.count * tiles_.width),
        first_valid_(shape.batch),
        carry_y_(tiles_.count * shape.batch * tiles_.width),
        carry_c_(tiles_.count * shape.batch * tiles_.width),
        partial_(tiles_.count * blocks_ * kPartials * tiles_.width),
        events_(kernels_, shape.time * shape.batch, shape.units),
        input_events_(kernels_, shape.time * shape.batch, shape.features),
        team_(scheduler, TeamSize(scheduler, shape)) {
    std::fill(threshold_.get(), threshold_.get() + threshold_.size(), T(1));
    std::copy(in.threshold, in.threshold + shape.units, threshold_.get());
    for (int64_t b = 0; b < shape.batch; ++b) {
      first_valid_[b] = 0;
      while (first_valid_[b] < shape.time && !Valid(first_valid_[b], b)) ++first_valid_[b];
    }
    carry_y_.Zero();
    carry_c_.Zero();
    partial_.Zero();
    for (int member = 0; member < team_.members(); ++member) scratch_.emplace_back(new Scratch(tiles_, shape));
  }

  EgruGradientCounters Run() {
    team_.Run(tiles_.count, [&](int64_t tile, int) { recurrent_.Pack(tile); });
    ListEvents();
    for (int64_t t = shape_.time - 1; t >= 0; --t) Step(t);
    team_.Run(tiles_.count * blocks_, [&](int64_t task, int member) {
      const int64_t tile = task / blocks_;
      const auto [b0, b1] = BlockRange(task % blocks_, shape_.batch);
      AddRecurrentGradient(-1, tile, b0, b1, *scratch_[member]);
      for (int64_t b = b0; b < b1; ++b) {
        const int64_t to = b * shape_.units + tiles_.first(tile);
        std::copy_n(CarryY(tile, b), tiles_.valid(tile), out_.initial_y + to);
        std::copy_n(CarryC(tile, b), tiles_.valid(tile), out_.initial_c + to);
      }
    });
    ReducePartials();
    WeightGradient(events_, shape_.units, true, out_.recurrent_kernel);
    WeightGradient(input_events_, shape_.features, false, out_.kernel);
    return {backward_entries_, events_.entries(), input_events_.entries()};
  }

 private:
  static constexpr int kPartials = 5;  // sums of a task over its samples: threshold; bias u, r, z; recurrent bias z

  // What one member of the team needs for itself.
  struct Scratch {
    Scratch(const Tiles<T>& tiles, const EgruShape& shape)
        : index(kBatchBlock * tiles.width),
          count(tiles.segments_per_tile() * kBatchBlock),
          result(kBatchBlock * tiles.width),
          reset_gate(kBatchBlock * tiles.width),
          weights(std::min(kGradientRows, std::max(shape.units, shape.features)) * kGates * tiles.width) {}
    Buffer<int32_t> index;  // needed entries, [segments_per_tile, samples, segment]
    Buffer<int32_t> count;
    Buffer<T> result;      // their dot products
    Buffer<T> reset_gate;  // r of the samples
    Buffer<T> weights;     // rows of a weight gradient, [rows, 3, width]
  };

  int64_t Row(int64_t t, int64_t b) const { return b * shape_.time + t; }
  bool Valid(int64_t t, int64_t b) const { return !in_.mask || in_.mask[Row(t, b)]; }
  const T* Y(int64_t t, int64_t b) const {
    return t < 0 ? in_.initial_y + b * shape_.units : y_ + Row(t, b) * shape_.units;
  }
  const T* C(int64_t t, int64_t b) const {
    return t < 0 ? in_.initial_c + b * shape_.units : c_ + Row(t, b) * shape_.units;
  }
  T* Gates(int64_t t, int64_t tile, int64_t b) const { return out_.gates + layout_.gates(t, tile, b); }
  T* Candidate(int64_t t, int64_t tile, int64_t b) const {
    return options_.reset_after ? out_.candidate + layout_.candidate(t, tile, b) : nullptr;
  }
  T* CarryY(int64_t tile, int64_t b) const { return carry_y_.get() + (tile * shape_.batch + b) * tiles_.width; }
  T* CarryC(int64_t tile, int64_t b) const { return carry_c_.get() + (tile * shape_.batch + b) * tiles_.width; }

  // Rows are numbered t * batch + b; in the lists by their place in the gates, so that one base serves a whole tile.
  void ListEvents() {
    const auto place = [&](int64_t row) { return layout_.row(row / shape_.batch, 0, row % shape_.batch); };
    events_.Build(
        team_, !options_.reset_after,
        [&](int64_t row) -> const T* {
          const int64_t t = row / shape_.batch, b = row % shape_.batch;
          return Valid(t, b) ? Y(t - 1, b) : nullptr;
        },
        place);
    if (!options_.reset_after) {  // (r * y) multiplies V_z; r is still in the gates
      events_.FillExtra(team_, [&](int64_t unit, int64_t index, T value) {
        const int64_t row = index + unit / tiles_.width * shape_.batch;
        return value * out_.gates[(row * kGates + 1) * tiles_.width + unit % tiles_.width];
      });
    }
    input_events_.Build(
        team_, false,
        [&](int64_t row) -> const T* {
          const int64_t t = row / shape_.batch, b = row % shape_.batch;
          return Valid(t, b) ? in_.inputs + Row(t, b) * shape_.features : nullptr;
        },
        place);
  }

  void Step(int64_t t) {
    team_.Run(tiles_.count * blocks_, [&](int64_t task, int member) {
      const int64_t tile = task / blocks_;
      const auto [b0, b1] = BlockRange(task % blocks_, shape_.batch);
      if (t + 1 < shape_.time) AddRecurrentGradient(t, tile, b0, b1, *scratch_[member]);
      UpdateState(t, tile, task % blocks_, b0, b1);
    });
    if (!options_.reset_after) {
      team_.Run(tiles_.count * blocks_, [&](int64_t task, int member) {
        ResetGateGradient(t, task / blocks_, task % blocks_, *scratch_[member]);
      });
    }
  }

  // Lists the entries of the tile whose dL/dy_t is needed, and adds the dot products of their rows of V with dA_{t+1}
  // over gates [first_gate, first_gate + gates).
  void DotProducts(int64_t t, int64_t tile, int64_t b0, int64_t b1, int first_gate, int gates, Scratch& scratch) const {
    const int64_t rows = b1 - b0;
    const T height = static_cast<T>(options_.surrogate_height);
    const T inverse_width = static_cast<T>(1.0 / options_.surrogate_width);
    for (int64_t s = 0; s < tiles_.segments_per_tile(); ++s) {
      const int64_t first = tiles_.first(tile) + s * tiles_.segment;
      const int64_t columns = std::clamp<int64_t>(shape_.units - first, 0, tiles_.segment);
      for (int64_t b = b0; b < b1; ++b) {
        int32_t* index = scratch.index.get() + (s * kBatchBlock + b - b0) * tiles_.segment;
        int64_t found = 0;
        if (Valid(t + 1, b)) {
          if (t < first_valid_[b]) {  // y is the initial state, which does not come from c
            for (; found < columns; ++found) index[found] = static_cast<int32_t>(found);
          } else {
            found = kernels_.list_passing(C(t, b) + first, threshold_.get() + first, columns, height, inverse_width, index);
          }
        }
        scratch.count[s * kBatchBlock + b - b0] = static_cast<int32_t>(found);
      }
    }
    std::fill_n(scratch.result.get(), kBatchBlock * tiles_.width, T{});
    for (int64_t k = 0; k < tiles_.count; ++k) {
      const auto kernel = kernels_.dots[gates - 1][tiles_.vectors(k) - 1];
      const TileRows<const T> left =
          ReadGates<T>(tiles_, Gates(t + 1, k, b0), nullptr, first_gate, gates);
      for (int64_t s = 0; s < tiles_.segments_per_tile(); ++s) {
        const int64_t first = tiles_.first(tile) + s * tiles_.segment;
        if (first >= shape_.units) break;
        const int64_t entry = s * kBatchBlock * tiles_.segment;
        const Lists<T> lists = {scratch.index.get() + entry, nullptr, scratch.count.get() + s * kBatchBlock, nullptr,
                                tiles_.segment};
        const bool last = s + 1 == tiles_.segments_per_tile() || first + tiles_.segment >= shape_.units;
        const Ahead ahead = recurrent_.Memory(last ? k + 1 : k, last ? tiles_.first(tile) : first + tiles_.segment,
                                              tiles_.segment);
        kernel({rows, lists, left, recurrent_.Rows(k, first, first_gate, gates), scratch.result.get() + entry, ahead,
                !recurrent_.packed()});
      }
    }
  }

  // visit(b, unit of the tile, dot product) for what DotProducts listed.
  template <typename Visit>
  int64_t ForResults(int64_t b0, int64_t b1, const Scratch& scratch, const Visit& visit) const {
    int64_t visited = 0;
    for (int64_t s = 0; s < tiles_.segments_per_tile(); ++s) {
      for (int64_t b = b0; b < b1; ++b) {
        const int64_t entry = (s * kBatchBlock + b - b0) * tiles_.segment;
        const int32_t count = scratch.count[s * kBatchBlock + b - b0];
        for (int32_t e = 0; e < count; ++e) visit(b, s * tiles_.segment + scratch.index[entry + e], scratch.result[entry + e]);
        visited += count;
      }
    }
    return visited;
  }

  // dL/dy_t += V dA_{t+1}, where it is needed.
  void AddRecurrentGradient(int64_t t, int64_t tile, int64_t b0, int64_t b1, Scratch& scratch) {
    DotProducts(t, tile, b0, b1, 0, options_.reset_after ? kGates : 2, scratch);
    backward_entries_ += ForResults(b0, b1, scratch, [&](int64_t b, int64_t unit, T dot) { CarryY(tile, b)[unit] += dot; });
  }

  // reset_after=false: with s = V_z dA_z = dL/d(r y), the gate r gets s y r (1 - r) and y_{t-1} gets s r.
  void ResetGateGradient(int64_t t, int64_t tile, int64_t block, Scratch& scratch) const {
    const auto [b0, b1] = BlockRange(block, shape_.batch);
    const int64_t first_row = b0;
    DotProducts(t - 1, tile, b0, b1, 2, 1, scratch);
    T* gate = Gates(t, tile, b0) + tiles_.width;  // holds r, and gets the gradient of a_r
    for (int64_t row = 0; row < b1 - b0; ++row) {
      T* r = gate + row * kGates * tiles_.width;
      std::copy_n(r, tiles_.width, scratch.reset_gate.get() + row * tiles_.width);
      std::fill_n(r, tiles_.width, T{});
    }
    T* grad_bias = Partial(tile, block, 2);
    ForResults(b0, b1, scratch, [&](int64_t b, int64_t unit, T s) {
      const T r = scratch.reset_gate[(b - first_row) * tiles_.width + unit];
      const T grad_a_r = s * Y(t - 1, b)[tiles_.first(tile) + unit] * r * (T(1) - r);
      CarryY(tile, b)[unit] += s * r;
      gate[(b - first_row) * kGates * tiles_.width + unit] = grad_a_r;
      grad_bias[unit] += grad_a_r;
    });
  }

  void UpdateState(int64_t t, int64_t tile, int64_t block, int64_t b0, int64_t b1) const {
    const int64_t n = shape_.units, first = tiles_.first(tile), stride = shape_.time * n;
    StateBackwardArguments<T> a = {};
    a.rows = b1 - b0;
    a.width = tiles_.valid(tile);
    a.reset_after = options_.reset_after;
    a.reset = options_.reset;
    a.height = static_cast<T>(options_.surrogate_height);
    a.inverse_width = static_cast<T>(1.0 / options_.surrogate_width);
    a.gates = Gates(t, tile, b0);
    a.candidate = Candidate(t, tile, b0);
    a.threshold = threshold_.get() + tile * tiles_.width;
    a.previous_y = Y(t - 1, b0) + first;
    a.previous_c = C(t - 1, b0) + first;
    a.previous_y_stride = a.previous_c_stride = t == 0 ? n : stride;
    a.c = C(t, b0) + first;
    a.stride = stride;
    a.grad_y = grad_y_ ? grad_y_ + Row(t, b0) * n + first : nullptr;
    a.grad_c = grad_c_ ? grad_c_ + Row(t, b0) * n + first : nullptr;
    a.carry_y = CarryY(tile, b0);
    a.carry_c = CarryC(tile, b0);
    if (in_.zoneout) {
      a.zoneout = in_.zoneout_is_scalar ? in_.zoneout : in_.zoneout + Row(t, b0) * n + first;
      a.zoneout_stride = in_.zoneout_is_scalar ? -1 : stride;
    }
    if (in_.mask) {
      a.mask = in_.mask + Row(t, b0);
      a.mask_stride = shape_.time;
    }
    a.grad_threshold = Partial(tile, block, 0);
    a.grad_bias = Partial(tile, block, 1);
    kernels_.state_backward(a);
  }

  T* Partial(int64_t tile, int64_t block, int which) const {
    return partial_.get() + ((tile * blocks_ + block) * kPartials + which) * tiles_.width;
  }

  // Sums over batch blocks, in their order.
  void ReducePartials() const {
    const int64_t n = shape_.units;
    for (int64_t i = 0; i < n; ++i) {
      T sums[kPartials] = {};
      for (int64_t block = 0; block < blocks_; ++block) {
        for (int which = 0; which < kPartials; ++which) {
          sums[which] += Partial(i / tiles_.width, block, which)[i % tiles_.width];
        }
      }
      out_.threshold[i] = sums[0];
      for (int g = 0; g < kGates; ++g) out_.bias[g * n + i] = sums[1 + g];
      if (options_.reset_after) {
        out_.bias[3 * n + i] = sums[1];
        out_.bias[4 * n + i] = sums[2];
        out_.bias[5 * n + i] = sums[4];
      }
    }
  }

  // gradient[i, :] = sum over the listed entries of row i: value times dA of their step and sample.
  void WeightGradient(const ColumnLists<T>& lists, int64_t rows, bool recurrent, T* gradient) {
    const int64_t blocks = CeilDivide(rows, kGradientRows), width = tiles_.width;
    team_.Run(tiles_.count * blocks, [&](int64_t task, int member) {
      const int64_t tile = task / blocks, first = task % blocks * kGradientRows;
      const int64_t count = std::min(kGradientRows, rows - first);
      T* weights = scratch_[member]->weights.get();
      std::fill_n(weights, count * kGates * width, T{});
      const T* gates = Gates(0, tile, 0);
      const T* candidate = recurrent ? nullptr : Candidate(0, tile, 0);
      const bool split = recurrent && !options_.reset_after;  // r scales what V_z reads
      const int joint = split ? kGates - 1 : kGates;
      for (int64_t chunk = 0; chunk < lists.chunks(); ++chunk) {
        Accumulate(lists.From(chunk, first, false), count, weights, 0, joint, tile,
                   ReadGates<T>(tiles_, gates, candidate, 0, joint), NextChunk(chunk, tile));
        if (split) {
          Accumulate(lists.From(chunk, first, true), count, weights, joint, 1, tile,
                     ReadGates<T>(tiles_, gates, nullptr, joint, 1), {});
        }
      }
      for (int64_t row = 0; row < count; ++row) {
        for (int g = 0; g < kGates; ++g) {
          std::copy_n(weights + (row * kGates + g) * width, tiles_.valid(tile),
                      gradient + ((first + row) * kGates + g) * shape_.units + tiles_.first(tile));
        }
      }
    });
  }

  // The gates that the chunk after this one reads, as far as they are in one piece.
  Ahead NextChunk(int64_t chunk, int64_t tile) const {
    const int64_t row = (chunk + 1) * ColumnLists<T>::kChunk, t = row / shape_.batch, b = row % shape_.batch;
    if (t >= shape_.time) return {};
    const int64_t rows = std::min(ColumnLists<T>::kChunk, shape_.batch - b);
    return {reinterpret_cast<const char*>(Gates(t, tile, b)),
            rows * kGates * tiles_.width * static_cast<int64_t>(sizeof(T))};
  }

  void Accumulate(const Lists<T>& lists, int64_t rows, T* weights, int first_gate, int gates, int64_t tile,
                  const TileRows<const T>& source, const Ahead& ahead) const {
    TileRows<T> output;
    for (int g = 0; g < gates; ++g) {
      output.base[g] = weights + (first_gate + g) * tiles_.width;
      output.stride[g] = kGates * tiles_.width;
    }
    kernels_.accumulate[gates - 1][tiles_.vectors(tile) - 1](
        {rows, lists, output, output, source, ahead});
  }

  const EgruShape shape_;
  const EgruOptions options_;
  const EgruInputs<T> in_;
  const T *const y_, *const c_, *const grad_y_, *const grad_c_;
  const EgruGradients<T> out_;
  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const int64_t blocks_;  // of the batch
  const GateLayout<T> layout_;
  const TiledWeights<T> recurrent_;
  const Buffer<T> threshold_;
  const Buffer<int64_t> first_valid_;  // [batch], the first step that is not masked
  Buffer<T> carry_y_, carry_c_;        // [tiles, batch, width]: dL/dy and dL/dc that step t inherits from step t+1
  Buffer<T> partial_;                  // [tiles, batch blocks, kPartials, width]
  ColumnLists<T> events_, input_events_;
  std::vector<std::unique_ptr<Scratch>> scratch_;  // one a member of the team
  std::atomic<int64_t> backward_entries_{0};
  Team team_;  // last: it closes before anything that a helper might read goes away
};

}  // namespace

template <typename T>
EgruGradientCounters EgruBackward(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& inputs,
                                  const T* y, const T* c, const T* grad_y, const T* grad_c,
                                  const EgruGradients<T>& gradients, Scheduler* scheduler) {
  return Backward<T>(shape, options, inputs, y, c, grad_y, grad_c, gradients, scheduler).Run();
}

#define INSTANTIATE(T)                                                                                            \
  template EgruGradientCounters EgruBackward<T>(const EgruShape&, const EgruOptions&, const EgruInputs<T>&,       \
                                                const T*, const T*, const T*, const T*, const EgruGradients<T>&,  \
                                                Scheduler*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
