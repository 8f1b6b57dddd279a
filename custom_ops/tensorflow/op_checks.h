// What the op kernels share: checks of shapes, attributes that are numbers, and work that may run out of memory.
#ifndef KERAS_EGRU_TENSORFLOW_OP_CHECKS_H_
#define KERAS_EGRU_TENSORFLOW_OP_CHECKS_H_

#include <new>

#include "../engine/short_decimal.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor_shape.h"

namespace keras_egru {

inline absl::Status Expect(const tensorflow::Tensor& tensor, const char* name, const tensorflow::TensorShape& shape) {
  if (tensor.shape() == shape) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("`", name, "` must have the shape ", shape.DebugString(),
                                                 ", received ", tensor.shape().DebugString(), "."));
}

inline absl::Status ReadNumber(tensorflow::OpKernelConstruction* context, const char* name, double* number) {
  float value;
  TF_RETURN_IF_ERROR(context->GetAttr(name, &value));
  *number = ShortDecimal(value);
  return absl::OkStatus();
}

// Runs `work`, turning a failed allocation into TensorFlow's own error.
template <typename Work>
void Run(tensorflow::OpKernelContext* context, const Work& work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    context->SetStatus(absl::ResourceExhaustedError("out of memory for the scratch space of the sequence."));
  }
}

}  // namespace keras_egru

#endif  // KERAS_EGRU_TENSORFLOW_OP_CHECKS_H_
