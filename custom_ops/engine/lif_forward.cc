// The forward pass: a task lists the events of a few samples' inputs, steps their membranes (lif_membranes.h) and lists
// what was active.
#include <algorithm>
#include <numeric>

#include "lif.h"
#include "lif_membranes.h"

namespace keras_egru {
namespace {

constexpr int64_t kPartsOfMember = 4;  // so that the last one to finish is not waited for long

template <typename T>
class Forward {
 public:
  Forward(const LifUnits<T>& units, const LifOutputs<T>& out, LifLists<T>& lists, T* spikes)
      : units_(units), shape_(units.shape), out_(out), lists_(lists), spikes_(spikes), membranes_(units),
        index_(CeilDivide(shape_.features, units.kernels.lanes) * units.kernels.lanes), value_(index_.size()) {}

  LifCounters Run(int64_t b, int64_t link_begin) {
    b_ = b;
    link_ = link_begin;
    const int64_t n = shape_.units;
    if (out_.y) std::fill_n(out_.y + b * shape_.time * n, shape_.time * n, T{});
    membranes_.Run(b, [this](int64_t t) { return Events(t); }, *this);
    if (out_.last_i) std::copy_n(membranes_.current(), n, out_.last_i + b * n);
    for (int64_t j = 0; out_.last_wait && j < n; ++j) out_.last_wait[b * n + j] = membranes_.wait(j);
    return counters_;
  }

  void ForgetCounters() { counters_ = {}; }

  void Before(int64_t, const T*, const T*) {}
  void Masked(int64_t t) {
    const T* before = t == 0 ? units_.inputs.initial_v + b_ * shape_.units : V(t - 1);
    if (before != V(t)) std::copy_n(before, shape_.units, V(t));
    if (out_.counts) out_.counts[Row(t)] = 0;
    if (out_.input_counts) out_.input_counts[Row(t)] = 0;
    SkipLink(t);
  }
  void Membrane(int64_t t, const T* v) {
    t_ = t;
    if (out_.all_v || t + 1 == shape_.time || !units_.valid(b_, t + 1)) std::copy_n(v, shape_.units, V(t));
  }
  int64_t Entry(int32_t unit, bool spiked, T slope, T after) {
    if (spiked) {
      out_.y[Row(t_) * shape_.units + unit] = T(1);
      spikes_[unit] += T(1);
      ++counters_.spikes;
    }
    if (!out_.counts) return 0;
    lists_.codes.push_back(2 * unit + spiked);
    lists_.values.push_back(slope);
    if (units_.options.gradient == LifGradient::kEventprop) lists_.values.push_back(after);
    return static_cast<int64_t>(lists_.codes.size()) - 1;
  }
  void GoesOn(int64_t entry, T after) {
    if (out_.counts) lists_.values[2 * entry + 1] = after;
  }
  void End(int64_t t, int64_t entries) {
    ++counters_.steps;
    counters_.entries += entries;
    if (out_.counts) out_.counts[Row(t)] = static_cast<int32_t>(entries);
  }

 private:
  int64_t Row(int64_t t) const { return b_ * shape_.time + t; }
  T* V(int64_t t) const { return out_.v + (out_.all_v ? Row(t) : b_) * shape_.units; }
  void SkipLink(int64_t t) {
    if (units_.inputs.link.counts) link_ += units_.inputs.link.counts[Row(t)];
  }

  StepEvents<T> Events(int64_t t) {
    StepEvents<T> events;
    const LifEntries& link = units_.inputs.link;
    if (link.counts) {
      events = SpikesOf(link.codes + link_, link.counts[Row(t)], index_.get(), value_.get());
      SkipLink(t);
    } else {
      const T* inputs = units_.inputs.inputs + Row(t) * shape_.features;
      events = {units_.kernels.list_nonzero(inputs, shape_.features, index_.get(), value_.get()), index_.get(), value_.get()};
      if (out_.input_counts) {
        out_.input_counts[Row(t)] = static_cast<int32_t>(events.count);
        lists_.input_index.insert(lists_.input_index.end(), index_.get(), index_.get() + events.count);
        lists_.input_value.insert(lists_.input_value.end(), value_.get(), value_.get() + events.count);
      }
    }
    counters_.input_events += events.count;
    return events;
  }

  const LifUnits<T>& units_;
  const LifShape& shape_;
  const LifOutputs<T>& out_;
  LifLists<T>& lists_;
  T* const spikes_;  // [units]
  LifMembranes<T> membranes_;
  Buffer<int32_t> index_;
  Buffer<T> value_;
  LifCounters counters_;
  int64_t b_ = 0, t_ = 0, link_ = 0;
};

}  // namespace

template <typename T>
LifCounters LifForward(const LifShape& shape, const LifOptions& options, const LifInputs<T>& inputs,
                       const LifOutputs<T>& outputs, std::vector<LifLists<T>>* lists, Scheduler* scheduler) {
  const LifUnits<T> units(shape, options, inputs);
  Team team(scheduler, LifTeamSize(scheduler, shape));
  const int64_t parts = std::min<int64_t>(shape.batch, team.members() == 1 ? 1 : team.members() * kPartsOfMember);
  lists->resize(parts);
  std::vector<LifCounters> counters(parts);
  Buffer<T> spikes(parts * shape.units);
  spikes.Zero();
  team.Run(parts, [&](int64_t part, int) {
    Forward<T> forward(units, outputs, (*lists)[part], spikes.get() + part * shape.units);
    const int64_t first = FirstSample(part, parts, shape.batch), end = FirstSample(part + 1, parts, shape.batch);
    const int32_t* link = inputs.link.counts;
    int64_t link_begin = link ? std::accumulate(link, link + first * shape.time, int64_t{0}) : 0;
    for (int64_t b = first; b < end; ++b) {
      counters[part] = forward.Run(b, link_begin);
      if (b == first) (*lists)[part].Expect(end - first);
      if (link) link_begin = std::accumulate(link + b * shape.time, link + (b + 1) * shape.time, link_begin);
    }
  });
  LifCounters sum;
  for (const LifCounters& found : counters) {
    sum.steps += found.steps;
    sum.input_events += found.input_events;
    sum.spikes += found.spikes;
    sum.entries += found.entries;
  }
  for (int64_t j = 0; outputs.spikes && j < shape.units; ++j) {
    outputs.spikes[j] = T(0);
    for (int64_t part = 0; part < parts; ++part) outputs.spikes[j] += spikes[part * shape.units + j];
  }
  return sum;
}

template <typename T>
struct LifPrepared<T>::State {
  State(const LifShape& shape, const LifOptions& options, const LifInputs<T>& inputs)
      : units(shape, options, inputs), spikes(shape.units), forward(units, outputs, lists, spikes.get()) {}

  LifUnits<T> units;
  LifOutputs<T> outputs = {};
  LifLists<T> lists;  // of nothing
  const Buffer<T> spikes;
  Forward<T> forward;
};

template <typename T>
LifPrepared<T>::LifPrepared(const LifShape& shape, const LifOptions& options, const LifInputs<T>& inputs)
    : state_(std::make_unique<State>(shape, options, inputs)) {}

template <typename T>
LifPrepared<T>::~LifPrepared() = default;

template <typename T>
LifCounters LifPrepared<T>::Run(const LifInputs<T>& inputs, const LifOutputs<T>& outputs) {
  State& state = *state_;
  LifInputs<T>& read = state.units.inputs;
  read.inputs = inputs.inputs;
  read.initial_v = inputs.initial_v;
  read.initial_i = inputs.initial_i;
  read.initial_y = inputs.initial_y;
  read.initial_wait = inputs.initial_wait;
  read.mask = inputs.mask;
  state.outputs = outputs;
  state.outputs.counts = state.outputs.input_counts = nullptr;
  state.spikes.Zero();
  state.forward.ForgetCounters();
  LifCounters counters;
  for (int64_t b = 0; b < state.units.shape.batch; ++b) counters = state.forward.Run(b, 0);
  if (outputs.spikes) std::copy_n(state.spikes.get(), state.units.shape.units, outputs.spikes);
  return counters;
}

#define INSTANTIATE(T)                                                                                               \
  template LifCounters LifForward<T>(const LifShape&, const LifOptions&, const LifInputs<T>&, const LifOutputs<T>&,  \
                                     std::vector<LifLists<T>>*, Scheduler*);                                         \
  template class LifPrepared<T>;
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
