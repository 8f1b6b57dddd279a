// What this machine can do at most, for comparison: bytes read and multiply-adds a second. Called by name through ctypes
// by the benchmarks.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "kernels.h"
#include "tiles.h"

namespace keras_egru {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Calls work(member) on `threads` threads again and again for `seconds`; the sum of what it returned, a second.
template <typename Work>
double Rate(int threads, double seconds, const Work& work) {
  std::atomic<int> ready{0};
  std::vector<double> rates(threads);
  const auto run = [&](int member) {
    work(member);  // warm
    ++ready;
    while (ready < threads) {
    }
    const double begin = Now();
    double done = 0, now = begin;
    while (now - begin < seconds) {
      done += work(member);
      now = Now();
    }
    rates[member] = done / (now - begin);
  };
  std::vector<std::thread> helpers;
  for (int member = 1; member < threads; ++member) helpers.emplace_back(run, member);
  run(0);
  for (std::thread& helper : helpers) helper.join();
  double total = 0;
  for (double rate : rates) total += rate;
  return total;
}

}  // namespace
}  // namespace keras_egru

#define KERAS_EGRU_EXPORT extern "C" __attribute__((visibility("default")))

// Bytes a second that `threads` threads read together from `bytes` bytes, each its own part, again and again.
KERAS_EGRU_EXPORT double keras_egru_read_bandwidth(int64_t bytes, int threads, double seconds) {
  const auto& kernels = keras_egru::SelectKernels<float>();
  const int64_t part = bytes / threads / 4096 * 4096 + 4096;
  keras_egru::Buffer<float> memory(part * threads / static_cast<int64_t>(sizeof(float)));
  memory.Zero();
  return keras_egru::Rate(threads, seconds, [&](int member) {
    kernels.read(memory.get() + member * part / static_cast<int64_t>(sizeof(float)), part);
    return static_cast<double>(part);
  });
}

// float32 multiply-adds a second that `threads` threads do together from registers.
KERAS_EGRU_EXPORT double keras_egru_multiply_add_rate(int threads, double seconds) {
  const auto& kernels = keras_egru::SelectKernels<float>();
  constexpr int64_t rounds = 1 << 16;
  return keras_egru::Rate(threads, seconds, [&](int) { return static_cast<double>(kernels.multiply_add(rounds)); });
}
