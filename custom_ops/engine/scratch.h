// Scratch memory that is kept from call to call: fresh pages would cost a fault each, and huge ones keep the addresses of
// a weight matrix within reach of the TLB.
#ifndef KERAS_EGRU_ENGINE_SCRATCH_H_
#define KERAS_EGRU_ENGINE_SCRATCH_H_

#include <cstddef>

namespace keras_egru {

// Uninitialised memory, aligned to a cache line. Throws std::bad_alloc.
void* TakeScratch(std::size_t bytes);
// `bytes` as it was taken. At most kScratchKept bytes are kept, the rest goes back to the system.
void ReturnScratch(void* memory, std::size_t bytes);

constexpr std::size_t kScratchKept = std::size_t{64} << 20;

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_SCRATCH_H_
