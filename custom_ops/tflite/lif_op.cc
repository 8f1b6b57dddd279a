// `KerasEgru>LifSequence` on a device: inputs, outputs and attributes are those of the TensorFlow op
// (custom_ops/tensorflow/lif_ops.cc), for inference alone.
#include <algorithm>
#include <limits>
#include <utility>

#include "../engine/lif.h"
#include "attributes.h"
#include "op_checks.h"
#include "refusal.h"

namespace keras_egru {
namespace {

// The places of the inputs and outputs.
enum Input { kInputs, kLinkCounts, kLinkCodes, kLinkCarrier, kInitialV, kInitialI, kInitialY, kInitialWait, kKernel,
             kRecurrentKernel, kAlpha, kBeta, kGamma, kMask, kInputCount };
enum Output { kY, kV, kLastI, kLastWait, kSpikes = 11, kCounters, kOutputCount };
constexpr const char* kNames[] = {"inputs", "link_counts", "link_codes", "link_carrier", "initial_v", "initial_i", "initial_y",
                                  "initial_wait", "kernel", "recurrent_kernel", "alpha", "beta", "gamma", "mask"};

class LifOp : public Op {
 public:
  explicit LifOp(Attributes attributes) {
    attributes.ExpectFloat32();
    options_.gradient = attributes.Choice<LifGradient>(
        "gradient", {{"surrogate", LifGradient::kSurrogate}, {"eventprop", LifGradient::kEventprop}});
    options_.spiking = attributes.Flag("spiking");
    options_.reset =
        attributes.Choice<LifReset>("reset", {{"subtract", LifReset::kSubtract}, {"zero", LifReset::kZero}});
    options_.threshold = attributes.Number("threshold");
    options_.v_reset = attributes.Number("v_reset");
    options_.v_rest = attributes.Number("v_rest");
    options_.refractory = attributes.Integer("refractory");
    options_.surrogate = attributes.Choice<LifSurrogate>("surrogate", {{"triangular", LifSurrogate::kTriangular},
                                                                       {"fast_sigmoid", LifSurrogate::kFastSigmoid},
                                                                       {"boxcar", LifSurrogate::kBoxcar}});
    options_.surrogate_height = attributes.Number("surrogate_height");
    options_.surrogate_slope = attributes.Number("surrogate_slope");
    options_.surrogate_width = attributes.Number("surrogate_width");
    all_v_ = attributes.Flag("all_v");
    if (attributes.Flag("save_for_backward")) {
      Refuse("the model saves for a gradient, which a device has no use for: export one that was called with training=False.");
    }
    attributes.Flag("time_constants");  // of the gradient
    attributes.ExpectNoMore();
    if (!(options_.threshold > options_.v_reset)) {
      Refuse("`threshold` must lie above `v_reset`, received ", options_.threshold, " and ", options_.v_reset, ".");
    }
    if (options_.refractory < 0) Refuse("`refractory` must be at least 0, received ", options_.refractory, ".");
  }

  std::vector<OutputSpec> Prepare(const std::vector<InputSpec>& in) override {
    prepared_.reset();
    ExpectCount(in, kInputCount);
    for (int i = 0; i < kInputCount; ++i) {
      ExpectType(in[i], kNames[i],
                 i == kMask                             ? litert::kBool
                 : i == kLinkCounts || i == kLinkCodes ? litert::kInt32
                                                       : litert::kFloat32);
      given_[i] = in[i].size() > 0;
    }
    const Shape &x = in[kInputs].shape, &kernel = in[kKernel].shape;
    if (x.size() != 3 || kernel.size() != 2) {
      Refuse("`inputs` must have the shape [batch, time, features] and `kernel` [features, units], received ", Text(x), " and ",
             Text(kernel), ".");
    }
    if (given_[kLinkCounts]) Refuse("`link_counts` are for training, received some: export with training=False.");
    const int64_t n = kernel[1];
    shape_ = {x[0], x[1], x[2], n};
    if (shape_.batch == 0 || shape_.time == 0 || n == 0) {
      Refuse("`inputs` must hold at least one sequence of at least one step, received ", Text(x), " for ", n, " units.");
    }
    if (n > std::numeric_limits<int32_t>::max() / 2) Refuse("a layer may have 2^30 units at most, received ", n, ".");
    const Shape rows = {shape_.batch, n};
    ExpectShape(in[kKernel], "kernel", {shape_.features, n});
    ExpectShapeOrEmpty(in[kRecurrentKernel], "recurrent_kernel", {n, n});
    ExpectShape(in[kAlpha], "alpha", {n});
    ExpectShapeOrEmpty(in[kBeta], "beta", {n});
    ExpectShape(in[kGamma], "gamma", in[kBeta].shape);
    ExpectShape(in[kInitialV], "initial_v", rows);
    ExpectShape(in[kInitialY], "initial_y", rows);
    ExpectShapeOrEmpty(in[kInitialWait], "initial_wait", rows);
    ExpectShapeOrEmpty(in[kMask], "mask", {shape_.batch, shape_.time});
    if (given_[kBeta]) ExpectShape(in[kInitialI], "initial_i", rows);
    if (options_.gradient == LifGradient::kEventprop && !given_[kBeta]) {
      Refuse("eventprop needs the current of a synapse, `beta` and `gamma`, received none.");
    }
    if (KnownNow(in, {{kKernel, "kernel"}, {kRecurrentKernel, "recurrent_kernel"}, {kAlpha, "alpha"}, {kBeta, "beta"},
                      {kGamma, "gamma"}})) {
      const void* data[kInputCount];
      for (int i = 0; i < kInputCount; ++i) data[i] = in[i].data;
      PrepareWeights(data);
    }
    const auto floats = [](Shape shape) { return OutputSpec{litert::kFloat32, std::move(shape)}; };
    const auto integers = [](Shape shape) { return OutputSpec{litert::kInt32, std::move(shape)}; };
    const Shape none = {0, 0};
    return {floats({shape_.batch, options_.spiking ? shape_.time : 0, n}),
            floats({shape_.batch, all_v_ ? shape_.time : 1, n}),
            floats(given_[kBeta] ? rows : none),
            floats(options_.refractory > 0 ? rows : none),
            integers(none), integers({0}), floats({0}), floats({0}),  // counts, codes, values, carrier
            integers(none), integers({0}), floats({0}),               // input counts, index, value
            floats({options_.spiking ? n : 0}),
            {litert::kInt64, {4}}};
  }

  void Run(const void* const* in, void* const* out) override {
    if (!prepared_ || !std::equal(weights_, weights_ + kWeights, in + kKernel)) PrepareWeights(in);
    const auto floats = [&](int i) { return static_cast<float*>(out[i]); };
    const int64_t steps = shape_.batch * shape_.units;
    LifOutputs<float> outputs = {};
    outputs.y = options_.spiking ? OrRoom(out[kY], steps * shape_.time, y_) : nullptr;
    outputs.v = OrRoom(out[kV], all_v_ ? steps * shape_.time : steps, v_);
    outputs.all_v = all_v_;
    outputs.last_i = given_[kBeta] ? floats(kLastI) : nullptr;
    outputs.last_wait = options_.refractory > 0 ? floats(kLastWait) : nullptr;
    outputs.spikes = options_.spiking ? floats(kSpikes) : nullptr;
    const LifCounters found = prepared_->Run(Inputs(in), outputs);
    if (auto* counters = static_cast<int64_t*>(out[kCounters])) {
      const int64_t all[] = {found.steps, found.input_events, found.spikes, found.entries};
      std::copy(std::begin(all), std::end(all), counters);
    }
  }

 private:
  static constexpr int kWeights = kGamma - kKernel + 1;

  LifInputs<float> Inputs(const void* const* in) const {
    const auto floats = [&](int i) { return given_[i] ? static_cast<const float*>(in[i]) : nullptr; };
    return {floats(kInputs),      {},
            floats(kInitialV),    given_[kBeta] ? floats(kInitialI) : nullptr,
            floats(kInitialY),    floats(kInitialWait),
            floats(kKernel),      floats(kRecurrentKernel),
            floats(kAlpha),       floats(kBeta),
            floats(kGamma),       given_[kMask] ? static_cast<const uint8_t*>(in[kMask]) : nullptr};
  }

  void PrepareWeights(const void* const* in) {
    prepared_ = std::make_unique<LifPrepared<float>>(shape_, options_, Inputs(in));
    std::copy_n(in + kKernel, kWeights, weights_);
  }

  LifOptions options_;
  bool all_v_;

  LifShape shape_;
  bool given_[kInputCount] = {};  // which inputs are not empty
  std::vector<float> y_, v_;
  std::unique_ptr<LifPrepared<float>> prepared_;
  const void* weights_[kWeights] = {};  // that were prepared
};

}  // namespace

std::unique_ptr<Op> MakeLifOp(const uint8_t* attributes, size_t size) {
  return std::make_unique<LifOp>(Attributes(attributes, size));
}

}  // namespace keras_egru
