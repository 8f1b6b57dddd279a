// The event-LIF op kernels: they check shapes, allocate outputs and hand plain pointers to the engine. As in egru_kernels.cc,
// an empty batch ends here.
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "../engine/lif.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "op_checks.h"
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

// In the order of LIF_INPUTS and LIF_SAVED.
enum Input {
  kInputs, kLinkCounts, kLinkCodes, kLinkCarrier, kInitialV, kInitialI, kInitialY, kInitialWait, kKernel, kRecurrentKernel,
  kAlpha, kBeta, kGamma, kMask, kCounts, kCodes, kValues, kInputCounts, kInputIndex, kInputValue, kGradY, kGradV, kGradLastI,
  kGradCarrier, kJumps
};

absl::Status ExpectOrEmpty(const Tensor& tensor, const char* name, const TensorShape& shape) {
  return tensor.NumElements() == 0 ? absl::OkStatus() : Expect(tensor, name, shape);
}

template <typename V>
const V* Data(const Tensor& tensor) {
  return tensor.NumElements() ? tensor.flat<V>().data() : nullptr;
}

absl::Status ReadOptions(OpKernelConstruction* context, LifOptions* options, bool* all_v) {
  std::string gradient, reset, surrogate;
  TF_RETURN_IF_ERROR(context->GetAttr("gradient", &gradient));
  TF_RETURN_IF_ERROR(context->GetAttr("reset", &reset));
  TF_RETURN_IF_ERROR(context->GetAttr("surrogate", &surrogate));
  TF_RETURN_IF_ERROR(context->GetAttr("spiking", &options->spiking));
  TF_RETURN_IF_ERROR(context->GetAttr("refractory", &options->refractory));
  TF_RETURN_IF_ERROR(context->GetAttr("all_v", all_v));
  TF_RETURN_IF_ERROR(ReadNumber(context, "threshold", &options->threshold));
  TF_RETURN_IF_ERROR(ReadNumber(context, "v_reset", &options->v_reset));
  TF_RETURN_IF_ERROR(ReadNumber(context, "v_rest", &options->v_rest));
  TF_RETURN_IF_ERROR(ReadNumber(context, "surrogate_height", &options->surrogate_height));
  TF_RETURN_IF_ERROR(ReadNumber(context, "surrogate_slope", &options->surrogate_slope));
  TF_RETURN_IF_ERROR(ReadNumber(context, "surrogate_width", &options->surrogate_width));
  if (!(options->threshold > options->v_reset)) {
    return absl::InvalidArgumentError(absl::StrCat("`threshold` must lie above `v_reset`, received ", options->threshold,
                                                   " and ", options->v_reset, "."));
  }
  options->gradient = gradient == "eventprop" ? LifGradient::kEventprop : LifGradient::kSurrogate;
  options->reset = reset == "zero" ? LifReset::kZero : LifReset::kSubtract;
  options->surrogate = surrogate == "triangular" ? LifSurrogate::kTriangular
                       : surrogate == "boxcar"   ? LifSurrogate::kBoxcar
                                                 : LifSurrogate::kFastSigmoid;
  return absl::OkStatus();
}

// The sum of counts that must not be negative, or -1.
int64_t Sum(const Tensor& counts) {
  int64_t sum = 0;
  const auto values = counts.flat<int32_t>();
  for (int64_t i = 0; i < values.size(); ++i) {
    if (values(i) < 0) return -1;
    sum += values(i);
  }
  return sum;
}

// A list of `counts` [batch, time] whose members are as many as `list`, each below `end`.
absl::Status CheckList(const Tensor& counts, const Tensor& list, const char* name, const LifShape& shape, int64_t end) {
  TF_RETURN_IF_ERROR(Expect(counts, name, {shape.batch, shape.time}));
  const auto members = list.flat<int32_t>();
  if (Sum(counts) != members.size()) {
    return absl::InvalidArgumentError(absl::StrCat("`", name, "` counts ", Sum(counts), " members and the list has ",
                                                   members.size(), "."));
  }
  for (int64_t i = 0; i < members.size(); ++i) {
    if (members(i) < 0 || members(i) >= end) {
      return absl::InvalidArgumentError(absl::StrCat("`", name, "` lists ", members(i), ", which lies outside [0, ", end, ")."));
    }
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status ReadInputs(OpKernelContext* context, const LifOptions& options, LifShape* shape, LifInputs<T>* inputs) {
  const Tensor &x = context->input(kInputs), &kernel = context->input(kKernel);
  if (x.dims() != 3 || kernel.dims() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("`inputs` must have the shape [batch, time, features] and `kernel` [features, units], received ",
                     x.shape().DebugString(), " and ", kernel.shape().DebugString(), "."));
  }
  const auto given = [&](int i) { return context->input(i).NumElements() > 0; };
  // Beside a link, [batch, time] and else [0, 0], `inputs` has no features: it tells the batch and the steps.
  const Tensor& link = context->input(kLinkCounts);
  const bool linked = link.dims() == 2 && link.dim_size(1) > 0;
  *shape = {x.dim_size(0), x.dim_size(1), x.dim_size(2) + (linked ? kernel.dim_size(0) : 0), kernel.dim_size(1)};
  const int64_t n = shape->units;
  if (shape->time == 0 || n == 0) {
    return absl::InvalidArgumentError(absl::StrCat("`inputs` must hold sequences of at least one step, received ",
                                                   x.shape().DebugString(), " for ", n, " units."));
  }
  TF_RETURN_IF_ERROR(Expect(kernel, "kernel", {shape->features, n}));
  TF_RETURN_IF_ERROR(ExpectOrEmpty(context->input(kRecurrentKernel), "recurrent_kernel", {n, n}));
  TF_RETURN_IF_ERROR(Expect(context->input(kAlpha), "alpha", {n}));
  TF_RETURN_IF_ERROR(ExpectOrEmpty(context->input(kBeta), "beta", {n}));
  TF_RETURN_IF_ERROR(Expect(context->input(kGamma), "gamma", context->input(kBeta).shape()));
  TF_RETURN_IF_ERROR(Expect(context->input(kInitialV), "initial_v", {shape->batch, n}));
  TF_RETURN_IF_ERROR(Expect(context->input(kInitialY), "initial_y", {shape->batch, n}));
  TF_RETURN_IF_ERROR(ExpectOrEmpty(context->input(kInitialWait), "initial_wait", {shape->batch, n}));
  TF_RETURN_IF_ERROR(ExpectOrEmpty(context->input(kMask), "mask", {shape->batch, shape->time}));
  if (given(kBeta)) TF_RETURN_IF_ERROR(Expect(context->input(kInitialI), "initial_i", {shape->batch, n}));
  if (options.gradient == LifGradient::kEventprop && !given(kBeta)) {
    return absl::InvalidArgumentError("eventprop needs the current of a synapse, `beta` and `gamma`, received none.");
  }
  if (linked) {
    TF_RETURN_IF_ERROR(CheckList(context->input(kLinkCounts), context->input(kLinkCodes), "link_counts", *shape,
                                 2 * shape->features));
    TF_RETURN_IF_ERROR(Expect(context->input(kLinkCarrier), "link_carrier", context->input(kLinkCodes).shape()));
  }
  *inputs = {Data<T>(x),
             {Data<int32_t>(context->input(kLinkCounts)), Data<int32_t>(context->input(kLinkCodes))},
             Data<T>(context->input(kInitialV)),
             Data<T>(context->input(kInitialI)),
             Data<T>(context->input(kInitialY)),
             Data<T>(context->input(kInitialWait)),
             Data<T>(kernel),
             Data<T>(context->input(kRecurrentKernel)),
             Data<T>(context->input(kAlpha)),
             Data<T>(context->input(kBeta)),
             Data<T>(context->input(kGamma)),
             given(kMask) ? reinterpret_cast<const uint8_t*>(context->input(kMask).flat<bool>().data()) : nullptr};
  return absl::OkStatus();
}

// One list of the parts, as an output. They are given up on the way.
template <typename V, typename T>
absl::Status Join(OpKernelContext* context, int output, std::vector<LifLists<T>>& lists,
                  std::vector<V> LifLists<T>::*which) {
  int64_t size = 0;
  for (const LifLists<T>& part : lists) size += (part.*which).size();
  Tensor* joined;
  TF_RETURN_IF_ERROR(context->allocate_output(output, {size}, &joined));
  V* to = joined->flat<V>().data();
  for (LifLists<T>& part : lists) {
    to = std::copy((part.*which).begin(), (part.*which).end(), to);
    std::vector<V>().swap(part.*which);
  }
  return absl::OkStatus();
}

template <typename T>
class LifSequenceOp : public OpKernel {
 public:
  explicit LifSequenceOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadOptions(context, &options_, &all_v_));
    OP_REQUIRES_OK(context, context->GetAttr("save_for_backward", &save_for_backward_));
  }

  void Compute(OpKernelContext* context) override {
    LifShape shape;
    LifInputs<T> inputs;
    OP_REQUIRES_OK(context, ReadInputs(context, options_, &shape, &inputs));
    const int64_t n = shape.units;
    const bool lists_entries = save_for_backward_ && options_.spiking;
    const bool lists_inputs = save_for_backward_ && !inputs.link.counts;
    const auto rows = [&](bool wanted) { return wanted ? TensorShape({shape.batch, n}) : TensorShape({0, 0}); };
    const auto steps = [&](bool wanted) { return wanted ? TensorShape({shape.batch, shape.time}) : TensorShape({0, 0}); };
    Tensor *y, *v, *last_i, *last_wait, *counts, *input_counts, *spikes, *counters;
    OP_REQUIRES_OK(context, context->allocate_output(0, {shape.batch, options_.spiking ? shape.time : 0, n}, &y));
    OP_REQUIRES_OK(context, context->allocate_output(1, {shape.batch, all_v_ ? shape.time : 1, n}, &v));
    OP_REQUIRES_OK(context, context->allocate_output(2, rows(inputs.beta), &last_i));
    OP_REQUIRES_OK(context, context->allocate_output(3, rows(options_.refractory > 0), &last_wait));
    OP_REQUIRES_OK(context, context->allocate_output(4, steps(lists_entries), &counts));
    OP_REQUIRES_OK(context, context->allocate_output(8, steps(lists_inputs), &input_counts));
    OP_REQUIRES_OK(context, context->allocate_output(11, {options_.spiking ? n : 0}, &spikes));
    OP_REQUIRES_OK(context, context->allocate_output(12, {4}, &counters));
    if (shape.batch == 0) {
      for (int i : {5, 6, 7, 9, 10}) {
        Tensor* list;
        OP_REQUIRES_OK(context, context->allocate_output(i, {0}, &list));
      }
      spikes->flat<T>().setZero();
      counters->flat<int64_t>().setZero();
      return;
    }
    const auto of = [](Tensor* tensor) { return tensor->NumElements() ? tensor->flat<T>().data() : nullptr; };
    const auto of_counts = [](Tensor* tensor) { return tensor->NumElements() ? tensor->flat<int32_t>().data() : nullptr; };
    TensorFlowScheduler scheduler(context);
    Run(context, [&] {
      std::vector<LifLists<T>> lists;
      const LifCounters found =
          LifForward<T>(shape, options_, inputs,
                        {of(y), of(v), all_v_, of(last_i), of(last_wait), of_counts(counts), of_counts(input_counts), of(spikes)},
                        &lists, &scheduler);
      OP_REQUIRES_OK(context, Join(context, 5, lists, &LifLists<T>::codes));
      OP_REQUIRES_OK(context, Join(context, 6, lists, &LifLists<T>::values));
      OP_REQUIRES_OK(context, Join(context, 9, lists, &LifLists<T>::input_index));
      OP_REQUIRES_OK(context, Join(context, 10, lists, &LifLists<T>::input_value));
      context->set_output(7, context->mutable_output(6)->Slice(0, lists_entries ? found.entries : 0));
      auto out = counters->flat<int64_t>();
      out(0) = found.steps;
      out(1) = found.input_events;
      out(2) = found.spikes;
      out(3) = found.entries;
    });
  }

 private:
  LifOptions options_;
  bool all_v_, save_for_backward_;
};

// What the two gradient ops read beside the inputs of the sequence.
template <typename T>
absl::Status ReadSaved(OpKernelContext* context, const LifOptions& options, const LifShape& shape, const LifInputs<T>& inputs,
                       bool all_v, LifSaved<T>* saved, LifUpstream<T>* upstream) {
  const int64_t n = shape.units;
  const auto in = [&](int i) -> const Tensor& { return context->input(i); };
  if (options.spiking) {
    TF_RETURN_IF_ERROR(CheckList(in(kCounts), in(kCodes), "counts", shape, 2 * n));
    const int64_t entries = in(kCodes).NumElements();
    TF_RETURN_IF_ERROR(Expect(in(kValues), "values", {entries * ValuesOfEntry(options)}));
    TF_RETURN_IF_ERROR(ExpectOrEmpty(in(kGradCarrier), "grad_carrier", {entries}));
    TF_RETURN_IF_ERROR(ExpectOrEmpty(in(kGradY), "grad_y", {shape.batch, shape.time, n}));
  }
  if (!inputs.link.counts) {
    TF_RETURN_IF_ERROR(CheckList(in(kInputCounts), in(kInputIndex), "input_counts", shape, shape.features));
    TF_RETURN_IF_ERROR(Expect(in(kInputValue), "input_value", in(kInputIndex).shape()));
  }
  TF_RETURN_IF_ERROR(ExpectOrEmpty(in(kGradV), "grad_v", {shape.batch, all_v ? shape.time : 1, n}));
  TF_RETURN_IF_ERROR(ExpectOrEmpty(in(kGradLastI), "grad_last_i", {shape.batch, n}));
  TF_RETURN_IF_ERROR(ExpectOrEmpty(in(kJumps), "jumps", {n}));
  *saved = {{Data<int32_t>(in(kCounts)), Data<int32_t>(in(kCodes))},
            Data<T>(in(kValues)),
            Data<int32_t>(in(kInputCounts)),
            Data<int32_t>(in(kInputIndex)),
            Data<T>(in(kInputValue))};
  *upstream = {Data<T>(in(kGradY)),       Data<T>(in(kGradV)), all_v, Data<T>(in(kGradLastI)), Data<T>(in(kGradCarrier)),
               Data<T>(in(kJumps))};
  return absl::OkStatus();
}

template <typename T>
class LifSequenceGradOp : public OpKernel {
 public:
  explicit LifSequenceGradOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadOptions(context, &options_, &all_v_));
    OP_REQUIRES_OK(context, context->GetAttr("time_constants", &time_constants_));
  }

  void Compute(OpKernelContext* context) override {
    LifShape shape;
    LifInputs<T> inputs;
    LifSaved<T> saved;
    LifUpstream<T> upstream;
    OP_REQUIRES_OK(context, ReadInputs(context, options_, &shape, &inputs));
    OP_REQUIRES_OK(context, ReadSaved(context, options_, shape, inputs, all_v_, &saved, &upstream));
    constexpr int of_input[] = {kLinkCarrier, kInitialV, kInitialI, kInitialY, kKernel, kRecurrentKernel, kAlpha, kBeta, kGamma};
    T* out[std::size(of_input)];
    for (size_t i = 0; i < std::size(of_input); ++i) {
      Tensor* tensor;
      OP_REQUIRES_OK(context, context->allocate_output(i, context->input(of_input[i]).shape(), &tensor));
      out[i] = tensor->NumElements() ? tensor->flat<T>().data() : nullptr;
      const bool skipped = shape.batch == 0 || (of_input[i] >= kAlpha && !time_constants_);
      if (skipped && out[i]) tensor->flat<T>().setZero();
      if (skipped) out[i] = nullptr;
    }
    if (shape.batch == 0) return;
    TensorFlowScheduler scheduler(context);
    Run(context, [&] {
      LifBackward<T>(shape, options_, inputs, saved, upstream,
                     {out[0], nullptr, out[1], out[2], out[3], out[4], out[5], out[6], out[7], out[8]}, &scheduler);
    });
  }

 private:
  LifOptions options_;
  bool all_v_, time_constants_;
};

template <typename T>
class LifDriveGradOp : public OpKernel {
 public:
  explicit LifDriveGradOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadOptions(context, &options_, &all_v_));
  }

  void Compute(OpKernelContext* context) override {
    LifShape shape;
    LifInputs<T> inputs;
    LifSaved<T> saved;
    LifUpstream<T> upstream;
    OP_REQUIRES_OK(context, ReadInputs(context, options_, &shape, &inputs));
    OP_REQUIRES_OK(context, ReadSaved(context, options_, shape, inputs, all_v_, &saved, &upstream));
    Tensor* drive;
    OP_REQUIRES_OK(context, context->allocate_output(0, {shape.batch, shape.time, shape.units}, &drive));
    if (shape.batch == 0) return;
    LifGradients<T> gradients = {};
    gradients.costates = drive->flat<T>().data();
    TensorFlowScheduler scheduler(context);
    Run(context, [&] { LifBackward<T>(shape, options_, inputs, saved, upstream, gradients, &scheduler); });
  }

 private:
  LifOptions options_;
  bool all_v_;
};

#define REGISTER(T)                                                                                                 \
  REGISTER_KERNEL_BUILDER(Name("KerasEgru>LifSequence").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"),      \
                          LifSequenceOp<T>);                                                                        \
  REGISTER_KERNEL_BUILDER(Name("KerasEgru>LifSequenceGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"),  \
                          LifSequenceGradOp<T>);                                                                    \
  REGISTER_KERNEL_BUILDER(Name("KerasEgru>LifDriveGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"),     \
                          LifDriveGradOp<T>);
REGISTER(float)
REGISTER(double)
#undef REGISTER

}  // namespace
}  // namespace keras_egru
