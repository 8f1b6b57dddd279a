#include "counted_memory.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<int64_t> times{0};

[[maybe_unused]] void* Taken(void* memory) {
  times.fetch_add(1, std::memory_order_relaxed);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

int64_t TimesMemoryWasTaken() { return times.load(std::memory_order_relaxed); }

// The forms for arrays and without exceptions call these. AddressSanitizer has its own, and nothing is counted there.
#ifndef __SANITIZE_ADDRESS__
void* operator new(std::size_t size) { return Taken(std::malloc(size > 0 ? size : 1)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const std::size_t line = static_cast<std::size_t>(alignment);
  return Taken(std::aligned_alloc(line, (size + line) / line * line));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
#endif
