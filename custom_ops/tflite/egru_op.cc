// `KerasEgru>EgruSequence` and its int8 variant on a device: inputs, outputs and attributes are those of the TensorFlow ops
// (custom_ops/tensorflow/egru_ops.cc), for inference alone.
#include <algorithm>
#include <limits>
#include <utility>

#include "../engine/egru.h"
#include "../engine/pruned_weights.h"
#include "../engine/tiles.h"
#include "attributes.h"
#include "op_checks.h"
#include "refusal.h"

namespace keras_egru {
namespace {

class EgruOp : public Op {
 public:
  EgruOp(bool int8, Attributes attributes) : int8_(int8) {
    attributes.ExpectFloat32();
    options_.reset = attributes.Choice<Reset>(
        "reset", {{"threshold", Reset::kThreshold}, {"subtract", Reset::kSubtract}, {"zero", Reset::kZero}}, Reset::kThreshold);
    options_.reset_after = attributes.Flag("reset_after", true);
    options_.surrogate_height = attributes.Number("surrogate_height", 0.7);
    options_.surrogate_width = attributes.Number("surrogate_width", 1.0);
    if (!(options_.surrogate_height > 0 && options_.surrogate_width > 0)) {
      Refuse("`surrogate_height` and `surrogate_width` must be positive, received ", options_.surrogate_height, " and ",
             options_.surrogate_width, ".");
    }
    options_.products = attributes.Choice<Products>(
        "products", {{"auto", Products::kAuto}, {"sparse", Products::kSparse}, {"dense", Products::kDense}}, Products::kAuto);
    all_y_ = attributes.Flag("all_y", true);
    all_c_ = attributes.Flag("all_c", true);
    if (!int8 && attributes.Flag("save_for_backward", true)) {
      Refuse("the model saves for a gradient, which a device has no use for: export one that was called with training=False.");
    }
    attributes.ExpectNoMore();
  }

  std::vector<OutputSpec> Prepare(const std::vector<InputSpec>& in) override {
    prepared_.reset();
    ExpectCount(in, int8_ ? 10 : 11);
    const InputSpec &x = in[kInputs], &recurrent_kernel = in[kRecurrentKernel];
    for (int i = 0; i < static_cast<int>(in.size()); ++i) {
      const bool int8 = int8_ && i == kRecurrentKernel;
      ExpectType(in[i], NameOf(i), int8 ? litert::kInt8 : i == kBias + int8_ + kMaskAfter ? litert::kBool : litert::kFloat32);
    }
    if (x.shape.size() != 3) Refuse("`inputs` must have the shape [batch, time, features], received ", Text(x.shape), ".");
    if (recurrent_kernel.shape.size() != 2 || recurrent_kernel.shape[0] == 0) {
      Refuse("`recurrent_kernel` must have the shape [units, 3 units], received ", Text(recurrent_kernel.shape), ".");
    }
    const int64_t n = recurrent_kernel.shape[0];
    shape_ = {x.shape[0], x.shape[1], x.shape[2], n};
    if (shape_.batch == 0 || shape_.time == 0) {
      Refuse("`inputs` must hold at least one sequence of at least one step, received ", Text(x.shape), ".");
    }
    ExpectShape(in[kInitialY], "initial_y", {shape_.batch, n});
    ExpectShape(in[kInitialC], "initial_c", {shape_.batch, n});
    ExpectShape(in[kKernel], "kernel", {shape_.features, 3 * n});
    ExpectShape(recurrent_kernel, "recurrent_kernel", {n, 3 * n});
    if (int8_) ExpectShape(in[kScale], "recurrent_scale", {3 * n});
    const int bias = kBias + int8_, threshold = bias + 1, mask = bias + kMaskAfter, zoneout = mask + 1;
    ExpectShape(in[bias], "bias", options_.reset_after ? Shape{2, 3 * n} : Shape{3 * n});
    shared_threshold_ = in[threshold].shape == Shape{1};
    if (!shared_threshold_) ExpectShape(in[threshold], "threshold", {n});
    ExpectShapeOrEmpty(in[mask], "mask", {shape_.batch, shape_.time});
    zoneout_ = in[zoneout].size();
    if (zoneout_ > 1) ExpectShape(in[zoneout], "zoneout", {shape_.batch, shape_.time, n});
    masked_ = in[mask].size() > 0;
    const int64_t tiles = CeilDivide(n, SelectKernels<float>().tile_units);
    if (shape_.batch * shape_.time > std::numeric_limits<int32_t>::max() / tiles) {  // lists hold 32-bit row numbers
      Refuse("`inputs` of shape ", Text(x.shape), " hold too many steps for ", n, " units in one call.");
    }
    bool now = KnownNow(in, {{kKernel, "kernel"}, {kRecurrentKernel, "recurrent_kernel"}, {bias, "bias"},
                             {threshold, "threshold"}});
    if (int8_) now = KnownNow(in, {{kScale, "recurrent_scale"}}) && now;
    if (now) {
      const void* data[11];
      for (size_t i = 0; i < in.size(); ++i) data[i] = in[i].data;
      PrepareWeights(data);
    }
    const OutputSpec y = {litert::kFloat32, {shape_.batch, all_y_ ? shape_.time : 1, n}};
    const OutputSpec c = {litert::kFloat32, {shape_.batch, all_c_ ? shape_.time : 1, n}};
    const OutputSpec saved = {litert::kFloat32, {0}}, counters = {litert::kInt64, {5}};
    if (int8_) return {y, c, counters};
    return {y, c, saved, saved, counters};
  }

  void Run(const void* const* in, void* const* out) override {
    if (!prepared_ || !std::equal(weights_, weights_ + weights(), in + kKernel)) PrepareWeights(in);
    const EgruCounters found =
        prepared_->Run(Inputs(in), OrRoom(out[0], shape_.batch * (all_y_ ? shape_.time : 1) * shape_.units, y_),
                       OrRoom(out[1], shape_.batch * (all_c_ ? shape_.time : 1) * shape_.units, c_));
    if (auto* counters = static_cast<int64_t*>(out[int8_ ? 2 : 4])) {
      const int64_t all[] = {found.steps, found.input_events, found.events, found.backward_entries, found.surrogate_entries};
      std::copy(std::begin(all), std::end(all), counters);
    }
  }

 private:
  // The places of the inputs; from the bias on they are one later with int8. The mask is two after the bias.
  enum { kInputs, kInitialY, kInitialC, kKernel, kRecurrentKernel, kBias, kScale = kBias };
  static constexpr int kMaskAfter = 2;

  // Of consecutive inputs: kernel, recurrent kernel, scale with int8, bias, threshold.
  int weights() const { return 4 + int8_; }

  const char* NameOf(int input) const {
    static constexpr const char* kNames[] = {"inputs", "initial_y", "initial_c", "kernel", "recurrent_kernel", "bias",
                                             "threshold", "mask", "zoneout", "kernel_mask", "recurrent_mask"};
    if (int8_ && input == kScale) return "recurrent_scale";
    return kNames[int8_ && input > kScale ? input - 1 : input];
  }

  EgruInputs<float> Inputs(const void* const* in) const {
    const auto floats = [&](int i) { return static_cast<const float*>(in[i]); };
    const int bias = kBias + int8_, mask = bias + kMaskAfter;
    EgruInputs<float> inputs = {floats(kInputs),
                                floats(kInitialY),
                                floats(kInitialC),
                                floats(kKernel),
                                int8_ ? nullptr : floats(kRecurrentKernel),
                                floats(bias),
                                threshold_.data(),
                                masked_ ? static_cast<const uint8_t*>(in[mask]) : nullptr,
                                zoneout_ > 0 ? floats(mask + 1) : nullptr,
                                zoneout_ == 1};
    if (int8_) {
      inputs.recurrent_int8 = static_cast<const int8_t*>(in[kRecurrentKernel]);
      inputs.recurrent_scale = floats(kScale);
    }
    inputs.pruned = pruned_.get();
    return inputs;
  }

  void PrepareWeights(const void* const* in) {
    prepared_.reset();
    pruned_.reset();
    const float* threshold = static_cast<const float*>(in[kBias + int8_ + 1]);
    threshold_.resize(shape_.units);
    for (int64_t i = 0; i < shape_.units; ++i) threshold_[i] = threshold[shared_threshold_ ? 0 : i];
    if (!int8_) {
      pruned_ = FindPruned<float>(shape_, options_, static_cast<const float*>(in[kRecurrentKernel]), nullptr);
    }
    prepared_ = std::make_unique<EgruPrepared<float>>(shape_, options_, Inputs(in), all_y_, all_c_);
    std::copy_n(in + kKernel, weights(), weights_);
  }

  const bool int8_;
  EgruOptions options_;
  bool all_y_, all_c_;

  EgruShape shape_;
  bool shared_threshold_ = false, masked_ = false;
  int64_t zoneout_ = 0;  // how many numbers
  std::vector<float> threshold_, y_, c_;
  std::unique_ptr<const PrunedWeights<float>> pruned_;
  std::unique_ptr<EgruPrepared<float>> prepared_;
  const void* weights_[5] = {};  // that were prepared
};

}  // namespace

std::unique_ptr<Op> MakeEgruOp(bool int8, const uint8_t* attributes, size_t size) {
  return std::make_unique<EgruOp>(int8, Attributes(attributes, size));
}

}  // namespace keras_egru
