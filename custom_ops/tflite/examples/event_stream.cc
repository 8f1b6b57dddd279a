// Runs a streaming model, exported with op="sparse", on a recording of an event camera, frame by frame, as a device would.
//
//   event_stream LITERT OP MODEL RECORDING [MILLISECONDS]
//
// LITERT: libLiteRt.so of the Python package ai_edge_litert, 2.1 or later. OP: libkeras_egru_litert.so. RECORDING: a .bin file of
// N-MNIST. MILLISECONDS of a frame: 10 unless told. The model's input is a frame of 34 x 34 pixels, or two, of off and on events.
// LiteRT's functions are declared here since it ships no headers: as in google-ai-edge/LiteRT `litert/c`.
#include <dlfcn.h>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Handle = void*;
struct TensorType {  // LiteRtRankedTensorType
  int element;
  unsigned rank : 7;
  bool has_strides : 1;
  int32_t sizes[8];
  uint32_t strides[8];
};
constexpr int kFloat32 = 1, kCpu = 1, kRead = 0, kWrite = 1;

[[noreturn]] void Fail(const std::string& sentence) { throw std::runtime_error(sentence); }

void* Open(const char* path) {
  if (void* library = dlopen(path, RTLD_NOW)) return library;
  Fail(dlerror());
}

void* litert = nullptr;

// Calls a function of LiteRT, all of which return a status.
template <typename... Arguments>
void Call(const char* name, Arguments... arguments) {
  const auto function = reinterpret_cast<int (*)(Arguments...)>(dlsym(litert, name));
  if (!function) Fail(std::string(name) + " is not in this LiteRT: 2.1 or later is needed.");
  const int status = function(arguments...);
  if (status != 0) Fail(std::string(name) + " failed with status " + std::to_string(status) + ".");
}

struct Tensor {
  std::string name;
  int64_t size = 1;
  Handle buffer = nullptr;

  void Copy(float* numbers, int mode) const {
    void* memory = nullptr;
    Call("LiteRtLockTensorBuffer", buffer, &memory, mode);
    if (mode == kRead) std::copy_n(static_cast<const float*>(memory), size, numbers);
    if (mode == kWrite) std::copy_n(numbers, size, static_cast<float*>(memory));
    Call("LiteRtUnlockTensorBuffer", buffer);
  }
};

// One signature of a model: its tensors, by name, with memory.
class Signature {
 public:
  Signature(Handle environment, Handle model, Handle compiled, const std::string& wanted) : compiled_(compiled) {
    size_t count = 0;
    Call("LiteRtGetNumModelSignatures", model, &count);
    Handle signature = nullptr;
    for (;; ++index_) {
      if (index_ == count) Fail("the model has no signature `" + wanted + "`: export it with mode=\"streaming\".");
      const char* key = nullptr;
      Call("LiteRtGetModelSignature", model, index_, &signature);
      Call("LiteRtGetSignatureKey", signature, &key);
      if (key == wanted) break;
    }
    inputs = Tensors(environment, signature, "Input", in_);
    outputs = Tensors(environment, signature, "Output", out_);
  }

  void Run() {
    Call("LiteRtRunCompiledModel", compiled_, index_, in_.size(), in_.data(), out_.size(), out_.data());
  }

  // LiteRT names a tensor that is returned twice by one name alone: one that is missing is that of such a tensor.
  static const Tensor& Find(const std::vector<Tensor>& tensors, const std::string& name, int64_t size = 0) {
    const auto count = [&](const std::string& other) {
      return std::count_if(tensors.begin(), tensors.end(), [&](const Tensor& tensor) { return tensor.name == other; });
    };
    for (const Tensor& tensor : tensors) {
      if (count(name) > 0 ? tensor.name == name : (size == 0 || tensor.size == size) && count(tensor.name) > 1) return tensor;
    }
    Fail("the model has no `" + name + "`: export it with mode=\"streaming\".");
  }

  std::vector<Tensor> inputs, outputs;

 private:
  std::vector<Tensor> Tensors(Handle environment, Handle signature, const std::string& side, std::vector<Handle>& buffers) {
    size_t count = 0;
    Call(("LiteRtGetNumSignature" + side + "s").c_str(), signature, &count);
    std::vector<Tensor> tensors(count);
    for (size_t i = 0; i < count; ++i) {
      const char* name = nullptr;
      Handle tensor = nullptr, requirements = nullptr;
      TensorType type;
      Call(("LiteRtGetSignature" + side + "Name").c_str(), signature, i, &name);
      Call(("LiteRtGetSignature" + side + "TensorByIndex").c_str(), signature, i, &tensor);
      Call("LiteRtGetRankedTensorType", tensor, &type);
      Call(("LiteRtGetCompiledModel" + side + "BufferRequirements").c_str(), compiled_, index_, i, &requirements);
      Call("LiteRtCreateManagedTensorBufferFromRequirements", environment, &type, requirements, &tensors[i].buffer);
      buffers.push_back(tensors[i].buffer);
      tensors[i].name = name;
      for (unsigned d = 0; d < type.rank; ++d) tensors[i].size *= type.sizes[d];
      if (type.element != kFloat32) Fail("`" + tensors[i].name + "` is not of 32-bit floats.");
    }
    return tensors;
  }

  Handle compiled_;
  size_t index_ = 0;
  std::vector<Handle> in_, out_;
};

struct Event {
  int64_t x, y, on, microseconds;
};

// 5 bytes an event: x, y, then one bit of polarity and 23 of time, the highest first (Orchard et al. 2015).
std::vector<Event> ReadRecording(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<unsigned char> bytes((std::istreambuf_iterator<char>(file)), {});
  if (bytes.empty() || bytes.size() % 5 != 0) Fail(std::string(path) + " is no recording of events of 5 bytes.");
  std::vector<Event> events;
  for (size_t i = 0; i < bytes.size(); i += 5) {
    events.push_back({bytes[i], bytes[i + 1], bytes[i + 2] >> 7,
                      (bytes[i + 2] & 0x7f) << 16 | bytes[i + 3] << 8 | bytes[i + 4]});
    if (bytes[i] >= 34 || bytes[i + 1] >= 34) Fail(std::string(path) + " has an event off the 34 x 34 pixels.");
  }
  return events;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 5) Fail("usage: event_stream LITERT OP MODEL RECORDING [MILLISECONDS]");
  const double frame_us = 1000 * (argc > 5 ? std::atof(argv[5]) : 10.0);
  if (!(frame_us >= 1)) Fail("MILLISECONDS must be positive.");
  litert = Open(argv[1]);
  const auto enlist = reinterpret_cast<const char* (*)(Handle, void*)>(dlsym(Open(argv[2]), "KerasEgruRegisterOps"));
  if (!enlist) Fail(std::string(argv[2]) + " is not the library of keras-egru.");
  Handle environment = nullptr, model = nullptr, options = nullptr, compiled = nullptr;
  Call("LiteRtCreateEnvironment", 0, Handle{}, &environment);
  if (const char* why_not = enlist(environment, litert)) Fail(why_not);
  Call("LiteRtCreateModelFromFile", environment, static_cast<const char*>(argv[3]), &model);
  Call("LiteRtCreateOptions", &options);
  Call("LiteRtSetOptionsHardwareAccelerators", options, kCpu);
  Call("LiteRtCreateCompiledModel", environment, model, options, &compiled);
  Signature init(environment, model, compiled, "init"), step(environment, model, compiled, "step");
  const Tensor &input = Signature::Find(step.inputs, "input"), &output = Signature::Find(step.outputs, "output");
  constexpr int64_t kPixels = 34 * 34;
  if (input.size != kPixels && input.size != 2 * kPixels) Fail("`input` must be 1156 or 2312 numbers.");
  std::vector<float> numbers;
  // The states that one run leaves are those that the next begins with.
  const auto carry = [&](const Signature& from) {
    for (const Tensor& state : step.inputs) {
      if (&state == &input) continue;
      numbers.resize(state.size);
      Signature::Find(from.outputs, state.name, state.size).Copy(numbers.data(), kRead);
      state.Copy(numbers.data(), kWrite);
    }
  };
  init.Run();
  carry(init);
  std::vector<double> took;
  const std::vector<Event> events = ReadRecording(argv[4]);
  for (auto event = events.begin(); event != events.end(); carry(step)) {
    numbers.assign(input.size, 0.0f);
    const double end = frame_us * static_cast<double>(took.size() + 1);
    for (; event != events.end() && static_cast<double>(event->microseconds) < end; ++event) {
      numbers[(input.size > kPixels ? event->on * kPixels : 0) + 34 * event->y + event->x] = 1.0f;
    }
    input.Copy(numbers.data(), kWrite);
    const auto begin = std::chrono::steady_clock::now();
    step.Run();
    took.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  numbers.resize(output.size);
  output.Copy(numbers.data(), kRead);
  std::cout << "scores";
  for (float score : numbers) std::cout << ' ' << score;
  std::cout << "\nclass " << std::max_element(numbers.begin(), numbers.end()) - numbers.begin() << "\nsteps " << took.size();
  std::nth_element(took.begin(), took.begin() + took.size() / 2, took.end());
  std::cout << "\nmedian microseconds a step " << took[took.size() / 2] << '\n';
} catch (const std::exception& error) {
  std::cerr << "event_stream: " << error.what() << '\n';
  return 1;
}
