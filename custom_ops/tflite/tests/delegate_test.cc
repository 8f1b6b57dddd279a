// The delegate in a runtime that is not there: what it claims, computes and refuses.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "../../engine/egru.h"
#include "../../engine/lif.h"
#include "../../engine/tests/random_numbers.h"
#include "../delegate.h"
#include "attributes_writer.h"
#include "counted_memory.h"
#include "fake_runtime.h"

using namespace keras_egru;
using namespace keras_egru::litert;

namespace {

using DelegatePointer = std::unique_ptr<Delegate, void (*)(Delegate*)>;
DelegatePointer Make() { return {CreateDelegate(), DestroyDelegate}; }

// A model of one EGRU op, with its weights.
struct EgruModel {
  explicit EgruModel(EgruShape shape, bool int8 = false, Allocation allocation = kMmapRo) : shape(shape), int8(int8) {
    RandomNumbers random(3);
    const int64_t n = shape.units;
    kernel = random.Normal<float>(shape.features * 3 * n, 0.6);
    recurrent_kernel = random.Normal<float>(n * 3 * n, 0.3);
    for (int64_t i = 0; i < n * 3 * n; ++i) integers.push_back(static_cast<int8_t>(i % 255 - 127));
    scale = random.Uniform<float>(3 * n, 0.001, 0.005);
    bias = random.Normal<float>(6 * n, 0.5);
    threshold = random.Uniform<float>(n, 0.05, 0.5);
    attributes = WriteAttributes(EgruAttributes(int8));
    const int units = static_cast<int>(n), batch = static_cast<int>(shape.batch), time = static_cast<int>(shape.time);
    const int features = static_cast<int>(shape.features);
    const auto constant = [&](const std::vector<int>& sizes, const std::vector<float>& data) {
      return runtime.Add(kFloat32, sizes, data.data(), allocation);
    };
    in = {runtime.Add(kFloat32, {batch, time, features}), runtime.Add(kFloat32, {batch, units}),
          runtime.Add(kFloat32, {batch, units}), constant({features, 3 * units}, kernel)};
    if (int8) {
      in.push_back(runtime.Add(kInt8, {units, 3 * units}, integers.data(), allocation));
      in.push_back(constant({3 * units}, scale));
    } else {
      in.push_back(constant({units, 3 * units}, recurrent_kernel));
    }
    in.push_back(constant({2, 3 * units}, bias));
    in.push_back(constant({units}, threshold));
    in.push_back(runtime.Add(kBool, {0, 0}));
    in.push_back(runtime.Add(kFloat32, {0}));
    if (!int8) in.insert(in.end(), 2, runtime.Add(kFloat32, {0, 0}));
    for (int i = 0; i < (int8 ? 2 : 4); ++i) out.push_back(runtime.Add(kFloat32, {1}));
    out.push_back(runtime.Add(kInt64, {5}));
    runtime.used = out;
  }

  void AddTo() { runtime.AddOp(int8 ? "KerasEgru>EgruSequenceInt8" : "KerasEgru>EgruSequence", attributes, in, out); }

  Status Start(Delegate* delegate) {
    AddTo();
    return runtime.Apply(delegate) == kOk ? runtime.Allocate() : kError;
  }

  float* Data(int tensor) { return static_cast<float*>(runtime.tensors[tensor].data); }

  // Puts other inputs and states into the model; what the engine makes of them.
  std::vector<float> Expect(uint32_t seed) {
    RandomNumbers random(seed);
    const auto fill = [&](int tensor, double density) {
      const auto numbers = random.Sparse<float>(static_cast<int64_t>(runtime.tensors[tensor].bytes / 4), density);
      std::copy(numbers.begin(), numbers.end(), Data(tensor));
    };
    fill(in[0], 0.5);
    fill(in[1], 0.3);
    fill(in[2], 1);
    EgruInputs<float> inputs = {Data(in[0]),     Data(in[1]),           Data(in[2]), kernel.data(), recurrent_kernel.data(),
                                bias.data(), threshold.data(), nullptr,     nullptr,       false};
    if (int8) {
      inputs.recurrent_kernel = nullptr;
      inputs.recurrent_int8 = integers.data();
      inputs.recurrent_scale = scale.data();
    }
    std::vector<float> y(shape.batch * shape.time * shape.units), c(y.size());
    EgruForward<float>(shape, {}, inputs, {y.data(), c.data(), nullptr, nullptr}, nullptr);
    y.insert(y.end(), c.begin(), c.end());
    return y;
  }

  bool Close(const std::vector<float>& expected) {
    const size_t half = expected.size() / 2;
    bool close = true;
    for (size_t i = 0; i < expected.size(); ++i) {
      const float found = Data(i < half ? out[0] : out[1])[i % half];
      close = close && std::fabs(found - expected[i]) <= 1e-5f * (1 + std::fabs(expected[i]));
    }
    return close;
  }

  FakeRuntime runtime;
  const EgruShape shape;
  const bool int8;
  std::vector<float> kernel, recurrent_kernel, scale, bias, threshold;
  std::vector<int8_t> integers;
  std::vector<uint8_t> attributes;
  std::vector<int> in, out;
};

}  // namespace

TEST_CASE("the op of a model computes what the engine computes, call after call") {
  for (const EgruShape& shape : {EgruShape{1, 1, 3, 5}, EgruShape{1, 1, 4, 64}, EgruShape{3, 4, 2, 33}, EgruShape{9, 2, 5, 20}}) {
    for (bool int8 : {false, true}) {
      for (Allocation allocation : {kMmapRo, kArenaRwPersistent}) {
        CAPTURE(shape.units);
        CAPTURE(int8);
        const DelegatePointer delegate = Make();
        EgruModel model(shape, int8, allocation);
        REQUIRE(model.Start(delegate.get()) == kOk);
        for (uint32_t call = 0; call < 3; ++call) {
          const auto expected = model.Expect(call);
          REQUIRE(model.runtime.Invoke() == kOk);
          REQUIRE(model.Close(expected));
        }
        CHECK(model.runtime.tensors[model.out.back()].bytes == 40);
        CHECK(static_cast<int64_t*>(model.runtime.tensors[model.out.back()].data)[0] == shape.batch * shape.time);
      }
    }
  }
}

TEST_CASE("a step takes no memory") {
  const EgruShape shapes[] = {{1, 1, 4, 64}, {1, 1, 4, 33}, {3, 4, 2, 33}, {9, 2, 5, 20}};
  for (const EgruShape& shape : shapes) {
    for (bool int8 : {false, true}) {
      CAPTURE(shape.units);
      CAPTURE(int8);
      const DelegatePointer delegate = Make();
      EgruModel model(shape, int8);
      REQUIRE(model.Start(delegate.get()) == kOk);
      for (int call = 0; call < 3; ++call) {
        model.Expect(1);
        const int64_t before = TimesMemoryWasTaken();
        REQUIRE(model.runtime.Invoke() == kOk);
        if (call > 0) CHECK(TimesMemoryWasTaken() == before);  // the first may pack weights for a dense product
      }
    }
  }
}

TEST_CASE("outputs that nobody reads need no memory") {
  const DelegatePointer delegate = Make();
  EgruModel model({2, 3, 4, 17});
  model.runtime.used = {model.out[1]};
  model.runtime.unused = {model.out[0], model.out[2], model.out[3], model.out[4]};
  REQUIRE(model.Start(delegate.get()) == kOk);
  const auto expected = model.Expect(1);
  REQUIRE(model.runtime.Invoke() == kOk);
  for (size_t i = expected.size() / 2; i < expected.size(); ++i) {
    REQUIRE(std::fabs(model.Data(model.out[1])[i - expected.size() / 2] - expected[i]) < 1e-5);
  }
}

TEST_CASE("weights that moved are prepared anew") {
  const DelegatePointer delegate = Make();
  EgruModel model({1, 1, 4, 19}, false, kArenaRwPersistent);
  REQUIRE(model.Start(delegate.get()) == kOk);
  model.Expect(1);
  REQUIRE(model.runtime.Invoke() == kOk);
  std::vector<float> other(model.recurrent_kernel.size(), 0.125f);
  model.recurrent_kernel.swap(other);
  model.runtime.tensors[model.in[4]].data = model.recurrent_kernel.data();
  const auto expected = model.Expect(2);
  REQUIRE(model.runtime.Invoke() == kOk);
  CHECK(model.Close(expected));
}

TEST_CASE("only the ops of this library are claimed, each by a kernel of its own") {
  const DelegatePointer delegate = Make();
  EgruModel model({1, 1, 3, 5});
  model.AddTo();
  model.runtime.AddOp("KerasEgru>EgruSequenceGrad", model.attributes, model.in, model.out);
  model.AddTo();
  REQUIRE(model.runtime.Apply(delegate.get()) == kOk);
  CHECK(model.runtime.kernels.size() == 2);
}

TEST_CASE("a runtime with other structures is left alone") {
  const DelegatePointer delegate = Make();
  EgruModel model({1, 1, 3, 5});
  model.AddTo();
  model.runtime.tensors[2].type = static_cast<ElementType>(0x5a5a5a);
  CHECK(model.runtime.Apply(delegate.get()) == kError);
  CHECK(model.runtime.kernels.empty());
  model.runtime.tensors[2].type = kFloat32;
  model.runtime.context.ResizeTensor = nullptr;
  CHECK(model.runtime.Apply(delegate.get()) == kError);
}

TEST_CASE("versions of runtimes are known or refused") {
  CHECK(WhyNot("ai_edge_litert", "2.0.3") == "");
  CHECK(WhyNot("ai_edge_litert", "2.3.0") == "");
  CHECK(WhyNot("tensorflow", "2.21.0") == "");
  CHECK(WhyNot("ai_edge_litert", "3.0.0") ==
        "the keras-egru op is made for ai_edge_litert from 2.0 on and before 3.0, received 3.0.0.");
  CHECK(WhyNot("ai_edge_litert", "1.4.0") != "");
  CHECK(WhyNot("tensorflow", "2.22.1") != "");
  CHECK(WhyNot("tensorflow", "new") != "");
  CHECK(WhyNot("other", "1.0") == "the keras-egru op knows the runtimes ai_edge_litert and tensorflow, received other.");
}

TEST_CASE("what the op cannot do is a sentence and an error, at preparation") {
  // alter(model) before the delegate sees it.
  const auto refusal = [](auto alter, bool int8 = false) {
    const DelegatePointer delegate = Make();
    EgruModel model({2, 3, 4, 5}, int8);
    alter(model);
    return model.Start(delegate.get()) == kError ? model.runtime.error : std::string("accepted");
  };
  const auto reshaped = [](EgruModel& m, int input, std::vector<int> shape) {
    m.in[input] = m.runtime.Add(m.runtime.tensors[m.in[input]].type, shape, m.runtime.tensors[m.in[input]].data);
  };
  const std::string op = "KerasEgru>EgruSequence: ";
  CHECK(refusal([](EgruModel&) {}) == "accepted");
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 0, {3, 4}); }) ==
        op + "`inputs` must have the shape [batch, time, features], received [3, 4].");
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 0, {2, 0, 4}); }).find("at least one step") != std::string::npos);
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 1, {2, 6}); }) ==
        op + "`initial_y` must have the shape [2, 5], received [2, 6].");
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 2, {1, 5}); }).find("`initial_c`") != std::string::npos);
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 3, {5, 12}); }).find("`kernel`") != std::string::npos);
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 4, {5, 14}); }).find("`recurrent_kernel`") != std::string::npos);
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 4, {75}); }).find("[units, 3 units]") != std::string::npos);
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 5, {15}); }) == op + "`bias` must have the shape [2, 15], received [15].");
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 6, {4}); }).find("`threshold`") != std::string::npos);
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 6, {1}); }) == "accepted");
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 7, {2, 4}); }).find("`mask`") != std::string::npos);
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 8, {3}); }).find("`zoneout`") != std::string::npos);
  CHECK(refusal([&](EgruModel& m) { reshaped(m, 5, {14}); }, true).find("`recurrent_scale`") != std::string::npos);
  CHECK(refusal([](EgruModel& m) { m.in[4] = m.runtime.Add(kInt8, {5, 15}, m.integers.data()); }) ==
        op + "`recurrent_kernel` must be of the type float32, received int8.");
  CHECK(refusal([](EgruModel& m) { m.in[7] = m.runtime.Add(kFloat32, {0, 0}); }).find("`mask` must be of the type bool") !=
        std::string::npos);
  CHECK(refusal([](EgruModel& m) { m.in[0] = m.runtime.Add(static_cast<ElementType>(8), {2, 3, 4}); }).find("element type") !=
        std::string::npos);
  CHECK(refusal([](EgruModel& m) { m.in[4] = m.runtime.Add(kFloat32, {5, 15}); }) ==
        op + "`recurrent_kernel` must be a constant of the model, received one that is computed anew in every call.");
  CHECK(refusal([](EgruModel& m) {
          m.in[4] = m.runtime.Add(kFloat32, {5, 15}, m.recurrent_kernel.data(), kArenaRwPersistent);
          m.runtime.tensors[m.in[4]].is_variable = true;
        }).find("must be a constant") != std::string::npos);
  CHECK(refusal([](EgruModel& m) { m.in.pop_back(); }) == op + "the op must have 11 inputs, received 10.");
  CHECK(refusal([](EgruModel& m) { m.out.pop_back(); }) == op + "the op must have 5 outputs, received 4.");
  CHECK(refusal([](EgruModel& m) { m.in[1] = kOptionalTensor; }) == op + "the op lacks one of its inputs.");
  CHECK(refusal([](EgruModel& m) { m.in[1] = 1000; }) == op + "the op lacks one of its inputs.");
  CHECK(refusal([](EgruModel& m) { m.out[0] = m.runtime.Add(kInt8, {1}), m.runtime.used = m.out; }).find("output 0") !=
        std::string::npos);
  CHECK(refusal([](EgruModel& m) { m.runtime.tensors[m.in[4]].bytes -= 4; }).find("plain array") != std::string::npos);
  CHECK(refusal([](EgruModel& m) { m.runtime.tensors[m.in[4]].sparsity = &m; }).find("plain array") != std::string::npos);
  CHECK(refusal([](EgruModel& m) { m.runtime.tensors[m.in[0]].dims->data[0] = -1; }).find("impossible") != std::string::npos);
  CHECK(refusal([](EgruModel& m) {
          for (int i = 0; i < 3; ++i) m.runtime.tensors[m.in[0]].dims->data[i] = 2147483647;
        }).find("impossible") != std::string::npos);
  CHECK(refusal([](EgruModel& m) {
          m.runtime.tensors[m.in[4]].data = static_cast<char*>(m.runtime.tensors[m.in[4]].data) + 1;
        }).find("not aligned") != std::string::npos);
  const auto with = [&](const char* name, FlexbufferValue value) {
    return refusal([&](EgruModel& m) {
      FlexbufferMap map = EgruAttributes();
      map[name] = value;
      m.attributes = WriteAttributes(map);
    });
  };
  CHECK(with("reset", std::string("subtract")) == "accepted");
  CHECK(with("reset", std::string("half")).find("`reset` must be one of") != std::string::npos);
  CHECK(with("save_for_backward", true).find("training=False") != std::string::npos);
  CHECK(with("surrogate_width", 0.0).find("must be positive") != std::string::npos);
  CHECK(with("T", int64_t{10}).find("float32") != std::string::npos);
  CHECK(with("gate", true) == op + "the attribute `gate` is unknown: the model may be of a newer keras-egru.");
  CHECK(with("\xff\n", true) == op + "the attribute `??` is unknown: the model may be of a newer keras-egru.");
  CHECK(with("reset", std::string(3000, 'x')).size() < 1000);
  CHECK(refusal([](EgruModel& m) { m.attributes.resize(20); }).find("the attributes of the op are") != std::string::npos);
  CHECK(refusal([](EgruModel& m) { m.attributes.clear(); }).find("damaged") != std::string::npos);
}

TEST_CASE("a call without memory is refused") {
  const DelegatePointer delegate = Make();
  EgruModel model({1, 1, 3, 5});
  REQUIRE(model.Start(delegate.get()) == kOk);
  model.runtime.tensors[model.in[0]].data = nullptr;
  CHECK(model.runtime.Invoke() == kError);
  CHECK(model.runtime.error == "KerasEgru>EgruSequence: input 0 of the op has no memory: allocate the tensors first.");
}
