// The backward pass. Steps run backwards in time, one phase a step (two without reset_after), a task a tile and batch
// block:
//   dL/dy_t of the tile = upstream + rows of V times dA_{t+1}, only where e_t = dy_t/dc_t != 0      (Kernels::dots)
//   gradients of the pre-activations, of thresholds and biases, and what step t-1 inherits (Kernels::state_backward)
// dL/dy enters dL/dc times e, so leaving out entries with e = 0 changes nothing, and neither does computing them: where so
// many are needed that a dense product is faster, dA_{t+1} is packed and multiplied whole (Kernels::dense), and pruned weights
// are multiplied one by one with all samples where few are live (live_lists.h). That is decided anew for every step. The weight
// gradients follow, over all steps at once (weight_gradient.h).
#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "dense_blocks.h"
#include "egru.h"
#include "live_lists.h"
#include "product_choice.h"
#include "pruned_weights.h"
#include "tiles.h"
#include "weight_gradient.h"
#include "work.h"

namespace keras_egru {
namespace {

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
        blocks_(BatchBlocks(shape)),
        layout_{tiles_, shape.batch},
        row_blocks_(CeilDivide(shape.batch, tiles_.width)),
        places_{tiles_.count},
        recurrent_(tiles_, in.recurrent_kernel, shape.units, ShouldPack(shape.batch)),
        list_all_(!recurrent_.packed() && options.products == Products::kDense),
        density_(recurrent_.packed() && options.products != Products::kDense
                     ? SampledDensity(in.recurrent_kernel, shape.units, kGates * shape.units, kMostLive)
                     : 1),
        recurrent_blocks_(kernels_),
        gradient_blocks_(kernels_),
        threshold_(tiles_.count * tiles_.width),
        first_valid_(shape.batch),
        carry_y_(tiles_.count * shape.batch * tiles_.width),
        carry_c_(tiles_.count * shape.batch * tiles_.width),
        partial_(tiles_.count * blocks_ * kPartials * tiles_.width),
        needed_index_(tiles_.count * shape.batch * tiles_.width),
        needed_count_(tiles_.count * shape.batch),
        recurrent_gradient_(kernels_, tiles_, layout_, options.products, shape.time, shape.units, out.gates, nullptr,
                            in.live_recurrent),
        input_gradient_(kernels_, tiles_, layout_, options.products, shape.time, shape.features, out.gates,
                        options.reset_after ? out.candidate : nullptr, in.live_kernel),
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
    for (int member = 0; member < team_.members(); ++member) scratch_.emplace_back(new Scratch(tiles_));
  }

  EgruGradientCounters Run() {
    ListEvents();
    if (UsesPieces(shape_) && WorthForOneCall(shape_)) FindPieces();
    team_.Run(tiles_.count * blocks_, [&](int64_t task, int) { ListNeeded(shape_.time - 1, task / blocks_, task % blocks_); });
    for (int64_t t = shape_.time - 1; t >= 0; --t) Step(t);
    Prepare(-1);
    team_.Run(tiles_.count * blocks_, [&](int64_t task, int member) {
      const int64_t tile = task / blocks_;
      const auto [b0, b1] = BlockRange(task % blocks_, shape_);
      AddRecurrentGradient(-1, tile, b0, b1, *scratch_[member]);
      for (int64_t b = b0; b < b1; ++b) {
        const int64_t to = b * shape_.units + tiles_.first(tile);
        std::copy_n(CarryY(tile, b), tiles_.valid(tile), out_.initial_y + to);
        std::copy_n(CarryC(tile, b), tiles_.valid(tile), out_.initial_c + to);
      }
    });
    ReducePartials();
    recurrent_gradient_.Compute(team_, EventSource(), out_.recurrent_kernel);
    input_gradient_.Compute(team_, InputSource(), out_.kernel);
    return {backward_entries_, recurrent_gradient_.entries(), input_gradient_.entries()};
  }

 private:
  static constexpr int kPartials = 5;  // sums of a task over its samples: threshold; bias u, r, z; recurrent bias z

  // What one member of the team needs for itself.
  struct Scratch {
    explicit Scratch(const Tiles<T>& tiles)
        : result(kBatchBlock * tiles.width), reset_gate(kBatchBlock * tiles.width), sums(tiles.width * tiles.width) {}
    Buffer<T> result;      // dot products of the needed entries, or of all
    Buffer<T> reset_gate;  // r of the samples
    Buffer<T> sums;        // of live weights times samples, [width, width]
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

  auto EventSource() const {
    return [this](int64_t t, int64_t b) { return Valid(t, b) ? Y(t - 1, b) : nullptr; };
  }
  auto InputSource() const {
    return [this](int64_t t, int64_t b) {
      return Valid(t, b) ? in_.inputs + Row(t, b) * shape_.features : nullptr;
    };
  }

  void ListEvents() {
    recurrent_gradient_.List(team_, !options_.reset_after, EventSource());
    if (!options_.reset_after) {  // (r * y) multiplies V_z; r is still in the gates
      recurrent_gradient_.SplitValues(team_, [&](int64_t unit, int64_t index, T value) {
        const int64_t row = index + unit / tiles_.width * shape_.batch;
        return value * out_.gates[(row * kGates + 1) * tiles_.width + unit % tiles_.width];
      });
    }
    input_gradient_.List(team_, false, InputSource());
  }

  // Lists the entries of one tile and batch block whose dL/dy_t is needed.
  void ListNeeded(int64_t t, int64_t tile, int64_t block) {
    const T height = static_cast<T>(options_.surrogate_height);
    const T inverse_width = static_cast<T>(1.0 / options_.surrogate_width);
    const auto [b0, b1] = BlockRange(block, shape_);
    const int64_t first = tiles_.first(tile), columns = tiles_.valid(tile);
    int64_t needed = 0;
    for (int64_t b = b0; b < b1; ++b) {
      const int64_t slot = NeededSlot(tile, b);
      int32_t* index = needed_index_.get() + slot * tiles_.width;
      int64_t found = 0;
      if (t + 1 < shape_.time && Valid(t + 1, b)) {
        // Before the first valid step y is the initial state, which does not come from c.
        if (t < first_valid_[b] || list_all_) {
          for (; found < columns; ++found) index[found] = static_cast<int32_t>(found);
        } else {
          found = kernels_.list_passing(C(t, b) + first, threshold_.get() + first, columns, height, inverse_width, index);
        }
      }
      needed_count_[slot] = static_cast<int32_t>(found);
      needed += found;
    }
    needed_ += needed;
  }
  int64_t NeededSlot(int64_t tile, int64_t b) const { return tile * shape_.batch + b; }

  // What takes the place of whole rows of pruned weights, for a few samples.
  void FindPieces() {
    pieces_ = keras_egru::FindPieces(kernels_, tiles_, 1, options_, team_, in_.recurrent_kernel);
    if (pieces_) lined_up_.Resize(2 * shape_.batch * kGates * pieces_->Stride(0));
  }

  // The gradients of step t of one sample as pieces are multiplied with them: a gate after the other. Kept for two steps.
  T* LinedUp(int64_t t, int64_t b) const {
    return lined_up_.get() + ((t & 1) * shape_.batch + b) * kGates * pieces_->Stride(0);
  }
  void LineUp(int64_t t, int64_t tile, int64_t b0, int64_t b1, int first_gate, int gates) const {
    const int64_t used = tiles_.vectors(tile) * tiles_.lanes;
    for (int64_t b = b0; b < b1; ++b) {
      for (int gate = first_gate; gate < first_gate + gates; ++gate) {
        T* to = LinedUp(t, b) + gate * pieces_->Stride(0) + tiles_.first(tile);
        std::copy_n(Gates(t, tile, b) + gate * tiles_.width, used, to);
        std::fill(to + used, to + tiles_.width, T{});  // is multiplied by zero, so it must be a number
      }
    }
  }

  // Decides how step t multiplies, and packs for it.
  void Prepare(int64_t t) {
    if (t + 1 >= shape_.time) return;
    way_ = Choose();
    backward_entries_ += needed_;
    Pack(way_, t + 1, 0, options_.reset_after ? kGates : kGates - 1);
  }

  Way Choose() const {
    if (pieces_ || !recurrent_.packed()) return Way::kSparse;
    // The lists themselves tell what they cost, once there are any.
    const double cost = live_ ? live_->cost() : kernels_.costs.live_together;
    const double live =
        density_ < kMostLive ? LiveAsEntries(kernels_, shape_, density_, cost, kernels_.costs.dots) : kNoLiveWeights;
    return ChooseWay(kernels_, options_.products, shape_, static_cast<double>(needed_), live, kernels_.costs.dots);
  }

  // Makes ready for products of V with the gradients of step t, gates [first_gate, first_gate + gates).
  void Pack(Way way, int64_t t, int first_gate, int gates) {
    switch (way) {
      case Way::kSparse:
        if (!pieces_) recurrent_.Pack(team_);
        return;
      case Way::kDense:
        PackDense();
        return PackGradients(t, first_gate, gates);
      case Way::kLive:
        if (!live_) {
          live_ = std::make_unique<LiveLists<T>>(kernels_, tiles_, team_, in_.recurrent_kernel, LiveLists<T>::Of::kRows);
          samples_.Resize(row_blocks_ * tiles_.count * kGates * tiles_.width * tiles_.width);
        }
        return SpreadGradients(t, first_gate, gates);
    }
  }

  // The gradients of the pre-activations of a block of samples, [3, width, samples] for every tile.
  T* Samples(int64_t block, int64_t tile, int64_t gate) const {
    return samples_.get() + ((block * tiles_.count + tile) * kGates + gate) * tiles_.width * tiles_.width;
  }

  void SpreadGradients(int64_t t, int first_gate, int gates) {
    team_.Run(tiles_.count * row_blocks_, [&](int64_t task, int) {
      const int64_t tile = task / row_blocks_, block = task % row_blocks_, b0 = block * tiles_.width;
      for (int gate = first_gate; gate < first_gate + gates; ++gate) {
        kernels_.transpose({std::min(tiles_.width, shape_.batch - b0), tiles_.valid(tile),
                            Gates(t, tile, b0) + gate * tiles_.width, kGates * tiles_.width, nullptr, 0,
                            Samples(block, tile, gate), tiles_.width});
      }
    });
  }

  void PackDense() {
    if (!recurrent_blocks_.empty()) return;
    recurrent_blocks_.Resize(places_.count(tiles_.count));
    gradient_blocks_.Resize(row_blocks_ * places_.count(1));
    team_.Run(tiles_.count * tiles_.count, [&](int64_t task, int) {
      PackWeightBlock(kernels_, tiles_, in_.recurrent_kernel, shape_.units, task / tiles_.count, task % tiles_.count,
                      places_, recurrent_blocks_, true);
    });
  }

  // The gradients of the pre-activations of step t, gates [first_gate, first_gate + gates), for dense products.
  void PackGradients(int64_t t, int first_gate, int gates) {
    team_.Run(tiles_.count * row_blocks_, [&](int64_t task, int) {
      const int64_t k = task / row_blocks_, block = task % row_blocks_;
      RowPointers<T> rows;
      for (int64_t b = block * tiles_.width; b < std::min(shape_.batch, (block + 1) * tiles_.width); ++b) {
        rows.Add(Gates(t, k, b));
      }
      for (int gate = first_gate; gate < first_gate + gates; ++gate) {
        kernels_.dense.pack_left({rows.row, rows.count, gate * tiles_.width, tiles_.valid(k),
                                  gradient_blocks_[places_.at(0, k, gate) * row_blocks_ + block]});
      }
    });
  }

  void Step(int64_t t) {
    Prepare(t);
    needed_ = 0;
    team_.Run(tiles_.count * blocks_, [&](int64_t task, int member) {
      const int64_t tile = task / blocks_;
      const auto [b0, b1] = BlockRange(task % blocks_, shape_);
      if (t + 1 < shape_.time) AddRecurrentGradient(t, tile, b0, b1, *scratch_[member]);
      UpdateState(t, tile, task % blocks_, b0, b1);
      ListNeeded(t - 1, tile, task % blocks_);
    });
    if (!options_.reset_after) {
      const Way way = Choose();
      Pack(way, t, kGates - 1, 1);
      team_.Run(tiles_.count * blocks_, [&](int64_t task, int member) {
        ResetGateGradient(way, t, task / blocks_, task % blocks_, *scratch_[member]);
      });
    }
  }

  // result[row, unit] = V dA of gates [first_gate, first_gate + gates) for all entries of one tile; `result` has rows of
  // `tiles_.width` numbers, and is added to.
  void DenseProducts(int64_t tile, int64_t b0, int64_t b1, int first_gate, int gates, T* result) const {
    for (int64_t k = 0; k < tiles_.count; ++k) {
      for (int gate = first_gate; gate < first_gate + gates; ++gate) {
        const int64_t weights = places_.at(k, tile, gate), next = places_.at(std::min(k + 1, tiles_.count - 1), tile, gate);
        for (int64_t b = b0; b < b1; b += tiles_.width) {
          const Ahead ahead = b + tiles_.width < b1 ? Ahead{} : recurrent_blocks_.Memory(next);
          kernels_.dense.multiply({std::min(tiles_.width, b1 - b), tiles_.valid(k), tiles_.valid(tile),
                                   gradient_blocks_[places_.at(0, k, gate) * row_blocks_ + b / tiles_.width],
                                   recurrent_blocks_[weights], result + (b - b0) * tiles_.width, tiles_.width, ahead});
        }
      }
    }
  }

  // The same from live weights.
  void LiveProducts(int64_t tile, int64_t b0, int64_t b1, int first_gate, int gates, T* result, const Scratch& scratch) const {
    const int64_t width = tiles_.width;
    T* sums = scratch.sums.get();
    for (int64_t b = b0; b < b1; b += width, result += width * width) {
      const int64_t count = std::min(width, b1 - b), vectors = CeilDivide(count, tiles_.lanes);
      for (int64_t k = 0; k < tiles_.count; ++k) {
        for (int gate = first_gate; gate < first_gate + gates; ++gate) {
          live_->Add(tile, k, gate, vectors, k == 0 && gate == first_gate, Samples(b / width, 0, 0), sums);
        }
      }
      kernels_.transpose({tiles_.valid(tile), count, sums, width, result, width, result, width});
    }
  }

  // The same for the needed entries alone, in the order of their list: [kBatchBlock, width].
  void SparseProducts(int64_t t, int64_t tile, int64_t b0, int64_t b1, int first_gate, int gates, T* result) const {
    if (pieces_) {
      for (int64_t b = b0; b < b1; ++b, result += tiles_.width) {
        const int64_t slot = NeededSlot(tile, b);
        pieces_->Dot(0, first_gate, tiles_.first(tile), needed_count_[slot], needed_index_.get() + slot * tiles_.width,
                     LinedUp(t + 1, b), result);
      }
      return;
    }
    std::fill_n(result, (b1 - b0) * tiles_.width, T{});
    const int64_t first = tiles_.first(tile), slot = NeededSlot(tile, b0);
    const Lists<T> lists = {needed_index_.get() + slot * tiles_.width, nullptr, needed_count_.get() + slot, nullptr,
                            tiles_.width};
    for (int64_t k = 0; k < tiles_.count; ++k) {
      kernels_.dots[gates - 1][tiles_.vectors(k) - 1](
          {b1 - b0, lists, ReadGates<T>(tiles_, Gates(t + 1, k, b0), nullptr, first_gate, gates),
           recurrent_.Rows(k, first, first_gate, gates), result, recurrent_.Memory(k + 1, first, tiles_.width),
           !recurrent_.packed()});
    }
  }

  // visit(b, unit of the tile, dot product) for what SparseProducts computed.
  template <typename Visit>
  void ForResults(int64_t tile, int64_t b0, int64_t b1, const T* result, const Visit& visit) const {
    for (int64_t b = b0; b < b1; ++b, result += tiles_.width) {
      const int64_t slot = NeededSlot(tile, b);
      for (int32_t e = 0; e < needed_count_[slot]; ++e) visit(b, needed_index_[slot * tiles_.width + e], result[e]);
    }
  }

  // dL/dy_t += V dA_{t+1}, where it is needed.
  void AddRecurrentGradient(int64_t t, int64_t tile, int64_t b0, int64_t b1, Scratch& scratch) const {
    const int gates = options_.reset_after ? kGates : kGates - 1;
    if (way_ == Way::kDense) return DenseProducts(tile, b0, b1, 0, gates, CarryY(tile, b0));
    if (way_ == Way::kLive) return LiveProducts(tile, b0, b1, 0, gates, CarryY(tile, b0), scratch);
    SparseProducts(t, tile, b0, b1, 0, gates, scratch.result.get());
    ForResults(tile, b0, b1, scratch.result.get(), [&](int64_t b, int64_t unit, T dot) { CarryY(tile, b)[unit] += dot; });
  }

  // reset_after=false: with s = V_z dA_z = dL/d(r y), the gate r gets s y r (1 - r) and y_{t-1} gets s r.
  void ResetGateGradient(Way way, int64_t t, int64_t tile, int64_t block, Scratch& scratch) const {
    const auto [b0, b1] = BlockRange(block, shape_);
    const int64_t first_row = b0, rows = b1 - b0, width = tiles_.width;
    T* result = scratch.result.get();
    if (way != Way::kSparse) std::fill_n(result, rows * width, T{});
    if (way == Way::kDense) {
      DenseProducts(tile, b0, b1, kGates - 1, 1, result);
    } else if (way == Way::kLive) {
      LiveProducts(tile, b0, b1, kGates - 1, 1, result, scratch);
    } else {
      SparseProducts(t - 1, tile, b0, b1, kGates - 1, 1, result);
    }
    T* gate = Gates(t, tile, b0) + width;  // holds r, and gets the gradient of a_r
    for (int64_t row = 0; row < rows; ++row) {
      T* r = gate + row * kGates * width;
      std::copy_n(r, width, scratch.reset_gate.get() + row * width);
      std::fill_n(r, width, T{});
    }
    T* grad_bias = Partial(tile, block, 2);
    const auto visit = [&](int64_t b, int64_t unit, T s) {
      const T r = scratch.reset_gate[(b - first_row) * width + unit];
      const T grad_a_r = s * Y(t - 1, b)[tiles_.first(tile) + unit] * r * (T(1) - r);
      CarryY(tile, b)[unit] += s * r;
      gate[(b - first_row) * kGates * width + unit] = grad_a_r;
      grad_bias[unit] += grad_a_r;
    };
    if (way == Way::kSparse) {
      ForResults(tile, b0, b1, result, visit);
      if (pieces_) LineUp(t, tile, b0, b1, 1, 1);  // r; other tasks are reading z
      return;
    }
    for (int64_t b = b0; b < b1; ++b) {
      if (!Valid(t, b)) continue;
      for (int64_t unit = 0; unit < tiles_.valid(tile); ++unit) visit(b, unit, result[(b - first_row) * width + unit]);
    }
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
    if (pieces_) LineUp(t, tile, b0, b1, 0, kGates);
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

  const EgruShape shape_;
  const EgruOptions options_;
  const EgruInputs<T> in_;
  const T *const y_, *const c_, *const grad_y_, *const grad_c_;
  const EgruGradients<T> out_;
  const Kernels<T>& kernels_;
  const Tiles<T> tiles_;
  const int64_t blocks_;  // of the batch
  const GateLayout<T> layout_;
  const int64_t row_blocks_;   // of samples, in dense products
  const WeightBlocks places_;  // of a tile's weights, or (tile 0) of the gradients of all tiles
  TiledWeights<T> recurrent_;          // packed for sparse products
  const bool list_all_;                // a dense product from weights in place
  const double density_;               // of V, roughly
  DenseBlocks<T> recurrent_blocks_;    // V transposed
  DenseBlocks<T> gradient_blocks_;     // dA of one step
  const Buffer<T> threshold_;
  const Buffer<int64_t> first_valid_;  // [batch], the first step that is not masked
  Buffer<T> carry_y_, carry_c_;        // [tiles, batch, width]: dL/dy and dL/dc that step t inherits from step t+1
  Buffer<T> partial_;                  // [tiles, batch blocks, kPartials, width]
  Buffer<int32_t> needed_index_;  // the entries whose dL/dy is needed next, [tile, batch, entry]
  Buffer<int32_t> needed_count_;  // [tile, batch]
  Way way_ = Way::kSparse;        // of the running step's product
  std::unique_ptr<const LiveLists<T>> live_;  // of pruned weights, once they are needed
  Buffer<T> samples_;                        // dA of one step, for live weights
  std::unique_ptr<const LivePieces<T>> pieces_;  // the same for a few samples
  Buffer<T> lined_up_;                           // dA of two steps, for pieces: [2, batch, 3, padded units]
  WeightGradient<T> recurrent_gradient_, input_gradient_;
  std::vector<std::unique_ptr<Scratch>> scratch_;  // one a member of the team
  std::atomic<int64_t> needed_{0};
  int64_t backward_entries_ = 0;
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
