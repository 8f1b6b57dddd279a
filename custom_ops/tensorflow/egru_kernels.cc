// The EGRU op kernels: they check shapes, allocate outputs and hand plain pointers to the engine. An empty batch, as a replica
// may get one at the end of an epoch, ends here: there is nothing to compute, and gradients of weights are zero.
#include <limits>
#include <string>
#include <vector>

#include "../engine/egru.h"
#include "../engine/tiles.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "op_checks.h"
#include "pruned_cache.h"
#include "scheduler.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor_shape.h"

namespace keras_egru {
namespace {

using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;

absl::Status ReadProducts(OpKernelConstruction* context, Products* products) {
  std::string name;
  TF_RETURN_IF_ERROR(context->GetAttr("products", &name));
  *products = name == "dense" ? Products::kDense : name == "sparse" ? Products::kSparse : Products::kAuto;
  return absl::OkStatus();
}

absl::Status ReadOptions(OpKernelConstruction* context, EgruOptions* options) {
  std::string reset;
  TF_RETURN_IF_ERROR(context->GetAttr("reset", &reset));
  TF_RETURN_IF_ERROR(context->GetAttr("reset_after", &options->reset_after));
  TF_RETURN_IF_ERROR(ReadNumber(context, "surrogate_height", &options->surrogate_height));
  TF_RETURN_IF_ERROR(ReadNumber(context, "surrogate_width", &options->surrogate_width));
  const double height = options->surrogate_height, width = options->surrogate_width;
  if (!(height > 0 && width > 0)) {
    return absl::InvalidArgumentError(absl::StrCat("`surrogate_height` and `surrogate_width` must be positive, received ",
                                                   height, " and ", width, "."));
  }
  TF_RETURN_IF_ERROR(ReadProducts(context, &options->products));
  options->reset = reset == "subtract" ? Reset::kSubtract : reset == "zero" ? Reset::kZero : Reset::kThreshold;
  return absl::OkStatus();
}

// Inputs 0 to 8 are the same in the forward and the gradient op; with `int8` the scale of the recurrent kernel follows it.
template <typename T, bool int8 = false>
absl::Status ReadInputs(OpKernelContext* context, const EgruOptions& options, EgruShape* shape, EgruInputs<T>* inputs,
                        Tensor* threshold) {
  const Tensor& x = context->input(0);
  const Tensor& recurrent_kernel = context->input(4);
  if (x.dims() != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("`inputs` must have the shape [batch, time, features], received ", x.shape().DebugString(), "."));
  }
  if (recurrent_kernel.dims() != 2 || recurrent_kernel.dim_size(0) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("`recurrent_kernel` must have the shape [units, 3 units], received ",
                                                   recurrent_kernel.shape().DebugString(), "."));
  }
  *shape = {x.dim_size(0), x.dim_size(1), x.dim_size(2), recurrent_kernel.dim_size(0)};
  const int64_t n = shape->units;
  if (shape->time == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("`inputs` must hold sequences of at least one step, received ", x.shape().DebugString(), "."));
  }
  TF_RETURN_IF_ERROR(Expect(context->input(1), "initial_y", {shape->batch, n}));
  TF_RETURN_IF_ERROR(Expect(context->input(2), "initial_c", {shape->batch, n}));
  TF_RETURN_IF_ERROR(Expect(context->input(3), "kernel", {shape->features, 3 * n}));
  TF_RETURN_IF_ERROR(Expect(recurrent_kernel, "recurrent_kernel", {n, 3 * n}));
  if (int8) TF_RETURN_IF_ERROR(Expect(context->input(5), "recurrent_scale", {3 * n}));
  constexpr int after = int8 ? 6 : 5;  // the recurrent kernel
  TF_RETURN_IF_ERROR(
      Expect(context->input(after), "bias", options.reset_after ? TensorShape({2, 3 * n}) : TensorShape({3 * n})));
  const Tensor& given = context->input(after + 1);
  if (given.shape() != TensorShape({n}) && given.shape() != TensorShape({1})) {
    return absl::InvalidArgumentError(absl::StrCat("`threshold` must have the shape [", n, "] or [1], received ",
                                                   given.shape().DebugString(), "."));
  }
  TF_RETURN_IF_ERROR(context->allocate_temp(given.dtype(), {n}, threshold));
  for (int64_t i = 0; i < n; ++i) threshold->flat<T>()(i) = given.flat<T>()(given.NumElements() == 1 ? 0 : i);
  const Tensor& mask = context->input(after + 2);
  if (mask.NumElements() > 0) TF_RETURN_IF_ERROR(Expect(mask, "mask", {shape->batch, shape->time}));
  const Tensor& zoneout = context->input(after + 3);
  if (zoneout.NumElements() > 1) TF_RETURN_IF_ERROR(Expect(zoneout, "zoneout", {shape->batch, shape->time, n}));
  // Lists hold 32-bit row numbers.
  if (SavedCandidate<T>(*shape, EgruOptions{}) / SelectKernels<T>().tile_units > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("`inputs` of shape ", x.shape().DebugString(), " hold too many steps for ",
                                                   n, " units in one call; split the batch or the sequence."));
  }
  *inputs = {x.flat<T>().data(),
             context->input(1).flat<T>().data(),
             context->input(2).flat<T>().data(),
             context->input(3).flat<T>().data(),
             nullptr,
             context->input(after).flat<T>().data(),
             threshold->flat<T>().data(),
             mask.NumElements() > 0 ? reinterpret_cast<const uint8_t*>(mask.flat<bool>().data()) : nullptr,
             zoneout.NumElements() > 0 ? zoneout.flat<T>().data() : nullptr,
             zoneout.NumElements() == 1};
  if constexpr (int8) {
    inputs->recurrent_int8 = recurrent_kernel.flat<int8_t>().data();
    inputs->recurrent_scale = context->input(5).flat<T>().data();
  } else {
    inputs->recurrent_kernel = recurrent_kernel.flat<T>().data();
  }
  return absl::OkStatus();
}

// Inputs 9 and 10 of the forward and the gradient op: the masks of the two kernels, or nothing.
absl::Status CheckMasks(OpKernelContext* context) {
  for (int i = 0; i < 2; ++i) {
    const Tensor& mask = context->input(9 + i);
    if (mask.NumElements() == 0) continue;
    TF_RETURN_IF_ERROR(Expect(mask, i == 0 ? "kernel_mask" : "recurrent_mask", context->input(3 + i).shape()));
  }
  return absl::OkStatus();
}

// The attributes `all_y` and `all_c`, and the shapes of y and c that follow from them.
struct Wanted {
  bool all_y, all_c;

  absl::Status Read(OpKernelConstruction* context) {
    TF_RETURN_IF_ERROR(context->GetAttr("all_y", &all_y));
    return context->GetAttr("all_c", &all_c);
  }
  absl::Status Allocate(OpKernelContext* context, const EgruShape& shape, Tensor** y, Tensor** c) const {
    const auto steps = [&](bool all) { return TensorShape({shape.batch, all ? shape.time : 1, shape.units}); };
    TF_RETURN_IF_ERROR(context->allocate_output(0, steps(all_y), y));
    return context->allocate_output(1, steps(all_c), c);
  }
};

void WriteCounters(const EgruCounters& found, Tensor* counters) {
  auto out = counters->flat<int64_t>();
  out(0) = found.steps;
  out(1) = found.input_events;
  out(2) = found.events;
  out(3) = found.backward_entries;
  out(4) = found.surrogate_entries;
}

template <typename T>
class EgruSequenceOp : public OpKernel {
 public:
  explicit EgruSequenceOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadOptions(context, &options_));
    OP_REQUIRES_OK(context, context->GetAttr("save_for_backward", &save_for_backward_));
    OP_REQUIRES_OK(context, wanted_.Read(context));
  }

  void Compute(OpKernelContext* context) override {
    EgruShape shape;
    EgruInputs<T> inputs;
    Tensor threshold;
    OP_REQUIRES_OK(context, ReadInputs(context, options_, &shape, &inputs, &threshold));
    OP_REQUIRES_OK(context, CheckMasks(context));
    Tensor *y, *c, *gates, *candidate, *counters;
    const int64_t saved_gates = save_for_backward_ ? SavedGates<T>(shape) : 0;
    const int64_t saved_candidate = save_for_backward_ ? SavedCandidate<T>(shape, options_) : 0;
    OP_REQUIRES_OK(context, wanted_.Allocate(context, shape, &y, &c));
    OP_REQUIRES_OK(context, context->allocate_output(2, {saved_gates}, &gates));
    OP_REQUIRES_OK(context, context->allocate_output(3, {saved_candidate}, &candidate));
    OP_REQUIRES_OK(context, context->allocate_output(4, {5}, &counters));
    if (shape.batch == 0) return WriteCounters({}, counters);
    TensorFlowScheduler scheduler(context);
    Run(context, [&] {
      // In training weights change with every call.
      std::shared_ptr<const PrunedWeights<T>> pruned;
      if (!save_for_backward_) {
        pruned = cache_.Find(context->input(4), shape, options_, &scheduler);
      } else if (WorthForOneCall(shape)) {
        pruned = FindPruned<T>(shape, options_, inputs.recurrent_kernel, &scheduler);
      }
      inputs.pruned = pruned.get();
      WriteCounters(
          EgruForward<T>(shape, options_, inputs,
                         {y->flat<T>().data(), c->flat<T>().data(), saved_gates ? gates->flat<T>().data() : nullptr,
                          saved_candidate ? candidate->flat<T>().data() : nullptr, wanted_.all_y, wanted_.all_c},
                         &scheduler),
          counters);
    });
  }

 private:
  EgruOptions options_;
  bool save_for_backward_;
  Wanted wanted_;
  PrunedCache<T> cache_;
};

template <typename T>
class EgruSequenceInt8Op : public OpKernel {
 public:
  explicit EgruSequenceInt8Op(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadOptions(context, &options_));
    OP_REQUIRES_OK(context, wanted_.Read(context));
  }

  void Compute(OpKernelContext* context) override {
    EgruShape shape;
    EgruInputs<T> inputs;
    Tensor threshold;
    OP_REQUIRES_OK(context, (ReadInputs<T, true>(context, options_, &shape, &inputs, &threshold)));
    Tensor *y, *c, *counters;
    OP_REQUIRES_OK(context, wanted_.Allocate(context, shape, &y, &c));
    OP_REQUIRES_OK(context, context->allocate_output(2, {5}, &counters));
    if (shape.batch == 0) return WriteCounters({}, counters);
    TensorFlowScheduler scheduler(context);
    Run(context, [&] {
      WriteCounters(EgruForward<T>(shape, options_, inputs,
                                   {y->flat<T>().data(), c->flat<T>().data(), nullptr, nullptr, wanted_.all_y, wanted_.all_c},
                                   &scheduler),
                    counters);
    });
  }

 private:
  EgruOptions options_;
  Wanted wanted_;
};

template <typename T>
class EgruSequenceGradOp : public OpKernel {
 public:
  explicit EgruSequenceGradOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadOptions(context, &options_));
  }

  void Compute(OpKernelContext* context) override {
    EgruShape shape;
    EgruInputs<T> inputs;
    Tensor threshold;
    OP_REQUIRES_OK(context, ReadInputs(context, options_, &shape, &inputs, &threshold));
    OP_REQUIRES_OK(context, CheckMasks(context));
    const TensorShape sequence = {shape.batch, shape.time, shape.units};
    const int64_t saved_gates = SavedGates<T>(shape), saved_candidate = SavedCandidate<T>(shape, options_);
    OP_REQUIRES_OK(context, Expect(context->input(11), "y", sequence));
    OP_REQUIRES_OK(context, Expect(context->input(12), "c", sequence));
    OP_REQUIRES_OK(context, Expect(context->input(13), "gates", {saved_gates}));
    OP_REQUIRES_OK(context, Expect(context->input(14), "candidate", {saved_candidate}));
    for (int i : {15, 16}) {  // empty where nothing was asked of y or of c
      if (context->input(i).NumElements() > 0) {
        OP_REQUIRES_OK(context, Expect(context->input(i), i == 15 ? "grad_y" : "grad_c", sequence));
      }
    }
    // The gradients take the place of the gates where nobody else holds them, so that training keeps one copy.
    Tensor *gates, *candidate;
    OP_REQUIRES_OK(context, Reuse(context, 13, 0, &gates));
    OP_REQUIRES_OK(context, Reuse(context, 14, 1, &candidate));
    std::vector<Tensor*> out(9);
    for (int i = 2; i < 7; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(i, context->input(i - 1).shape(), &out[i]));
    }
    OP_REQUIRES_OK(context, context->allocate_output(7, context->input(6).shape(), &out[7]));
    OP_REQUIRES_OK(context, context->allocate_output(8, {3}, &out[8]));
    if (shape.batch == 0) {
      for (int i = 2; i < 8; ++i) out[i]->flat<T>().setZero();
      out[8]->flat<int64_t>().setZero();
      return;
    }
    Tensor grad_threshold;
    OP_REQUIRES_OK(context, context->allocate_temp(threshold.dtype(), {shape.units}, &grad_threshold));

    const auto data = [](const Tensor& tensor) { return tensor.NumElements() ? tensor.flat<T>().data() : nullptr; };
    TensorFlowScheduler scheduler(context);
    Run(context, [&] {
      const auto live_kernel = live_kernel_.Find(context->input(9), &scheduler);
      const auto live_recurrent = live_recurrent_.Find(context->input(10), &scheduler);
      inputs.live_kernel = live_kernel.get();
      inputs.live_recurrent = live_recurrent.get();
      const EgruGradientCounters found = EgruBackward<T>(
          shape, options_, inputs, data(context->input(11)), data(context->input(12)), data(context->input(15)),
          data(context->input(16)),
          {gates->flat<T>().data(), candidate->flat<T>().data(), out[2]->flat<T>().data(), out[3]->flat<T>().data(),
           out[4]->flat<T>().data(), out[5]->flat<T>().data(), out[6]->flat<T>().data(),
           grad_threshold.flat<T>().data()},
          &scheduler);
      auto to = out[7]->flat<T>();
      if (to.size() == shape.units) {
        to = grad_threshold.flat<T>();
      } else {  // one threshold for all units
        to(0) = T(0);
        for (int64_t i = 0; i < shape.units; ++i) to(0) += grad_threshold.flat<T>()(i);
      }
      auto counters = out[8]->flat<int64_t>();
      counters(0) = found.backward_entries;
      counters(1) = found.recurrent_events;
      counters(2) = found.input_events;
    });
  }

 private:
  static absl::Status Reuse(OpKernelContext* context, int input, int output, Tensor** tensor) {
    int forwarded = -1;
    const TensorShape shape = context->input(input).shape();
    TF_RETURN_IF_ERROR(context->forward_input_or_allocate_output({input}, output, shape, tensor, &forwarded));
    if (forwarded < 0) (*tensor)->flat<T>() = context->input(input).flat<T>();
    return absl::OkStatus();
  }

  EgruOptions options_;
  LiveCache<T> live_kernel_, live_recurrent_;
};

template <typename T>
class EgruInputGradOp : public OpKernel {
 public:
  explicit EgruInputGradOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("reset_after", &options_.reset_after));
    OP_REQUIRES_OK(context, ReadProducts(context, &options_.products));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &inputs = context->input(0), &kernel = context->input(1);
    OP_REQUIRES(context, inputs.dims() == 3 && kernel.dims() == 2 && kernel.dim_size(1) % 3 == 0,
                absl::InvalidArgumentError("`inputs` must have the rank 3 and `kernel` the shape [features, 3 units]."));
    const EgruShape shape = {inputs.dim_size(0), inputs.dim_size(1), inputs.dim_size(2), kernel.dim_size(1) / 3};
    OP_REQUIRES(context, kernel.dim_size(0) == shape.features && shape.units > 0 && shape.time > 0,
                absl::InvalidArgumentError(absl::StrCat("`kernel` ", kernel.shape().DebugString(), " does not fit `inputs` ",
                                                        inputs.shape().DebugString(), ".")));
    OP_REQUIRES_OK(context, Expect(context->input(2), "grad_gates", {SavedGates<T>(shape)}));
    OP_REQUIRES_OK(context, Expect(context->input(3), "grad_candidate", {SavedCandidate<T>(shape, options_)}));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, inputs.shape(), &out));
    if (shape.batch == 0) return;
    TensorFlowScheduler scheduler(context);
    Run(context, [&] {
      EgruInputGradient<T>(shape, options_, kernel.flat<T>().data(), context->input(2).flat<T>().data(),
                           context->input(3).flat<T>().data(), out->flat<T>().data(), &scheduler);
    });
  }

 private:
  EgruOptions options_;
};

#define REGISTER(T)                                                                                                  \
  REGISTER_KERNEL_BUILDER(Name("KerasEgru>EgruSequence").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"),      \
                          EgruSequenceOp<T>);                                                                        \
  REGISTER_KERNEL_BUILDER(Name("KerasEgru>EgruSequenceInt8").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"),  \
                          EgruSequenceInt8Op<T>);                                                                    \
  REGISTER_KERNEL_BUILDER(Name("KerasEgru>EgruSequenceGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"),  \
                          EgruSequenceGradOp<T>);                                                                    \
  REGISTER_KERNEL_BUILDER(Name("KerasEgru>EgruInputGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"),     \
                          EgruInputGradOp<T>);
REGISTER(float)
REGISTER(double)
#undef REGISTER

}  // namespace
}  // namespace keras_egru
