// The gradients of the weights: to the row of each event is added the costate that the event met. Where a core does not keep
// all rows at hand, costates and events wait until there are many, are then put in the order of rows, and a row is read and
// written once for all that meets it.
#ifndef KERAS_EGRU_ENGINE_LIF_WEIGHT_GRADIENTS_H_
#define KERAS_EGRU_ENGINE_LIF_WEIGHT_GRADIENTS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lif_units.h"

namespace keras_egru {

// The gradient of one weight matrix [rows, width], and the events that wait for it.
template <typename T>
class LifMeetings {
 public:
  LifMeetings(int64_t rows, int64_t width, T* sum) : width_(width), sum_(sum), end_(rows) {}
  int64_t count() const { return static_cast<int64_t>(row_.size()); }

  // Events that meet costate `step`.
  void Add(const StepEvents<T>& events, int64_t step) {
    row_.insert(row_.end(), events.index, events.index + events.count);
    value_.insert(value_.end(), events.value, events.value + events.count);
    step_.insert(step_.end(), events.count, static_cast<int32_t>(step));
  }

  // costates: [steps, width].
  void Flush(const LifKernels<T>& lif, const T* costates) {
    if (count() == 0) return;
    std::fill_n(end_.get(), end_.size(), 0);
    for (const int32_t row : row_) ++end_[row];
    int32_t begin = 0;
    for (int64_t row = 0; row < end_.size(); ++row) {
      const int32_t met = end_[row];
      end_[row] = begin;
      begin += met;
    }
    sorted_step_.resize(row_.size());
    sorted_value_.resize(row_.size());
    for (int64_t e = 0; e < count(); ++e) {
      const int32_t place = end_[row_[e]]++;
      sorted_step_[place] = step_[e];
      sorted_value_[place] = value_[e];
    }
    begin = 0;
    for (int64_t row = 0; row < end_.size(); ++row) {
      lif.add_rows(width_, end_[row] - begin, sorted_step_.data() + begin, sorted_value_.data() + begin, costates,
                   sum_ + row * width_);
      begin = end_[row];
    }
    row_.clear();
    step_.clear();
    value_.clear();
  }

 private:
  const int64_t width_;
  T* const sum_;
  const Buffer<int32_t> end_;  // of a row's events, once they are sorted
  std::vector<int32_t> row_, step_, sorted_step_;
  std::vector<T> value_, sorted_value_;
};

template <typename T>
class LifWeightGradients {
 public:
  // kernel: [features, width], recurrent_kernel: [units, width]; either may be null. Samples may follow each other.
  LifWeightGradients(const LifUnits<T>& units, T* kernel, T* recurrent_kernel)
      : lif_(units.kernels.lif), width_(units.width), kernel_(kernel), recurrent_kernel_(recurrent_kernel),
        steps_(StepsThatWait(units)), inputs_(steps_ ? units.shape.features : 0, width_, kernel),
        spikes_(steps_ ? units.shape.units : 0, width_, recurrent_kernel), costates_(steps_ * width_) {}
  bool inputs_wanted() const { return kernel_ != nullptr; }
  bool spikes_wanted() const { return recurrent_kernel_ != nullptr; }

  // [width], not changed before all is added that meets it.
  void Costate(const T* costate) {
    costate_ = costate;
    if (steps_ == 0) return;
    if (stored_ == steps_ || inputs_.count() + spikes_.count() > kMostMeetings) Flush();
    std::copy_n(costate, width_, costates_.get() + stored_++ * width_);
  }
  void Inputs(const StepEvents<T>& events) { Add(events, kernel_, inputs_); }
  void Spikes(const StepEvents<T>& events) { Add(events, recurrent_kernel_, spikes_); }

  void Flush() {
    inputs_.Flush(lif_, costates_.get());
    spikes_.Flush(lif_, costates_.get());
    stored_ = 0;
  }

 private:
  static constexpr int64_t kBytesAtHand = int64_t{1} << 20;  // half a second-level cache, of sums or of costates
  static constexpr int64_t kMostMeetings = 1 << 15;

  int64_t StepsThatWait(const LifUnits<T>& units) const {
    const int64_t rows = (kernel_ ? units.shape.features : 0) + (recurrent_kernel_ ? units.shape.units : 0);
    const int64_t bytes = width_ * static_cast<int64_t>(sizeof(T));
    if (rows * bytes <= kBytesAtHand) return 0;
    return std::clamp<int64_t>(kBytesAtHand / bytes, 1, units.shape.batch * units.shape.time);
  }
  void Add(const StepEvents<T>& events, T* sum, LifMeetings<T>& waiting) {
    if (steps_ > 0) {
      waiting.Add(events, stored_ - 1);
    } else {
      lif_.add_to_rows(width_, events.count, events.index, events.value, costate_, sum);
    }
  }

  const LifKernels<T>& lif_;
  const int64_t width_;
  T *const kernel_, *const recurrent_kernel_;
  const int64_t steps_;
  LifMeetings<T> inputs_, spikes_;
  const Buffer<T> costates_;  // [steps, width]
  const T* costate_ = nullptr;
  int64_t stored_ = 0;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIF_WEIGHT_GRADIENTS_H_
