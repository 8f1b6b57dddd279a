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
  std::atomic<bool> closed{false};
  std::atomic<bool> backwards{false};  // ranges are done from their ends
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
        } else if (++idle < kSpins) {
          Pause();
        } else {
          std::this_thread::yield();
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
  for (int idle = 0; state.done.load(std::memory_order_acquire) != tasks;) {
    if (++idle < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace keras_egru
