#include "scratch.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace keras_egru {
namespace {

constexpr std::size_t kLine = 64, kSmall = std::size_t{64} << 10, kHuge = std::size_t{2} << 20;

// Small blocks are the allocator's own business. Larger ones come in sizes an eighth apart, so that they fit again.
std::size_t Rounded(std::size_t bytes) {
  std::size_t step = kSmall / 8;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

std::align_val_t Alignment(std::size_t bytes) { return std::align_val_t{bytes >= 2 * kHuge ? kHuge : kLine}; }

struct Kept {
  std::mutex mutex;
  std::multimap<std::size_t, void*> blocks;  // by size
  std::size_t bytes = 0;
};

// Never destroyed: threads may return memory while the process ends.
Kept& TheKept() {
  static Kept* kept = new Kept;
  return *kept;
}

void* Take(std::size_t bytes) {
  if (bytes < kSmall) return ::operator new(bytes, std::align_val_t{kLine});
  const std::size_t size = Rounded(bytes);
  Kept& kept = TheKept();
  {
    std::lock_guard<std::mutex> lock(kept.mutex);
    const auto found = kept.blocks.find(size);
    if (found != kept.blocks.end()) {
      void* memory = found->second;
      kept.blocks.erase(found);
      kept.bytes -= size;
      return memory;
    }
  }
  void* memory = ::operator new(size, Alignment(size));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (size >= 2 * kHuge) madvise(memory, size / kHuge * kHuge, MADV_HUGEPAGE);  // advice: a failure changes nothing
#endif
  return memory;
}

}  // namespace

void* TakeScratch(std::size_t bytes) {
  void* memory = Take(bytes);
#ifdef KERAS_EGRU_POISON
  std::memset(memory, 0xFF, bytes);  // not a number: what reads memory that nothing wrote shows
#endif
  return memory;
}

void ReturnScratch(void* memory, std::size_t bytes) {
  if (memory == nullptr) return;
  if (bytes < kSmall) return ::operator delete(memory, std::align_val_t{kLine});
  const std::size_t size = Rounded(bytes);
  Kept& kept = TheKept();
  {
    std::lock_guard<std::mutex> lock(kept.mutex);
    if (kept.bytes + size <= kScratchKept) {
      kept.blocks.emplace(size, memory);
      kept.bytes += size;
      return;
    }
  }
  ::operator delete(memory, Alignment(size));
}

}  // namespace keras_egru
