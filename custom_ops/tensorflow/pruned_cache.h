// Keeps what was found in pruned weights from call to call, for as long as the weights are the same.
#ifndef KERAS_EGRU_TENSORFLOW_PRUNED_CACHE_H_
#define KERAS_EGRU_TENSORFLOW_PRUNED_CACHE_H_

#include <memory>
#include <mutex>

#include "../engine/pruned_weights.h"
#include "tensorflow/core/framework/tensor.h"

namespace keras_egru {

// TensorFlow never writes to a buffer that somebody else holds: a variable that is updated gets a new one. So a tensor with the
// buffer of the one that is held here has the same numbers, and looking for zeros costs nothing. Safe to use from several
// threads.
template <typename T>
class PrunedCache {
 public:
  using Found = std::shared_ptr<const PrunedWeights<T>>;

  Found Find(const tensorflow::Tensor& weights, const EgruShape& shape, const EgruOptions& options, Scheduler* scheduler) {
    const T* numbers = weights.flat<T>().data();
    if (!MayBePruned(shape, options, numbers)) return nullptr;
    std::lock_guard<std::mutex> lock(mutex_);
    Entry& entry = entries_[UsesPieces(shape)];
    const int threads = scheduler->threads();
    if (!entry.weights.IsInitialized() || !entry.weights.SharesBufferWith(weights) || entry.threads != threads) {
      entry = {weights, threads, FindPruned<T>(shape, options, numbers, scheduler)};
    }
    return entry.found;
  }

 private:
  struct Entry {
    tensorflow::Tensor weights;
    int threads = 0;
    Found found;
  };

  std::mutex mutex_;
  Entry entries_[2];  // for many samples, for few
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_TENSORFLOW_PRUNED_CACHE_H_
