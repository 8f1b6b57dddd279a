// The constants and weights of a layer of event-LIF units, padded to whole vectors.
#ifndef KERAS_EGRU_ENGINE_LIF_UNITS_H_
#define KERAS_EGRU_ENGINE_LIF_UNITS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels.h"
#include "lif.h"
#include "tiles.h"

namespace keras_egru {

// Rows of units padded with zeros to `width`; the given memory itself where nothing is to be padded.
template <typename T>
class PaddedRows {
 public:
  PaddedRows(const T* rows, int64_t count, int64_t units, int64_t width)
      : rows_(rows), padded_(rows && units != width ? count * width : 0) {
    if (padded_.size() == 0) return;
    for (int64_t row = 0; row < count; ++row) {
      std::copy_n(rows + row * units, units, padded_.get() + row * width);
      std::fill_n(padded_.get() + row * width + units, width - units, T{});
    }
    rows_ = padded_.get();
  }
  const T* get() const { return rows_; }

 private:
  const T* rows_;
  const Buffer<T> padded_;
};

template <typename T>
struct LifUnits {
  LifUnits(const LifShape& shape, const LifOptions& options, const LifInputs<T>& inputs)
      : shape(shape),
        options(options),
        inputs(inputs),
        kernels(SelectKernels<T>()),
        width(CeilDivide(shape.units, kernels.lanes) * kernels.lanes),
        kernel(inputs.kernel, shape.features, shape.units, width),
        recurrent_kernel(inputs.recurrent_kernel, shape.units, shape.units, width),
        alpha(inputs.alpha, 1, shape.units, width),
        beta(inputs.beta, 1, shape.units, width),
        gamma(inputs.gamma, 1, shape.units, width),
        per_membrane(width),
        per_current(width) {
    per_membrane.Zero();
    per_current.Zero();
    for (int64_t n = 0; n < shape.units; ++n) {
      per_membrane[n] = -std::log(inputs.alpha[n]);
      if (inputs.beta) per_current[n] = -std::log(inputs.beta[n]);
    }
  }

  bool has_current() const { return inputs.beta != nullptr; }
  bool recurrent() const { return inputs.recurrent_kernel != nullptr; }
  bool valid(int64_t b, int64_t t) const { return !inputs.mask || inputs.mask[b * shape.time + t]; }

  const LifShape shape;
  const LifOptions options;
  LifInputs<T> inputs;
  const Kernels<T>& kernels;
  const int64_t width;
  const PaddedRows<T> kernel, recurrent_kernel, alpha, beta, gamma;
  const Buffer<T> per_membrane, per_current;  // [width] 1 / time constant, in steps
};

// Events of a step: `count` rows of a weight matrix, each with a factor.
template <typename T>
struct StepEvents {
  int64_t count;
  const int32_t* index;
  const T* value;
};

// The spikes among entries, listed without a branch, which nobody could predict. `index` and `value` have room for all.
template <typename T>
StepEvents<T> SpikesOf(const int32_t* codes, int64_t count, int32_t* index, T* value) {
  int64_t found = 0;
  for (int64_t e = 0; e < count; ++e) {
    index[found] = codes[e] >> 1;
    value[e] = T(1);
    found += codes[e] & 1;
  }
  return {found, index, value};
}

// The samples of a part of a batch that is cut in `parts`.
inline int64_t FirstSample(int64_t part, int64_t parts, int64_t batch) { return batch * part / parts; }

// One thread below this many units, steps and samples: they take some ten microseconds.
constexpr int64_t kLifWorthSharing = 1 << 15;

inline int LifTeamSize(Scheduler* scheduler, const LifShape& shape) {
  return scheduler && shape.batch * shape.time * shape.units >= kLifWorthSharing ? scheduler->threads() : 1;
}

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIF_UNITS_H_
