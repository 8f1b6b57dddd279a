// The whole sequence against a naive loop, its gradients against finite differences, and against itself on more threads.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "../egru.h"
#include "../pruned_weights.h"
#include "random_numbers.h"
#include "thread_scheduler.h"

namespace keras_egru {
namespace {

// Owns the arrays of one problem.
template <typename T>
struct Problem {
  Problem(const EgruShape& shape, const EgruOptions& options, uint32_t seed, bool masked = false, int zoneout = 0)
      : shape(shape), options(options) {
    RandomNumbers random(seed);
    const int64_t n = shape.units, sequence = shape.batch * shape.time * n;
    x = random.Sparse<T>(shape.batch * shape.time * shape.features, 0.6);
    y0 = random.Sparse<T>(shape.batch * n, 0.3);
    c0 = random.Normal<T>(shape.batch * n, 0.5);
    kernel = random.Normal<T>(shape.features * 3 * n, 0.6);
    recurrent_kernel = random.Normal<T>(n * 3 * n, 1.2 / std::sqrt(n));
    bias = random.Normal<T>((options.reset_after ? 6 : 3) * n, 0.5);
    threshold = random.Uniform<T>(n, 0.05, 0.5);
    if (masked) {
      for (int64_t i = 0; i < shape.batch * shape.time; ++i) mask.push_back(random.Chance(0.7));
    }
    if (zoneout == 1) zone = {T(0.3)};
    if (zoneout == 2) {
      for (int64_t i = 0; i < sequence; ++i) zone.push_back(random.Chance(0.3) ? T(1) : T(0));
    }
    weights_y = random.Normal<T>(sequence);
    weights_c = random.Normal<T>(sequence);
    Forget();
  }

  // As memory comes to a call: nothing is written yet.
  void Forget() {
    const int64_t sequence = shape.batch * shape.time * shape.units;
    y.assign(sequence, kUnwritten);
    c.assign(sequence, kUnwritten);
    gates.assign(SavedGates<T>(shape), kUnwritten);
    candidate.assign(SavedCandidate<T>(shape, options), kUnwritten);
  }

  EgruInputs<T> Inputs() const {
    EgruInputs<T> inputs = {x.data(),         y0.data(),   c0.data(),        kernel.data(),
                            recurrent_kernel.data(), bias.data(), threshold.data(), mask.empty() ? nullptr : mask.data(),
                            zone.empty() ? nullptr : zone.data(), zone.size() == 1};
    if (!kernel_mask.empty()) {
      inputs.live_kernel = live_kernel.get();
      inputs.live_recurrent = live_recurrent.get();
    }
    inputs.pruned = pruned.get();
    return inputs;
  }

  // Keeps the share `live` of the blocks of `block` weights of a row.
  void Prune(double live, int64_t block, Scheduler* scheduler = nullptr) {
    RandomNumbers random(17);
    const auto draw = [&](std::vector<T>& weights, std::vector<T>& live_weights, int64_t columns) {
      live_weights.assign(weights.size(), T(0));
      for (size_t row = 0; row < weights.size(); row += columns) {
        for (int64_t j = 0; j < columns; ++j) {
          live_weights[row + j] = j % block == 0 ? T(random.Chance(live)) : live_weights[row + j - 1];
          weights[row + j] *= live_weights[row + j];
        }
      }
    };
    draw(kernel, kernel_mask, 3 * shape.units);
    draw(recurrent_kernel, recurrent_mask, 3 * shape.units);
    pruned = FindPruned<T>(shape, options, recurrent_kernel.data(), scheduler);
    live_kernel = FindLive<T>(shape.features, shape.units, kernel_mask.data(), scheduler);
    live_recurrent = FindLive<T>(shape.units, shape.units, recurrent_mask.data(), scheduler);
  }

  EgruCounters Run(Scheduler* scheduler = nullptr, bool save = true) {
    return EgruForward<T>(shape, options, Inputs(),
                          {y.data(), c.data(), save ? gates.data() : nullptr,
                           save && options.reset_after ? candidate.data() : nullptr},
                          scheduler);
  }

  double Loss() {
    Run(nullptr, false);
    double loss = 0;
    for (size_t i = 0; i < y.size(); ++i) loss += weights_y[i] * y[i] + weights_c[i] * c[i];
    return loss;
  }

  struct Gradients {
    std::vector<T> x, y0, c0, kernel, recurrent_kernel, bias, threshold;
    EgruGradientCounters counters;
  };

  Gradients Differentiate(Scheduler* scheduler = nullptr) {
    Run(scheduler);
    Gradients g;
    g.x.assign(x.size(), kUnwritten);
    g.y0.assign(y0.size(), kUnwritten);
    g.c0.assign(c0.size(), kUnwritten);
    g.kernel.assign(kernel.size(), kUnwritten);
    g.recurrent_kernel.assign(recurrent_kernel.size(), kUnwritten);
    g.bias.assign(bias.size(), kUnwritten);
    g.threshold.assign(threshold.size(), kUnwritten);
    g.counters = EgruBackward<T>(shape, options, Inputs(), y.data(), c.data(), weights_y.data(), weights_c.data(),
                                 {gates.data(), candidate.data(), g.y0.data(), g.c0.data(), g.kernel.data(),
                                  g.recurrent_kernel.data(), g.bias.data(), g.threshold.data()},
                                 scheduler);
    EgruInputGradient<T>(shape, options, kernel.data(), gates.data(), candidate.data(), g.x.data(), scheduler);
    return g;
  }

  // As memory comes from TensorFlow: what nothing wrote is not a number.
  static constexpr T kUnwritten = std::numeric_limits<T>::quiet_NaN();

  EgruShape shape;
  EgruOptions options;
  std::vector<T> x, y0, c0, kernel, recurrent_kernel, bias, threshold, zone, weights_y, weights_c;
  std::vector<T> kernel_mask, recurrent_mask;
  std::unique_ptr<const PrunedWeights<T>> pruned;
  std::unique_ptr<const LiveVectors<T>> live_kernel, live_recurrent;
  std::vector<uint8_t> mask;
  std::vector<T> y, c, gates, candidate;
};

// The equations, one number at a time.
void NaiveForward(const Problem<double>& p, std::vector<double>* y_out, std::vector<double>* c_out) {
  const int64_t n = p.shape.units, features = p.shape.features;
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  for (int64_t b = 0; b < p.shape.batch; ++b) {
    std::vector<double> y(p.y0.begin() + b * n, p.y0.begin() + (b + 1) * n);
    std::vector<double> c(p.c0.begin() + b * n, p.c0.begin() + (b + 1) * n);
    for (int64_t t = 0; t < p.shape.time; ++t) {
      const int64_t row = b * p.shape.time + t;
      if (p.mask.empty() || p.mask[row]) {
        std::vector<double> a(3 * n), h(3 * n), r(n), next_c(n);
        for (int64_t j = 0; j < 3 * n; ++j) {
          a[j] = p.bias[j];
          h[j] = p.options.reset_after ? p.bias[3 * n + j] : 0;
          for (int64_t i = 0; i < features; ++i) a[j] += p.x[row * features + i] * p.kernel[i * 3 * n + j];
          for (int64_t i = 0; i < n; ++i) h[j] += y[i] * p.recurrent_kernel[i * 3 * n + j];
        }
        for (int64_t i = 0; i < n; ++i) r[i] = sigmoid(a[n + i] + h[n + i]);
        for (int64_t i = 0; i < n; ++i) {
          const double u = sigmoid(a[i] + h[i]);
          double recurrent = 0;
          if (p.options.reset_after) {
            recurrent = r[i] * h[2 * n + i];
          } else {
            for (int64_t j = 0; j < n; ++j) recurrent += r[j] * y[j] * p.recurrent_kernel[j * 3 * n + 2 * n + i];
          }
          const double z = std::tanh(a[2 * n + i] + recurrent), theta = p.threshold[i];
          double value = 0;
          switch (p.options.reset) {
            case Reset::kThreshold: value = u * z + (1 - u) * c[i] - (c[i] > theta ? theta : 0); break;
            case Reset::kSubtract: value = u * z + (1 - u) * c[i] - y[i]; break;
            case Reset::kZero: value = u * z + (1 - u) * (c[i] - y[i]); break;
          }
          if (!p.zone.empty()) {
            const double kept = p.zone.size() == 1 ? p.zone[0] : p.zone[row * n + i];
            value = kept * c[i] + (1 - kept) * value;
          }
          next_c[i] = value;
        }
        c = next_c;
        for (int64_t i = 0; i < n; ++i) y[i] = c[i] > p.threshold[i] ? c[i] : 0;
      }
      std::copy(y.begin(), y.end(), y_out->begin() + row * n);
      std::copy(c.begin(), c.end(), c_out->begin() + row * n);
    }
  }
}

const EgruShape kShapes[] = {{1, 1, 1, 1}, {3, 5, 2, 4}, {1, 4, 3, 64}, {2, 3, 40, 65}, {70, 3, 5, 50}, {5, 3, 70, 130}, {140, 2, 3, 20}};
const Reset kResets[] = {Reset::kThreshold, Reset::kSubtract, Reset::kZero};
// All, or the one that the environment names when the tests start.
std::vector<std::string> InstructionSets() {
  static const char* const given = std::getenv("KERAS_EGRU_ISA");
  static const std::string only = given ? given : "";
  if (!only.empty()) return {only};
  return {"scalar", "avx2", "avx512", "amx"};
}
void Select(const std::string& isa) { setenv("KERAS_EGRU_ISA", isa.c_str(), 1); }
const Products kProducts[] = {Products::kAuto, Products::kSparse, Products::kDense};

// Calls `make(shape, options, masked, zoneout)`, then what it returns with each of `kProducts`: what does not depend on
// products is made once.
template <typename Make>
void ForAllOptions(const Make& make) {
  for (const std::string& isa : InstructionSets()) {
    Select(isa);
    for (const EgruShape& shape : kShapes) {
      for (Reset reset : kResets) {
        for (bool reset_after : {true, false}) {
          for (int extra = 0; extra < 4; ++extra) {
            EgruOptions options;
            options.reset = reset;
            options.reset_after = reset_after;
            options.surrogate_width = 0.4;
            auto check = make(shape, options, extra % 2 == 1, extra == 0 ? 0 : extra - 1);
            for (Products products : kProducts) {
              CAPTURE(isa);
              CAPTURE(shape.units);
              CAPTURE(reset_after);
              CAPTURE(extra);
              CAPTURE(products);
              check(products);
            }
          }
        }
      }
    }
  }
  if (InstructionSets().size() > 1) unsetenv("KERAS_EGRU_ISA");
}

TEST_CASE("forward equals the naive loop, with and without saving, and its counters count") {
  ForAllOptions([](const EgruShape& shape, const EgruOptions& options, bool masked, int zoneout) {
    Problem<double> p(shape, options, 7, masked, zoneout);
    std::vector<double> y(p.y.size()), c(p.c.size());
    NaiveForward(p, &y, &c);
    return [p = std::move(p), y = std::move(y), c = std::move(c)](Products products) mutable {
      p.options.products = products;
      for (bool save : {true, false}) {
        p.Forget();
        const EgruCounters counters = p.Run(nullptr, save);
        int64_t events = 0, steps = 0;
        bool close = true;
        for (size_t i = 0; i < y.size(); ++i) {
          close = close && std::abs(p.y[i] - y[i]) < 1e-12 && std::abs(p.c[i] - c[i]) < 1e-12;
          const size_t row = i / p.shape.units;
          if (p.mask.empty() || p.mask[row]) {
            events += y[i] != 0;
            steps += i % p.shape.units == 0;
          }
        }
        REQUIRE(close);
        REQUIRE(counters.events == events);
        REQUIRE(counters.steps == steps);
      }
    };
  });
}

TEST_CASE("the last step alone is that of all steps") {
  for (const std::string& isa : InstructionSets()) {
    Select(isa);
    for (const EgruShape& shape : {kShapes[0], kShapes[2], kShapes[5]}) {
      for (int option = 0; option < 12; ++option) {
        CAPTURE(isa);
        CAPTURE(shape.units);
        EgruOptions options;
        options.reset = kResets[option % 3];
        options.reset_after = option / 3 % 2;
        Problem<float> p(shape, options, 7, option / 6, 0);
        const EgruCounters expected = p.Run(nullptr, false);
        for (int wanted = 0; wanted < 4; ++wanted) {
          const bool all_y = wanted % 2, all_c = wanted / 2;
          const auto size = [&](bool all) { return shape.batch * shape.units * (all ? shape.time : 1); };
          std::vector<float> y(size(all_y)), c(size(all_c));
          const EgruCounters counters =
              EgruForward<float>(shape, options, p.Inputs(), {y.data(), c.data(), nullptr, nullptr, all_y, all_c}, nullptr);
          REQUIRE(counters.events == expected.events);
          REQUIRE(counters.backward_entries == expected.backward_entries);
          bool same = true;
          for (int64_t row = 0; row < shape.batch * shape.time; ++row) {
            const int64_t b = row / shape.time;
            const bool last = row % shape.time == shape.time - 1;
            for (int64_t i = 0; i < shape.units; ++i) {
              const int64_t whole = row * shape.units + i, alone = b * shape.units + i;
              if (all_y || last) same = same && y[all_y ? whole : alone] == p.y[whole];
              if (all_c || last) same = same && c[all_c ? whole : alone] == p.c[whole];
            }
          }
          REQUIRE(same);
        }
      }
    }
  }
  if (InstructionSets().size() > 1) unsetenv("KERAS_EGRU_ISA");
}

TEST_CASE("gradients equal finite differences where no state is near its threshold") {
  for (int option = 0; option < 18; ++option) {
    {
      EgruOptions options;
      options.reset = kResets[option % 3];
      options.reset_after = option / 3 % 2;
      options.products = kProducts[option / 6];
      options.surrogate_width = 1e-7;  // so narrow that it is zero at every state here
      Problem<double> p({6, 4, 3, 6}, options, 11, true, 1);
      const auto gradients = p.Differentiate();
      const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
        for (size_t i = 0; i < values.size(); ++i) {
          const double before = values[i], step = 1e-6;
          values[i] = before + step;
          const double above = p.Loss();
          values[i] = before - step;
          const double below = p.Loss();
          values[i] = before;
          REQUIRE(gradient[i] == doctest::Approx((above - below) / (2 * step)).epsilon(1e-6));
        }
      };
      check(p.kernel, gradients.kernel);
      check(p.recurrent_kernel, gradients.recurrent_kernel);
      check(p.bias, gradients.bias);
      check(p.threshold, gradients.threshold);
      check(p.c0, gradients.c0);
      check(p.y0, gradients.y0);
      check(p.x, gradients.x);
    }
  }
}

TEST_CASE_TEMPLATE("any number of threads gives the same bits", T, float, double) {
  for (int option = 0; option < 6; ++option) {
    EgruOptions options;
    options.reset_after = option % 2;
    options.products = kProducts[option / 2];
    // A small layer is cut into smaller batch blocks than a large one.
    Problem<T> p({140, 3, 30, sizeof(T) == 4 ? 550 : 150}, options, 5, true, 2);
    const auto alone = p.Differentiate();
    const std::vector<T> y = p.y;
    for (int threads : {3, 7}) {
      ThreadScheduler scheduler(threads);
      const auto together = p.Differentiate(&scheduler);
      CHECK(p.y == y);
      CHECK(together.recurrent_kernel == alone.recurrent_kernel);
      CHECK(together.kernel == alone.kernel);
      CHECK(together.bias == alone.bias);
      CHECK(together.threshold == alone.threshold);
      CHECK(together.y0 == alone.y0);
      CHECK(together.x == alone.x);
      CHECK(together.counters.backward_entries == alone.counters.backward_entries);
    }
  }
}

TEST_CASE("pruned weights give what whole products of the same weights give, and masked gradients") {
  std::vector<EgruShape> shapes(std::begin(kShapes), std::end(kShapes));
  shapes.push_back({1, kStepsWorthListing, 3, 70});  // in the backward pass of a few samples too
  shapes.push_back({3, kStepsWorthListing / 3 + 1, 2, 129});
  for (const std::string& isa : InstructionSets()) {
    Select(isa);
    for (const EgruShape& shape : shapes) {
      for (int option = 0; option < 24; ++option) {
        CAPTURE(isa);
        CAPTURE(shape.units);
        CAPTURE(shape.batch);
        CAPTURE(option);
        EgruOptions options;
        options.reset = kResets[option % 3];
        options.reset_after = option / 3 % 2;
        options.surrogate_width = 0.4;
        options.products = option / 6 % 2 ? Products::kSparse : Products::kAuto;
        Problem<double> p(shape, options, 7, option % 2 == 1, option % 3);
        p.Prune(option == 0 ? 0 : 0.2, option / 12 ? 16 : 1);
        if (options.products == Products::kSparse && shape.units > 4) {
          REQUIRE(p.pruned);
          REQUIRE((p.pruned->pieces != nullptr) == (shape.batch <= 4));
        }
        const auto found = p.Differentiate();
        const std::vector<double> y = p.y, c = p.c;
        p.pruned = nullptr;
        p.options.products = Products::kDense;
        auto kernel_mask = std::move(p.kernel_mask);
        const auto expected = p.Differentiate();
        const auto close = [](const std::vector<double>& a, const std::vector<double>& b) {
          double largest = 1;
          bool all = true;
          for (double value : b) largest = std::fmax(largest, std::fabs(value));
          for (size_t i = 0; i < a.size(); ++i) all = all && std::fabs(a[i] - b[i]) < 1e-11 * largest;
          return all;
        };
        const auto masked = [](std::vector<double> values, const std::vector<double>& mask) {
          for (size_t i = 0; i < values.size(); ++i) values[i] *= mask[i];
          return values;
        };
        REQUIRE(close(p.y, y));
        REQUIRE(close(p.c, c));
        REQUIRE(close(found.recurrent_kernel, masked(expected.recurrent_kernel, p.recurrent_mask)));
        REQUIRE(close(found.kernel, masked(expected.kernel, kernel_mask)));
        REQUIRE(close(found.x, expected.x));
        REQUIRE(close(found.y0, expected.y0));
        REQUIRE(close(found.c0, expected.c0));
        REQUIRE(close(found.bias, expected.bias));
        REQUIRE(close(found.threshold, expected.threshold));
        bool zero = true;
        for (size_t i = 0; i < found.kernel.size(); ++i) zero = zero && (kernel_mask[i] != 0 || found.kernel[i] == 0);
        REQUIRE(zero);
      }
    }
  }
  if (InstructionSets().size() > 1) unsetenv("KERAS_EGRU_ISA");
}

TEST_CASE_TEMPLATE("any number of threads gives the same bits with pruned weights", T, float, double) {
  for (int64_t batch : {1, 140}) {
    for (int option = 0; option < 4; ++option) {
      EgruOptions options;
      options.reset_after = option % 2;
      options.products = Products::kSparse;
      const int64_t time = batch == 1 ? kStepsWorthListing : 3;
      Problem<T> p({batch, time, 30, sizeof(T) == 4 ? 550 : 150}, options, 5, true, 2);
      p.Prune(0.2, option / 2 ? 16 : 1);
      const auto alone = p.Differentiate();
      const std::vector<T> y = p.y;
      for (int threads : {3, 7}) {
        ThreadScheduler scheduler(threads);
        p.pruned = FindPruned<T>(p.shape, options, p.recurrent_kernel.data(), &scheduler);
        const auto together = p.Differentiate(&scheduler);
        CHECK(p.y == y);
        CHECK(together.recurrent_kernel == alone.recurrent_kernel);
        CHECK(together.bias == alone.bias);
        CHECK(together.y0 == alone.y0);
      }
    }
  }
}

TEST_CASE("weights that are hardly pruned are left alone") {
  EgruOptions options;
  for (int64_t batch : {1, 64}) {
    Problem<float> p({batch, 2, 3, 128}, options, 5);
    CHECK(!FindPruned<float>(p.shape, options, p.recurrent_kernel.data(), nullptr));
    p.Prune(0.9, 1);
    CHECK(!p.pruned);
    p.Prune(0.02, 1);
    CHECK(p.pruned);
    options.products = Products::kDense;
    CHECK(!FindPruned<float>(p.shape, options, p.recurrent_kernel.data(), nullptr));
    options.products = Products::kAuto;
  }
}

TEST_CASE("8-bit weights give what the numbers that they stand for give") {
  for (const std::string& isa : InstructionSets()) {
    Select(isa);
    for (const EgruShape& shape : kShapes) {
      for (bool reset_after : {true, false}) {
        CAPTURE(isa);
        CAPTURE(shape.units);
        EgruOptions options;
        options.reset_after = reset_after;
        Problem<double> p(shape, options, 13);
        const int64_t columns = 3 * shape.units;
        std::vector<int8_t> integers(p.recurrent_kernel.size());
        const auto scale = RandomNumbers(3).Uniform<double>(columns, 0.001, 0.01);
        for (size_t i = 0; i < integers.size(); ++i) {
          integers[i] = static_cast<int8_t>(std::fmax(-127, std::fmin(127, p.recurrent_kernel[i] / scale[i % columns])));
          p.recurrent_kernel[i] = integers[i] * scale[i % columns];
        }
        const EgruCounters expected_counters = p.Run(nullptr, false);
        const auto expected = p.c;
        EgruInputs<double> inputs = p.Inputs();
        inputs.recurrent_kernel = nullptr;
        inputs.recurrent_int8 = integers.data();
        inputs.recurrent_scale = scale.data();
        const EgruCounters counters =
            EgruForward<double>(shape, options, inputs, {p.y.data(), p.c.data(), nullptr, nullptr}, nullptr);
        CHECK(counters.events == expected_counters.events);
        for (size_t i = 0; i < expected.size(); ++i) REQUIRE(std::fabs(p.c[i] - expected[i]) < 1e-12);
      }
    }
  }
  if (InstructionSets().size() > 1) unsetenv("KERAS_EGRU_ISA");
}

TEST_CASE("what is prepared once gives the same call after call, in whole vectors of units to the bit") {
  for (const std::string& isa : InstructionSets()) {
    Select(isa);
    for (const EgruShape& shape : kShapes) {
      for (int option = 0; option < 12; ++option) {
        CAPTURE(isa);
        CAPTURE(shape.units);
        CAPTURE(option);
        EgruOptions options;
        options.reset = kResets[option % 3];
        options.reset_after = option / 3 % 2;
        options.surrogate_width = 3;  // so wide that a state of zero is near its threshold
        const bool pruned = option / 6, masked = option % 4 == 1, last_alone = option % 4 == 2;
        Problem<float> p(shape, options, 21, masked, option % 3);
        if (pruned) p.Prune(0.1, 1);
        const int64_t columns = 3 * shape.units;
        std::vector<int8_t> integers(p.recurrent_kernel.size());
        const auto scale = RandomNumbers(3).Uniform<float>(columns, 0.001, 0.01);
        for (size_t i = 0; i < integers.size(); ++i) integers[i] = static_cast<int8_t>(i % 255 - 127);
        for (bool int8 : {false, true}) {
          EgruInputs<float> inputs = p.Inputs();
          if (int8) {
            inputs.pruned = nullptr;
            inputs.recurrent_kernel = nullptr;
            inputs.recurrent_int8 = integers.data();
            inputs.recurrent_scale = scale.data();
          }
          EgruPrepared<float> prepared(shape, options, inputs, !last_alone, !last_alone);
          for (int call = 0; call < 3; ++call) {
            Problem<float> other(shape, options, 30 + call, masked, option % 3);
            EgruInputs<float> now = other.Inputs();  // of which only states and inputs are read
            inputs.inputs = now.inputs;
            inputs.initial_y = now.initial_y;
            inputs.initial_c = now.initial_c;
            inputs.mask = now.mask;
            inputs.zoneout = now.zoneout;
            const size_t size = shape.batch * shape.units * (last_alone ? 1 : shape.time);
            std::vector<float> y(size), c(size), expected_y(size), expected_c(size);
            const EgruCounters expected = EgruForward<float>(
                shape, options, inputs, {expected_y.data(), expected_c.data(), nullptr, nullptr, !last_alone, !last_alone}, nullptr);
            const EgruCounters found = prepared.Run(now, y.data(), c.data());
            const bool whole = shape.units % SelectKernels<float>().lanes == 0;
            bool same = true;
            for (size_t i = 0; i < size; ++i) {
              same = same && std::fabs(y[i] - expected_y[i]) <= (whole ? 0 : 1e-5) * (1 + std::fabs(expected_y[i])) &&
                     std::fabs(c[i] - expected_c[i]) <= (whole ? 0 : 1e-5) * (1 + std::fabs(expected_c[i]));
            }
            REQUIRE(same);
            REQUIRE(found.steps == expected.steps);
            REQUIRE(found.input_events == expected.input_events);
            REQUIRE(found.events == expected.events);
            REQUIRE(found.backward_entries == expected.backward_entries);
            REQUIRE(found.surrogate_entries == expected.surrogate_entries);
          }
        }
      }
    }
  }
  if (InstructionSets().size() > 1) unsetenv("KERAS_EGRU_ISA");
}

// The largest difference, as a share of the largest number.
double Difference(const std::vector<float>& found, const std::vector<double>& expected) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    difference = std::fmax(difference, std::fabs(found[i] - expected[i]));
    largest = std::fmax(largest, std::fabs(expected[i]));
  }
  return difference / std::fmax(largest, 1e-30);
}

TEST_CASE("float gradients equal those of double, sparse and dense, on every instruction set") {
  ForAllOptions([](const EgruShape& shape, const EgruOptions& options, bool masked, int zoneout) {
    Problem<float> p(shape, options, 9, masked, zoneout);
    Problem<double> exact(shape, options, 9, masked, zoneout);
    exact.x.assign(p.x.begin(), p.x.end());
    exact.y0.assign(p.y0.begin(), p.y0.end());
    exact.c0.assign(p.c0.begin(), p.c0.end());
    exact.kernel.assign(p.kernel.begin(), p.kernel.end());
    exact.recurrent_kernel.assign(p.recurrent_kernel.begin(), p.recurrent_kernel.end());
    exact.bias.assign(p.bias.begin(), p.bias.end());
    exact.threshold.assign(p.threshold.begin(), p.threshold.end());
    exact.zone.assign(p.zone.begin(), p.zone.end());
    exact.weights_y.assign(p.weights_y.begin(), p.weights_y.end());
    exact.weights_c.assign(p.weights_c.begin(), p.weights_c.end());
    return [p = std::move(p), exact = std::move(exact)](Products products) mutable {
      p.options.products = exact.options.products = products;
      p.Forget();
      exact.Forget();
      const auto found = p.Differentiate();
      const auto expected = exact.Differentiate();
      bool same_events = true;
      for (size_t i = 0; i < p.y.size(); ++i) same_events = same_events && (p.y[i] == 0) == (exact.y[i] == 0);
      REQUIRE(same_events);
      constexpr double tolerance = 2e-5;
      REQUIRE(Difference(p.c, exact.c) < tolerance);
      REQUIRE(Difference(found.x, expected.x) < tolerance);
      REQUIRE(Difference(found.y0, expected.y0) < tolerance);
      REQUIRE(Difference(found.c0, expected.c0) < tolerance);
      REQUIRE(Difference(found.kernel, expected.kernel) < tolerance);
      REQUIRE(Difference(found.recurrent_kernel, expected.recurrent_kernel) < tolerance);
      REQUIRE(Difference(found.bias, expected.bias) < tolerance);
      REQUIRE(Difference(found.threshold, expected.threshold) < tolerance);
    };
  });
}

TEST_CASE("every option runs backward on every instruction set and counts what it needed") {
  ForAllOptions([](const EgruShape& shape, const EgruOptions& options, bool masked, int zoneout) {
    Problem<float> p(shape, options, 9, masked, zoneout);
    return [p = std::move(p), masked](Products products) mutable {
      p.options.products = products;
      p.Forget();
      const EgruShape& shape = p.shape;
      const auto gradients = p.Differentiate();
      bool finite = true;
      for (float value : gradients.recurrent_kernel) finite = finite && std::isfinite(value);
      REQUIRE(finite);
      if (masked) return;
      int64_t needed = shape.batch * shape.units, events = 0;  // the initial y is needed everywhere
      for (int64_t b = 0; b < shape.batch; ++b) {
        for (int64_t i = 0; i < shape.units; ++i) {
          events += p.y0[b * shape.units + i] != 0;
          for (int64_t t = 0; t + 1 < shape.time; ++t) {
            const float c = p.c[(b * shape.time + t) * shape.units + i], v = c - p.threshold[i];
            const float slope = 0.7f * std::fmax(0.0f, 1 - std::fabs(v) * static_cast<float>(1 / 0.4));
            needed += (v > 0) + c * slope != 0;
            events += v > 0;
          }
        }
      }
      if (products == Products::kDense && shape.batch <= 4) {
        REQUIRE(gradients.counters.backward_entries >= needed);  // weights that are read in place: all entries
      } else {
        REQUIRE(gradients.counters.backward_entries == needed);
      }
      REQUIRE(gradients.counters.recurrent_events == events);
    };
  });
}

}  // namespace
}  // namespace keras_egru
