// The forward pass. Each step is one phase (two without reset_after, where r must be known before the product that it
// scales), a task a tile and batch block:
//   pre-activations  = inputs times U, where they were not made for several steps at once  (input_projection.h)
//   pre-activations += events of y_{t-1} times the rows of V that they select              (Kernels::accumulate)
//   gates, c_t, y_t, and the tile's own events of y_t, listed for the next step            (Kernels::state_forward)
// Where so little is silent that a dense product is faster, y_{t-1} is packed and multiplied whole (Kernels::dense); that
// is decided anew for every step, from the number of events. A few samples read weights in place (in_place_product.h). Pruned
// weights are a third way: each live one is multiplied with all samples (live_lists.h).
#include <algorithm>
#include <utility>
#include <vector>

#include "dense_blocks.h"
#include "egru.h"
#include "event_list.h"
#include "in_place_product.h"
#include "input_projection.h"
#include "live_product.h"
#include "padded_units.h"
#include "product_choice.h"
#include "pruned_weights.h"
#include "tiles.h"
#include "work.h"

namespace keras_egru {
namespace {

template <typename T>
class Forward {
 public:
  Forward(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& in, const EgruOutputs<T>& out,
          Scheduler* scheduler)
      : shape_(shape),
        options_(options),
        kernels_(SelectKernels<T>()),
        tiles_(kernels_, shape.units),
        given_int8_(in.recurrent_int8),
        widened_(in.recurrent_int8 && (ShouldPack(shape.batch) || shape.units % tiles_.lanes != 0)
                     ? shape.units * kGates * shape.units
                     : 0),
        in_(WithFloats(in, widened_)),
        pieces_(in.pruned ? in.pruned->pieces.get() : nullptr),
        columns_(in.pruned ? in.pruned->columns.get() : nullptr),
        out_(out),
        blocks_(BatchBlocks(shape)),
        recurrent_(tiles_, in_.recurrent_kernel, shape.units, ShouldPack(shape.batch)),
        in_place_(pieces_ || !recurrent_.packed()),
        // Weights in place are read best in long pieces of a row: one for each thread.
        groups_(pieces_     ? pieces_->groups()
                : in_place_ ? std::min<int64_t>(tiles_.count, TeamSize(scheduler, shape))
                            : tiles_.count),
        list_all_(in_place_ && options.products == Products::kDense),
        row_blocks_(CeilDivide(shape.batch, tiles_.width)),
        places_{tiles_.count},
        recurrent_blocks_(kernels_),
        event_blocks_(kernels_),
        gated_blocks_(kernels_),
        layout_{tiles_, shape.batch},
        input_(kernels_, tiles_, shape, options.products, in_),
        events_{SegmentedLists<T>(tiles_.count, shape.batch, tiles_.width),
                SegmentedLists<T>(tiles_.count, shape.batch, tiles_.width)},
        in_place_product_(kernels_, tiles_, in_, pieces_, groups_, in_place_ ? shape.batch : 0),
        gated_(options.reset_after ? 0 : events_[0].value.size()),
        threshold_(Padded()),
        bias_((kGates + 1) * Padded()),
        state_(RowsPerStep() * tiles_.width),
        recent_y_(out.all_y ? 0 : 2 * RowsPerStep() * tiles_.width),
        members_(TeamSize(scheduler, shape)),
        local_(!out.gates && !input_.ahead() && options.reset_after),
        scratch_gates_(out.gates ? 0 : ScratchRows() * kGates * tiles_.width),
        scratch_candidate_(out.candidate || !options.reset_after ? 0 : ScratchRows() * tiles_.width),
        live_product_(kernels_, tiles_, columns_, shape.batch, !options.reset_after, members_),
        counts_(members_),
        team_(scheduler, members_) {
    FillPadded(in.threshold, 1, T(1), threshold_.get());
    FillBias();
    if (widened_.size() > 0) team_.Run(tiles_.count, [&](int64_t tile, int) { Widen(tile); });
  }

  // What the next run reads beside weights, and where it writes.
  void Bind(const EgruInputs<T>& in, const EgruOutputs<T>& out) {
    in_.inputs = in.inputs;
    in_.initial_y = in.initial_y;
    in_.initial_c = in.initial_c;
    in_.mask = in.mask;
    in_.zoneout = in.zoneout;
    in_.zoneout_is_scalar = in.zoneout_is_scalar;
    out_ = out;
  }

  EgruCounters Run() {
    EgruCounters counters;
    std::fill(counts_.begin(), counts_.end(), Counts{});
    for (int64_t i = 0; i < shape_.batch * shape_.time; ++i) counters.steps += in_.mask ? in_.mask[i] != 0 : 1;
    team_.Run(tiles_.count, [&](int64_t tile, int member) { Begin(tile, counts_[member]); });
    const int64_t together = input_.steps_at_once();
    for (int64_t begin = 0; begin < shape_.time; begin += together) {
      const int64_t steps = std::min(together, shape_.time - begin);
      counters.input_events += input_.Prepare(team_, begin, steps);
      if (input_.ahead()) ProjectAhead(begin);
      if (in_place_) {
        StepsInPlace(begin, steps);
      } else {
        for (int64_t t = begin; t < begin + steps; ++t) Step(t, t - begin);
      }
    }
    team_.Run(tiles_.count, [&](int64_t tile, int) { End(tile); });
    for (const Counts& counts : counts_) {
      counters.events += counts.events;
      counters.backward_entries += counts.backward_entries;
      counters.surrogate_entries += counts.surrogate_entries;
    }
    return counters;
  }

 private:
  // What one member of the team has found; a cache line, so that members do not wait for each other.
  struct alignas(64) Counts {
    int64_t listed = 0;  // events that the next product will read
    int64_t events = 0, backward_entries = 0, surrogate_entries = 0;
  };

  // Rows of one tile, from the first sample of a batch block on.
  struct Place {
    T *gates, *candidate;  // pre-activations, then u, r, z; y V_z + b, with reset_after only
  };

  EgruInputs<T> WithFloats(EgruInputs<T> in, const Buffer<T>& widened) const {
    if (widened.size() == 0) return in;
    in.recurrent_kernel = widened.get();
    in.recurrent_int8 = nullptr;
    return in;
  }

  // The rows of V of one tile of units.
  void Widen(int64_t tile) const {
    const int64_t columns = kGates * shape_.units;
    for (int64_t row = tiles_.first(tile); row < tiles_.first(tile) + tiles_.valid(tile); ++row) {
      const int8_t* from = given_int8_ + row * columns;
      for (int64_t j = 0; j < columns; ++j) widened_[row * columns + j] = from[j] * in_.recurrent_scale[j];
    }
  }

  int64_t Padded() const { return tiles_.count * tiles_.width; }
  int64_t RowsPerStep() const { return tiles_.count * shape_.batch; }
  int64_t ScratchRows() const {
    if (local_) return members_ * BatchBlock(shape_);
    return (input_.ahead() ? input_.steps_at_once() : 1) * RowsPerStep();
  }
  int64_t Row(int64_t t, int64_t b) const { return b * shape_.time + t; }
  bool Valid(int64_t t, int64_t b) const { return !in_.mask || in_.mask[Row(t, b)]; }

  // `slot` is the step's place among those that are projected together.
  Place PlaceOf(int64_t t, int64_t slot, int64_t tile, int64_t b, int member) const {
    const auto scratch = [&](const Buffer<T>& buffer, int64_t row_size) {
      const int64_t row = local_ ? member * BatchBlock(shape_) : layout_.row(input_.ahead() ? slot : 0, tile, b);
      return buffer.get() + row * row_size;
    };
    Place place;
    place.gates = out_.gates ? out_.gates + layout_.gates(t, tile, b) : scratch(scratch_gates_, kGates * tiles_.width);
    place.candidate = !options_.reset_after ? nullptr
                      : out_.candidate      ? out_.candidate + layout_.candidate(t, tile, b)
                                            : scratch(scratch_candidate_, tiles_.width);
    return place;
  }

  // Gates [first_gate, first_gate + count) of the pre-activations.
  TileRows<T> GateRows(T* gates, int first_gate, int count) const {
    TileRows<T> rows;
    for (int g = 0; g < count; ++g) {
      rows.base[g] = gates + (first_gate + g) * tiles_.width;
      rows.stride[g] = kGates * tiles_.width;
    }
    return rows;
  }

  // What a recurrent product is added to. With reset_after y V_z has a place of its own, and starts from its bias.
  ProductRows<T> ProductRowsOf(const Place& place, int64_t tile, int first_gate, int count) const {
    ProductRows<T> rows;
    rows.output = GateRows(place.gates, first_gate, count);
    if (place.candidate) {
      rows.output.base[count - 1] = place.candidate;
      rows.output.stride[count - 1] = tiles_.width;
    }
    rows.start = rows.output;
    for (int g = 0; g < count; ++g) rows.output_step[g] = rows.start_step[g] = shape_.batch * rows.output.stride[g];
    if (place.candidate) {
      rows.start.base[count - 1] = Bias(tile, 3);
      rows.start.stride[count - 1] = 0;
      rows.start_step[count - 1] = tiles_.width;
    }
    return rows;
  }

  std::pair<int64_t, int64_t> TileRange(int64_t group) const {
    return {tiles_.count * group / groups_, tiles_.count * (group + 1) / groups_};
  }

  // y_t of one tile, rows YStride() apart.
  T* Y(int64_t t, int64_t tile, int64_t b) const {
    if (out_.all_y) return out_.y + Row(t, b) * shape_.units + tiles_.first(tile);
    return recent_y_.get() + ((t % 2 * tiles_.count + tile) * shape_.batch + b) * tiles_.width;
  }
  int64_t YStride() const { return out_.all_y ? shape_.time * shape_.units : tiles_.width; }
  const T* PreviousY(int64_t t, int64_t tile, int64_t b) const {
    return t == 0 ? in_.initial_y + b * shape_.units + tiles_.first(tile) : Y(t - 1, tile, b);
  }
  T* State(int64_t tile, int64_t b) const { return state_.get() + (tile * shape_.batch + b) * tiles_.width; }

  // The bias that the pre-activation of gate u, r or z starts from; with reset_after, 3 is what y V_z starts from.
  const T* Bias(int64_t tile, int gate) const { return bias_.get() + gate * Padded() + tile * tiles_.width; }

  void FillPadded(const T* from, int64_t rows, T rest, T* to) const {
    for (int64_t row = 0; row < rows; ++row, from += shape_.units, to += Padded()) {
      std::copy_n(from, shape_.units, to);
      std::fill(to + shape_.units, to + Padded(), rest);
    }
  }

  void FillBias() const {
    const int64_t n = shape_.units;
    FillPadded(in_.bias, kGates, T(0), bias_.get());
    if (!options_.reset_after) return;
    for (int g = 0; g < 2; ++g) {
      for (int64_t i = 0; i < n; ++i) bias_[g * Padded() + i] += in_.bias[(kGates + g) * n + i];
    }
    FillPadded(in_.bias + 5 * n, 1, T(0), bias_.get() + 3 * Padded());
  }

  void Begin(int64_t tile, Counts& counts) const {
    for (int64_t b = 0; b < shape_.batch; ++b) {
      const int64_t from = b * shape_.units + tiles_.first(tile), valid = tiles_.valid(tile);
      std::copy_n(in_.initial_c + from, valid, State(tile, b));
      std::fill(State(tile, b) + valid, State(tile, b) + tiles_.width, T{});
      const SegmentedLists<T>& events = events_[0];
      events.Fill(kernels_, tile, b, in_.initial_y + from, valid);
      Listed(events, -1, tile, b, in_.initial_y + from);
      counts.listed += events.count(tile, b);
    }
  }

  // After the events of a sample's y_t have been listed: the next step reads none where it is masked.
  void Listed(const SegmentedLists<T>& events, int64_t t, int64_t tile, int64_t b, const T* y) const {
    if (list_all_) events.FillAll(tile, b, y, tiles_.valid(tile));
    if (t + 1 >= shape_.time || !Valid(t + 1, b)) events.Clear(tile, b);
  }

  // The last step, where others are not wanted.
  void End(int64_t tile) const {
    for (int64_t b = 0; b < shape_.batch; ++b) {
      const int64_t to = b * shape_.units + tiles_.first(tile);
      if (!out_.all_y) std::copy_n(Y(shape_.time - 1, tile, b), tiles_.valid(tile), out_.y + to);
      if (!out_.all_c) std::copy_n(State(tile, b), tiles_.valid(tile), out_.c + to);
    }
  }

  void ProjectAhead(int64_t begin) {
    const int64_t calls = input_.calls(), rows = input_.call_rows();
    team_.Run(calls * tiles_.count, [&](int64_t task, int member) {
      const int64_t call = task % calls, slot = call * rows / shape_.batch;
      Project(call, task / calls, 0, rows, PlaceOf(begin + slot, slot, task / calls, 0, member));
    });
  }

  void Project(int64_t call, int64_t tile, int64_t r0, int64_t r1, const Place& place) const {
    TileRows<T> gates = GateRows(place.gates, 0, kGates);
    TileRows<const T> bias;
    for (int g = 0; g < kGates; ++g) {
      bias.base[g] = Bias(tile, g);
      if (shape_.batch == 1) gates.stride[g] *= tiles_.count;  // the rows of a call may be steps
    }
    input_.Project(call, tile, r0, r1, bias, gates);
  }

  Way Choose(int64_t events) const {
    const double cost = kernels_.costs.accumulate;
    const double live =
        columns_ ? LiveAsEntries(kernels_, shape_, columns_->density(), columns_->cost(), cost) : kNoLiveWeights;
    return ChooseWay(kernels_, options_.products, shape_, static_cast<double>(events), live, cost);
  }

  void PackDense(int64_t t) {
    if (recurrent_blocks_.empty()) {
      recurrent_blocks_.Resize(places_.count(tiles_.count));
      event_blocks_.Resize(tiles_.count * row_blocks_);
      if (!options_.reset_after) gated_blocks_.Resize(tiles_.count * row_blocks_);
      team_.Run(tiles_.count * tiles_.count, [&](int64_t task, int) {
        PackWeightBlock(kernels_, tiles_, in_.recurrent_kernel, shape_.units, task / tiles_.count, task % tiles_.count, places_,
                        recurrent_blocks_, false);
      });
    }
    team_.Run(tiles_.count * row_blocks_, [&](int64_t task, int) { PackEvents(t, task / row_blocks_, task % row_blocks_); });
  }

  // y_{t-1} of one tile and block of samples, for a dense product.
  void PackEvents(int64_t t, int64_t tile, int64_t block) const {
    RowPointers<T> rows;
    for (int64_t b = block * tiles_.width; b < std::min(shape_.batch, (block + 1) * tiles_.width); ++b) {
      rows.Add(Valid(t, b) ? PreviousY(t, tile, b) : nullptr);
    }
    kernels_.dense.pack_left({rows.row, rows.count, 0, tiles_.valid(tile), event_blocks_[tile * row_blocks_ + block]});
  }

  // Weights read in place come with few samples, for which nothing is worth packing: members keep their groups of tiles from
  // step to step, and never stop to choose.
  void StepsInPlace(int64_t begin, int64_t steps) {
    const int64_t phases = options_.reset_after ? 1 : 2;
    team_.RunPhases(steps * phases, groups_ * blocks_, [&](int64_t phase, int64_t task, int member) {
      const int64_t slot = phase / phases, group = task / blocks_, block = task % blocks_;
      if (phase % phases + 1 < phases) {
        ResetGate(Way::kSparse, begin + slot, slot, group, block, member);
      } else {
        FinishStep(Way::kSparse, begin + slot, slot, group, block, member);
      }
    });
  }

  void Step(int64_t t, int64_t slot) {
    const SegmentedLists<T>& events = events_[t % 2];
    int64_t listed = 0;
    for (Counts& counts : counts_) listed += std::exchange(counts.listed, 0);
    const Way way = Choose(listed);
    // What the last step left in the cache is read first.
    const Team::Order order = t % 2 == 0 ? Team::Order::kForwards : Team::Order::kBackwards;
    if (way == Way::kDense) {
      PackDense(t);
    } else if (way == Way::kLive) {
      team_.Run(tiles_.count * row_blocks_, [&](int64_t task, int) {
        live_product_.Spread(events, events.value.get(), false, task / row_blocks_, task % row_blocks_ * tiles_.width);
      });
    } else {
      recurrent_.Pack(team_);
    }
    if (!options_.reset_after) {
      team_.Run(groups_ * blocks_, order, [&](int64_t task, int member) {
        ResetGate(way, t, slot, task / blocks_, task % blocks_, member);
      });
    }
    team_.Run(groups_ * blocks_, order, [&](int64_t task, int member) {
      FinishStep(way, t, slot, task / blocks_, task % blocks_, member);
    });
  }

  // All that follows the gate r, where that must be known before, and else the whole step; of a group of tiles.
  void FinishStep(Way way, int64_t t, int64_t slot, int64_t group, int64_t block, int member) {
    const SegmentedLists<T>& events = events_[t % 2];
    const auto [first, last] = TileRange(group);
    const auto [b0, b1] = BlockRange(block, shape_);
    if (options_.reset_after) {
      ProjectHere(t, slot, first, last, b0, b1, member);
      AddProduct(way, events, events.value.get(), t, slot, group, block, 0, kGates, member);
    } else {
      AddProduct(way, events, gated_.get(), t, slot, group, block, 2, 1, member);
    }
    for (int64_t tile = first; tile < last; ++tile) {
      UpdateState(t, tile, b0, b1, PlaceOf(t, slot, tile, b0, member), counts_[member]);
    }
  }

  void ProjectHere(int64_t t, int64_t slot, int64_t first, int64_t last, int64_t b0, int64_t b1, int member) const {
    if (input_.ahead()) return;
    for (int64_t tile = first; tile < last; ++tile) Project(slot, tile, b0, b1, PlaceOf(t, slot, tile, b0, member));
  }

  // reset_after=false: u and r of a group of tiles, and the events of those tiles scaled by r.
  void ResetGate(Way way, int64_t t, int64_t slot, int64_t group, int64_t block, int member) const {
    const SegmentedLists<T>& events = events_[t % 2];
    const auto [first, last] = TileRange(group);
    const auto [b0, b1] = BlockRange(block, shape_);
    ProjectHere(t, slot, first, last, b0, b1, member);
    AddProduct(way, events, events.value.get(), t, slot, group, block, 0, 2, member);
    for (int64_t tile = first; tile < last; ++tile) {
      T* gate = PlaceOf(t, slot, tile, b0, member).gates + tiles_.width;
      for (int64_t b = b0; b < b1; ++b) {
        T* r = gate + (b - b0) * kGates * tiles_.width;
        kernels_.sigmoid(r, tiles_.vectors(tile) * tiles_.lanes);
        const int64_t entry = events.slot(tile, b) * tiles_.width;
        for (int64_t e = entry; way != Way::kDense && e < entry + events.count(tile, b); ++e) {
          gated_[e] = r[events.index[e]] * events.value[e];
        }
      }
      for (int64_t b = b0; b < b1; b += tiles_.width) {
        if (way == Way::kDense) {
          PackGated(t, tile, b, std::min(b1, b + tiles_.width), gate + (b - b0) * kGates * tiles_.width);
        } else if (way == Way::kLive) {
          live_product_.Spread(events, gated_.get(), true, tile, b);
        }
      }
    }
  }

  // r * y_{t-1} of one tile and samples [b0, b1), for a dense product.
  void PackGated(int64_t t, int64_t tile, int64_t b0, int64_t b1, const T* r) const {
    T gated[RowPointers<T>::kMost * RowPointers<T>::kMost];
    RowPointers<T> rows;
    for (int64_t b = b0; b < b1; ++b, r += kGates * tiles_.width) {
      T* to = gated + (b - b0) * tiles_.width;
      const T* y = PreviousY(t, tile, b);
      for (int64_t i = 0; i < tiles_.valid(tile); ++i) to[i] = r[i] * y[i];
      rows.Add(Valid(t, b) ? to : nullptr);
    }
    kernels_.dense.pack_left({rows.row, rows.count, 0, tiles_.valid(tile),
                              gated_blocks_[tile * row_blocks_ + b0 / tiles_.width]});
  }

  // Adds the rows of V that the events select, for a group of tiles and a block of samples.
  void AddProduct(Way way, const SegmentedLists<T>& events, const T* values, int64_t t, int64_t slot, int64_t group,
                  int64_t block, int first_gate, int gates, int member) const {
    const auto [first, last] = TileRange(group);
    const auto [b0, b1] = BlockRange(block, shape_);
    for (int64_t tile = first; tile < last; ++tile) {
      const ProductRows<T> rows = ProductRowsOf(PlaceOf(t, slot, tile, b0, member), tile, first_gate, gates);
      if (in_place_) {  // all tiles at once
        return in_place_product_.Add(events, values, group, first, last, b0, b1, first_gate, gates, rows);
      }
      if (way == Way::kLive) {
        live_product_.Add(values == gated_.get(), tile, b0, b1, first_gate, gates, rows, member);
        continue;
      }
      if (way == Way::kDense) {
        const DenseBlocks<T>& left = gates == 1 ? gated_blocks_ : event_blocks_;
        MultiplyBlocks(kernels_, tiles_,
                       BlockProduct<T>{left, 0, row_blocks_, shape_.units, recurrent_blocks_, places_, tile, first_gate, gates,
                                       b0, b1},
                       rows.start, rows.output);
        continue;
      }
      for (int64_t s = 0; s < tiles_.count; ++s) {
        Lists<T> lists = events.From(s, b0);
        lists.value = values + events.slot(s, b0) * tiles_.width;
        kernels_.accumulate[gates - 1][tiles_.vectors(tile) - 1](
            {b1 - b0, lists, s == 0 ? rows.start : rows.output, rows.output,
             recurrent_.Rows(tile, tiles_.first(s), first_gate, gates),
             recurrent_.Memory(tile, tiles_.first(s + 1), tiles_.width)});
      }
    }
  }

  void UpdateState(int64_t t, int64_t tile, int64_t b0, int64_t b1, const Place& place, Counts& counts) const {
    const int64_t n = shape_.units, first = tiles_.first(tile), stride = shape_.time * n;
    const SegmentedLists<T>& events = events_[(t + 1) % 2];
    const int64_t slot = events.slot(tile, b0);
    StateForwardArguments<T> a = {};
    a.rows = b1 - b0;
    a.width = tiles_.valid(tile);
    a.reset_after = options_.reset_after;
    a.reset_gate_known = !options_.reset_after;
    a.reset = options_.reset;
    a.height = static_cast<T>(options_.surrogate_height);
    a.inverse_width = static_cast<T>(1.0 / options_.surrogate_width);
    a.gates = place.gates;
    a.candidate = place.candidate;
    a.threshold = threshold_.get() + tile * tiles_.width;
    a.state = State(tile, b0);
    a.previous_y = PreviousY(t, tile, b0);
    a.previous_y_stride = t == 0 ? n : YStride();
    a.y = Y(t, tile, b0);
    a.y_stride = YStride();
    a.c = out_.all_c ? out_.c + Row(t, b0) * n + first : nullptr;
    a.c_stride = stride;
    a.event_index = events.index.get() + slot * tiles_.width;
    a.event_value = events.value.get() + slot * tiles_.width;
    a.event_count = &events.count(tile, b0);
    if (in_.zoneout) {
      a.zoneout = in_.zoneout_is_scalar ? in_.zoneout : in_.zoneout + Row(t, b0) * n + first;
      a.zoneout_stride = in_.zoneout_is_scalar ? -1 : stride;
    }
    if (in_.mask) {
      a.mask = in_.mask + Row(t, b0);
      a.mask_stride = shape_.time;
    }
    kernels_.state_forward(a);
    int64_t found = 0, listed = 0;
    for (int64_t b = b0; b < b1; ++b) {
      const int32_t count = events.count(tile, b);
      if (Valid(t, b)) found += count;
      Listed(events, t, tile, b, Y(t, tile, b));
      listed += events.count(tile, b) > 0 ? count : 0;
    }
    counts.events += found;
    counts.listed += listed;
    counts.backward_entries += a.backward_entries;
    counts.surrogate_entries += a.surrogate_entries;
  }

  const EgruShape shape_;
  const EgruOptions options_;
  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const int8_t* const given_int8_;
  const Buffer<T> widened_;  // 8-bit weights as numbers, where they are not read in place
  EgruInputs<T> in_;
  const LivePieces<T>* const pieces_;    // of pruned weights, or null
  const LiveLists<T>* const columns_;
  EgruOutputs<T> out_;
  const int64_t blocks_;  // of the batch
  TiledWeights<T> recurrent_;  // packed for sparse products
  const bool in_place_;
  const int64_t groups_;      // of tiles, each a task
  const bool list_all_;       // a dense product from weights in place: zeros are entries too
  const int64_t row_blocks_;  // of samples, in dense products
  const WeightBlocks places_;
  DenseBlocks<T> recurrent_blocks_;             // V
  DenseBlocks<T> event_blocks_, gated_blocks_;  // y_{t-1}, and r y_{t-1} without reset_after
  const GateLayout<T> layout_;
  InputProjection<T> input_;
  const SegmentedLists<T> events_[2];  // of y_{t-1} and y_t, in turn
  const InPlaceProduct<T> in_place_product_;
  const Buffer<T> gated_;            // r * y, beside the values of the events
  const Buffer<T> threshold_, bias_;
  const Buffer<T> state_;            // c of the last step, [tiles, batch, width]
  const Buffer<T> recent_y_;         // [2, tiles, batch, width], where y_t is not an output
  const int members_;
  const bool local_;                 // each member keeps the gates of the tile at hand, and nobody keeps others
  const Buffer<T> scratch_gates_, scratch_candidate_;
  const LiveProduct<T> live_product_;
  std::vector<Counts> counts_;       // one a member
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

template <typename T>
struct EgruPrepared<T>::State {
  State(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& inputs, bool all_y, bool all_c)
      : out{nullptr, nullptr, nullptr, nullptr, all_y, all_c},
        padded(PaddedUnits<T>::Pays(SelectKernels<T>(), shape, inputs)
                   ? std::make_unique<PaddedUnits<T>>(SelectKernels<T>(), shape, options, inputs, all_y, all_c)
                   : nullptr),
        forward(padded ? padded->shape() : shape, options, padded ? padded->weights() : inputs, out, nullptr) {}

  EgruOutputs<T> out;
  const std::unique_ptr<PaddedUnits<T>> padded;
  Forward<T> forward;
};

template <typename T>
EgruPrepared<T>::EgruPrepared(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& inputs, bool all_y,
                              bool all_c)
    : state_(std::make_unique<State>(shape, options, inputs, all_y, all_c)) {}

template <typename T>
EgruPrepared<T>::~EgruPrepared() = default;

template <typename T>
EgruCounters EgruPrepared<T>::Run(const EgruInputs<T>& inputs, T* y, T* c) {
  PaddedUnits<T>* const padded = state_->padded.get();
  EgruOutputs<T>& out = state_->out;
  out.y = padded ? padded->y() : y;
  out.c = padded ? padded->c() : c;
  state_->forward.Bind(padded ? padded->Inputs(inputs) : inputs, out);
  const EgruCounters counters = state_->forward.Run();
  if (padded) padded->Take(y, c);
  return counters;
}

#define INSTANTIATE(T)                                                                                             \
  template int64_t SavedGates<T>(const EgruShape&);                                                                \
  template int64_t SavedCandidate<T>(const EgruShape&, const EgruOptions&);                                        \
  template EgruCounters EgruForward<T>(const EgruShape&, const EgruOptions&, const EgruInputs<T>&,                 \
                                       const EgruOutputs<T>&, Scheduler*);                                       \
  template class EgruPrepared<T>;
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
