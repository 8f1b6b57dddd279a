// The membranes of one sample through all its steps.
#ifndef KERAS_EGRU_ENGINE_LIF_MEMBRANES_H_
#define KERAS_EGRU_ENGINE_LIF_MEMBRANES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lif_units.h"

namespace keras_egru {

template <typename T>
class LifMembranes {
 public:
  explicit LifMembranes(const LifUnits<T>& units)
      : units_(units), u_(units.width), current_(units.width), drive_(units.width), flags_(units.width),
        index_(units.width), value_(units.width), spiked_(units.width), ones_(units.width), wait_(units.width),
        entry_(units.width) {
    std::fill_n(ones_.get(), units.width, T(1));
    waiting_.reserve(units.shape.units);
  }

  // events(t): the StepEvents of the inputs. The sink hears of
  //   Before(t, u, current)              what step t starts from, [width]
  //   Masked(t)                          and of nothing else at a step that is left out
  //   Membrane(t, v)                     before the reset
  //   Entry(unit, spiked, slope, after)  of step t, in the order of units; returns a number for the entry
  //   GoesOn(entry, after)               the slope with which a unit goes on after its refractory period
  //   End(t, entries)
  template <typename Events, typename Sink>
  void Run(int64_t b, const Events& events, Sink& sink) {
    const LifOptions& options = units_.options;
    Start(b);
    for (int64_t t = 0; t < units_.shape.time; ++t) {
      if (!units_.valid(b, t)) {
        sink.Masked(t);
        continue;
      }
      sink.Before(t, u_.get(), current_.get());
      const StepEvents<T> arriving = events(t);
      Evolve(arriving);
      for (const int32_t n : waiting_) {
        u_[n] = static_cast<T>(options.v_reset);
        flags_[n] = T(0);
      }
      sink.Membrane(t, u_.get());
      const int64_t found = options.spiking ? Spike(sink) : 0;
      if (units_.has_current()) {
        Add(units_.kernel.get(), arriving, current_.get());
        if (units_.recurrent()) Add(units_.recurrent_kernel.get(), Spikes(), current_.get());
      }
      if (options.refractory > 0) Wait(sink);
      sink.End(t, found);
    }
  }

  const T* current() const { return current_.get(); }
  T wait(int64_t unit) const { return static_cast<T>(wait_[unit]); }

 private:
  void Start(int64_t b) {
    const int64_t n = units_.shape.units, from = b * n;
    const LifOptions& options = units_.options;
    u_.Zero();
    current_.Zero();
    waiting_.clear();
    std::copy_n(units_.inputs.initial_v + from, n, u_.get());
    if (units_.has_current()) std::copy_n(units_.inputs.initial_i + from, n, current_.get());
    spikes_ = 0;
    for (int64_t j = 0; j < n; ++j) {
      wait_[j] = units_.inputs.initial_wait ? static_cast<int64_t>(units_.inputs.initial_wait[from + j]) : 0;
      entry_[j] = -1;
      if (wait_[j] > 0) waiting_.push_back(static_cast<int32_t>(j));
      if (options.spiking && units_.inputs.initial_y[from + j] != T(0)) {
        Reset(j);
        spiked_[spikes_++] = static_cast<int32_t>(j);
      }
    }
  }

  void Reset(int64_t n) {
    const T reset = static_cast<T>(units_.options.v_reset), threshold = static_cast<T>(units_.options.threshold);
    u_[n] = units_.options.reset == LifReset::kZero ? reset : u_[n] - (threshold - reset);
  }

  StepEvents<T> Spikes() const { return {spikes_, spiked_.get(), ones_.get()}; }

  void Add(const T* weights, const StepEvents<T>& events, T* output) const {
    if (events.count > 0) {
      units_.kernels.lif.add_rows(units_.width, events.count, events.index, events.value, weights, output);
    }
  }

  void Evolve(const StepEvents<T>& arriving) {
    const LifOptions& options = units_.options;
    if (!units_.has_current()) {
      drive_.Zero();
      Add(units_.kernel.get(), arriving, drive_.get());
      if (units_.recurrent()) Add(units_.recurrent_kernel.get(), Spikes(), drive_.get());
    }
    const bool surrogate = options.gradient == LifGradient::kSurrogate;
    units_.kernels.lif.membrane({units_.width, units_.alpha.get(), units_.beta.get(), units_.gamma.get(),
                                 static_cast<T>(options.v_rest), static_cast<T>(options.threshold),
                                 surrogate ? static_cast<T>(options.surrogate_width) : T(0), drive_.get(), u_.get(),
                                 current_.get(), flags_.get()});
  }

  // Lists the active units, and resets those that spike.
  template <typename Sink>
  int64_t Spike(Sink& sink) {
    const LifOptions& options = units_.options;
    const int64_t found = units_.kernels.list_nonzero(flags_.get(), units_.shape.units, index_.get(), value_.get());
    spikes_ = 0;
    for (int64_t e = 0; e < found; ++e) {
      const int32_t n = index_[e];
      const bool spiked = value_[e] == T(2);
      if (options.gradient == LifGradient::kSurrogate) {
        entry_[n] = sink.Entry(n, spiked, Slope(u_[n] - static_cast<T>(options.threshold)), T(0));
      } else {
        entry_[n] = sink.Entry(n, spiked, SlopeBefore(n), options.refractory > 0 ? T(0) : SlopeAfter(n));
      }
      if (!spiked) continue;
      Reset(n);
      spiked_[spikes_++] = n;
    }
    return found;
  }

  // H'(v - threshold).
  T Slope(T above) const {
    const LifOptions& options = units_.options;
    const T size = std::abs(above), width = static_cast<T>(options.surrogate_width);
    const T height = static_cast<T>(options.surrogate_height);
    if (!(size < width)) return T(0);
    switch (options.surrogate) {
      case LifSurrogate::kTriangular:
        return height * (T(1) - size / width);
      case LifSurrogate::kBoxcar:
        return height;
      case LifSurrogate::kFastSigmoid:
        break;
    }
    const T divisor = static_cast<T>(options.surrogate_slope) * size + T(1);
    return T(1) / (divisor * divisor);
  }

  // dv/dt, in steps, where the membrane crosses the threshold. On the grid of steps the spike comes a little late, and the
  // membrane may already turn: it rose over the step, so the slope is at least a tenth of what it rose by.
  T SlopeBefore(int64_t n) const {
    const LifOptions& options = units_.options;
    const T rest = static_cast<T>(options.v_rest);
    const T slope = (current_[n] - (static_cast<T>(options.threshold) - rest)) * units_.per_membrane[n];
    const T alpha = units_.inputs.alpha[n], beta = units_.inputs.beta[n], gamma = units_.inputs.gamma[n];
    const T before = rest + (u_[n] - rest - gamma * current_[n] / beta) / alpha;
    return std::max(slope, T(0.1) * (u_[n] - before));
  }
  T SlopeAfter(int64_t n) const {
    return (current_[n] - static_cast<T>(units_.options.v_reset - units_.options.v_rest)) * units_.per_membrane[n];
  }

  template <typename Sink>
  void Wait(Sink& sink) {
    size_t kept = 0;
    for (const int32_t n : waiting_) {
      if (--wait_[n] > 0) {
        waiting_[kept++] = n;
      } else if (entry_[n] >= 0 && units_.options.gradient == LifGradient::kEventprop) {
        sink.GoesOn(entry_[n], SlopeAfter(n));
      }
    }
    waiting_.resize(kept);
    for (int64_t e = 0; e < spikes_; ++e) {
      wait_[spiked_[e]] = units_.options.refractory;
      waiting_.push_back(spiked_[e]);
    }
  }

  const LifUnits<T>& units_;
  Buffer<T> u_, current_, drive_, flags_;  // [width]
  Buffer<int32_t> index_;
  Buffer<T> value_;
  Buffer<int32_t> spiked_;  // the units that spiked in the last step
  Buffer<T> ones_;
  Buffer<int64_t> wait_, entry_;  // refractory steps to come, and the last entry of a unit
  std::vector<int32_t> waiting_;
  int64_t spikes_ = 0;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIF_MEMBRANES_H_
