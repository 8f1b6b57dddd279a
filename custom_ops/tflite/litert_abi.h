// What this library knows of the binary interface of LiteRT (and of TensorFlow Lite, its former name).
//
// No wheel ships the C headers, so the little that is needed is written down here; names in comments are those of the public
// headers. Facts from google-ai-edge/LiteRT `tflite/core/c/common.h` (commit 01d971c5, LiteRT 2.3) and tensorflow/tensorflow
// `tensorflow/lite/core/c/common.h` (commit 04171654, TensorFlow 2.21), which agree in all that is used. Both promise that
// members are added at the ends of these structures only, and never reordered. `litert/c/internal/litert_accelerator_
// registration.h` (commit 14906c95) and the library of ai-edge-litert 2.3.0 itself for the functions at the end.
//
// The layouts are checked three times: against literal sizes here, at load against the version of the runtime where the
// caller tells it (Runtime below), and in each interpreter against what can be seen of its structures (LooksRight).
#ifndef KERAS_EGRU_TFLITE_LITERT_ABI_H_
#define KERAS_EGRU_TFLITE_LITERT_ABI_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

namespace keras_egru {
namespace litert {

enum Status : int { kOk = 0, kError = 1 };

// TfLiteType; others are never read.
enum ElementType : int { kFloat32 = 1, kInt32 = 2, kInt64 = 4, kBool = 6, kInt8 = 9 };

// TfLiteAllocationType: where the memory of a tensor comes from. A constant of the model file is kMmapRo.
enum Allocation : int { kMmapRo = 1, kArenaRwPersistent = 3, kPersistentRo = 5 };

constexpr int32_t kCustomOp = 32;      // BuiltinOperator_CUSTOM of schema.fbs
constexpr int kOptionalTensor = -1;    // kTfLiteOptionalTensor: an index that names no tensor
constexpr int64_t kAllowDynamic = 1;   // kTfLiteDelegateFlagsAllowDynamicTensors

// TfLiteIntArray: `size` and so many numbers behind it.
struct IntArray {
  int size;
  int data[1];
};

struct Delegate;

// TfLiteTensor.
struct Tensor {
  ElementType type;
  void* data;
  IntArray* dims;
  struct {
    float scale;
    int32_t zero_point;
  } params;
  Allocation allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  Delegate* delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  struct {
    int type;
    void* params;
  } quantization;
  void* sparsity;
  const IntArray* dims_signature;
};

// TfLiteNode.
struct Node {
  IntArray *inputs, *outputs, *intermediates, *temporaries;
  void* user_data;
  void* builtin_data;
  const void* custom_initial_data;  // the attributes of a custom op, a flexbuffer
  int custom_initial_data_size;
  Delegate* delegate;
  bool might_have_side_effect;
};

struct Context;

// TfLiteRegistration. It is handed over by value, so the runtime's own must be no larger.
struct Registration {
  void* (*init)(Context*, const char* buffer, size_t length);
  void (*free)(Context*, void* buffer);
  Status (*prepare)(Context*, Node*);
  Status (*invoke)(Context*, Node*);
  const char* (*profiling_string)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* registration_external;
  void* (*async_kernel)(Context*, Node*);
  uint64_t inplace_operator;
};

// TfLiteDelegateParams: what the init of a delegate kernel is given.
struct DelegateParams {
  Delegate* delegate;
  IntArray *nodes_to_replace, *input_tensors, *output_tensors;
};

// TfLiteContext, as far as it is used.
struct Context {
  size_t tensors_size;
  Status (*GetExecutionPlan)(Context*, IntArray** plan);
  Tensor* tensors;
  void* impl;
  // Takes the shape, which must come from malloc, as its own.
  Status (*ResizeTensor)(Context*, Tensor*, IntArray* shape);
  void (*ReportError)(Context*, const char* format, ...);
  void* AddTensors;
  Status (*GetNodeAndRegistration)(Context*, int node, Node**, Registration**);
  Status (*ReplaceNodeSubsetsWithDelegateKernels)(Context*, Registration, const IntArray* nodes, Delegate*);
  int recommended_num_threads;
};

// TfLiteDelegate.
struct Delegate {
  void* data;
  Status (*Prepare)(Context*, Delegate*);
  void* CopyFromBufferHandle;
  void* CopyToBufferHandle;
  void* FreeBufferHandle;
  int64_t flags;
  void* opaque_delegate_builder;
};

// What a 64-bit runtime has.
static_assert(sizeof(void*) != 8 || sizeof(Tensor) == 112, "TfLiteTensor");
static_assert(sizeof(void*) != 8 || (offsetof(Tensor, bytes) == 40 && offsetof(Tensor, is_variable) == 77), "TfLiteTensor");
static_assert(sizeof(void*) != 8 || (sizeof(Node) == 80 && offsetof(Node, custom_initial_data) == 48), "TfLiteNode");
static_assert(sizeof(void*) != 8 || (sizeof(Registration) == 88 && offsetof(Registration, custom_name) == 48),
              "TfLiteRegistration");
static_assert(sizeof(void*) != 8 || sizeof(DelegateParams) == 32, "TfLiteDelegateParams");
static_assert(sizeof(void*) != 8 || (offsetof(Context, ReportError) == 40 && offsetof(Context, recommended_num_threads) == 72),
              "TfLiteContext");
static_assert(sizeof(void*) != 8 || (sizeof(Delegate) == 56 && offsetof(Delegate, flags) == 40), "TfLiteDelegate");

// Whether the runtime of an interpreter keeps its structures as they are written here, as far as can be seen without
// following a pointer that may be none. Numbers of another structure, or one that is longer, are hardly ever so small.
inline bool LooksRight(const Context& context) {
  if (!context.GetExecutionPlan || !context.ReportError || !context.GetNodeAndRegistration ||
      !context.ReplaceNodeSubsetsWithDelegateKernels || !context.ResizeTensor) {
    return false;
  }
  if (context.tensors_size > size_t{1} << 31 || (context.tensors_size > 0 && !context.tensors)) return false;
  for (size_t i = 0; i < context.tensors_size; ++i) {
    const Tensor& tensor = context.tensors[i];
    const auto small = [](int number) { return number >= 0 && number < 64; };
    unsigned char flags[2];  // read as bytes: a bool that is neither true nor false must not be
    std::memcpy(flags, &tensor.data_is_stale, 2);
    if (!small(tensor.type) || !small(tensor.allocation_type) || flags[0] > 1 || flags[1] > 1) return false;
  }
  return true;
}

// The versions of the runtimes whose layouts these are known to be: of a package, all from `first` on and before `end`.
struct Runtime {
  const char* package;
  int first[2], end[2];
};
constexpr Runtime kRuntimes[] = {{"ai_edge_litert", {2, 0}, {3, 0}}, {"tensorflow", {2, 20}, {2, 22}}};

// Why the version of a runtime is refused, as a sentence; empty for one that is known.
inline std::string WhyNot(const std::string& package, const std::string& version) {
  for (const Runtime& runtime : kRuntimes) {
    if (package != runtime.package) continue;
    int major = 0, minor = 0;
    const bool read = std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2;
    const auto before = [&](const int (&other)[2]) { return major < other[0] || (major == other[0] && minor < other[1]); };
    if (read && !before(runtime.first) && before(runtime.end)) return "";
    const auto text = [](const int (&number)[2]) { return std::to_string(number[0]) + "." + std::to_string(number[1]); };
    return "the keras-egru op is made for " + package + " from " + text(runtime.first) + " on and before " +
           text(runtime.end) + ", received " + version + ".";
  }
  return "the keras-egru op knows the runtimes ai_edge_litert and tensorflow, received " + package + ".";
}

// litert/c: handles are pointers to what only LiteRT knows, a status of 0 is success.
using Handle = void*;
constexpr int kCpu = 1;  // kLiteRtHwAcceleratorCpu
struct ApiVersion {
  int major, minor, patch;
};

}  // namespace litert
}  // namespace keras_egru

#endif  // KERAS_EGRU_TFLITE_LITERT_ABI_H_
