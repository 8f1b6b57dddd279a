// What the event-LIF sequences (lif.h) ask of an instruction set. Arrays of units are padded to whole vectors: `width`.
#ifndef KERAS_EGRU_ENGINE_LIF_KERNELS_H_
#define KERAS_EGRU_ENGINE_LIF_KERNELS_H_

#include <cstdint>

namespace keras_egru {

// One step of the membranes; see lif_forward.cc.
template <typename T>
struct MembraneArguments {
  int64_t width;
  const T *alpha, *beta, *gamma;  // [width]; beta and gamma null where a spike jumps on the membrane itself
  T v_rest, threshold, surrogate_width;
  const T* drive;  // [width] what jumps on the membrane in this step, where there is no current
  T* u;            // [width] in: the membrane after the step before and its reset; out: before the reset of this step
  T* current;      // [width] decays
  T* flags;        // [width] out: 2 above threshold, 1 within the surrogate's support below it, else 0
};

// The same backwards, for what no spike or surrogate passes: costates q of the membranes and m of the currents.
template <typename T>
struct CostateArguments {
  int64_t width;
  const T *alpha, *beta, *gamma;  // as above
  T* q;                           // [width] in: of step t + 1 before its reset; out: of step t after its reset
  T* m;                           // [width] with currents: of step t + 1 in, of step t out
};

template <typename T>
struct LifKernels {
  void (*membrane)(const MembraneArguments<T>&);
  void (*costate)(const CostateArguments<T>&);
  // output += sum of value[r] times row index[r] of `weights`, [rows, width]: a load and a multiply-add a vector.
  void (*add_rows)(int64_t width, int64_t count, const int32_t* index, const T* value, const T* weights, T* output);
  // Row index[r] of `weights` += value[r] times `vector`: two loads, a multiply-add and a store a vector.
  void (*add_to_rows)(int64_t width, int64_t count, const int32_t* index, const T* value, const T* vector, T* weights);
  // result[r] = <row index[r] of `weights`, vector>: a load and a multiply-add a vector.
  void (*dot_rows)(int64_t width, int64_t count, const int32_t* index, const T* weights, const T* vector, T* result);
  // output += a * b and output = a * b - c * d, elementwise.
  void (*add_product)(int64_t width, const T* a, const T* b, T* output);
  void (*difference_of_products)(int64_t width, const T* a, const T* b, const T* c, const T* d, T* output);
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_LIF_KERNELS_H_
