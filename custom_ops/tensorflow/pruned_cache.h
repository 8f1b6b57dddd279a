// Keeps what was found in pruned weights, or in their masks, from call to call, for as long as these are the same.
#ifndef KERAS_EGRU_TENSORFLOW_PRUNED_CACHE_H_
#define KERAS_EGRU_TENSORFLOW_PRUNED_CACHE_H_

#include <memory>
#include <mutex>
#include <utility>

#include "../engine/pruned_weights.h"
#include "tensorflow/core/framework/tensor.h"

namespace keras_egru {

// What was found in a tensor, and the tensor. TensorFlow never writes to a buffer that somebody else holds: a variable that is
// updated gets a new one. So a tensor with the buffer of the one that is held here has the same numbers, and looking at them
// again costs nothing.
template <typename Found>
class Kept {
 public:
  // make(): of `tensor`, where it is another than before.
  template <typename Make>
  std::shared_ptr<const Found> Get(const tensorflow::Tensor& tensor, const Make& make) {
    if (!tensor_.IsInitialized() || !tensor_.SharesBufferWith(tensor)) {
      found_ = make();
      tensor_ = tensor;
    }
    return found_;
  }
  void Forget() { tensor_ = {}; }

 private:
  tensorflow::Tensor tensor_;
  std::shared_ptr<const Found> found_;
};

// The live weights of a recurrent kernel, for the forward pass. Safe to use from several threads.
template <typename T>
class PrunedCache {
 public:
  using Found = std::shared_ptr<const PrunedWeights<T>>;

  Found Find(const tensorflow::Tensor& weights, const EgruShape& shape, const EgruOptions& options, Scheduler* scheduler) {
    const T* numbers = weights.flat<T>().data();
    if (!MayBePruned(options, shape.units, numbers)) return nullptr;
    std::lock_guard<std::mutex> lock(mutex_);
    Entry& entry = entries_[UsesPieces(shape)];
    if (std::exchange(entry.threads, scheduler->threads()) != scheduler->threads()) entry.kept.Forget();
    return entry.kept.Get(weights, [&] { return FindPruned<T>(shape, options, numbers, scheduler); });
  }

 private:
  struct Entry {
    int threads = 0;
    Kept<PrunedWeights<T>> kept;
  };

  std::mutex mutex_;
  Entry entries_[2];  // for many samples, for few
};

// The live vectors of a mask, for the gradient. Safe to use from several threads.
template <typename T>
class LiveCache {
 public:
  // Null for an empty mask.
  std::shared_ptr<const LiveVectors<T>> Find(const tensorflow::Tensor& mask, Scheduler* scheduler) {
    if (mask.NumElements() == 0) return nullptr;
    std::lock_guard<std::mutex> lock(mutex_);
    return kept_.Get(mask, [&] {
      return FindLive<T>(mask.dim_size(0), mask.dim_size(1) / kGates, mask.flat<T>().data(), scheduler);
    });
  }

 private:
  std::mutex mutex_;
  Kept<LiveVectors<T>> kept_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_TENSORFLOW_PRUNED_CACHE_H_
