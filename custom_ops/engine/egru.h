// The EGRU over a sequence, forward and backward, on event lists (equations: keras_egru/ops/egru_step.py).
//
// Arrays are dense and row-major, in the layout that Keras users see; gates are ordered u, r, z. Only the saved gates
// have a layout of their own, [time, tiles, batch, 3, tile_units], in which a step reads and writes consecutive memory.
#ifndef KERAS_EGRU_ENGINE_EGRU_H_
#define KERAS_EGRU_ENGINE_EGRU_H_

#include <cstdint>
#include <memory>

#include "kernels.h"
#include "parallel.h"

namespace keras_egru {

struct EgruShape {
  int64_t batch = 0, time = 0, features = 0, units = 0;
};

// How matrices are multiplied: by what is faster for the counted density, or always the same way.
enum class Products { kAuto, kSparse, kDense };

struct EgruOptions {
  Reset reset = Reset::kThreshold;
  bool reset_after = true;
  double surrogate_height = 0.7;  // of the triangular surrogate
  double surrogate_width = 1.0;
  Products products = Products::kAuto;
};

template <typename T>
struct PrunedWeights;
template <typename T>
class LiveVectors;

// What the sequence reads, forward and backward.
template <typename T>
struct EgruInputs {
  const T* inputs;            // [batch, time, features]
  const T* initial_y;         // [batch, units]
  const T* initial_c;         // [batch, units]
  const T* kernel;            // [features, 3 units]
  const T* recurrent_kernel;  // [units, 3 units]
  const T* bias;              // [3 units], or [2, 3 units] with reset_after
  const T* threshold;         // [units]
  const uint8_t* mask;        // [batch, time] or null
  const T* zoneout;           // [batch, time, units], one number, or null
  bool zoneout_is_scalar;
  // Forward only, in the place of `recurrent_kernel` where that is null: 8-bit integers, and what a column's are worth.
  const int8_t* recurrent_int8 = nullptr;  // [units, 3 units]
  const T* recurrent_scale = nullptr;      // [3 units]
  // Forward only: what FindPruned (pruned_weights.h) found in `recurrent_kernel`, or null.
  const PrunedWeights<T>* pruned = nullptr;
  // Backward only: what FindLive (pruned_weights.h) found in the masks of the kernels, or null. Weights that are not live must
  // be zero, and get no gradient.
  const LiveVectors<T> *live_kernel = nullptr, *live_recurrent = nullptr;
};

// Counts over valid steps, in the order of keras_egru.ops.Counters.
struct EgruCounters {
  int64_t steps = 0, input_events = 0, events = 0, backward_entries = 0, surrogate_entries = 0;
};

template <typename T>
struct EgruOutputs {
  T* y;          // [batch, time, units], or [batch, 1, units] without all_y
  T* c;          // [batch, time, units], or [batch, 1, units] without all_c
  T* gates;      // SavedGates(...) numbers, or null when no backward pass will follow
  T* candidate;  // SavedCandidate(...) numbers, or null without reset_after or when no backward pass will follow
  bool all_y = true, all_c = true;  // every step is wanted, not the last one alone; a backward pass needs both
};

// How many numbers the backward pass needs of the forward pass, beside y and c.
template <typename T>
int64_t SavedGates(const EgruShape& shape);
template <typename T>
int64_t SavedCandidate(const EgruShape& shape, const EgruOptions& options);

template <typename T>
EgruCounters EgruForward(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& inputs,
                         const EgruOutputs<T>& outputs, Scheduler* scheduler);

// The forward pass for the same weights and shape again and again, by the calling thread alone: what depends on them is made
// once, and a run takes next to no memory. The weights of `inputs` are kept as pointers. Values are those of EgruForward, to
// rounding where the units do not fill whole vectors.
template <typename T>
class EgruPrepared {
 public:
  EgruPrepared(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& inputs, bool all_y, bool all_c);
  ~EgruPrepared();
  EgruPrepared(const EgruPrepared&) = delete;
  EgruPrepared& operator=(const EgruPrepared&) = delete;

  // Of `inputs`, all but the weights is read anew. `y`, `c`: as of EgruOutputs.
  EgruCounters Run(const EgruInputs<T>& inputs, T* y, T* c);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What the backward pass did: products computed for entries that needed them, events that entered the weight gradients.
struct EgruGradientCounters {
  int64_t backward_entries = 0, recurrent_events = 0, input_events = 0;
};

template <typename T>
struct EgruGradients {
  // In: what the forward pass saved. Out: the gradients of the pre-activations in the same layout; `candidate` then
  // holds that of a_z, and the third block of `gates` that of the recurrent part of a_z.
  T* gates;
  T* candidate;
  T* initial_y;         // [batch, units]
  T* initial_c;         // [batch, units]
  T* kernel;            // [features, 3 units]
  T* recurrent_kernel;  // [units, 3 units]
  T* bias;              // [3 units], or [2, 3 units] with reset_after
  T* threshold;         // [units]
};

// `y`, `c`: as the forward pass returned them; `grad_y`, `grad_c`: [batch, time, units].
template <typename T>
EgruGradientCounters EgruBackward(const EgruShape& shape, const EgruOptions& options, const EgruInputs<T>& inputs,
                                  const T* y, const T* c, const T* grad_y, const T* grad_c,
                                  const EgruGradients<T>& gradients, Scheduler* scheduler);

// The gradient of the inputs [batch, time, features], from the gates and candidate that EgruBackward wrote.
template <typename T>
void EgruInputGradient(const EgruShape& shape, const EgruOptions& options, const T* kernel, const T* gates,
                       const T* candidate, T* grad_inputs, Scheduler* scheduler);

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_EGRU_H_
