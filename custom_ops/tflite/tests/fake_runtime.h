// As much of an interpreter as a delegate sees.
#ifndef KERAS_EGRU_TFLITE_TESTS_FAKE_RUNTIME_H_
#define KERAS_EGRU_TFLITE_TESTS_FAKE_RUNTIME_H_

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

#include "../litert_abi.h"

namespace keras_egru {
namespace litert {

class FakeRuntime {
 public:
  FakeRuntime() {
    context.impl = this;
    context.GetExecutionPlan = [](Context* c, IntArray** plan) { return *plan = Self(c).plan_, kOk; };
    context.GetNodeAndRegistration = [](Context* c, int index, Node** node, Registration** registration) {
      *node = &Self(c).nodes[index];
      *registration = &Self(c).registrations_[index];
      return kOk;
    };
    context.ResizeTensor = [](Context*, Tensor* tensor, IntArray* shape) {
      std::free(tensor->dims);
      tensor->dims = shape;
      tensor->bytes = SizeOf(tensor->type);
      for (int i = 0; i < shape->size; ++i) tensor->bytes *= shape->data[i];
      return kOk;
    };
    context.ReportError = Report;
    context.ReplaceNodeSubsetsWithDelegateKernels = [](Context* c, Registration registration, const IntArray* nodes,
                                                       Delegate* delegate) {
      FakeRuntime& self = Self(c);
      IntArray* used = Array(self.used);
      DelegateParams params = {delegate, const_cast<IntArray*>(nodes), nullptr, used};
      self.kernels.emplace_back();
      self.kernels.back().user_data = registration.init(c, reinterpret_cast<const char*>(&params), sizeof params);
      self.kernel_registration = registration;
      std::free(used);
      return kOk;
    };
  }
  ~FakeRuntime() {
    for (Node& kernel : kernels) kernel_registration.free(&context, kernel.user_data);
    for (Tensor& tensor : tensors) std::free(tensor.dims);
    for (Node& node : nodes) {
      std::free(node.inputs);
      std::free(node.outputs);
    }
    std::free(plan_);
  }

  // `data` of a constant; others get memory of their own, and are zero, when the model is allocated.
  int Add(ElementType type, const std::vector<int>& shape, const void* data = nullptr, Allocation allocation = kMmapRo) {
    Tensor tensor = {};
    tensor.type = type;
    tensor.dims = Array(shape);
    tensor.bytes = SizeOf(type);
    for (int extent : shape) tensor.bytes *= extent;
    tensor.data = const_cast<void*>(data);
    tensor.allocation_type = data ? allocation : static_cast<Allocation>(2);
    tensors.push_back(tensor);
    return static_cast<int>(tensors.size()) - 1;
  }

  void AddOp(const char* name, const std::vector<uint8_t>& attributes, const std::vector<int>& inputs,
             const std::vector<int>& outputs) {
    Node node = {};
    node.inputs = Array(inputs);
    node.outputs = Array(outputs);
    node.custom_initial_data = attributes.data();
    node.custom_initial_data_size = static_cast<int>(attributes.size());
    nodes.push_back(node);
    Registration registration = {};
    registration.builtin_code = kCustomOp;
    registration.custom_name = name;
    registrations_.push_back(registration);
  }

  Status Apply(Delegate* delegate) {
    context.tensors = tensors.data();
    context.tensors_size = tensors.size();
    std::vector<int> all;
    for (size_t i = 0; i < nodes.size(); ++i) all.push_back(static_cast<int>(i));
    std::free(plan_);
    plan_ = Array(all);
    return delegate->Prepare(&context, delegate);
  }

  // Prepares the kernels that were claimed, and gives tensors memory.
  Status Allocate() {
    for (Node& kernel : kernels) {
      if (kernel_registration.prepare(&context, &kernel) != kOk) return kError;
    }
    for (Tensor& tensor : tensors) {
      if (tensor.data || tensor.bytes == 0) continue;
      memory_.emplace_back(tensor.bytes);
      tensor.data = memory_.back().data();
    }
    for (int index : unused) tensors[index].data = nullptr;
    return kOk;
  }
  Status Invoke() {
    for (Node& kernel : kernels) {
      if (kernel_registration.invoke(&context, &kernel) != kOk) return kError;
    }
    return kOk;
  }

  Context context = {};
  std::vector<Tensor> tensors;
  std::deque<Node> nodes, kernels;
  Registration kernel_registration = {};
  std::vector<int> used, unused;  // outputs that somebody reads, and that nobody does: they have no memory
  std::string error;

 private:
  static FakeRuntime& Self(Context* context) { return *static_cast<FakeRuntime*>(context->impl); }
  static void Report(Context* c, const char* format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    Self(c).error = text;
  }
  static size_t SizeOf(ElementType type) { return type == kInt64 ? 8 : type == kBool || type == kInt8 ? 1 : 4; }
  static IntArray* Array(const std::vector<int>& numbers) {
    auto* array = static_cast<IntArray*>(std::malloc(sizeof(int) * (numbers.size() + 2)));
    array->size = static_cast<int>(numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i) array->data[i] = numbers[i];
    return array;
  }

  std::deque<Registration> registrations_;
  std::deque<std::vector<char>> memory_;
  IntArray* plan_ = nullptr;
};

}  // namespace litert
}  // namespace keras_egru

#endif  // KERAS_EGRU_TFLITE_TESTS_FAKE_RUNTIME_H_
