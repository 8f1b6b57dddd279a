// The backward pass: a task goes backwards through a few samples with the costates of their membranes and currents, and
// adds to gradients of its own, which are summed in the end. Of a part of the batch, not of a thread: results do not depend
// on how many there are.
#include <algorithm>
#include <memory>
#include <vector>

#include "lif.h"
#include "lif_membranes.h"
#include "lif_weight_gradients.h"

namespace keras_egru {
namespace {

// Where what was listed of a sample's steps begins.
class Begins {
 public:
  Begins(const int32_t* counts, int64_t batch, int64_t time) : time_(time), begin_(counts ? batch * time + 1 : 0) {
    if (!counts) return;
    begin_[0] = 0;
    for (int64_t row = 0; row < batch * time; ++row) begin_[row + 1] = begin_[row] + counts[row];
  }
  bool empty() const { return begin_.size() == 0; }
  int64_t begin(int64_t b, int64_t t) const { return begin_[b * time_ + t]; }
  int64_t count(int64_t b, int64_t t) const { return begin_[b * time_ + t + 1] - begin_[b * time_ + t]; }

 private:
  const int64_t time_;
  const Buffer<int64_t> begin_;
};

// The gradients that a part of the batch adds up, padded to whole vectors.
template <typename T>
struct Sums {
  Sums(const LifUnits<T>& units, const LifGradients<T>& wanted)
      : kernel(wanted.kernel ? units.shape.features * units.width : 0),
        recurrent_kernel(wanted.recurrent_kernel ? units.shape.units * units.width : 0),
        alpha(wanted.alpha ? units.width : 0),
        beta(wanted.alpha && units.has_current() ? units.width : 0),
        gamma(beta.size()) {
    for (const Buffer<T>* sum : {&kernel, &recurrent_kernel, &alpha, &beta, &gamma}) sum->Zero();
  }
  const Buffer<T> kernel, recurrent_kernel, alpha, beta, gamma;
};

template <typename T>
class Backward {
 public:
  Backward(const LifUnits<T>& units, const LifSaved<T>& saved, const LifUpstream<T>& upstream, const LifGradients<T>& out,
           const Begins& entries, const Begins& inputs, const Sums<T>& sums)
      : units_(units), shape_(units.shape), options_(units.options), lif_(units.kernels.lif), saved_(saved),
        upstream_(upstream), out_(out), entries_(entries), inputs_(inputs), sums_(sums),
        weights_(units, sums.kernel.get(), sums.recurrent_kernel.get()), q_(units.width), m_(units.width),
        timing_(units.width), hold_(units.width), blocked_(units.width), event_index_(shape_.features),
        event_value_(shape_.features), entry_unit_(shape_.units), entry_sum_(shape_.units), spike_index_(shape_.units),
        spike_value_(shape_.units), membranes_(units), u_(sums.alpha.size() ? shape_.time * units.width : 0),
        current_(sums.beta.size() ? u_.size() : 0) {
    steps_.reserve(shape_.time);
    blocked_units_.reserve(shape_.units);
  }

  void Run(int64_t b) {
    b_ = b;
    steps_.clear();
    for (int64_t t = 0; t < shape_.time; ++t) {
      if (units_.valid(b, t)) {
        steps_.push_back(t);
      } else if (out_.costates) {
        std::fill_n(out_.costates + Row(t) * shape_.units, shape_.units, T{});
      }
    }
    if (u_.size()) membranes_.Run(b, [this](int64_t t) { return Events(t); }, *this);  // once more, for its states
    if (upstream_.y && options_.spiking) GatherUpstream();
    for (const Buffer<T>* state : {&q_, &m_, &hold_}) state->Zero();
    blocked_.Zero();
    blocked_units_.clear();
    if (upstream_.last_i) std::copy_n(upstream_.last_i + b * shape_.units, shape_.units, m_.get());
    for (int64_t s = Steps() - 1; s >= 0; --s) Step(s);
    Finish();
  }
  // After the last sample.
  void End() { weights_.Flush(); }

  // What the second forward pass is run for.
  void Before(int64_t t, const T* u, const T* current) {
    std::copy_n(u, units_.width, u_.get() + t * units_.width);
    if (current_.size()) std::copy_n(current, units_.width, current_.get() + t * units_.width);
  }
  void Masked(int64_t) {}
  void Membrane(int64_t, const T*) {}
  int64_t Entry(int32_t, bool, T, T) { return 0; }
  void GoesOn(int64_t, T) {}
  void End(int64_t, int64_t) {}

 private:
  int64_t Row(int64_t t) const { return b_ * shape_.time + t; }
  int64_t Steps() const { return static_cast<int64_t>(steps_.size()); }
  bool eventprop() const { return options_.gradient == LifGradient::kEventprop; }

  // The events that reach the units at step t.
  StepEvents<T> Events(int64_t t) {
    const int64_t begin = inputs_.begin(b_, t), count = inputs_.count(b_, t);
    if (!units_.inputs.link.counts) return {count, saved_.input_index + begin, saved_.input_value + begin};
    return SpikesOf(units_.inputs.link.codes + begin, count, event_index_.get(), event_value_.get());
  }

  // The spikes of this layer at the s-th valid step, or those of the initial state.
  StepEvents<T> Spikes(int64_t s) {
    if (s >= 0) {
      const int64_t t = steps_[s];
      return SpikesOf(saved_.entries.codes + entries_.begin(b_, t), entries_.count(b_, t), spike_index_.get(),
                      spike_value_.get());
    }
    int64_t found = 0;
    for (int64_t n = 0; n < shape_.units; ++n) {
      if (units_.inputs.initial_y[b_ * shape_.units + n] == T(0)) continue;
      spike_index_[found] = static_cast<int32_t>(n);
      spike_value_[found++] = T(1);
    }
    return {found, spike_index_.get(), spike_value_.get()};
  }

  // In: q and m of the step after, with q zero where a unit was refractory. Out: the same of the s-th valid step.
  void Step(int64_t s) {
    const int64_t t = steps_[s], begin = options_.spiking ? entries_.begin(b_, t) : 0;
    const int64_t count = options_.spiking ? entries_.count(b_, t) : 0;
    const bool has_current = units_.has_current(), linked = units_.inputs.link.counts && out_.link;
    for (int64_t e = 0; e < count; ++e) entry_unit_[e] = saved_.entries.codes[begin + e] >> 1;
    std::fill_n(entry_sum_.get(), count, T{});
    // Where spikes jump on the membrane they arrive a step later: with the costate of the step after.
    if (!has_current && s + 1 < Steps()) PassRecurrence(s, count, q_.get());
    if (s + 1 < Steps()) Propagate();  // after the last step q and m are what was asked of the final state
    if (has_current) {
      if (eventprop() && (linked || (units_.recurrent() && count > 0))) {
        lif_.difference_of_products(units_.width, m_.get(), units_.per_current.get(), q_.get(), units_.per_membrane.get(),
                                    timing_.get());
      }
      weights_.Costate(m_.get());
      PassRecurrence(s, count, eventprop() ? timing_.get() : m_.get());
    }
    Block(s);
    for (int64_t e = 0; e < count; ++e) PassEntry(begin + e, entry_sum_[e]);
    for (int64_t k = t; upstream_.v && k < (s + 1 < Steps() ? steps_[s + 1] : shape_.time); ++k) AddUpstream(k, q_.get());
    Unblock(s);
    const T* costate = has_current ? m_.get() : q_.get();
    if (!has_current) weights_.Costate(costate);
    if (weights_.inputs_wanted()) weights_.Inputs(Events(t));
    if (linked) PassLink(t, eventprop() ? timing_.get() : costate);
    if (out_.costates) std::copy_n(costate, shape_.units, out_.costates + Row(t) * shape_.units);
    if (u_.size()) AddTimeConstants(t);
  }

  // What is upstream of the sample's entries lies apart in memory: asked for all at once it is soon here.
  void GatherUpstream() {
    const int64_t first = entries_.begin(b_, 0), n = shape_.units;
    gathered_.resize(entries_.begin(b_, shape_.time - 1) + entries_.count(b_, shape_.time - 1) - first);
    T* to = gathered_.data();
    for (int64_t t = 0; t < shape_.time; ++t) {
      // With eventprop what moving a spike by a step would change, from what a spike at the steps beside it would.
      const int64_t before = std::max<int64_t>(t - 1, 0), after = std::min(t + 1, shape_.time - 1);
      const T per_step = T(1) / static_cast<T>(std::max<int64_t>(after - before, 1));
      const int32_t* codes = saved_.entries.codes + entries_.begin(b_, t);
      for (int64_t e = 0; e < entries_.count(b_, t); ++e) {
        const T* y = upstream_.y + (codes[e] >> 1);
        *to++ = eventprop() ? (y[Row(after) * n] - y[Row(before) * n]) * per_step : y[Row(t) * n];
      }
    }
  }

  void Propagate() {
    lif_.costate({units_.width, units_.alpha.get(), units_.beta.get(), units_.gamma.get(), q_.get(), m_.get()});
  }

  // Through the recurrent weights: the spikes of the s-th valid step met the last costate; `worth` is what its entries get.
  void PassRecurrence(int64_t s, int64_t count, const T* worth) {
    if (!units_.recurrent() || count == 0) return;
    lif_.dot_rows(units_.width, count, entry_unit_.get(), units_.recurrent_kernel.get(), worth, entry_sum_.get());
    if (weights_.spikes_wanted()) weights_.Spikes(Spikes(s));
  }

  void PassLink(int64_t t, const T* worth) {
    const int64_t begin = inputs_.begin(b_, t), count = inputs_.count(b_, t);
    for (int64_t e = 0; e < count; ++e) event_index_[e] = units_.inputs.link.codes[begin + e] >> 1;
    lif_.dot_rows(units_.width, count, event_index_.get(), units_.kernel.get(), worth, out_.link + begin);
  }

  // What a spike, or a membrane near the threshold, makes of q: that after the reset becomes that before it.
  void PassEntry(int64_t entry, T sum) {
    const int32_t code = saved_.entries.codes[entry], n = code >> 1;
    if (upstream_.entries) sum += upstream_.entries[entry];
    if (upstream_.y) sum += gathered_[entry - entries_.begin(b_, 0)];
    if (!eventprop()) {
      if (options_.reset == LifReset::kZero && (code & 1)) q_[n] = T(0);
      q_[n] += saved_.values[entry] * sum;
      return;
    }
    const T after = options_.refractory > 0 ? hold_[n] : q_[n];
    q_[n] = (after * saved_.values[2 * entry + 1] - sum) / saved_.values[2 * entry];
    hold_[n] = T(0);
    if (upstream_.jumps) q_[n] += upstream_.jumps[n];
  }

  // The gradient of the membranes that step t shows.
  void AddUpstream(int64_t t, T* to) const {
    if (!upstream_.all_v && t + 1 < shape_.time) return;
    const T* grad = upstream_.v + (upstream_.all_v ? Row(t) : b_) * shape_.units;
    for (int64_t n = 0; n < shape_.units; ++n) to[n] += grad[n];
  }

  // The refractory periods whose last step is the s-th, and at the last step of all those that outlast it. The unit goes on
  // from v_reset afterwards: its q is then the spike's.
  void Block(int64_t s) {
    if (options_.refractory <= 0) return;
    const int64_t first = s - options_.refractory, end = s + 1 == Steps() ? s : first + 1;
    for (int64_t from = std::max<int64_t>(first, 0); from < end; ++from) {
      const StepEvents<T> spikes = Spikes(from);
      for (int64_t e = 0; e < spikes.count; ++e) {
        const int32_t n = spikes.index[e];
        hold_[n] = q_[n];
        blocked_[n] = s - from;
        blocked_units_.push_back(n);
      }
    }
  }

  // Nothing that happened before a step moved the membranes of the units that are refractory in it.
  void Unblock(int64_t s) {
    size_t kept = 0;
    for (const int32_t n : blocked_units_) {
      q_[n] = T(0);
      if (--blocked_[n] > 0) blocked_units_[kept++] = n;
    }
    blocked_units_.resize(kept);
    const T* wait = units_.inputs.initial_wait ? units_.inputs.initial_wait + b_ * shape_.units : nullptr;
    for (int64_t n = 0; wait && n < shape_.units; ++n) {
      if (static_cast<T>(s) < wait[n]) q_[n] = T(0);
    }
  }

  void AddTimeConstants(int64_t t) {
    T* u = u_.get() + t * units_.width;
    for (int64_t n = 0; n < shape_.units; ++n) u[n] -= static_cast<T>(options_.v_rest);
    lif_.add_product(units_.width, q_.get(), u, sums_.alpha.get());
    if (!current_.size()) return;
    lif_.add_product(units_.width, m_.get(), current_.get() + t * units_.width, sums_.beta.get());
    lif_.add_product(units_.width, q_.get(), current_.get() + t * units_.width, sums_.gamma.get());
  }

  // The initial state; q and m are those of the first valid step.
  void Finish() {
    const int64_t from = b_ * shape_.units, n = shape_.units;
    if (out_.initial_y) std::fill_n(out_.initial_y + from, n, T{});
    if (Steps() > 0) {
      if (!units_.has_current() && units_.recurrent()) FinishRecurrence();
      Propagate();
      for (int64_t j = 0; options_.spiking && options_.reset == LifReset::kZero && j < n; ++j) {
        if (units_.inputs.initial_y[from + j] != T(0)) q_[j] = T(0);
      }
    }
    for (int64_t t = 0; upstream_.v && t < (Steps() > 0 ? steps_[0] : shape_.time); ++t) AddUpstream(t, q_.get());
    if (out_.initial_v) std::copy_n(q_.get(), n, out_.initial_v + from);
    if (out_.initial_i) std::copy_n(m_.get(), n, out_.initial_i + from);
  }

  void FinishRecurrence() {
    if (weights_.spikes_wanted()) weights_.Spikes(Spikes(-1));
    if (!out_.initial_y) return;
    for (int64_t n = 0; n < shape_.units; ++n) entry_unit_[n] = static_cast<int32_t>(n);
    lif_.dot_rows(units_.width, shape_.units, entry_unit_.get(), units_.recurrent_kernel.get(), q_.get(),
                  out_.initial_y + b_ * shape_.units);
  }

  const LifUnits<T>& units_;
  const LifShape& shape_;
  const LifOptions& options_;
  const LifKernels<T>& lif_;
  const LifSaved<T>& saved_;
  const LifUpstream<T>& upstream_;
  const LifGradients<T>& out_;
  const Begins &entries_, &inputs_;
  const Sums<T>& sums_;
  LifWeightGradients<T> weights_;
  const Buffer<T> q_, m_;
  const Buffer<T> timing_;         // what moving an event in time is worth to the unit that it reaches, for a weight of one
  const Buffer<T> hold_;           // q of a unit when it goes on after its refractory period
  const Buffer<int64_t> blocked_;  // steps of that period that are still to come, backwards
  const Buffer<int32_t> event_index_;
  const Buffer<T> event_value_;
  const Buffer<int32_t> entry_unit_;
  const Buffer<T> entry_sum_;
  const Buffer<int32_t> spike_index_;
  const Buffer<T> spike_value_;
  LifMembranes<T> membranes_;
  const Buffer<T> u_, current_;  // [time, width] what every step started from
  std::vector<int64_t> steps_;   // that are not masked
  std::vector<T> gathered_;      // upstream of the sample's entries
  std::vector<int32_t> blocked_units_;
  int64_t b_ = 0;
};

// Parts of the batch with gradients of their own: as many as fit a cache together, so that summing them is soon done, but
// enough for a few threads.
constexpr int64_t kMostParts = 16, kLeastParts = 2;
constexpr int64_t kBytesOfParts = int64_t{4} << 20;

template <typename T>
int64_t Parts(const LifUnits<T>& units) {
  const int64_t rows = units.shape.features + (units.recurrent() ? units.shape.units : 0);
  int64_t parts = kLeastParts;
  while (2 * parts <= kMostParts && 2 * parts * rows * units.width * static_cast<int64_t>(sizeof(T)) <= kBytesOfParts) {
    parts *= 2;  // a power of two is shared out among two or four threads without rest
  }
  return std::min(units.shape.batch, parts);
}

// to[row, unit] = the sum of the parts, in their order.
template <typename T, typename Of>
void Reduce(const LifUnits<T>& units, Team& team, int64_t rows, int64_t parts, const Of& of, T* to) {
  if (!to) return;
  constexpr int64_t kRows = 64;
  const int64_t n = units.shape.units;
  team.Run(CeilDivide(rows, kRows), [&](int64_t task, int) {
    for (int64_t row = task * kRows; row < std::min(rows, (task + 1) * kRows); ++row) {
      std::copy_n(of(0) + row * units.width, n, to + row * n);
      for (int64_t part = 1; part < parts; ++part) {
        const T* sum = of(part) + row * units.width;
        for (int64_t j = 0; j < n; ++j) to[row * n + j] += sum[j];
      }
    }
  });
}

}  // namespace

template <typename T>
void LifBackward(const LifShape& shape, const LifOptions& options, const LifInputs<T>& inputs, const LifSaved<T>& saved,
                 const LifUpstream<T>& upstream, const LifGradients<T>& gradients, Scheduler* scheduler) {
  LifInputs<T> read = inputs;
  if (!gradients.link && !gradients.alpha) read.kernel = nullptr;
  const LifUnits<T> units(shape, options, read);
  const Begins entries(options.spiking ? saved.entries.counts : nullptr, shape.batch, shape.time);
  const Begins events(inputs.link.counts ? inputs.link.counts : saved.input_counts, shape.batch, shape.time);
  Team team(scheduler, LifTeamSize(scheduler, shape));
  const int64_t parts = Parts(units);
  std::vector<std::unique_ptr<const Sums<T>>> sums(parts);
  team.Run(parts, [&](int64_t part, int) {
    sums[part] = std::make_unique<const Sums<T>>(units, gradients);
    Backward<T> backward(units, saved, upstream, gradients, entries, events, *sums[part]);
    const int64_t end = FirstSample(part + 1, parts, shape.batch);
    for (int64_t b = FirstSample(part, parts, shape.batch); b < end; ++b) backward.Run(b);
    backward.End();
  });
  const auto sum_of = [&](const Buffer<T> Sums<T>::*which) {
    return [&sums, which](int64_t part) { return ((*sums[part]).*which).get(); };
  };
  Reduce(units, team, shape.features, parts, sum_of(&Sums<T>::kernel), gradients.kernel);
  Reduce(units, team, shape.units, parts, sum_of(&Sums<T>::recurrent_kernel), gradients.recurrent_kernel);
  Reduce(units, team, 1, parts, sum_of(&Sums<T>::alpha), gradients.alpha);
  Reduce(units, team, 1, parts, sum_of(&Sums<T>::beta), units.has_current() ? gradients.beta : nullptr);
  Reduce(units, team, 1, parts, sum_of(&Sums<T>::gamma), units.has_current() ? gradients.gamma : nullptr);
}

#define INSTANTIATE(T)                                                                                                 \
  template void LifBackward<T>(const LifShape&, const LifOptions&, const LifInputs<T>&, const LifSaved<T>&,            \
                               const LifUpstream<T>&, const LifGradients<T>&, Scheduler*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
