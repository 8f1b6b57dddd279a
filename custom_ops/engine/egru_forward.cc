// The forward pass. Per block of steps the input events are listed and projected; then each step is one phase
// (two without reset_after, where r must be known before the product that it scales), a task a tile and batch block:
//   pre-activations += events of y_{t-1} times the rows of V that they select    (Kernels::accumulate)
//   gates, c_t, y_t                                                               (Kernels::state_forward)
//   the tile's own events of y_t are listed for the next step                     (SegmentedLists::Fill)
// Where so little is silent that a dense product is faster, y_{t-1} or the inputs are packed and multiplied whole
// (Kernels::dense); that is decided anew for every step, from the number of events.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "dense_blocks.h"
#include "egru.h"
#include "event_list.h"
#include "tiles.h"
#include "work.h"

namespace keras_egru {
namespace {

constexpr int64_t kStreamedRows = 16;  // rows of weights in place that are read together

template <typename T>
class Forward {
 public:
  Forward(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& in, const EgruOutputs<T>& out,
          Scheduler* scheduler)
      : shape_(shape),
        options_(options),
        kernels_(SelectKernels<T>()),
        tiles_(kernels_, shape.units),
        widened_(!in.recurrent_kernel && ShouldPackFor(shape.batch, tiles_) ? shape.units * kGates * shape.units : 0),
        in_(WithFloats(in, widened_.get())),
        out_(out),
        blocks_(BatchBlocks(shape)),
        recurrent_(tiles_, in_.recurrent_kernel, shape.units, ShouldPack(shape.batch)),
        input_(tiles_, in.kernel, shape.features, ShouldPack(shape.batch * shape.time)),
        int8_tiles_(in_.recurrent_kernel || !ShouldPack(shape.time) ? 0 : tiles_.count * shape.units * kGates * tiles_.width),
        // Weights in place are read best in long pieces of a row: one for each thread.
        groups_(recurrent_.packed() ? tiles_.count : std::min<int64_t>(tiles_.count, TeamSize(scheduler, shape))),
        list_all_(!recurrent_.packed() && options.products == Products::kDense),
        row_blocks_(CeilDivide(shape.batch, tiles_.width)),
        recurrent_places_{tiles_.count},
        input_places_{CeilDivide(shape.features, tiles_.width)},
        recurrent_blocks_(kernels_),
        input_blocks_(kernels_),
        event_blocks_(kernels_),
        gated_blocks_(kernels_),
        feature_blocks_(kernels_),
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
      if (int8_tiles_.size() > 0) PackInt8(tile);
      for (int64_t b = 0; b < shape_.batch; ++b) ListEvents(events_[0], -1, tile, b);
    });
    for (int64_t begin = 0; begin < shape_.time; begin += steps_at_once_) {
      ProjectInputs(begin, std::min(steps_at_once_, shape_.time - begin));
      for (int64_t t = begin; t < std::min(begin + steps_at_once_, shape_.time); ++t) Step(t, t - begin);
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

  // 8-bit weights are read as such where they are read in place; elsewhere they are widened first.
  static bool ShouldPackFor(int64_t batch, const Tiles<T>& tiles) { return ShouldPack(batch) || tiles.units % tiles.lanes; }
  EgruInputs<T> WithFloats(EgruInputs<T> in, T* widened) const {
    if (!widened) return in;
    const int64_t columns = kGates * shape_.units;
    for (int64_t i = 0; i < shape_.units; ++i) {
      for (int64_t j = 0; j < columns; ++j) widened[i * columns + j] = in.recurrent_int8[i * columns + j] * in.recurrent_scale[j];
    }
    in.recurrent_kernel = widened;
    return in;
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
  int64_t ListEvents(const SegmentedLists<T>& events, int64_t t, int64_t tile, int64_t b) {
    const bool read = t + 1 < shape_.time && Valid(t + 1, b);
    int64_t found = 0;
    for (int64_t s = 0; s < tiles_.segments_per_tile(); ++s) {
      const int64_t segment = tile * tiles_.segments_per_tile() + s;
      const int64_t first = tiles_.first(tile) + s * tiles_.segment;
      const int64_t columns = std::clamp<int64_t>(shape_.units - first, 0, tiles_.segment);
      found += events.Fill(kernels_, segment, b, Y(t, b) + first, columns);
      if (list_all_) events.FillAll(segment, b, Y(t, b) + first, columns);
      if (!read) events.Clear(segment, b);
    }
    if (read) listed_ += found;
    return found;
  }

  void ProjectInputs(int64_t begin, int64_t steps) {
    input_listed_ = 0;
    team_.Run(steps * blocks_, [&](int64_t task, int) { ListInputs(begin, task / blocks_, task % blocks_); });
    const int64_t rows = steps * shape_.batch;
    if (input_.packed() && shape_.features > 0 &&
        DenseIsFaster(kernels_, options_.products, rows, shape_.features, input_listed_, kernels_.dense.accumulate_cost)) {
      PackDense(in_.kernel, shape_.features, input_places_, input_blocks_);
      const int64_t calls = CeilDivide(rows, ProjectedRows());
      if (feature_blocks_.empty()) {
        feature_blocks_.Resize(CeilDivide(steps_at_once_ * shape_.batch, ProjectedRows()) * input_places_.row_blocks *
                               CeilDivide(ProjectedRows(), tiles_.width));
      }
      team_.Run(calls * input_places_.row_blocks,
                [&](int64_t task, int) { PackFeatures(begin, rows, task % calls, task / calls); });
      team_.Run(calls * tiles_.count, [&](int64_t task, int) { ProjectDense(begin, rows, task % calls, task / calls); });
    } else {
      PackSparse(input_, input_ready_);
      team_.Run(steps * tiles_.count, [&](int64_t task, int) { Project(begin, task % steps, task / steps); });
    }
  }

  // Weights read in place come with few samples, for which nothing is worth packing.
  bool UseDense(int64_t entries) const {
    return recurrent_.packed() && DenseIsFaster(kernels_, options_.products, shape_.batch, shape_.units, entries,
                                                kernels_.dense.accumulate_cost);
  }

  // 8-bit weights of one tile in one piece: in place, the columns of one thread fall on a part of the cache's sets.
  void PackInt8(int64_t tile) const {
    int8_t* to = int8_tiles_.get() + tile * shape_.units * kGates * tiles_.width;
    const int64_t valid = tiles_.valid(tile);
    for (int64_t row = 0; row < shape_.units * kGates; ++row, to += tiles_.width) {
      const int8_t* from = in_.recurrent_int8 + row * shape_.units + tiles_.first(tile);
      if (valid < tiles_.width) {
        std::copy_n(from, valid, to);
      } else {  // a whole number of words
        for (int64_t i = 0; i < valid; i += 8) std::memcpy(to + i, from + i, 8);
      }
    }
  }

  void PackSparse(const TiledWeights<T>& weights, bool& ready) {
    if (ready) return;
    team_.Run(tiles_.count, [&](int64_t tile, int) { weights.Pack(tile); });
    ready = true;
  }

  void PackDense(const T* weights, int64_t rows, const WeightBlocks& places, DenseBlocks<T>& blocks) {
    if (!blocks.empty()) return;
    blocks.Resize(places.count(tiles_.count));
    team_.Run(tiles_.count * places.row_blocks, [&](int64_t task, int) {
      PackWeightBlock(kernels_, tiles_, weights, rows, task / places.row_blocks, task % places.row_blocks, places, blocks,
                      false);
    });
  }

  void ListInputs(int64_t begin, int64_t slot, int64_t block) {
    const auto [b0, b1] = BlockRange(block, shape_);
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
    input_listed_ += found;
  }

  // Rows of a dense projection whose gates lie at one distance: the samples of a step, or the steps of a single sample.
  int64_t ProjectedRows() const { return shape_.batch == 1 ? steps_at_once_ : shape_.batch; }

  // Block `k` of the features of rows [call * ProjectedRows(), ...), a row being a step and sample.
  void PackFeatures(int64_t begin, int64_t rows, int64_t call, int64_t k) const {
    const int64_t first = k * tiles_.width, blocks = CeilDivide(ProjectedRows(), tiles_.width);
    const int64_t end = std::min(rows, (call + 1) * ProjectedRows());
    for (int64_t block = 0; block < blocks; ++block) {
      RowPointers<T> pointers;
      const int64_t from = call * ProjectedRows() + block * tiles_.width;
      for (int64_t row = from; row < std::min(end, from + tiles_.width); ++row) {
        const int64_t t = begin + row / shape_.batch, b = row % shape_.batch;
        pointers.Add(Valid(t, b) ? in_.inputs + Row(t, b) * shape_.features : nullptr);
      }
      if (pointers.count == 0) break;
      kernels_.dense.pack_left({pointers.row, pointers.count, first, std::min(tiles_.width, shape_.features - first),
                                feature_blocks_[(call * input_places_.row_blocks + k) * blocks + block]});
    }
  }

  // The same as Project, with a dense product, for the rows of one call.
  void ProjectDense(int64_t begin, int64_t rows, int64_t call, int64_t tile) const {
    const int64_t first = call * ProjectedRows(), count = std::min(rows - first, ProjectedRows());
    const int64_t slot = first / shape_.batch, blocks = CeilDivide(ProjectedRows(), tiles_.width);
    TileRows<T> gates = GateRows(Gates(begin + slot, slot, tile, 0), nullptr, 0, kGates);
    TileRows<const T> bias;
    for (int g = 0; g < kGates; ++g) {
      if (shape_.batch == 1) gates.stride[g] *= tiles_.count;
      bias.base[g] = Bias(tile, g);
    }
    MultiplyBlocks(feature_blocks_, call * input_places_.row_blocks * blocks, blocks, shape_.features, input_places_,
                   input_blocks_, tile, 0, kGates, 0, count, bias, gates);
  }

  // output += left * right for rows [b0, b1) and gates [first_gate, first_gate + gates) of one tile. Left block (k, row
  // block) is `first_left` + k * row_blocks + row block. A gate starts from the row `start` where that is not its output.
  void MultiplyBlocks(const DenseBlocks<T>& left, int64_t first_left, int64_t row_blocks, int64_t depth, const WeightBlocks& places,
                      const DenseBlocks<T>& right, int64_t tile, int first_gate, int gates, int64_t b0, int64_t b1,
                      const TileRows<const T>& start, const TileRows<T>& output) const {
    for (int64_t k = 0; k < places.row_blocks; ++k) {
      const int64_t valid = std::min(tiles_.width, depth - k * tiles_.width);
      for (int g = 0; g < gates; ++g) {
        const int64_t weights = places.at(tile, k, first_gate + g);
        for (int64_t b = b0; b < b1; b += tiles_.width) {
          kernels_.dense.multiply({std::min(tiles_.width, b1 - b), valid, tiles_.valid(tile),
                                   left[first_left + k * row_blocks + b / tiles_.width], right[weights],
                                   output.base[g] + (b - b0) * output.stride[g], output.stride[g],
                                   b + tiles_.width < b1 ? Ahead{} : right.Memory(weights + 1),
                                   k == 0 && start.base[g] != output.base[g] ? start.base[g] : nullptr});
        }
      }
    }
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
    const bool dense = UseDense(listed_);
    listed_ = 0;
    if (dense) {
      PackDense(in_.recurrent_kernel, shape_.units, recurrent_places_, recurrent_blocks_);
      if (event_blocks_.empty()) event_blocks_.Resize(tiles_.count * row_blocks_);
      team_.Run(tiles_.count * row_blocks_, [&](int64_t task, int) {
        PackEvents(t, task / row_blocks_, task % row_blocks_);
      });
    } else {
      PackSparse(recurrent_, recurrent_ready_);
    }
    if (!options_.reset_after) {
      if (dense && gated_blocks_.empty()) gated_blocks_.Resize(tiles_.count * row_blocks_);
      Join(events, events.value.get());
      team_.Run(groups_ * blocks_, [&](int64_t task, int) { ResetGate(dense, t, slot, task / blocks_, task % blocks_); });
    }
    const T* values = options_.reset_after ? events.value.get() : gated_.get();
    Join(events, values);
    team_.Run(groups_ * blocks_, [&](int64_t task, int) {
      const auto [first, last] = TileRange(task / blocks_);
      const auto [b0, b1] = BlockRange(task % blocks_, shape_);
      const int first_gate = options_.reset_after ? 0 : 2;
      AddProduct(dense, events, values, t, slot, first, last, b0, b1, first_gate, kGates - first_gate);
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

  // y_{t-1} of one tile and block of samples, for a dense product.
  void PackEvents(int64_t t, int64_t tile, int64_t block) const {
    RowPointers<T> rows;
    for (int64_t b = block * tiles_.width; b < std::min(shape_.batch, (block + 1) * tiles_.width); ++b) {
      rows.Add(Valid(t, b) ? Y(t - 1, b) : nullptr);
    }
    kernels_.dense.pack_left({rows.row, rows.count, tiles_.first(tile), tiles_.valid(tile),
                              event_blocks_[tile * row_blocks_ + block]});
  }

  // reset_after=false: u and r of a group of tiles, and the events of those tiles scaled by r.
  void ResetGate(bool dense, int64_t t, int64_t slot, int64_t group, int64_t block) const {
    const SegmentedLists<T>& events = events_[t % 2];
    const auto [first, last] = TileRange(group);
    const auto [b0, b1] = BlockRange(block, shape_);
    AddProduct(dense, events, events.value.get(), t, slot, first, last, b0, b1, 0, 2);
    for (int64_t tile = first; tile < last; ++tile) {
      for (int64_t b = b0; b < b1; ++b) {
        T* r = Gates(t, slot, tile, b) + tiles_.width;
        kernels_.sigmoid(r, tiles_.vectors(tile) * tiles_.lanes);
        if (dense) continue;
        for (int64_t s = 0; s < tiles_.segments_per_tile(); ++s) {
          const int64_t row = events.slot(tile * tiles_.segments_per_tile() + s, b), entry = row * tiles_.segment;
          for (int64_t e = entry; e < entry + events.count[row]; ++e) {
            gated_[e] = r[s * tiles_.segment + events.index[e]] * events.value[e];
          }
        }
      }
      for (int64_t b = b0; dense && b < b1; b += tiles_.width) PackGated(t, slot, tile, b, std::min(b1, b + tiles_.width));
    }
  }

  // r * y_{t-1} of one tile and samples [b0, b1), for a dense product.
  void PackGated(int64_t t, int64_t slot, int64_t tile, int64_t b0, int64_t b1) const {
    T gated[RowPointers<T>::kMost * RowPointers<T>::kMost];
    RowPointers<T> rows;
    for (int64_t b = b0; b < b1; ++b) {
      T* to = gated + (b - b0) * tiles_.width;
      const T* y = Y(t - 1, b) + tiles_.first(tile);
      const T* r = Gates(t, slot, tile, b) + tiles_.width;
      for (int64_t i = 0; i < tiles_.valid(tile); ++i) to[i] = r[i] * y[i];
      rows.Add(Valid(t, b) ? to : nullptr);
    }
    kernels_.dense.pack_left({rows.row, rows.count, 0, tiles_.valid(tile),
                              gated_blocks_[tile * row_blocks_ + b0 / tiles_.width]});
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
  void AddProduct(bool dense, const SegmentedLists<T>& events, const T* values, int64_t t, int64_t slot, int64_t first,
                  int64_t last, int64_t b0, int64_t b1, int first_gate, int gates) const {
    if (!recurrent_.packed()) return StreamProduct(t, slot, first, last, b0, b1, first_gate, gates);
    for (int64_t tile = first; tile < last; ++tile) {
      const Targets to = TargetsOf(t, slot, tile, b0, first_gate, gates);
      if (dense) {
        MultiplyBlocks(gates == 1 ? gated_blocks_ : event_blocks_, 0, row_blocks_, shape_.units, recurrent_places_, recurrent_blocks_,
                       tile, first_gate, gates, b0, b1, to.start, to.output);
        continue;
      }
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
    if (!in_.recurrent_kernel) return StreamInt8(t, slot, first, last, b0, b1, first_gate, gates);
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

  // The same from 8-bit weights, which are few enough bytes to stay near.
  void StreamInt8(int64_t t, int64_t slot, int64_t first, int64_t last, int64_t b0, int64_t b1, int first_gate,
                  int gates) const {
    int64_t begin[kMostInPlace];
    for (int64_t b = b0; b < b1; ++b) begin[b - b0] = b * shape_.units;
    const Lists<T> lists = {joined_index_.get(), joined_value_.get(), joined_count_.get() + b0, begin, 0};
    for (int64_t tile = first; tile < last; ++tile) {
      const Targets to = TargetsOf(t, slot, tile, b0, first_gate, gates);
      TileRows<const int8_t> source;
      TileRows<const T> scale;
      for (int g = 0; g < gates; ++g) {
        const int64_t gate = first_gate + g, column = gate * shape_.units + tiles_.first(tile);
        if (int8_tiles_.size() > 0) {
          source.base[g] = int8_tiles_.get() + (tile * shape_.units * kGates + gate) * tiles_.width;
          source.stride[g] = kGates * tiles_.width;
        } else {
          source.base[g] = in_.recurrent_int8 + column;
          source.stride[g] = kGates * shape_.units;
        }
        scale.base[g] = in_.recurrent_scale + column;
      }
      kernels_.accumulate_int8[gates - 1][tiles_.vectors(tile) - 1](
          {b1 - b0, lists, to.start, to.output, source, scale});
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
  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const Buffer<T> widened_;  // 8-bit weights as numbers, where they will be packed
  const EgruInputs<T> in_;
  const EgruOutputs<T> out_;
  const int64_t blocks_;  // of the batch
  const TiledWeights<T> recurrent_, input_;
  const Buffer<int8_t> int8_tiles_;  // [tiles, units, 3, width]
  const int64_t groups_;  // of tiles, each a task
  const bool list_all_;       // a dense product from weights in place: zeros are entries too
  const int64_t row_blocks_;  // of samples, in dense products
  const WeightBlocks recurrent_places_, input_places_;
  DenseBlocks<T> recurrent_blocks_, input_blocks_;  // weights
  DenseBlocks<T> event_blocks_, gated_blocks_;      // y_{t-1}, and r y_{t-1} without reset_after
  DenseBlocks<T> feature_blocks_;                   // inputs of the steps that are projected together
  bool recurrent_ready_ = false, input_ready_ = false;  // packed for sparse products
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
  std::atomic<int64_t> listed_{0}, input_listed_{0};  // events that the next product will read
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
