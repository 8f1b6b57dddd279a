#include "parallel.h"

#include <algorithm>
#include <thread>
#include <vector>

namespace keras_egru {
namespace {

constexpr int kSpins = 4096;  // tens of microseconds, then the thread offers its core to others

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

inline void Wait(int& idle) {
  if (++idle < kSpins) {
    Pause();
  } else {
    std::this_thread::yield();
  }
}

}  // namespace

// Tasks carry numbers that grow from phase to phase and never come again. Each member owns a range of the phase's
// numbers, packed into one word as (next, end), and takes from others when its own is empty. A claimed task keeps its
// phase open, so `call` and `context` are stable once a claim has succeeded.
struct Team::State {
  struct alignas(64) Range {
    std::atomic<uint64_t> next_and_end{0};
  };

  explicit State(int members) : ranges(members) {}

  // True if one task was claimed and done.
  bool Work(int member) {
    const int members = static_cast<int>(ranges.size());
    for (int turn = 0; turn < members; ++turn) {
      std::atomic<uint64_t>& word = ranges[(member + turn) % members].next_and_end;
      uint64_t value = word.load(std::memory_order_acquire);
      while ((value >> 32) < (value & 0xffffffffu)) {
        const bool last = backwards.load(std::memory_order_relaxed);
        const uint64_t rest = last ? value - 1 : value + (uint64_t{1} << 32);
        if (word.compare_exchange_weak(value, rest, std::memory_order_acq_rel)) {
          call(context, static_cast<int64_t>((last ? rest & 0xffffffffu : value >> 32) - first), member);
          done.fetch_add(1, std::memory_order_release);
          return true;
        }
      }
    }
    return false;
  }

  std::vector<Range> ranges;
  alignas(64) std::atomic<int64_t> done{0};
  alignas(64) std::atomic<bool> closed{false};
  alignas(64) std::atomic<bool> backwards{false};  // ranges are done from their ends
  Call call = nullptr;
  const void* context = nullptr;
  uint64_t first = 0;  // the number of the phase's first task
  uint64_t after = 0;  // the number of the next phase's first task
};

Team::Team(Scheduler* scheduler, int members)
    : members_(scheduler ? std::max(1, std::min(members, scheduler->threads())) : 1) {
  state_ = std::make_shared<State>(members_);
  for (int member = 1; member < members_; ++member) {
    scheduler->Schedule([state = state_, member] {
      int idle = 0;
      while (!state->closed.load(std::memory_order_acquire)) {
        if (state->Work(member)) {
          idle = 0;
        } else {
          Wait(idle);
        }
      }
    });
  }
}

Team::~Team() { state_->closed.store(true, std::memory_order_release); }

void Team::Run(int64_t tasks, Order order, Call call, const void* context) {
  if (tasks <= 0) return;
  const bool backwards = order == Order::kBackwards;
  if (members_ == 1) {
    for (int64_t i = 0; i < tasks; ++i) call(context, backwards ? tasks - 1 - i : i, 0);
    return;
  }
  State& state = *state_;
  state.backwards.store(backwards, std::memory_order_relaxed);
  state.call = call;
  state.context = context;
  if (state.after + static_cast<uint64_t>(tasks) > 0xffffffffu) state.after = 0;  // all earlier tasks are done
  state.first = state.after;
  state.after += static_cast<uint64_t>(tasks);
  state.done.store(0, std::memory_order_relaxed);
  for (int member = 0; member < members_; ++member) {
    const uint64_t begin = state.first + static_cast<uint64_t>(tasks * member / members_);
    const uint64_t end = state.first + static_cast<uint64_t>(tasks * (member + 1) / members_);
    state.ranges[member].next_and_end.store(begin << 32 | end, std::memory_order_release);
  }
  while (state.Work(0)) {
  }
  for (int idle = 0; state.done.load(std::memory_order_acquire) != tasks;) Wait(idle);
}

// Every task has a line of its own that says how often it was claimed, and one that says how often it was finished: who
// waits reads the latter alone.
class Team::Phases {
 public:
  Phases(int64_t phases, int64_t tasks, int members, PhaseCall call, const void* context)
      : phases_(phases), call_(call), context_(context), claimed_(tasks), finished_(tasks), present_(members) {}

  // What one member does, until all phases are finished.
  void Work(int member) {
    present_[member].number.store(1, std::memory_order_release);
    for (int64_t phase = 0; phase < phases_; ++phase) {
      Do(phase, member, [&](int owner) { return owner == member; });
      Do(phase, member, [&](int owner) { return present_[owner].number.load(std::memory_order_acquire) == 0; });
      for (size_t task = 0; task < finished_.size(); ++task) {
        for (int idle = 0; finished_[task].number.load(std::memory_order_acquire) <= phase;) {
          Wait(idle);
          if (idle % kPatience == 0) TryTask(phase, task, member);  // its owner may have been put to sleep
        }
      }
    }
  }

 private:
  static constexpr int kPatience = 128;  // a few microseconds
  struct alignas(64) Line {
    std::atomic<int64_t> number{0};
  };

  template <typename Wanted>
  void Do(int64_t phase, int member, const Wanted& wanted) {
    for (size_t task = 0; task < claimed_.size(); ++task) {
      if (wanted(static_cast<int>(task % present_.size()))) TryTask(phase, task, member);
    }
  }

  void TryTask(int64_t phase, size_t task, int member) {
    int64_t expected = phase;
    if (!claimed_[task].number.compare_exchange_strong(expected, phase + 1, std::memory_order_acq_rel)) return;
    call_(context_, phase, static_cast<int64_t>(task), member);
    finished_[task].number.store(phase + 1, std::memory_order_release);
  }

  const int64_t phases_;
  const PhaseCall call_;
  const void* const context_;
  std::vector<Line> claimed_, finished_;
  std::vector<Line> present_;  // which members have come
};

void Team::RunPhases(int64_t phases, int64_t tasks, PhaseCall call, const void* context) {
  if (members_ == 1 || tasks == 1) {
    for (int64_t phase = 0; phase < phases; ++phase) {
      for (int64_t task = 0; task < tasks; ++task) call(context, phase, task, 0);
    }
    return;
  }
  Phases all(phases, tasks, members_, call, context);
  // A member that comes when all is done finds nothing to claim.
  Run(members_, [&](int64_t, int member) { all.Work(member); });
}

}  // namespace keras_egru
