// A layer with so many more units that they fill whole vectors, so that a few samples read its weights in place. The units that
// were added have no weights and a threshold that nothing reaches: they stay at zero and count for nothing.
#ifndef KERAS_EGRU_ENGINE_PADDED_UNITS_H_
#define KERAS_EGRU_ENGINE_PADDED_UNITS_H_

#include <algorithm>
#include <cstdint>

#include "egru.h"
#include "tiles.h"
#include "work.h"

namespace keras_egru {

template <typename T>
class PaddedUnits {
 public:
  // Whether it pays: many samples read packed weights, and pruned ones come in pieces.
  static bool Pays(const Kernels<T>& kernels, const EgruShape& shape, const EgruInputs<T>& in) {
    return shape.units % kernels.lanes != 0 && !ShouldPack(shape.batch) && !in.pruned;
  }

  PaddedUnits(const Kernels<T>& kernels, const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& in, bool all_y,
              bool all_c)
      : units_(shape.units), shape_(shape), steps_(shape.batch * shape.time), y_steps_(all_y ? steps_ : shape.batch),
        c_steps_(all_c ? steps_ : shape.batch), in_(in) {
    shape_.units = CeilDivide(units_, kernels.lanes) * kernels.lanes;
    const int64_t more = (shape_.units - units_) * kGates * shape_.units;  // of the rows of the recurrent kernel
    constexpr T kNever = T(1e30);
    in_.kernel = Pad(in.kernel, shape.features * kGates, kernel_);
    in_.bias = Pad(in.bias, options.reset_after ? 2 * kGates : kGates, bias_);
    in_.threshold = Pad(in.threshold, 1, threshold_, kNever);
    if (in.recurrent_kernel) in_.recurrent_kernel = Pad(in.recurrent_kernel, units_ * kGates, recurrent_kernel_, T(0), more);
    if (in.recurrent_int8) {
      in_.recurrent_int8 = Pad(in.recurrent_int8, units_ * kGates, recurrent_int8_, int8_t{0}, more);
      in_.recurrent_scale = Pad(in.recurrent_scale, kGates, recurrent_scale_);
    }
    y_.Resize(y_steps_ * shape_.units);
    c_.Resize(c_steps_ * shape_.units);
    initial_y_.Resize(shape.batch * shape_.units);
    initial_c_.Resize(shape.batch * shape_.units);
  }

  const EgruShape& shape() const { return shape_; }

  // What the padded layer reads in the place of `in`.
  const EgruInputs<T>& Inputs(const EgruInputs<T>& in) {
    in_.inputs = in.inputs;
    in_.mask = in.mask;
    in_.initial_y = Pad(in.initial_y, shape_.batch, initial_y_);
    in_.initial_c = Pad(in.initial_c, shape_.batch, initial_c_);
    in_.zoneout_is_scalar = in.zoneout_is_scalar;
    in_.zoneout = in.zoneout && !in.zoneout_is_scalar ? Pad(in.zoneout, steps_, zoneout_) : in.zoneout;
    return in_;
  }
  const EgruInputs<T>& weights() const { return in_; }

  // Where it writes, and what of that is the layer's own.
  T* y() const { return y_.get(); }
  T* c() const { return c_.get(); }
  void Take(T* y, T* c) const {
    Strip(y_, y_steps_, y);
    Strip(c_, c_steps_, c);
  }

 private:
  // `blocks` times the units, the last of them followed by `more` zeros.
  template <typename V>
  const V* Pad(const V* from, int64_t blocks, Buffer<V>& to, V rest = V(0), int64_t more = 0) const {
    const int64_t size = blocks * shape_.units + more;
    if (to.size() != size) to.Resize(size);
    V* next = to.get();
    for (int64_t block = 0; block < blocks; ++block) {
      next = std::copy_n(from + block * units_, units_, next);
      next = std::fill_n(next, shape_.units - units_, rest);
    }
    std::fill_n(next, more, V(0));
    return to.get();
  }

  void Strip(const Buffer<T>& from, int64_t blocks, T* to) const {
    for (int64_t block = 0; block < blocks; ++block) std::copy_n(from.get() + block * shape_.units, units_, to + block * units_);
  }

  const int64_t units_;
  EgruShape shape_;
  const int64_t steps_, y_steps_, c_steps_;
  EgruInputs<T> in_;
  Buffer<T> kernel_, recurrent_kernel_, recurrent_scale_, bias_, threshold_, initial_y_, initial_c_, zoneout_, y_, c_;
  Buffer<int8_t> recurrent_int8_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_PADDED_UNITS_H_
