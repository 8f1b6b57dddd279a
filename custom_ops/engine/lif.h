// Leaky integrate-and-fire units over a sequence, forward and backward, on event lists (equations:
// keras_egru/ops/lif_step.py). Units of different samples never meet, so a task is a sample with all its steps, and a step
// touches the rows of the weights that events select; nothing waits for another task.
//
// Two gradients, one recursion. With q = dL/dv (the membrane before its reset) and m = dL/di, both decay backwards in time
// as membrane and current do forwards; only where a unit was active does anything else happen to them:
//   surrogate   a unit near or above threshold adds H'(v - threshold) dL/dy to q      (Perez-Nieves & Goodman 2021)
//   eventprop   a spike turns q into what the time of the spike is worth              (Wunderlich & Pehle 2021)
// Such entries are the only thing that is kept of the forward pass, beside the events of the inputs.
#ifndef KERAS_EGRU_ENGINE_LIF_H_
#define KERAS_EGRU_ENGINE_LIF_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace keras_egru {

struct LifShape {
  int64_t batch = 0, time = 0, features = 0, units = 0;
};

enum class LifGradient { kSurrogate, kEventprop };
enum class LifReset { kSubtract, kZero };
enum class LifSurrogate { kTriangular, kFastSigmoid, kBoxcar };

struct LifOptions {
  LifGradient gradient = LifGradient::kSurrogate;
  bool spiking = true;  // without it the membranes are a read-out and never reset
  LifReset reset = LifReset::kSubtract;
  double threshold = 1, v_reset = 0, v_rest = 0;
  int64_t refractory = 0;  // steps after a spike in which the membrane stays at v_reset
  LifSurrogate surrogate = LifSurrogate::kFastSigmoid;
  double surrogate_height = 1;  // triangular and boxcar
  double surrogate_slope = 100;  // fast sigmoid
  double surrogate_width = 0.2;
};

// Numbers beside an entry: the slope H', or those of the membrane just before a spike and when it goes on after it.
inline int64_t ValuesOfEntry(const LifOptions& options) { return options.gradient == LifGradient::kSurrogate ? 1 : 2; }

// The entries of a layer: of step t of sample b there are counts[b, t], and they follow each other in the order of samples,
// steps and units. A code is 2 unit + (1 if the unit spiked).
struct LifEntries {
  const int32_t* counts = nullptr;  // [batch, time], or null where there is no list
  const int32_t* codes = nullptr;
};

template <typename T>
struct LifInputs {
  const T* inputs;          // [batch, time, features]
  LifEntries link;          // of the layer that spiked `inputs`, where that is known: `inputs` is not read then
  const T* initial_v;       // [batch, units], before the reset of the step before
  const T* initial_i;       // [batch, units], with currents
  const T* initial_y;       // [batch, units]
  const T* initial_wait;    // [batch, units] steps that a unit is still refractory, or null
  const T* kernel;          // [features, units]
  const T* recurrent_kernel;  // [units, units] or null
  const T* alpha;           // [units] the part of a membrane that a step leaves
  const T* beta;            // [units] the same of a current, or null for spikes that jump on the membrane
  const T* gamma;           // [units] what a step makes of a current on the membrane, with beta
  const uint8_t* mask;      // [batch, time] or null
};

// What one task of samples lists, in their order. It grows with the events; nothing is ever dropped.
template <typename T>
struct LifLists {
  std::vector<int32_t> codes;
  std::vector<T> values;  // ValuesOfEntry for each
  std::vector<int32_t> input_index;
  std::vector<T> input_value;

  // Makes room for `samples` like the first one, and some more. Memory that nothing writes takes none.
  void Expect(int64_t samples) {
    codes.reserve(codes.size() * samples * 3 / 2);
    values.reserve(values.size() * samples * 3 / 2);
    input_index.reserve(input_index.size() * samples * 3 / 2);
    input_value.reserve(input_value.size() * samples * 3 / 2);
  }
};

template <typename T>
struct LifOutputs {
  T* y;               // [batch, time, units], or null without spiking
  T* v;               // [batch, time, units], or [batch, units] with `all_v` false
  bool all_v;
  T* last_i;          // [batch, units], with currents
  T* last_wait;       // [batch, units], or null
  int32_t* counts;    // [batch, time] entries, or null to list nothing
  int32_t* input_counts;  // [batch, time] events of the inputs, or null to list none
  T* spikes;          // [units], over all samples and steps, or null without spiking
};

struct LifCounters {
  int64_t steps = 0, input_events = 0, spikes = 0, entries = 0;
};

// Lists come in parts, one after the other. `scheduler` may be null.
template <typename T>
LifCounters LifForward(const LifShape& shape, const LifOptions& options, const LifInputs<T>& inputs,
                       const LifOutputs<T>& outputs, std::vector<LifLists<T>>* lists, Scheduler* scheduler);

// The forward pass for the same weights, time constants and shape again and again, by the calling thread alone, without lists
// and without a link: what depends on them is made once, and a run takes no memory. They are kept as pointers.
template <typename T>
class LifPrepared {
 public:
  LifPrepared(const LifShape& shape, const LifOptions& options, const LifInputs<T>& inputs);
  ~LifPrepared();
  LifPrepared(const LifPrepared&) = delete;
  LifPrepared& operator=(const LifPrepared&) = delete;

  // Of `inputs`, the inputs, the initial states and the mask are read anew.
  LifCounters Run(const LifInputs<T>& inputs, const LifOutputs<T>& outputs);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What the forward pass kept.
template <typename T>
struct LifSaved {
  LifEntries entries;  // of this layer; none without spiking
  const T* values;
  const int32_t* input_counts;  // events of the inputs, where there is no link
  const int32_t* input_index;
  const T* input_value;
};

// Gradients of the outputs; each may be null for zero.
template <typename T>
struct LifUpstream {
  const T* y;        // [batch, time, units]
  const T* v;        // as it was returned
  bool all_v;
  const T* last_i;   // [batch, units]
  const T* entries;  // one for each entry: of its y, or with eventprop of the time of its spike, in steps
  const T* jumps;    // [units], eventprop: added to the costate q of a unit at each of its spikes
};

// Each may be null where it is not wanted.
template <typename T>
struct LifGradients {
  T* link;          // one for each entry of the link: as LifUpstream::entries
  T* costates;      // [batch, time, units] dL/d(what the weighted inputs of a step add up to)
  T* initial_v;     // [batch, units]
  T* initial_i;
  T* initial_y;
  T* kernel;            // [features, units]
  T* recurrent_kernel;  // [units, units]
  T *alpha, *beta, *gamma;  // [units]; all three or none: they take a second forward pass
};

template <typename T>
void LifBackward(const LifShape& shape, const LifOptions& options, const LifInputs<T>& inputs, const LifSaved<T>& saved,
                 const LifUpstream<T>& upstream, const LifGradients<T>& gradients, Scheduler* scheduler);

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIF_H_
