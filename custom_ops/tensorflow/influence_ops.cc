// The influence op as TensorFlow sees it: names, types, shape function.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace keras_egru {

using ::tensorflow::shape_inference::InferenceContext;

// See keras_egru.ops.influence_sequence for the meaning of every argument. Empty where unused: `influence` (zeros), `leak`,
// `own`, `candidate`, `opened`, `turned`, `mask`. Counters: multiply-adds, nonzero entries, entries.
REGISTER_OP("KerasEgru>Influence")
    .Attr("T: {float, double}")
    .Attr("parameters: int >= 0")
    .Attr("count_nonzero: bool = false")
    .Input("influence: T")
    .Input("kernel: T")
    .Input("leak: T")
    .Input("passes: T")
    .Input("gain: T")
    .Input("own: T")
    .Input("candidate: T")
    .Input("opened: T")
    .Input("turned: T")
    .Input("direct: T")
    .Input("source: T")
    .Input("credit: T")
    .Input("mask: bool")
    .Input("column_begin: int32")
    .Input("tile_unit: int32")
    .Input("tile_through: int32")
    .Input("row_begin: int32")
    .Input("row: int32")
    .Input("column_parameter: int32")
    .Input("column_kind: int32")
    .Input("column_source: int32")
    .Input("neighbour_begin: int32")
    .Input("neighbour: int32")
    .Output("next_influence: T")
    .Output("gradient: T")
    .Output("counters: int64")
    .SetShapeFn([](InferenceContext* c) {
      int64_t parameters;
      TF_RETURN_IF_ERROR(c->GetAttr("parameters", &parameters));
      c->set_output(0, c->UnknownShapeOfRank(1));
      c->set_output(1, c->Vector(parameters));
      c->set_output(2, c->Vector(3));
      return absl::OkStatus();
    });

}  // namespace keras_egru
