// The EGRU ops as TensorFlow sees them: names, types, shape functions.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace keras_egru {
namespace {

using ::tensorflow::shape_inference::DimensionHandle;
using ::tensorflow::shape_inference::InferenceContext;
using ::tensorflow::shape_inference::ShapeHandle;

absl::Status SequenceShape(InferenceContext* c) {
  ShapeHandle inputs, initial_y, unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &inputs));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &initial_y));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 2, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 2, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(4), 2, &unused));
  DimensionHandle batch, units;
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(inputs, 0), c->Dim(initial_y, 0), &batch));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(initial_y, 1), c->Dim(c->input(4), 0), &units));
  for (int i = 0; i < 2; ++i) {
    bool all;
    TF_RETURN_IF_ERROR(c->GetAttr(i == 0 ? "all_y" : "all_c", &all));
    c->set_output(i, c->MakeShape({batch, all ? c->Dim(inputs, 1) : c->MakeDim(1), units}));
  }
  for (int i = 2; i + 1 < c->num_outputs(); ++i) c->set_output(i, c->UnknownShapeOfRank(1));
  c->set_output(c->num_outputs() - 1, c->Vector(5));
  return absl::OkStatus();
}

absl::Status GradientShape(InferenceContext* c) {
  c->set_output(0, c->UnknownShapeOfRank(1));
  c->set_output(1, c->UnknownShapeOfRank(1));
  for (int i = 1; i < 7; ++i) c->set_output(i + 1, c->input(i));  // initial_y ... threshold
  c->set_output(8, c->Vector(3));
  return absl::OkStatus();
}

}  // namespace

// See keras_egru.ops.egru_sequence for the meaning of every argument. `mask` and `zoneout` are empty where unused;
// `zoneout` may be one number. `gates` and `candidate` are opaque, for the gradient op, and empty unless
// `save_for_backward`. `products` is how matrices are multiplied: `auto` by what is faster for the counted density.
// Of y and c every step is returned with `all_y` and `all_c`, else the last one, as a sequence of one step; the gradient op
// needs all. Of the kernels' masks, empty or of their shapes, only the gradient op makes use: where they are zero, the weight
// is zero and gets no gradient. Counters: steps, input events, events, backward entries, surrogate entries.
REGISTER_OP("KerasEgru>EgruSequence")
    .Attr("T: {float, double}")
    .Attr("reset: {'threshold', 'subtract', 'zero'} = 'threshold'")
    .Attr("reset_after: bool = true")
    .Attr("surrogate_height: float = 0.7")
    .Attr("surrogate_width: float = 1.0")
    .Attr("products: {'auto', 'sparse', 'dense'} = 'auto'")
    .Attr("save_for_backward: bool = true")
    .Attr("all_y: bool = true")
    .Attr("all_c: bool = true")
    .Input("inputs: T")
    .Input("initial_y: T")
    .Input("initial_c: T")
    .Input("kernel: T")
    .Input("recurrent_kernel: T")
    .Input("bias: T")
    .Input("threshold: T")
    .Input("mask: bool")
    .Input("zoneout: T")
    .Input("kernel_mask: T")
    .Input("recurrent_mask: T")
    .Output("y: T")
    .Output("c: T")
    .Output("gates: T")
    .Output("candidate: T")
    .Output("counters: int64")
    .SetShapeFn(SequenceShape);

// The same from a recurrent kernel of 8-bit integers, column j of which stands for `recurrent_scale[j]` times its numbers.
// For inference alone: nothing is kept for a gradient, and there is none.
REGISTER_OP("KerasEgru>EgruSequenceInt8")
    .Attr("T: {float, double}")
    .Attr("reset: {'threshold', 'subtract', 'zero'} = 'threshold'")
    .Attr("reset_after: bool = true")
    .Attr("surrogate_height: float = 0.7")
    .Attr("surrogate_width: float = 1.0")
    .Attr("products: {'auto', 'sparse', 'dense'} = 'auto'")
    .Attr("all_y: bool = true")
    .Attr("all_c: bool = true")
    .Input("inputs: T")
    .Input("initial_y: T")
    .Input("initial_c: T")
    .Input("kernel: T")
    .Input("recurrent_kernel: int8")
    .Input("recurrent_scale: T")
    .Input("bias: T")
    .Input("threshold: T")
    .Input("mask: bool")
    .Input("zoneout: T")
    .Output("y: T")
    .Output("c: T")
    .Output("counters: int64")
    .SetShapeFn(SequenceShape);

// Counters: entries of dL/dy computed, events in the gradient of the recurrent kernel, inputs in that of the kernel.
REGISTER_OP("KerasEgru>EgruSequenceGrad")
    .Attr("T: {float, double}")
    .Attr("reset: {'threshold', 'subtract', 'zero'} = 'threshold'")
    .Attr("reset_after: bool = true")
    .Attr("surrogate_height: float = 0.7")
    .Attr("surrogate_width: float = 1.0")
    .Attr("products: {'auto', 'sparse', 'dense'} = 'auto'")
    .Input("inputs: T")
    .Input("initial_y: T")
    .Input("initial_c: T")
    .Input("kernel: T")
    .Input("recurrent_kernel: T")
    .Input("bias: T")
    .Input("threshold: T")
    .Input("mask: bool")
    .Input("zoneout: T")
    .Input("kernel_mask: T")
    .Input("recurrent_mask: T")
    .Input("y: T")
    .Input("c: T")
    .Input("gates: T")
    .Input("candidate: T")
    .Input("grad_y: T")
    .Input("grad_c: T")
    .Output("grad_gates: T")
    .Output("grad_candidate: T")
    .Output("grad_initial_y: T")
    .Output("grad_initial_c: T")
    .Output("grad_kernel: T")
    .Output("grad_recurrent_kernel: T")
    .Output("grad_bias: T")
    .Output("grad_threshold: T")
    .Output("counters: int64")
    .SetShapeFn(GradientShape);

// The gradient of the inputs, an op of its own so that it costs nothing where nobody asks for it.
REGISTER_OP("KerasEgru>EgruInputGrad")
    .Attr("T: {float, double}")
    .Attr("reset_after: bool = true")
    .Attr("products: {'auto', 'sparse', 'dense'} = 'auto'")
    .Input("inputs: T")
    .Input("kernel: T")
    .Input("grad_gates: T")
    .Input("grad_candidate: T")
    .Output("grad_inputs: T")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(0));
      return absl::OkStatus();
    });

}  // namespace keras_egru
