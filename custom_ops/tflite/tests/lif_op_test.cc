// The op of event-LIF units against the engine, with and without everything that it may lack.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../../engine/lif.h"
#include "../../engine/tests/random_numbers.h"
#include "../op.h"
#include "../refusal.h"
#include "attributes_writer.h"
#include "counted_memory.h"

using namespace keras_egru;

namespace {

struct LifModel {
  LifModel(LifShape shape, bool current, bool recurrent, bool masked, FlexbufferMap map) : shape(shape) {
    RandomNumbers random(5);
    const int64_t b = shape.batch, t = shape.time, f = shape.features, n = shape.units;
    x = random.Sparse<float>(b * t * f, 0.4);
    v = random.Uniform<float>(b * n, 0, 1.3);
    i = random.Normal<float>(current ? b * n : 0, 0.1);
    for (int64_t j = 0; j < b * n; ++j) y.push_back(random.Chance(0.2));
    kernel = random.Normal<float>(f * n, 0.6);
    recurrent_kernel = random.Normal<float>(recurrent ? n * n : 0, 0.3);
    alpha = random.Uniform<float>(n, 0.8, 0.95);
    beta = random.Uniform<float>(current ? n : 0, 0.5, 0.9);
    gamma = random.Uniform<float>(current ? n : 0, 0.1, 0.4);
    for (int64_t r = 0; masked && r < b * t; ++r) mask.push_back(random.Chance(0.7));
    const auto floats = [&](const Shape& sizes, const std::vector<float>& data) {
      specs.push_back({litert::kFloat32, data.empty() ? Shape(sizes.size(), 0) : sizes, InputSpec::kNow, data.data()});
    };
    floats({b, t, f}, x);
    specs.push_back({litert::kInt32, {0, 0}, InputSpec::kNow, nullptr});
    specs.push_back({litert::kInt32, {0}, InputSpec::kNow, nullptr});
    floats({0}, {});
    floats({b, n}, v);
    floats({b, n}, i);
    floats({b, n}, y);
    floats({b, n}, {});
    floats({f, n}, kernel);
    floats({n, n}, recurrent_kernel);
    floats({n}, alpha);
    floats({n}, beta);
    floats({n}, gamma);
    specs.push_back({litert::kBool, masked ? Shape{b, t} : Shape{0, 0}, InputSpec::kNow, mask.data()});
    attributes = WriteAttributes(map);
  }

  std::string Refusal() {
    try {
      MakeOp("KerasEgru>LifSequence", attributes.data(), attributes.size())->Prepare(specs);
      return "accepted";
    } catch (const class Refusal& refusal) {
      return refusal.what();
    }
  }

  const LifShape shape;
  std::vector<float> x, v, i, y, kernel, recurrent_kernel, alpha, beta, gamma;
  std::vector<uint8_t> mask, attributes;
  std::vector<InputSpec> specs;
};

}  // namespace

TEST_CASE("LIF: the op computes what the engine computes") {
  for (const LifShape& shape : {LifShape{1, 1, 1, 1}, LifShape{1, 1, 5, 64}, LifShape{3, 7, 4, 33}}) {
    for (int option = 0; option < 32; ++option) {
      const bool current = option & 1, recurrent = option & 2, spiking = option & 4, all_v = option & 8, late = option & 16;
      CAPTURE(shape.units);
      CAPTURE(option);
      const int64_t refractory = current ? 2 : 0;
      FlexbufferMap map = LifAttributes();
      map["spiking"] = spiking;
      map["all_v"] = all_v;
      map["refractory"] = refractory;
      if (recurrent) map["reset"] = std::string("zero");
      LifModel model(shape, current, recurrent, shape.time > 1, map);
      if (late) {
        for (InputSpec& spec : model.specs) spec.known = InputSpec::kAtFirstRun, spec.data = nullptr;
      }
      const auto op = MakeOp("KerasEgru>LifSequence", model.attributes.data(), model.attributes.size());
      const auto outputs = op->Prepare(model.specs);
      const int64_t b = shape.batch, t = shape.time, n = shape.units;
      const Shape states = {b, n}, none = {0, 0}, no_list = {0};
      const Shape expected_shapes[] = {{b, spiking ? t : 0, n}, {b, all_v ? t : 1, n}, current ? states : none,
                                       refractory ? states : none, none, no_list, no_list, no_list, none, no_list, no_list,
                                       {spiking ? n : 0}, {4}};
      REQUIRE(outputs.size() == std::size(expected_shapes));
      for (size_t k = 0; k < outputs.size(); ++k) REQUIRE(outputs[k].shape == expected_shapes[k]);
      std::vector<std::vector<char>> memory;
      std::vector<void*> out;
      for (const OutputSpec& output : outputs) {
        int64_t size = output.type == litert::kInt64 ? 8 : 4;
        for (int64_t extent : output.shape) size *= extent;
        memory.emplace_back(size);
        out.push_back(size ? memory.back().data() : nullptr);
      }
      const auto data = [](const auto& values) { return values.empty() ? nullptr : values.data(); };
      const void* in[] = {data(model.x), nullptr, nullptr, nullptr, data(model.v), data(model.i), data(model.y), nullptr,
                          data(model.kernel), data(model.recurrent_kernel), data(model.alpha), data(model.beta),
                          data(model.gamma), data(model.mask)};
      LifOptions options;
      options.spiking = spiking;
      options.refractory = refractory;
      options.reset = recurrent ? LifReset::kZero : LifReset::kSubtract;
      options.surrogate = LifSurrogate::kBoxcar;
      const size_t rows = shape.batch * shape.units;
      std::vector<float> y(rows * shape.time), v(rows * shape.time), i(rows), wait(rows), spikes(shape.units);
      std::vector<LifLists<float>> lists;
      const LifCounters counters = LifForward<float>(
          shape, options,
          {data(model.x), {}, data(model.v), data(model.i), data(model.y), nullptr, data(model.kernel),
           data(model.recurrent_kernel), data(model.alpha), data(model.beta), data(model.gamma), data(model.mask)},
          {spiking ? y.data() : nullptr, v.data(), all_v, current ? i.data() : nullptr, refractory ? wait.data() : nullptr,
           nullptr, nullptr, spiking ? spikes.data() : nullptr},
          &lists, nullptr);
      for (int call = 0; call < 2; ++call) {
        const int64_t before = TimesMemoryWasTaken();
        op->Run(in, out.data());
        CHECK((call == 0 || TimesMemoryWasTaken() == before));
        const auto same = [&](int output, const std::vector<float>& expected) {
          const auto* found = reinterpret_cast<const float*>(memory[output].data());
          return std::equal(found, found + memory[output].size() / 4, expected.begin());
        };
        REQUIRE(same(0, y));
        REQUIRE(same(1, v));
        REQUIRE(same(2, i));
        REQUIRE(same(3, wait));
        REQUIRE(same(11, spikes));
        REQUIRE(static_cast<int64_t*>(out[12])[2] == counters.spikes);
        REQUIRE(static_cast<int64_t*>(out[12])[1] == counters.input_events);
      }
      std::vector<void*> nothing(13, nullptr);
      op->Run(in, nothing.data());  // nobody wants anything
    }
  }
}

TEST_CASE("LIF: what the op cannot do is a sentence") {
  const auto refusal = [](const std::function<void(LifModel&)>& alter) {
    LifModel model({2, 3, 4, 5}, true, true, true, LifAttributes());
    alter(model);
    return model.Refusal();
  };
  const auto with = [](const char* name, FlexbufferValue value) {
    FlexbufferMap map = LifAttributes();
    map[name] = value;
    return LifModel({2, 3, 4, 5}, false, false, false, map).Refusal();
  };
  CHECK(refusal([](LifModel&) {}) == "accepted");
  const auto reshaped = [&](int input, const Shape& sizes) {
    return refusal([&](LifModel& m) { m.specs[input].shape = sizes; });
  };
  CHECK(reshaped(0, {3, 4}).find("`inputs` must have the shape [batch, time, features]") == 0);
  CHECK(reshaped(0, {2, 0, 4}).find("at least one step") != std::string::npos);
  CHECK(reshaped(1, {2, 3}).find("`link_counts` are for training") == 0);
  CHECK(reshaped(4, {2, 6}) == "`initial_v` must have the shape [2, 5], received [2, 6].");
  CHECK(reshaped(5, {5}).find("`initial_i`") == 0);
  CHECK(reshaped(6, {2, 4}).find("`initial_y`") == 0);
  CHECK(reshaped(7, {2, 4}).find("`initial_wait`") == 0);
  CHECK(reshaped(8, {3, 5}).find("`kernel`") == 0);
  CHECK(reshaped(8, {4, 0}).find("0 units") != std::string::npos);
  CHECK(reshaped(9, {5, 4}).find("`recurrent_kernel`") == 0);
  CHECK(reshaped(10, {4}).find("`alpha`") == 0);
  CHECK(reshaped(11, {4}).find("`beta`") == 0);
  CHECK(reshaped(12, {0}).find("`gamma`") == 0);
  CHECK(reshaped(13, {3, 2}).find("`mask`") == 0);
  CHECK(refusal([](LifModel& m) { m.specs[8].known = InputSpec::kNever; }).find("`kernel` must be a constant") == 0);
  CHECK(refusal([](LifModel& m) { m.specs[13].type = litert::kFloat32; }).find("`mask` must be of the type bool") == 0);
  CHECK(with("gradient", std::string("eventprop")).find("eventprop needs the current") == 0);
  CHECK(with("threshold", -1.0) == "`threshold` must lie above `v_reset`, received -1 and 0.");
  CHECK(with("refractory", int64_t{-1}).find("`refractory` must be at least 0") == 0);
  CHECK(with("save_for_backward", true).find("training=False") != std::string::npos);
  CHECK(with("surrogate", std::string("arctan")).find("`surrogate` must be one of") != std::string::npos);
  CHECK(with("noise", 1.0).find("`noise` is unknown") != std::string::npos);
  CHECK(MakeOp("KerasEgru>Unknown", nullptr, 0) == nullptr);
}
