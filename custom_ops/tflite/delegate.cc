// An interpreter takes ops that it does not know from a delegate: custom ops stay without a kernel until one claims them.
// Each op becomes a kernel of its own, so that the tensors between two of them stay the runtime's.
#include "delegate.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "op.h"
#include "refusal.h"

namespace keras_egru {
namespace {

using litert::Context;
using litert::IntArray;
using litert::Node;
using litert::Status;
using litert::Tensor;

constexpr const char* kOps[] = {"KerasEgru>EgruSequence", "KerasEgru>EgruSequenceInt8", "KerasEgru>LifSequence"};

size_t SizeOf(litert::ElementType type) {
  switch (type) {
    case litert::kFloat32:
    case litert::kInt32:
      return 4;
    case litert::kInt64:
      return 8;
    case litert::kBool:
    case litert::kInt8:
      return 1;
  }
  return 0;
}

std::vector<int> Numbers(const IntArray* array) {
  return array ? std::vector<int>(array->data, array->data + array->size) : std::vector<int>();
}

IntArray* NewArray(const Shape& shape) {
  auto* array = static_cast<IntArray*>(std::malloc(sizeof(int) * (shape.size() + 1)));
  if (!array) throw std::bad_alloc();
  array->size = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), array->data);
  return array;
}

// A sentence may quote what a model file holds.
std::string Printable(std::string sentence) {
  constexpr size_t kLongest = 500;
  if (sentence.size() > kLongest) sentence.resize(kLongest);
  for (char& letter : sentence) {
    if (letter < ' ' || letter > '~') letter = '?';
  }
  return sentence;
}

// One op of a model.
class Kernel {
 public:
  Kernel(Context* context, const litert::DelegateParams& params) {
    Node* node = nullptr;
    litert::Registration* registration = nullptr;
    if (params.nodes_to_replace->size != 1 ||
        context->GetNodeAndRegistration(context, params.nodes_to_replace->data[0], &node, &registration) != litert::kOk) {
      why_not_ = "the runtime gave the delegate other nodes than it asked for.";
      return;
    }
    name_ = registration->custom_name;
    inputs_ = Numbers(node->inputs);
    outputs_ = Numbers(node->outputs);
    const std::vector<int> used = Numbers(params.output_tensors);
    for (int& output : outputs_) {
      if (std::find(used.begin(), used.end(), output) == used.end()) output = litert::kOptionalTensor;  // it has no memory
    }
    in_.resize(inputs_.size());
    out_.resize(outputs_.size());
    try {
      op_ = MakeOp(name_, static_cast<const uint8_t*>(node->custom_initial_data), std::max(0, node->custom_initial_data_size));
    } catch (const Refusal& refusal) {
      why_not_ = refusal.what();
    }
  }

  Status Prepare(Context* context) {
    return Try(context, [&] {
      if (!op_) throw Refusal(why_not_);
      std::vector<InputSpec> specs;
      for (int index : inputs_) specs.push_back(SpecOf(TensorOf(context, index)));
      const std::vector<OutputSpec> wanted = op_->Prepare(specs);
      if (wanted.size() != outputs_.size()) {
        Refuse("the op must have ", wanted.size(), " outputs, received ", outputs_.size(), ".");
      }
      for (size_t i = 0; i < wanted.size(); ++i) {
        if (outputs_[i] == litert::kOptionalTensor) continue;
        Tensor& tensor = TensorOf(context, outputs_[i]);
        if (tensor.type != wanted[i].type) Refuse("output ", i, " of the op has another element type than the op gives it.");
        if (context->ResizeTensor(context, &tensor, NewArray(wanted[i].shape)) != litert::kOk) {
          Refuse("the runtime could not give output ", i, " its shape.");
        }
      }
    });
  }

  Status Run(Context* context) {
    return Try(context, [&] {
      for (size_t i = 0; i < inputs_.size(); ++i) {
        const Tensor& tensor = context->tensors[inputs_[i]];
        if (!tensor.data && tensor.bytes > 0) Refuse("input ", i, " of the op has no memory: allocate the tensors first.");
        in_[i] = tensor.bytes > 0 ? tensor.data : nullptr;
      }
      for (size_t i = 0; i < outputs_.size(); ++i) {
        const bool wanted = outputs_[i] != litert::kOptionalTensor && context->tensors[outputs_[i]].bytes > 0;
        out_[i] = wanted ? context->tensors[outputs_[i]].data : nullptr;
      }
      op_->Run(in_.data(), out_.data());
    });
  }

 private:
  template <typename Work>
  Status Try(Context* context, const Work& work) const {
    try {
      work();
      return litert::kOk;
    } catch (const Refusal& refusal) {
      context->ReportError(context, "%s: %s", name_.c_str(), Printable(refusal.what()).c_str());
    } catch (const std::bad_alloc&) {
      context->ReportError(context, "%s: out of memory.", name_.c_str());
    }
    return litert::kError;
  }

  static Tensor& TensorOf(Context* context, int index) {
    if (index < 0 || static_cast<size_t>(index) >= context->tensors_size) Refuse("the op lacks one of its inputs.");
    return context->tensors[index];
  }

  static InputSpec SpecOf(const Tensor& tensor) {
    InputSpec spec = {tensor.type, {}, InputSpec::kNever, tensor.data};
    uint64_t bytes = SizeOf(tensor.type);
    if (bytes == 0) Refuse("an input of the op has an element type that the op has no use for.");
    for (int extent : Numbers(tensor.dims)) {
      if (extent < 0 || (extent > 0 && bytes > std::numeric_limits<int64_t>::max() / static_cast<uint64_t>(extent))) {
        Refuse("an input of the op has an impossible shape.");
      }
      bytes *= static_cast<uint64_t>(extent);
      spec.shape.push_back(extent);
    }
    if (tensor.sparsity || bytes != tensor.bytes) Refuse("an input of the op is stored in another form than a plain array.");
    if (reinterpret_cast<uintptr_t>(tensor.data) % SizeOf(tensor.type) != 0) {
      Refuse("an input of the op is not aligned to its elements: the model file is damaged.");
    }
    const auto allocation = tensor.allocation_type;
    if ((allocation == litert::kMmapRo || allocation == litert::kPersistentRo) && tensor.data) {
      spec.known = InputSpec::kNow;
    } else if (allocation == litert::kArenaRwPersistent && !tensor.is_variable) {
      spec.known = InputSpec::kAtFirstRun;
    }
    return spec;
  }

  std::string name_, why_not_;
  std::unique_ptr<Op> op_;
  std::vector<int> inputs_, outputs_;  // tensors; outputs that nobody uses are left out
  std::vector<const void*> in_;
  std::vector<void*> out_;
};

Kernel* KernelOf(Node* node) { return static_cast<Kernel*>(node->user_data); }

litert::Registration TheRegistration() {
  litert::Registration registration = {};
  registration.init = [](Context* context, const char* params, size_t) -> void* {
    return new (std::nothrow) Kernel(context, *reinterpret_cast<const litert::DelegateParams*>(params));
  };
  registration.free = [](Context*, void* kernel) { delete static_cast<Kernel*>(kernel); };
  registration.prepare = [](Context* context, Node* node) {
    return node->user_data ? KernelOf(node)->Prepare(context) : litert::kError;
  };
  registration.invoke = [](Context* context, Node* node) { return KernelOf(node)->Run(context); };
  registration.custom_name = "KerasEgruDelegate";
  registration.version = 1;
  return registration;
}

Status Claim(Context* context, litert::Delegate* delegate) {
  if (!litert::LooksRight(*context)) {  // nothing of it can be trusted, not even its ReportError
    std::fputs("keras-egru: this runtime has other structures than LiteRT 2 and TensorFlow 2.21: the op stays away.\n", stderr);
    return litert::kError;
  }
  IntArray* plan = nullptr;
  if (context->GetExecutionPlan(context, &plan) != litert::kOk) return litert::kError;
  std::vector<int> ours;
  for (int index : Numbers(plan)) {
    Node* node = nullptr;
    litert::Registration* registration = nullptr;
    if (context->GetNodeAndRegistration(context, index, &node, &registration) != litert::kOk) return litert::kError;
    if (registration->builtin_code != litert::kCustomOp || !registration->custom_name) continue;
    if (std::find(std::begin(kOps), std::end(kOps), std::string(registration->custom_name)) != std::end(kOps)) {
      ours.push_back(index);
    }
  }
  for (int index : ours) {
    const IntArray one = {1, {index}};
    const Status status = context->ReplaceNodeSubsetsWithDelegateKernels(context, TheRegistration(), &one, delegate);
    if (status != litert::kOk) return status;
  }
  return litert::kOk;
}

}  // namespace

litert::Delegate* CreateDelegate() {
  auto* delegate = new (std::nothrow) litert::Delegate{};
  if (!delegate) return nullptr;
  delegate->Prepare = Claim;
  // Without it the runtime would prepare all ops before the delegate may claim those that it cannot prepare.
  delegate->flags = litert::kAllowDynamic;
  return delegate;
}

void DestroyDelegate(litert::Delegate* delegate) { delete delegate; }

}  // namespace keras_egru
