// Reproducible numbers for the tests.
#ifndef KERAS_EGRU_ENGINE_TESTS_RANDOM_NUMBERS_H_
#define KERAS_EGRU_ENGINE_TESTS_RANDOM_NUMBERS_H_

#include <cstdint>
#include <random>
#include <vector>

namespace keras_egru {

class RandomNumbers {
 public:
  explicit RandomNumbers(uint32_t seed) : engine_(seed) {}

  template <typename T>
  std::vector<T> Normal(int64_t size, double scale = 1.0) {
    std::normal_distribution<double> distribution(0.0, scale);
    std::vector<T> result(size);
    for (T& value : result) value = static_cast<T>(distribution(engine_));
    return result;
  }

  // Normal numbers of which a share `density` is kept and the rest is zero.
  template <typename T>
  std::vector<T> Sparse(int64_t size, double density) {
    std::vector<T> result = Normal<T>(size);
    for (T& value : result) {
      if (!Chance(density)) value = T(0);
    }
    return result;
  }

  template <typename T>
  std::vector<T> Uniform(int64_t size, double low, double high) {
    std::uniform_real_distribution<double> distribution(low, high);
    std::vector<T> result(size);
    for (T& value : result) value = static_cast<T>(distribution(engine_));
    return result;
  }

  bool Chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }

 private:
  std::mt19937 engine_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_TESTS_RANDOM_NUMBERS_H_
