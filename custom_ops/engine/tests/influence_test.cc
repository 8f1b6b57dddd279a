// The influence of parameters against a naive loop over dense matrices, and against itself in chunks and on more threads.
#include "../influence.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "random_numbers.h"
#include "thread_scheduler.h"

using namespace keras_egru;

namespace {

enum class Kind { kLeaking, kVanishing, kCandidate };

// A network whose units read from some others, with parameters that act upon one unit each, or (every third parameter of a
// network with a candidate) upon those that read its reset gate.
template <typename T>
struct Problem {
  static constexpr T kUnwritten = std::numeric_limits<T>::quiet_NaN();

  Problem(int64_t units, int64_t batch, int64_t time, double density, Kind kind, bool masked, int order, unsigned seed)
      : kind(kind), random(seed) {
    shape = {batch, time, units, kind == Kind::kVanishing ? 1 : 3, 3, units + 1, 0};
    const int64_t n = units, rows = batch * time;
    kernel = random.Sparse<T>(n * shape.gates * n, density);
    if (density == 1) kernel = random.Normal<T>(n * shape.gates * n);
    for (T& weight : kernel) weight *= T(0.5 / std::sqrt(double(n)));
    Connect();
    for (int64_t i = 0; i < batch * (time + 1) * n; ++i) passes.push_back(random.Chance(0.4) ? T(0) : T(1) + T(0.1) * T(i % 5));
    if (masked) {
      for (int64_t r = 0; r < rows; ++r) mask.push_back(random.Chance(0.6));
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t t = 0; t < time; ++t) {
          if (mask[b * time + t]) continue;
          for (int64_t k = 0; k < n; ++k) passes[(b * (time + 1) + t + 1) * n + k] = passes[(b * (time + 1) + t) * n + k];
        }
      }
    }
    const bool leaks = kind != Kind::kVanishing;
    if (leaks) leak = random.Uniform<T>(rows * n, 0.3, 0.9);
    if (leaks) own = random.Normal<T>(rows * n, 0.3);
    gain = random.Normal<T>(rows * (kind == Kind::kCandidate ? 1 : shape.gates) * n);
    if (kind == Kind::kCandidate) {
      candidate = random.Normal<T>(rows * n);
      opened = random.Uniform<T>(rows * n, 0, 1);
      turned = random.Sparse<T>(rows * n, 0.5);
    }
    direct = random.Normal<T>(rows * shape.kinds * n);
    source = random.Sparse<T>(rows * shape.sources, 0.6);
    credit = random.Sparse<T>(rows * n, 0.5);
    Tile(order);
  }

  T Weight(int64_t l, int64_t gate, int64_t k) const { return kernel[(l * shape.gates + gate) * shape.units + k]; }

  void Connect() {
    const int64_t n = shape.units;
    neighbour_begin = {0};
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t l = 0; l < n; ++l) {
        bool reads = false;
        for (int64_t g = 0; g < shape.gates; ++g) reads |= (kind != Kind::kCandidate || g != 1) && Weight(l, g, k) != T(0);
        for (int64_t m = 0; kind == Kind::kCandidate && m < n; ++m) {
          reads |= Weight(m, 2, k) != T(0) && Weight(l, 1, m) != T(0);
        }
        if (reads) neighbour.push_back(static_cast<int32_t>(l));
      }
      neighbour_begin.push_back(static_cast<int32_t>(neighbour.size()));
    }
  }

  // Columns unit by unit; a tile has all rows, with order 1 those that its parameters act upon at once, with order 2 also those
  // that read from them.
  void Tile(int order) {
    const int64_t n = shape.units;
    column_begin = row_begin = {0};
    for (int64_t u = 0; u < n; ++u) {
      for (int32_t through = 0; through < (kind == Kind::kCandidate ? 2 : 1); ++through) {
        const auto at_once = [&](int64_t k) { return through ? Weight(u, 2, k) != T(0) : k == u; };
        std::vector<int32_t> rows;
        for (int64_t k = 0; k < n; ++k) {
          bool kept = order == 0 || at_once(k);
          for (int32_t e = neighbour_begin[k]; order == 2 && e < neighbour_begin[k + 1]; ++e) kept |= at_once(neighbour[e]);
          if (kept) rows.push_back(static_cast<int32_t>(k));
        }
        const int64_t columns = 1 + (u * 7 + through) % 37;
        for (int64_t c = 0; c < columns; ++c) {
          parameter.push_back(static_cast<int32_t>(shape.parameters++));
          column_kind.push_back(static_cast<int32_t>((u + c) % shape.kinds));
          column_source.push_back(static_cast<int32_t>((3 * u + c) % shape.sources));
        }
        while (parameter.size() % kInfluenceLanes) {
          parameter.push_back(-1);
          column_kind.push_back(0);
          column_source.push_back(0);
        }
        unit.push_back(static_cast<int32_t>(u));
        is_through.push_back(through);
        row.insert(row.end(), rows.begin(), rows.end());
        row_begin.push_back(static_cast<int32_t>(row.size()));
        column_begin.push_back(static_cast<int32_t>(parameter.size()));
      }
    }
  }

  InfluenceTiles Tiles() const {
    return {static_cast<int64_t>(unit.size()), column_begin.data(), unit.data(), is_through.data(), row_begin.data(), row.data(),
            parameter.data(), column_kind.data(), column_source.data(), neighbour_begin.data(), neighbour.data()};
  }

  // Steps [first, first + count) of every sample of an array [batch, time (+ more), width].
  template <typename V>
  static std::vector<V> Part(const std::vector<V>& values, int64_t batch, int64_t first, int64_t count) {
    const int64_t all = values.size() / batch, width = all / std::max<int64_t>(1, steps_of);
    std::vector<V> part;
    for (int64_t b = 0; b < batch; ++b) {
      part.insert(part.end(), values.begin() + b * all + first * width, values.begin() + b * all + (first + count) * width);
    }
    return part;
  }

  struct Found {
    std::vector<T> influence, gradient;
    InfluenceCounters counters;
  };

  // In chunks of so many steps.
  Found Run(int64_t chunk, Scheduler* scheduler = nullptr) const {
    const auto data = [](const auto& values) { return values.empty() ? nullptr : values.data(); };
    Found found;
    found.gradient.assign(shape.parameters, T(0));
    for (int64_t first = 0; first < shape.time; first += chunk) {
      const int64_t count = std::min(chunk, shape.time - first), batch = shape.batch;
      InfluenceShape part = shape;
      part.time = count;
      steps_of = shape.time;
      const auto cut = [&](const auto& values) {
        return values.empty() ? values : Part(values, batch, first, count);
      };
      const auto leaks = cut(leak), owns = cut(own), gains = cut(gain), candidates = cut(candidate), open = cut(opened),
                 turn = cut(turned), directs = cut(direct), sources = cut(source), credits = cut(credit);
      const auto masks = cut(mask);
      steps_of = shape.time + 1;
      const auto passing = Part(passes, batch, first, count + 1);
      const InfluenceInputs<T> inputs = {kernel.data(), data(leaks), passing.data(), gains.data(), data(owns), data(candidates),
                                         data(open), data(turn), directs.data(), sources.data(), credits.data(), data(masks),
                                         data(found.influence)};
      const InfluenceTiles tiles = Tiles();
      if (!found.influence.empty()) {
        REQUIRE(static_cast<int64_t>(found.influence.size()) == InfluenceSize(part, tiles, inputs, -1));
      }
      std::vector<T> next(InfluenceSize(part, tiles, inputs, count - 1), kUnwritten), gradient(shape.parameters, kUnwritten);
      const InfluenceCounters counters = Influence(part, tiles, inputs, true, next.data(), gradient.data(), scheduler);
      found.influence = next;
      for (int64_t p = 0; p < shape.parameters; ++p) found.gradient[p] += gradient[p];
      found.counters.multiply_adds += counters.multiply_adds;
      found.counters.nonzero += counters.nonzero;
      found.counters.entries += counters.entries;
    }
    return found;
  }

  // Every row and column, one number at a time.
  Found Naively() const {
    const int64_t n = shape.units, parameters = shape.parameters, time = shape.time;
    std::vector<int32_t> of(parameters), through(parameters), kinds(parameters), sources(parameters);
    std::vector<char> kept(n * parameters, 0);
    for (size_t tile = 0; tile < unit.size(); ++tile) {
      for (int32_t c = column_begin[tile]; c < column_begin[tile + 1]; ++c) {
        const int32_t p = parameter[c];
        if (p < 0) continue;
        of[p] = unit[tile];
        through[p] = is_through[tile];
        kinds[p] = column_kind[c];
        sources[p] = column_source[c];
        for (int32_t r = row_begin[tile]; r < row_begin[tile + 1]; ++r) kept[row[r] * parameters + p] = 1;
      }
    }
    Found found;
    found.gradient.assign(parameters, T(0));
    for (int64_t b = 0; b < shape.batch; ++b) {
      std::vector<T> now(n * parameters, T(0));
      for (int64_t t = 0; t < time; ++t) {
        const int64_t at = b * time + t;
        const T *before = &passes[(b * (time + 1) + t) * n], *after = before + n;
        if (mask.empty() || mask[at]) {
          std::vector<T> next(n * parameters, T(0));
          for (int64_t k = 0; k < n; ++k) {
            std::vector<T> j(n, T(0));
            for (int64_t l = 0; l < n; ++l) {
              if (kind != Kind::kCandidate) {
                for (int64_t g = 0; g < shape.gates; ++g) j[l] += gain[(at * shape.gates + g) * n + k] * Weight(l, g, k);
              } else {
                T sum = Weight(l, 2, k) * opened[at * n + l];
                for (int64_t m = 0; m < n; ++m) sum += Weight(m, 2, k) * turned[at * n + m] * Weight(l, 1, m);
                j[l] = gain[at * n + k] * Weight(l, 0, k) + candidate[at * n + k] * sum;
              }
            }
            if (!own.empty()) j[k] += own[at * n + k];
            for (int64_t p = 0; p < parameters; ++p) {
              if (!kept[k * parameters + p]) continue;
              T sum = leak.empty() ? T(0) : leak[at * n + k] * now[k * parameters + p];
              for (int64_t l = 0; l < n; ++l) sum += j[l] * before[l] * now[l * parameters + p];
              const T entering = direct[(at * shape.kinds + kinds[p]) * n + of[p]] * source[at * shape.sources + sources[p]];
              if (!through[p] && of[p] == k) sum += entering;
              if (through[p] && turned[at * n + of[p]] != T(0)) sum += candidate[at * n + k] * Weight(of[p], 2, k) * entering;
              next[k * parameters + p] = sum;
            }
          }
          now = next;
          for (int64_t k = 0; k < n; ++k) {
            for (int64_t p = 0; p < parameters; ++p) found.counters.nonzero += after[k] * now[k * parameters + p] != T(0);
          }
          found.counters.entries += n * parameters;
        }
        for (int64_t k = 0; k < n; ++k) {
          const T factor = credit[at * n + k] * after[k];
          for (int64_t p = 0; p < parameters; ++p) found.gradient[p] += factor * now[k * parameters + p];
        }
      }
    }
    return found;
  }

  Kind kind;
  RandomNumbers random;
  InfluenceShape shape;
  std::vector<T> kernel, leak, passes, gain, own, candidate, opened, turned, direct, source, credit;
  std::vector<uint8_t> mask;
  std::vector<int32_t> column_begin, unit, is_through, row_begin, row, parameter, column_kind, column_source, neighbour_begin,
      neighbour;
  static inline int64_t steps_of = 1;
};

template <typename T>
void CheckEqual(const std::vector<T>& found, const std::vector<T>& expected, double tolerance) {
  REQUIRE(found.size() == expected.size());
  double largest = 0, difference = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    CHECK_FALSE(std::isnan(found[i]));
    largest = std::max(largest, std::abs(double(expected[i])));
    difference = std::max(difference, std::abs(double(found[i]) - double(expected[i])));
  }
  CHECK(difference <= tolerance * largest);
}

}  // namespace

// Sums of hundreds of products in another order: some units in the last place of the largest.
TEST_CASE_TEMPLATE("the influence is that of a naive loop", T, float, double) {
  const double tolerance = sizeof(T) == 4 ? 2e-5 : 1e-12;
  unsigned seed = 0;
  for (Kind kind : {Kind::kLeaking, Kind::kVanishing, Kind::kCandidate}) {
    for (double density : {0.2, 1.0}) {
      for (int order : {0, 1, 2}) {
        for (bool masked : {false, true}) {
          for (int64_t units : {1, 5, 18}) {
            CAPTURE(static_cast<int>(kind));
            CAPTURE(density);
            CAPTURE(order);
            CAPTURE(masked);
            CAPTURE(units);
            const Problem<T> problem(units, 2, 5, density, kind, masked, order, ++seed);
            const auto expected = problem.Naively();
            const auto found = problem.Run(5);
            CheckEqual(found.gradient, expected.gradient, tolerance);
            CHECK(found.counters.entries == expected.counters.entries);
            CHECK(found.counters.nonzero == expected.counters.nonzero);
            CheckEqual(problem.Run(1).gradient, expected.gradient, tolerance);
            CheckEqual(problem.Run(2).influence, found.influence, tolerance);
          }
        }
      }
    }
  }
}

TEST_CASE("threads change nothing") {
  for (Kind kind : {Kind::kLeaking, Kind::kVanishing, Kind::kCandidate}) {
    const Problem<float> problem(40, 3, 6, 0.3, kind, true, 0, 7);
    ThreadScheduler scheduler(3);
    const auto alone = problem.Run(6), together = problem.Run(6, &scheduler);
    CHECK(alone.gradient == together.gradient);
    CHECK(alone.influence == together.influence);
    CHECK(alone.counters.multiply_adds == together.counters.multiply_adds);
  }
}

TEST_CASE("samples whose lists do not fit together go one after the other") {
  Problem<float> problem(128, 2, 140, 1.0, Kind::kVanishing, false, 0, 5);
  for (size_t i = 0; i < problem.passes.size(); ++i) {
    if (i % 23) problem.passes[i] = 0;  // so that it takes little time
  }
  CheckEqual(problem.Run(140).gradient, problem.Run(70).gradient, 2e-5);  // lists of 10 and of 5 MB a sample
}

TEST_CASE("a row that hands nothing on is neither read nor, without a leak, stored") {
  Problem<double> problem(12, 1, 4, 1.0, Kind::kVanishing, false, 0, 3);
  const int64_t some = problem.Run(4).counters.multiply_adds;
  std::fill(problem.passes.begin(), problem.passes.end(), 0.0);
  const auto none = problem.Run(4);
  CHECK(none.influence.empty());
  CHECK(none.counters.multiply_adds == 0);
  CHECK(some > 0);
  for (double gradient : none.gradient) CHECK(gradient == 0);
}
