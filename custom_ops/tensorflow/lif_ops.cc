// The event-LIF ops as TensorFlow sees them: names, types, shape functions.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace keras_egru {
namespace {

using ::tensorflow::shape_inference::DimensionHandle;
using ::tensorflow::shape_inference::InferenceContext;
using ::tensorflow::shape_inference::ShapeHandle;

constexpr int kKernel = 8;  // input

absl::Status SequenceShape(InferenceContext* c) {
  ShapeHandle inputs, initial_v, kernel;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &inputs));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(4), 2, &initial_v));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(kKernel), 2, &kernel));
  DimensionHandle batch, units;
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(inputs, 0), c->Dim(initial_v, 0), &batch));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(initial_v, 1), c->Dim(kernel, 1), &units));
  bool spiking, all_v;
  TF_RETURN_IF_ERROR(c->GetAttr("spiking", &spiking));
  TF_RETURN_IF_ERROR(c->GetAttr("all_v", &all_v));
  const DimensionHandle time = c->Dim(inputs, 1), none = c->MakeDim(int64_t{0});
  c->set_output(0, c->MakeShape({batch, spiking ? time : none, units}));
  c->set_output(1, c->MakeShape({batch, all_v ? time : c->MakeDim(1), units}));
  for (int i : {2, 3}) c->set_output(i, c->UnknownShapeOfRank(2));    // current, wait
  c->set_output(4, c->UnknownShapeOfRank(2));                         // counts
  for (int i : {5, 6, 7}) c->set_output(i, c->UnknownShapeOfRank(1));  // codes, values, carrier
  c->set_output(8, c->UnknownShapeOfRank(2));                         // input counts
  for (int i : {9, 10}) c->set_output(i, c->UnknownShapeOfRank(1));
  c->set_output(11, c->Vector(spiking ? units : none));
  c->set_output(12, c->Vector(4));
  return absl::OkStatus();
}

}  // namespace

// What both ops are given. See keras_egru.ops.lif_sequence for the meaning of every argument. Empty where unused: the link
// (the entries of the layer whose spikes `inputs` are), the current, the wait, the recurrent kernel, beta, gamma, the mask.
#define LIF_INPUTS                                                     \
  Attr("T: {float, double}")                                           \
      .Attr("gradient: {'surrogate', 'eventprop'}")                    \
      .Attr("spiking: bool")                                           \
      .Attr("reset: {'subtract', 'zero'}")                             \
      .Attr("threshold: float")                                        \
      .Attr("v_reset: float")                                          \
      .Attr("v_rest: float")                                           \
      .Attr("refractory: int >= 0")                                    \
      .Attr("surrogate: {'triangular', 'fast_sigmoid', 'boxcar'}")     \
      .Attr("surrogate_height: float")                                 \
      .Attr("surrogate_slope: float")                                  \
      .Attr("surrogate_width: float")                                  \
      .Attr("all_v: bool")                                             \
      .Input("inputs: T")                                              \
      .Input("link_counts: int32")                                     \
      .Input("link_codes: int32")                                      \
      .Input("link_carrier: T")                                        \
      .Input("initial_v: T")                                           \
      .Input("initial_i: T")                                           \
      .Input("initial_y: T")                                           \
      .Input("initial_wait: T")                                        \
      .Input("kernel: T")                                              \
      .Input("recurrent_kernel: T")                                    \
      .Input("alpha: T")                                               \
      .Input("beta: T")                                                \
      .Input("gamma: T")                                               \
      .Input("mask: bool")

// `carrier` has one number an entry. It means nothing; its gradient is that of the entry (its y, or with eventprop the time of
// its spike in steps), so that a layer which knows the entries hands back a list and not a whole sequence. Counters: steps,
// input events, spikes, entries. The gradient of `spikes`, which counts those of each unit, is added to the costate of a unit
// at each of its spikes; `time_constants` is for the gradient alone.
REGISTER_OP("KerasEgru>LifSequence")
    .LIF_INPUTS.Attr("save_for_backward: bool")
    .Attr("time_constants: bool")
    .Output("y: T")
    .Output("v: T")
    .Output("last_i: T")
    .Output("last_wait: T")
    .Output("counts: int32")
    .Output("codes: int32")
    .Output("values: T")
    .Output("carrier: T")
    .Output("input_counts: int32")
    .Output("input_index: int32")
    .Output("input_value: T")
    .Output("spikes: T")
    .Output("counters: int64")
    .SetShapeFn(SequenceShape);

// The gradients of the outputs are empty where nobody asked; `jumps` are added to a unit's costate at its spikes.
#define LIF_SAVED               \
  Input("counts: int32")        \
      .Input("codes: int32")    \
      .Input("values: T")       \
      .Input("input_counts: int32") \
      .Input("input_index: int32")  \
      .Input("input_value: T")  \
      .Input("grad_y: T")       \
      .Input("grad_v: T")       \
      .Input("grad_last_i: T")  \
      .Input("grad_carrier: T") \
      .Input("jumps: T")

REGISTER_OP("KerasEgru>LifSequenceGrad")
    .LIF_INPUTS.Attr("time_constants: bool")
    .LIF_SAVED.Output("grad_link_carrier: T")
    .Output("grad_initial_v: T")
    .Output("grad_initial_i: T")
    .Output("grad_initial_y: T")
    .Output("grad_kernel: T")
    .Output("grad_recurrent_kernel: T")
    .Output("grad_alpha: T")
    .Output("grad_beta: T")
    .Output("grad_gamma: T")
    .SetShapeFn([](InferenceContext* c) {
      const int of_input[] = {3, 4, 5, 6, 8, 9, 10, 11, 12};
      for (int i = 0; i < 9; ++i) c->set_output(i, c->input(of_input[i]));
      return absl::OkStatus();
    });

// dL/d(weighted inputs) at every step, [batch, time, units], from which a dense product makes the gradient of the inputs; an op
// of its own so that it costs nothing where nobody asks for it.
REGISTER_OP("KerasEgru>LifDriveGrad")
    .LIF_INPUTS.LIF_SAVED.Output("grad_drive: T")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->MakeShape({c->Dim(c->input(0), 0), c->Dim(c->input(0), 1), c->Dim(c->input(kKernel), 1)}));
      return absl::OkStatus();
    });
#undef LIF_INPUTS
#undef LIF_SAVED

}  // namespace keras_egru
