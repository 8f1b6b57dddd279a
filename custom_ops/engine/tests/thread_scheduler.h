// A scheduler that starts a thread for each piece of work.
#ifndef KERAS_EGRU_ENGINE_TESTS_THREAD_SCHEDULER_H_
#define KERAS_EGRU_ENGINE_TESTS_THREAD_SCHEDULER_H_

#include <thread>
#include <utility>
#include <vector>

#include "../parallel.h"

namespace keras_egru {

class ThreadScheduler : public Scheduler {
 public:
  explicit ThreadScheduler(int threads) : count_(threads) {}
  ~ThreadScheduler() override {
    for (std::thread& thread : threads_) thread.join();
  }
  int threads() const override { return count_; }
  void Schedule(std::function<void()> work) override { threads_.emplace_back(std::move(work)); }

 private:
  int count_;
  std::vector<std::thread> threads_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_TESTS_THREAD_SCHEDULER_H_
