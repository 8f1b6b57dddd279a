// The forward pass. Per block of steps the input events are listed and projected; then each step is one phase
// (two without reset_after, where r must be known before the product that it scales), a task a tile and batch block:
//   pre-activations += events of y_{t-1} times the rows of V that they select    (Kernels::accumulate)
//   gates, c_t, y_t                                                               (Kernels::state_forward)
//   the tile's own events of y_t are listed for the next step                     (SegmentedLists::Fill)
#include <algorithm>
#include <atomic>

#include "egru.h"
#include "event_list.h"
#include "tiles.h"
#include "work.h"

namespace keras_egru {
namespace {

constexpr int64_t kStreamedRows = 8;    // rows of weights in place that are read together: streams that a processor follows
constexpr int64_t kStreamedGroups = 8;  // parts of such a row, each a task

template <typename T>
class Forward {
 public:
  Forward(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& in, const EgruOutputs<T>& out,
          Scheduler* scheduler)
      : shape_(shape),
        options_(options),
        in_(in),
        out_(out),
        kernels_(SelectKernels<T>()),
        tiles_(kernels_, shape.units),
        blocks_(BatchBlocks(shape.batch)),
        recurrent_(tiles_, in.recurrent_kernel, shape.units, ShouldPack(shape.batch)),
        input_(tiles_, in.kernel, shape.features, ShouldPack(shape.batch * shape.time)),
        groups_(recurrent_.packed() ? tiles_.count : std::min(tiles_.count, kStreamedGroups)),
        layout_{tiles_, shape.batch},
        steps_at_once_(StepsAtOnce(shape)),
        input_segments_(CeilDivide(shape.features, kMaxSegment)),
        input_events_(input_segments_, steps_at_once_ * shape.batch, kMaxSegment),
        events_{SegmentedLists<T>(tiles_.segments, shape.batch, tiles_.segment),
                SegmentedLists<T>(tiles_.segments, shape.batch, tiles_.segment)},
        joined_index_(recurrent_.packed() ? 0 : shape.batch * shape.units),
        joined_value_(joined_index_.size()),
        joined_count_(recurrent_.packed() ? 0 : shape.batch),
        gated_(options.reset_after ? 0 : tiles_.segments * shape.batch * tiles_.segment),
        threshold_(tiles_.count * tiles_.width),
        bias_((kGates + 1) * tiles_.count * tiles_.width),
        scratch_gates_(out.gates ? 0 : steps_at_once_ * RowsPerStep() * kGates * tiles_.width),
        scratch_candidate_(out.candidate || !options.reset_after ? 0
                                                                 : steps_at_once_ * RowsPerStep() * tiles_.width),
        team_(scheduler, TeamSize(scheduler, shape)) {
    std::fill(threshold_.get(), threshold_.get() + threshold_.size(), T(1));
    std::copy(in.threshold, in.threshold + shape.units, threshold_.get());
    FillBias();
  }

  EgruCounters Run() {
    EgruCounters counters;
    for (int64_t i = 0; i < shape_.batch * shape_.time; ++i) counters.steps += in_.mask ? in_.mask[i] != 0 : 1;
    team_.Run(tiles_.count, [&](int64_t tile, int) {
      recurrent_.Pack(tile);
      input_.Pack(tile);
      for (int64_t b = 0; b < shape_.batch; ++b) ListEvents(events_[0], -1, tile, b);
    });
    for (int64_t begin = 0; begin < shape_.time; begin += steps_at_once_) {
      const int64_t steps = std::min(steps_at_once_, shape_.time - begin);
      team_.Run(steps * blocks_, [&](int64_t task, int) { ListInputs(begin, task / blocks_, task % blocks_); });
      team_.Run(steps * tiles_.count, [&](int64_t task, int) { Project(begin, task % steps, task / steps); });
      for (int64_t t = begin; t < begin + steps; ++t) Step(t, t - begin);
    }
    counters.input_events = input_events_found_;
    counters.events = events_found_;
    counters.backward_entries = backward_entries_;
    counters.surrogate_entries = surrogate_entries_;
    return counters;
  }

 private:
  // Steps whose input events are listed and projected together: enough rows to read each input weight tile rarely, few
  // enough that lists, and gates that nobody keeps, stay in the cache.
  static int64_t StepsAtOnce(const EgruShape& shape) {
    constexpr int64_t rows = 512;
    return std::clamp<int64_t>(rows / shape.batch, 1, shape.time);
  }

  int64_t RowsPerStep() const { return tiles_.count * shape_.batch; }
  int64_t Row(int64_t t, int64_t b) const { return b * shape_.time + t; }
  bool Valid(int64_t t, int64_t b) const { return !in_.mask || in_.mask[Row(t, b)]; }

  // `slot` is the step's place in the gate storage: t itself where the gates are saved, else its place in the block.
  T* Gates(int64_t t, int64_t slot, int64_t tile, int64_t b) const {
    return out_.gates ? out_.gates + layout_.gates(t, tile, b) : scratch_gates_.get() + layout_.gates(slot, tile, b);
  }
  T* Candidate(int64_t t, int64_t slot, int64_t tile, int64_t b) const {
    if (!options_.reset_after) return nullptr;
    return out_.candidate ? out_.candidate + layout_.candidate(t, tile, b)
                          : scratch_candidate_.get() + layout_.candidate(slot, tile, b);
  }
  TileRows<T> GateRows(T* gates, T* candidate, int first_gate, int count) const {
    TileRows<T> rows;
    for (int g = 0; g < count; ++g) {
      rows.base[g] = gates + (first_gate + g) * tiles_.width;
      rows.stride[g] = kGates * tiles_.width;
    }
    if (candidate && first_gate + count == kGates) {
      rows.base[count - 1] = candidate;
      rows.stride[count - 1] = tiles_.width;
    }
    return rows;
  }

  std::pair<int64_t, int64_t> TileRange(int64_t group) const {
    return {tiles_.count * group / groups_, tiles_.count * (group + 1) / groups_};
  }

  const T* Y(int64_t t, int64_t b) const {
    return t < 0 ? in_.initial_y + b * shape_.units : out_.y + Row(t, b) * shape_.units;
  }

  // The events of y_t in one tile, as step t + 1 will read them; none where that step is masked. Returns their number.
  int64_t ListEvents(const SegmentedLists<T>& events, int64_t t, int64_t tile, int64_t b) const {
    const bool read = t + 1 < shape_.time && Valid(t + 1, b);
    int64_t found = 0;
    for (int64_t s = 0; s < tiles_.segments_per_tile(); ++s) {
      const int64_t segment = tile * tiles_.segments_per_tile() + s;
      const int64_t first = tiles_.first(tile) + s * tiles_.segment;
      const int64_t columns = std::clamp<int64_t>(shape_.units - first, 0, tiles_.segment);
      found += events.Fill(kernels_, segment, b, Y(t, b) + first, columns);
      if (!read) events.Clear(segment, b);
    }
    return found;
  }

  void ListInputs(int64_t begin, int64_t slot, int64_t block) {
    const auto [b0, b1] = BlockRange(block, shape_.batch);
    int64_t found = 0;
    for (int64_t b = b0; b < b1; ++b) {
      for (int64_t s = 0; s < input_segments_; ++s) {
        const int64_t row = slot * shape_.batch + b, first = s * kMaxSegment;
        if (Valid(begin + slot, b)) {
          const int64_t columns = std::min<int64_t>(kMaxSegment, shape_.features - first);
          found += input_events_.Fill(kernels_, s, row, in_.inputs + Row(begin + slot, b) * shape_.features + first, columns);
        } else {
          input_events_.Clear(s, row);
        }
      }
    }
    input_events_found_ += found;
  }

  // x U + b for all samples of one step and tile.
  void Project(int64_t begin, int64_t slot, int64_t tile) const {
    const TileRows<T> gates = GateRows(Gates(begin + slot, slot, tile, 0), nullptr, 0, kGates);
    TileRows<const T> bias;
    for (int g = 0; g < kGates; ++g) bias.base[g] = Bias(tile, g);
    for (int64_t s = 0; s < std::max<int64_t>(1, input_segments_); ++s) {
      kernels_.accumulate[kGates - 1][tiles_.vectors(tile) - 1]({shape_.batch,
                                                                 input_events_.From(s, slot * shape_.batch),
                                                                 s == 0 ? bias : TileRows<const T>(gates), gates,
                                                                 input_.Rows(tile, s * kMaxSegment, 0, kGates)});
    }
  }

  // The bias that the pre-activation of gate u, r or z starts from; with reset_after, 3 is what y V_z starts from.
  const T* Bias(int64_t tile, int gate) const { return bias_.get() + (gate * tiles_.count + tile) * tiles_.width; }

  void FillBias() const {
    bias_.Zero();
    const int64_t n = shape_.units, padded = tiles_.count * tiles_.width;
    for (int g = 0; g < kGates; ++g) std::copy_n(in_.bias + g * n, n, bias_.get() + g * padded);
    if (!options_.reset_after) return;
    for (int64_t i = 0; i < n; ++i) {
      for (int g = 0; g < 2; ++g) bias_[g * padded + i] += in_.bias[(kGates + g) * n + i];
    }
    std::copy_n(in_.bias + 5 * n, n, bias_.get() + 3 * padded);
  }

  void Step(int64_t t, int64_t slot) {
    const SegmentedLists<T>& events = events_[t % 2];
    if (!options_.reset_after) {
      Join(events, events.value.get());
      team_.Run(groups_ * blocks_, [&](int64_t task, int) { ResetGate(t, slot, task / blocks_, task % blocks_); });
    }
    const T* values = options_.reset_after ? events.value.get() : gated_.get();
    Join(events, values);
    team_.Run(groups_ * blocks_, [&](int64_t task, int) {
      const auto [first, last] = TileRange(task / blocks_);
      const auto [b0, b1] = BlockRange(task % blocks_, shape_.batch);
      const int first_gate = options_.reset_after ? 0 : 2;
      AddProduct(events, values, t, slot, first, last, b0, b1, first_gate, kGates - first_gate);
      int64_t found = 0;
      for (int64_t tile = first; tile < last; ++tile) {
        UpdateState(t, tile, b0, b1, Gates(t, slot, tile, b0), Candidate(t, slot, tile, b0));
        for (int64_t b = b0; b < b1; ++b) {
          const int64_t listed = ListEvents(events_[(t + 1) % 2], t, tile, b);
          if (Valid(t, b)) found += listed;
        }
      }
      events_found_ += found;
    });
  }

  // reset_after=false: u and r of a group of tiles, and the events of those tiles scaled by r.
  void ResetGate(int64_t t, int64_t slot, int64_t group, int64_t block) const {
    const SegmentedLists<T>& events = events_[t % 2];
    const auto [first, last] = TileRange(group);
    const auto [b0, b1] = BlockRange(block, shape_.batch);
    AddProduct(events, events.value.get(), t, slot, first, last, b0, b1, 0, 2);
    for (int64_t tile = first; tile < last; ++tile) {
      for (int64_t b = b0; b < b1; ++b) {
        T* r = Gates(t, slot, tile, b) + tiles_.width;
        kernels_.sigmoid(r, tiles_.vectors(tile) * tiles_.lanes);
        for (int64_t s = 0; s < tiles_.segments_per_tile(); ++s) {
          const int64_t row = events.slot(tile * tiles_.segments_per_tile() + s, b), entry = row * tiles_.segment;
          for (int64_t e = entry; e < entry + events.count[row]; ++e) {
            gated_[e] = r[s * tiles_.segment + events.index[e]] * events.value[e];
          }
        }
      }
    }
  }

  // Weights that are read in place come from far memory, once a step. There one list of all events of a sample is better
  // than segments, whose rows would stay in the cache.
  void Join(const SegmentedLists<T>& events, const T* values) const {
    if (recurrent_.packed()) return;
    for (int64_t b = 0; b < shape_.batch; ++b) {
      int32_t found = 0;
      for (int64_t s = 0; s < tiles_.segments; ++s) {
        const int64_t slot = events.slot(s, b);
        for (int32_t e = 0; e < events.count[slot]; ++e, ++found) {
          const int64_t entry = slot * tiles_.segment + e;
          joined_index_[b * shape_.units + found] = static_cast<int32_t>(s * tiles_.segment + events.index[entry]);
          joined_value_[b * shape_.units + found] = values[entry];
        }
      }
      joined_count_[b] = found;
    }
  }

  // What a product is added to: gates [first_gate, first_gate + gates) of one tile. With reset_after y V_z has a place of
  // its own, and starts from its bias.
  struct Targets {
    TileRows<const T> start;
    TileRows<T> output;
  };
  Targets TargetsOf(int64_t t, int64_t slot, int64_t tile, int64_t b, int first_gate, int gates) const {
    T* candidate = gates == kGates ? Candidate(t, slot, tile, b) : nullptr;
    Targets targets;
    targets.output = GateRows(Gates(t, slot, tile, b), candidate, first_gate, gates);
    targets.start = targets.output;
    if (candidate) {
      targets.start.base[2] = Bias(tile, 3);
      targets.start.stride[2] = 0;
    }
    return targets;
  }

  // Adds the rows of V that the events select, for tiles [first, last) and samples [b0, b1).
  void AddProduct(const SegmentedLists<T>& events, const T* values, int64_t t, int64_t slot, int64_t first, int64_t last,
                  int64_t b0, int64_t b1, int first_gate, int gates) const {
    if (!recurrent_.packed()) return StreamProduct(t, slot, first, last, b0, b1, first_gate, gates);
    for (int64_t tile = first; tile < last; ++tile) {
      const Targets to = TargetsOf(t, slot, tile, b0, first_gate, gates);
      for (int64_t s = 0; s * tiles_.segment < shape_.units; ++s) {
        Lists<T> lists = events.From(s, b0);
        lists.value = values + events.slot(s, b0) * tiles_.segment;
        kernels_.accumulate[gates - 1][tiles_.vectors(tile) - 1](
            {b1 - b0, lists, s == 0 ? to.start : to.output, to.output,
             recurrent_.Rows(tile, s * tiles_.segment, first_gate, gates),
             recurrent_.Memory(tile, (s + 1) * tiles_.segment, tiles_.segment)});
      }
    }
  }

  // The same from weights in place: a few rows at a time over all tiles, so that each row is read in order.
  void StreamProduct(int64_t t, int64_t slot, int64_t first, int64_t last, int64_t b0, int64_t b1, int first_gate,
                     int gates) const {
    int64_t longest = 0;
    for (int64_t b = b0; b < b1; ++b) longest = std::max<int64_t>(longest, joined_count_[b]);
    for (int64_t e = 0; e == 0 || e < longest; e += kStreamedRows) {
      int64_t begin[kMostInPlace];
      int32_t count[kMostInPlace];
      for (int64_t b = b0; b < b1; ++b) {
        begin[b - b0] = b * shape_.units + e;
        count[b - b0] = static_cast<int32_t>(std::clamp<int64_t>(joined_count_[b] - e, 0, kStreamedRows));
      }
      const Lists<T> lists = {joined_index_.get(), joined_value_.get(), count, begin, 0};
      for (int64_t tile = first; tile < last; ++tile) {
        const Targets to = TargetsOf(t, slot, tile, b0, first_gate, gates);
        kernels_.accumulate[gates - 1][tiles_.vectors(tile) - 1](
            {b1 - b0, lists, e == 0 ? to.start : to.output, to.output, recurrent_.Rows(tile, 0, first_gate, gates), {},
             tile + 1 < last});
      }
    }
  }

  void UpdateState(int64_t t, int64_t tile, int64_t b0, int64_t b1, T* gates, T* candidate) {
    const int64_t n = shape_.units, first = tiles_.first(tile), stride = shape_.time * n;
    StateForwardArguments<T> a = {};
    a.rows = b1 - b0;
    a.width = tiles_.valid(tile);
    a.reset_after = options_.reset_after;
    a.reset_gate_known = !options_.reset_after;
    a.reset = options_.reset;
    a.height = static_cast<T>(options_.surrogate_height);
    a.inverse_width = static_cast<T>(1.0 / options_.surrogate_width);
    a.gates = gates;
    a.candidate = candidate;
    a.threshold = threshold_.get() + tile * tiles_.width;
    a.previous_y = Y(t - 1, b0) + first;
    a.previous_c = (t == 0 ? in_.initial_c + b0 * n : out_.c + Row(t - 1, b0) * n) + first;
    a.previous_y_stride = a.previous_c_stride = t == 0 ? n : stride;
    a.y = out_.y + Row(t, b0) * n + first;
    a.c = out_.c + Row(t, b0) * n + first;
    a.stride = stride;
    if (in_.zoneout) {
      a.zoneout = in_.zoneout_is_scalar ? in_.zoneout : in_.zoneout + Row(t, b0) * n + first;
      a.zoneout_stride = in_.zoneout_is_scalar ? -1 : stride;
    }
    if (in_.mask) {
      a.mask = in_.mask + Row(t, b0);
      a.mask_stride = shape_.time;
    }
    kernels_.state_forward(a);
    backward_entries_ += a.backward_entries;
    surrogate_entries_ += a.surrogate_entries;
  }

  const EgruShape shape_;
  const EgruOptions options_;
  const EgruInputs<T> in_;
  const EgruOutputs<T> out_;
  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const int64_t blocks_;  // of the batch
  const TiledWeights<T> recurrent_, input_;
  const int64_t groups_;  // of tiles, each a task
  const GateLayout<T> layout_;
  const int64_t steps_at_once_, input_segments_;
  const SegmentedLists<T> input_events_;
  const SegmentedLists<T> events_[2];  // of y_{t-1} and y_t, in turn
  const Buffer<int32_t> joined_index_;  // the events of all segments of a sample, [batch, units]
  const Buffer<T> joined_value_;
  const Buffer<int32_t> joined_count_;
  const Buffer<T> gated_;              // r * y, beside the values of the events
  const Buffer<T> threshold_, bias_;
  const Buffer<T> scratch_gates_, scratch_candidate_;
  std::atomic<int64_t> input_events_found_{0}, events_found_{0}, backward_entries_{0}, surrogate_entries_{0};
  Team team_;  // last: it closes before anything that a helper might read goes away
};

}  // namespace

template <typename T>
int64_t SavedGates(const EgruShape& shape) {
  return SavedCandidate<T>(shape, EgruOptions{}) * kGates;
}

template <typename T>
int64_t SavedCandidate(const EgruShape& shape, const EgruOptions& options) {
  const int64_t width = SelectKernels<T>().tile_units;
  return options.reset_after ? shape.time * shape.batch * CeilDivide(shape.units, width) * width : 0;
}

template <typename T>
EgruCounters EgruForward(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& inputs,
                         const EgruOutputs<T>& outputs, Scheduler* scheduler) {
  return Forward<T>(shape, options, inputs, outputs, scheduler).Run();
}

#define INSTANTIATE(T)                                                                                             \
  template int64_t SavedGates<T>(const EgruShape&);                                                                \
  template int64_t SavedCandidate<T>(const EgruShape&, const EgruOptions&);                                        \
  template EgruCounters EgruForward<T>(const EgruShape&, const EgruOptions&, const EgruInputs<T>&,                 \
                                       const EgruOutputs<T>&, Scheduler*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
