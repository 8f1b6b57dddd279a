#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "../parallel.h"
#include "thread_scheduler.h"

namespace keras_egru {
namespace {

TEST_CASE("every task of every phase runs once, and phases do not overlap") {
  for (int threads : {1, 2, 3, 8}) {
    ThreadScheduler scheduler(threads);
    std::vector<std::atomic<int>> runs(100);
    std::atomic<int> wrong{0}, current{0};
    {
      Team team(&scheduler, threads);
      CHECK(team.members() == threads);
      for (int phase = 0; phase < 500; ++phase) {
        const int tasks = phase % 100 + 1;
        current = phase;
        const Team::Order order = phase % 3 == 0 ? Team::Order::kBackwards : Team::Order::kForwards;
        team.Run(tasks, order, [&](int64_t task, int member) {
          if (current != phase || member < 0 || member >= threads) ++wrong;
          ++runs[task];
        });
      }
    }
    CHECK(wrong == 0);
    for (int task = 0; task < 100; ++task) CHECK(runs[task] == 5 * (100 - task));
  }
}

TEST_CASE("every task of phases in a row runs once, after all tasks of the phase before") {
  for (int threads : {1, 2, 3, 8}) {
    ThreadScheduler scheduler(threads);
    for (int64_t tasks : {1, 2, 3, 20}) {
      constexpr int64_t phases = 300;
      std::vector<std::atomic<int64_t>> runs(tasks);
      std::atomic<int> wrong{0};
      {
        Team team(&scheduler, threads);
        for (int repeat = 0; repeat < 2; ++repeat) {
          for (auto& count : runs) count = 0;
          std::atomic<bool> helped{threads == 1 || tasks == 1};
          team.RunPhases(phases, tasks, [&](int64_t phase, int64_t task, int member) {
            if (member > 0) helped = true;
            for (int wait = 0; !helped && wait < 1000; ++wait) std::this_thread::sleep_for(std::chrono::milliseconds(1));
            if (member < 0 || member >= threads || runs[task] != phase) ++wrong;
            for (auto& count : runs) {
              if (count != phase && count != phase + 1) ++wrong;
            }
            ++runs[task];
          });
          for (auto& count : runs) CHECK(count == phases);
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("a team goes backwards where it is asked to") {
  Team alone(nullptr, 1);
  std::vector<int64_t> tasks;
  alone.Run(3, Team::Order::kBackwards, [&](int64_t task, int) { tasks.push_back(task); });
  CHECK(tasks == std::vector<int64_t>{2, 1, 0});
}

TEST_CASE("work is done when no helper ever comes") {
  class Deaf : public Scheduler {
    int threads() const override { return 4; }
    void Schedule(std::function<void()>) override {}
  } scheduler;
  Team team(&scheduler, 4);
  int64_t sum = 0;
  team.Run(10, [&](int64_t task, int) { sum += task; });
  team.Run(0, [&](int64_t, int) { sum = -1; });
  CHECK(sum == 45);
  team.RunPhases(3, 5, [&](int64_t phase, int64_t task, int) { sum += phase * task; });
  CHECK(sum == 45 + 3 * 10);
}

TEST_CASE("helpers that come late find a closed team and leave") {
  class Late : public Scheduler {
   public:
    int threads() const override { return 3; }
    void Schedule(std::function<void()> work) override { later.push_back(work); }
    std::vector<std::function<void()>> later;
  } scheduler;
  {
    Team team(&scheduler, 3);
    team.Run(5, [](int64_t, int) {});
  }
  CHECK(scheduler.later.size() == 2);
  for (auto& work : scheduler.later) work();
}

}  // namespace
}  // namespace keras_egru
