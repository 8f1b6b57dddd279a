// Leaky integrate-and-fire sequences against a naive loop, one number at a time, and against themselves on more threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../lif.h"
#include "../tiles.h"
#include "random_numbers.h"
#include "thread_scheduler.h"

using namespace keras_egru;

namespace {

template <typename T>
struct Problem {
  // As memory comes from TensorFlow: what nothing wrote is not a number.
  static constexpr T kUnwritten = std::numeric_limits<T>::quiet_NaN();

  Problem(LifShape shape, LifOptions options, bool current, bool recurrent, bool masked, unsigned seed)
      : shape(shape), options(options) {
    RandomNumbers random(seed);
    const int64_t n = shape.units, rows = shape.batch * shape.time;
    for (int64_t i = 0; i < rows * shape.features; ++i) x.push_back(random.Chance(0.3) ? T(1) : T(0));
    kernel = random.Normal<T>(shape.features * n, 0.6);
    if (recurrent) recurrent_kernel = random.Normal<T>(n * n, 0.3);
    alpha = random.Uniform<T>(n, 0.8, 0.95);
    if (current) {
      beta = random.Uniform<T>(n, 0.5, 0.9);
      gamma = random.Uniform<T>(n, 0.1, 0.4);
      i0 = random.Normal<T>(shape.batch * n, 0.1);
    }
    v0 = random.Uniform<T>(shape.batch * n, 0, 1.3);
    for (int64_t j = 0; j < shape.batch * n; ++j) {
      y0.push_back(random.Chance(0.2) ? T(1) : T(0));
      if (options.refractory) wait.push_back(random.Chance(0.3) ? T(1) : T(0));
    }
    for (int64_t r = 0; masked && r < rows; ++r) mask.push_back(random.Chance(0.7));
    weights_y = random.Normal<T>(rows * n);
    weights_v = random.Normal<T>(rows * n, 0.1);
  }

  LifInputs<T> Inputs() const {
    const auto data = [](const std::vector<T>& values) { return values.empty() ? nullptr : values.data(); };
    return {data(x),     {},           data(v0), data(i0),   data(y0),    data(wait),
            data(kernel), data(recurrent_kernel), data(alpha), data(beta), data(gamma), mask.empty() ? nullptr : mask.data()};
  }

  struct Found {
    std::vector<T> y, v, i, wait, spikes, values, input_value;
    std::vector<int32_t> counts, codes, input_counts, input_index;
    LifCounters counters;
  };

  Found Run(Scheduler* scheduler = nullptr) const {
    Found f;
    const int64_t n = shape.units, rows = shape.batch * shape.time;
    f.y.assign(rows * n, kUnwritten);
    f.v.assign(rows * n, kUnwritten);
    f.i.assign(beta.empty() ? 0 : shape.batch * n, kUnwritten);
    f.wait.assign(wait.empty() ? 0 : shape.batch * n, kUnwritten);
    f.spikes.assign(n, kUnwritten);
    f.counts.assign(rows, -1);
    f.input_counts.assign(rows, -1);
    std::vector<LifLists<T>> lists;
    f.counters = LifForward<T>(shape, options, Inputs(),
                               {f.y.data(), f.v.data(), true, f.i.empty() ? nullptr : f.i.data(),
                                f.wait.empty() ? nullptr : f.wait.data(), f.counts.data(), f.input_counts.data(),
                                f.spikes.data()},
                               &lists, scheduler);
    for (const auto& part : lists) {
      f.codes.insert(f.codes.end(), part.codes.begin(), part.codes.end());
      f.values.insert(f.values.end(), part.values.begin(), part.values.end());
      f.input_index.insert(f.input_index.end(), part.input_index.begin(), part.input_index.end());
      f.input_value.insert(f.input_value.end(), part.input_value.begin(), part.input_value.end());
    }
    return f;
  }

  struct Gradients {
    std::vector<T> drive, v0, i0, y0, kernel, recurrent_kernel, alpha, beta, gamma;
  };

  Gradients Differentiate(const Found& f, Scheduler* scheduler = nullptr) const {
    Gradients g;
    g.drive.assign(f.v.size(), kUnwritten);
    g.v0.assign(v0.size(), kUnwritten);
    g.i0.assign(i0.size(), kUnwritten);
    g.y0.assign(y0.size(), kUnwritten);
    g.kernel.assign(kernel.size(), kUnwritten);
    g.recurrent_kernel.assign(recurrent_kernel.size(), kUnwritten);
    g.alpha.assign(alpha.size(), kUnwritten);
    g.beta.assign(beta.size(), kUnwritten);
    g.gamma.assign(gamma.size(), kUnwritten);
    const auto data = [](std::vector<T>& values) { return values.empty() ? nullptr : values.data(); };
    LifBackward<T>(shape, options, Inputs(),
                   {{f.counts.data(), f.codes.data()}, f.values.data(), f.input_counts.data(), f.input_index.data(),
                    f.input_value.data()},
                   {weights_y.data(), weights_v.data(), true, nullptr, nullptr, nullptr},
                   {nullptr, data(g.drive), data(g.v0), data(g.i0), data(g.y0), data(g.kernel), data(g.recurrent_kernel),
                    data(g.alpha), data(g.beta), data(g.gamma)},
                   scheduler);
    return g;
  }

  double Loss() const {
    const Found f = Run();
    double loss = 0;
    for (size_t k = 0; k < f.v.size(); ++k) loss += f.v[k] * weights_v[k];
    return loss;
  }

  LifShape shape;
  LifOptions options;
  std::vector<T> x, kernel, recurrent_kernel, alpha, beta, gamma, v0, i0, y0, wait, weights_y, weights_v;
  std::vector<uint8_t> mask;
};

// Spikes and membranes by the equations.
template <typename T>
typename Problem<T>::Found Naive(const Problem<T>& p) {
  typename Problem<T>::Found f;
  const int64_t n = p.shape.units, features = p.shape.features;
  const LifOptions& o = p.options;
  const T threshold = static_cast<T>(o.threshold), v_reset = static_cast<T>(o.v_reset), v_rest = static_cast<T>(o.v_rest);
  f.y.assign(p.weights_y.size(), T(0));
  f.v.resize(p.weights_v.size());
  f.i = p.i0;
  f.wait = p.wait;
  f.spikes.assign(n, T(0));
  for (int64_t b = 0; b < p.shape.batch; ++b) {
    std::vector<T> u(n), before(n), s(n);
    for (int64_t j = 0; j < n; ++j) {
      before[j] = u[j] = p.v0[b * n + j];
      s[j] = p.y0[b * n + j];
      if (s[j] != T(0)) u[j] = o.reset == LifReset::kZero ? v_reset : u[j] - (threshold - v_reset);
    }
    for (int64_t t = 0; t < p.shape.time; ++t) {
      const int64_t row = b * p.shape.time + t;
      const bool valid = p.mask.empty() || p.mask[row];
      std::vector<T> drive(n, T(0));
      for (int64_t k = 0; k < features; ++k) {
        for (int64_t j = 0; j < n; ++j) drive[j] += p.x[row * features + k] * p.kernel[k * n + j];
      }
      const auto recur = [&](T* to) {
        for (int64_t k = 0; !p.recurrent_kernel.empty() && k < n; ++k) {
          for (int64_t j = 0; j < n; ++j) to[j] += s[k] * p.recurrent_kernel[k * n + j];
        }
      };
      if (valid && p.beta.empty()) recur(drive.data());
      for (int64_t j = 0; valid && j < n; ++j) {
        T v = v_rest + p.alpha[j] * (u[j] - v_rest);
        if (p.beta.empty()) {
          v += drive[j];
        } else {
          v += p.gamma[j] * f.i[b * n + j];
          f.i[b * n + j] *= p.beta[j];
        }
        const bool free = p.wait.empty() || f.wait[b * n + j] <= T(0);
        if (!free) v = v_reset;
        before[j] = v;
        s[j] = free && o.spiking && v > threshold ? T(1) : T(0);
        u[j] = s[j] == T(0) ? v : o.reset == LifReset::kZero ? v_reset : v - (threshold - v_reset);
        if (!p.wait.empty()) f.wait[b * n + j] = s[j] != T(0) ? T(o.refractory) : std::max(f.wait[b * n + j] - T(1), T(0));
        f.y[row * n + j] = s[j];
        f.spikes[j] += s[j];
      }
      if (valid && !p.beta.empty()) {
        for (int64_t j = 0; j < n; ++j) f.i[b * n + j] += drive[j];
        recur(f.i.data() + b * n);
      }
      std::copy(before.begin(), before.end(), f.v.begin() + row * n);
    }
  }
  return f;
}

template <typename T>
bool Close(const std::vector<T>& a, const std::vector<T>& b, double bound) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::abs(a[i] - b[i]) <= bound * (1 + std::abs(b[i])))) return false;
  }
  return true;
}

template <typename Visit>
void ForOptions(const Visit& visit) {
  for (LifGradient gradient : {LifGradient::kSurrogate, LifGradient::kEventprop}) {
    for (bool current : {false, true}) {
      if (gradient == LifGradient::kEventprop && !current) continue;
      for (bool recurrent : {false, true}) {
        for (int64_t refractory : {0, 2}) {
          LifOptions options;
          options.gradient = gradient;
          options.refractory = refractory;
          options.reset = recurrent ? LifReset::kZero : LifReset::kSubtract;
          options.v_reset = -0.1;
          options.v_rest = 0.05;
          CAPTURE(current);
          CAPTURE(recurrent);
          CAPTURE(refractory);
          visit(options, current, recurrent);
        }
      }
    }
  }
}

TEST_CASE("LIF: spikes and membranes follow the equations") {
  for (const LifShape& shape : {LifShape{1, 1, 1, 1}, LifShape{3, 17, 5, 9}, LifShape{2, 8, 33, 70}, LifShape{5, 6, 3, 16}}) {
    for (bool masked : {false, true}) {
      ForOptions([&](const LifOptions& options, bool current, bool recurrent) {
        const Problem<double> p(shape, options, current, recurrent, masked, 5);
        const auto found = p.Run(), expected = Naive(p);
        CHECK(found.y == expected.y);
        CHECK(Close(found.v, expected.v, 1e-12));
        CHECK(Close(found.i, expected.i, 1e-12));
        CHECK(found.wait == expected.wait);
        CHECK(found.spikes == expected.spikes);
        int64_t spikes = 0, at = 0;
        for (int64_t row = 0; row < shape.batch * shape.time; ++row) {
          for (int32_t e = 0; e < found.counts[row]; ++e, ++at) {
            const int32_t code = found.codes[at];
            CHECK(expected.y[row * shape.units + (code >> 1)] == (code & 1));
            spikes += code & 1;
          }
        }
        CHECK(at == static_cast<int64_t>(found.codes.size()));
        CHECK(spikes == found.counters.spikes);
      });
    }
  }
}

// Where nothing spikes the loss is smooth: read-outs, and everything that leads to a membrane.
TEST_CASE("LIF: gradients of integrators equal finite differences") {
  for (bool current : {false, true}) {
    for (bool masked : {false, true}) {
      LifOptions options;
      options.spiking = false;
      options.v_rest = 0.1;
      Problem<double> p({2, 7, 4, 5}, options, current, false, masked, 3);
      const auto g = p.Differentiate(p.Run());
      const auto check = [&](std::vector<double>& of, const std::vector<double>& gradient) {
        REQUIRE(of.size() == gradient.size());
        for (size_t k = 0; k < of.size(); ++k) {
          const double value = of[k], step = 1e-6;
          of[k] = value + step;
          const double more = p.Loss();
          of[k] = value - step;
          const double less = p.Loss();
          of[k] = value;
          CHECK(gradient[k] == doctest::Approx((more - less) / (2 * step)).epsilon(1e-6));
        }
      };
      check(p.kernel, g.kernel);
      check(p.v0, g.v0);
      check(p.i0, g.i0);
      check(p.alpha, g.alpha);
      check(p.beta, g.beta);
      check(p.gamma, g.gamma);
    }
  }
}

TEST_CASE("LIF: the gradient of the kernel is that of the drive times the inputs") {
  ForOptions([&](const LifOptions& options, bool current, bool recurrent) {
    for (bool masked : {false, true}) {
      const Problem<double> p({4, 12, 6, 19}, options, current, recurrent, masked, 11);
      const auto g = p.Differentiate(p.Run());
      std::vector<double> expected(p.kernel.size());
      for (int64_t row = 0; row < 4 * 12; ++row) {
        for (int64_t k = 0; k < 6; ++k) {
          for (int64_t j = 0; j < 19; ++j) expected[k * 19 + j] += p.x[row * 6 + k] * g.drive[row * 19 + j];
        }
      }
      CHECK(Close(g.kernel, expected, 1e-11));
      for (const auto* all : {&g.recurrent_kernel, &g.v0, &g.i0, &g.y0, &g.alpha, &g.beta, &g.gamma}) {
        for (double number : *all) CHECK(std::isfinite(number));
      }
    }
  });
}

TEST_CASE("LIF: threads and neighbours in the batch change nothing") {
  ForOptions([&](const LifOptions& options, bool current, bool recurrent) {
    const Problem<float> p({37, 30, 8, 40}, options, current, recurrent, true, 2);
    ThreadScheduler threads(4);
    const auto alone = p.Run(), together = p.Run(&threads);
    CHECK(alone.y == together.y);
    CHECK(alone.v == together.v);
    CHECK(alone.codes == together.codes);
    CHECK(alone.values == together.values);
    const auto a = p.Differentiate(alone), b = p.Differentiate(together, &threads);
    CHECK(a.kernel == b.kernel);
    CHECK(a.recurrent_kernel == b.recurrent_kernel);
    CHECK(a.drive == b.drive);
    CHECK(a.alpha == b.alpha);
  });
}

TEST_CASE("LIF: what is prepared once gives the same bits call after call") {
  for (const LifShape& shape : {LifShape{1, 1, 1, 1}, LifShape{1, 1, 33, 70}, LifShape{3, 17, 5, 9}, LifShape{5, 6, 3, 16}}) {
    ForOptions([&](const LifOptions& options, bool current, bool recurrent) {
      const Problem<float> p(shape, options, current, recurrent, true, 2);
      LifPrepared<float> prepared(shape, options, p.Inputs());
      for (unsigned call = 0; call < 3; ++call) {
        Problem<float> now(shape, options, current, recurrent, true, 10 + call);
        now.kernel = p.kernel;
        now.recurrent_kernel = p.recurrent_kernel;
        now.alpha = p.alpha;
        now.beta = p.beta;
        now.gamma = p.gamma;
        const auto expected = now.Run();
        auto found = expected;
        for (auto* values : {&found.y, &found.v, &found.i, &found.wait, &found.spikes}) {
          std::fill(values->begin(), values->end(), std::numeric_limits<float>::quiet_NaN());
        }
        const LifCounters counters = prepared.Run(
            now.Inputs(), {found.y.data(), found.v.data(), true, found.i.empty() ? nullptr : found.i.data(),
                           found.wait.empty() ? nullptr : found.wait.data(), nullptr, nullptr, found.spikes.data()});
        CHECK(found.y == expected.y);
        CHECK(found.v == expected.v);
        CHECK(found.i == expected.i);
        CHECK(found.wait == expected.wait);
        CHECK(found.spikes == expected.spikes);
        CHECK(counters.steps == expected.counters.steps);
        CHECK(counters.spikes == expected.counters.spikes);
        CHECK(counters.input_events == expected.counters.input_events);
      }
    });
  }
}

TEST_CASE("LIF: a membrane that is not a number stays one and spikes never") {
  LifOptions options;
  Problem<float> p({1, 4, 2, 3}, options, false, false, false, 1);
  p.v0[1] = std::numeric_limits<float>::quiet_NaN();
  p.y0.assign(3, 0.0f);
  const auto found = p.Run();
  for (int64_t t = 0; t < 4; ++t) {
    CHECK(std::isnan(found.v[t * 3 + 1]));
    CHECK(found.y[t * 3 + 1] == 0.0f);
  }
}

template <typename T>
void CheckKernels() {
  const Kernels<T>& kernels = SelectKernels<T>();
  for (int64_t vectors : {1, 2, 3, 4, 5, 8, 9, 12, 13, 17}) {
    const int64_t width = vectors * kernels.lanes, rows = 6, count = 5;
    RandomNumbers random(vectors);
    const auto weights = random.Normal<T>(rows * width), factor = random.Normal<T>(count), vector = random.Normal<T>(width);
    const int32_t index[count] = {4, 0, 5, 5, 2};
    auto sum = random.Normal<T>(width);
    auto expected = sum;
    auto added = weights;
    std::vector<T> dots(count), expected_dots(count);
    auto expected_rows = weights;
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t j = 0; j < width; ++j) {
        expected[j] += factor[r] * weights[index[r] * width + j];
        expected_rows[index[r] * width + j] += factor[r] * vector[j];
        expected_dots[r] += weights[index[r] * width + j] * vector[j];
      }
    }
    kernels.lif.add_rows(width, count, index, factor.data(), weights.data(), sum.data());
    kernels.lif.add_to_rows(width, count, index, factor.data(), vector.data(), added.data());
    kernels.lif.dot_rows(width, count, index, weights.data(), vector.data(), dots.data());
    const double bound = sizeof(T) == 4 ? 1e-4 : 1e-12;
    CHECK(Close(sum, expected, bound));
    CHECK(Close(added, expected_rows, bound));
    CHECK(Close(dots, expected_dots, bound));
  }
}

TEST_CASE("LIF: kernels of rows, float") { CheckKernels<float>(); }
TEST_CASE("LIF: kernels of rows, double") { CheckKernels<double>(); }

}  // namespace
