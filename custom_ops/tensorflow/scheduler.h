// TensorFlow's own thread pool as the engine's scheduler.
#ifndef KERAS_EGRU_TENSORFLOW_SCHEDULER_H_
#define KERAS_EGRU_TENSORFLOW_SCHEDULER_H_

#include <functional>
#include <utility>

#include "../engine/parallel.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace keras_egru {

class TensorFlowScheduler : public Scheduler {
 public:
  explicit TensorFlowScheduler(tensorflow::OpKernelContext* context)
      : workers_(*context->device()->tensorflow_cpu_worker_threads()) {}

  int threads() const override { return workers_.num_threads; }
  void Schedule(std::function<void()> work) override { workers_.workers->Schedule(std::move(work)); }

 private:
  const tensorflow::DeviceBase::CpuWorkerThreads& workers_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_TENSORFLOW_SCHEDULER_H_
