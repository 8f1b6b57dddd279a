// A team of threads for a sequence of short phases.
//
// A recurrent step is a phase of some ten independent tasks that takes microseconds, so threads cannot be asked for
// anew each time. The caller is a member of the team; helpers come from a scheduler (TensorFlow's pool inside
// TensorFlow), join when they get to run and leave when the team closes. Nobody waits for a helper that has not come:
// the caller does all tasks that nobody else has claimed, so a busy pool costs time but never stops the work.
#ifndef KERAS_EGRU_ENGINE_PARALLEL_H_
#define KERAS_EGRU_ENGINE_PARALLEL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace keras_egru {

// Where helpers come from.
class Scheduler {
 public:
  virtual ~Scheduler() = default;
  virtual int threads() const = 0;  // that may run at once, the caller among them
  virtual void Schedule(std::function<void()> work) = 0;
};

class Team {
 public:
  // Takes at most `members` threads, the caller among them; `scheduler` may be null for none but the caller.
  Team(Scheduler* scheduler, int members);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int members() const { return members_; }

  // The order in which a member does its tasks. A phase that goes backwards over what the phase before went over forwards
  // finds its last part in the cache.
  enum class Order { kForwards, kBackwards };

  // Runs task(index, member) for index in [0, tasks) and returns when all are done. What is computed must not depend
  // on `member`, which names scratch space only, nor on the order.
  template <typename Task>
  void Run(int64_t tasks, Order order, const Task& task) {
    Run(tasks, order,
        [](const void* context, int64_t index, int member) { (*static_cast<const Task*>(context))(index, member); }, &task);
  }
  template <typename Task>
  void Run(int64_t tasks, const Task& task) {
    Run(tasks, Order::kForwards, task);
  }

  // Runs task(phase, index, member) for `phases` phases of the same tasks, each after all tasks of the phase before. A member
  // keeps its tasks from phase to phase, and with them what they left in its cache; it asks no other for them, and so hears
  // of the end of a phase as soon as one message takes from core to core.
  template <typename Task>
  void RunPhases(int64_t phases, int64_t tasks, const Task& task) {
    RunPhases(phases, tasks,
              [](const void* context, int64_t phase, int64_t index, int member) {
                (*static_cast<const Task*>(context))(phase, index, member);
              },
              &task);
  }

 private:
  using Call = void (*)(const void* context, int64_t index, int member);
  using PhaseCall = void (*)(const void* context, int64_t phase, int64_t index, int member);
  struct State;
  class Phases;
  void Run(int64_t tasks, Order order, Call call, const void* context);
  void RunPhases(int64_t phases, int64_t tasks, PhaseCall call, const void* context);

  std::shared_ptr<State> state_;
  int members_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_PARALLEL_H_
