// What the influence of parameters (influence.h) asks of an instruction set.
#ifndef KERAS_EGRU_ENGINE_INFLUENCE_KERNELS_H_
#define KERAS_EGRU_ENGINE_INFLUENCE_KERNELS_H_

#include <cstdint>

namespace keras_egru {

constexpr int64_t kRowsTogether = 4;  // output rows over one list

// output[q] = start_factor[q] * rows[start[q]] + sum over r < count: value[r][q] * rows[index[r]]   for q < rows together
// Rows are `width` numbers, a multiple of the lanes. Cost an entry and vector: one FMA a row, a load for all rows together, and
// a broadcast a row for all vectors that fit the registers.
template <typename T>
struct CombineArguments {
  int64_t width;
  int64_t count;
  const int32_t* index;
  const T* value;
  const int32_t* start;  // null: output starts from zero
  const T* start_factor;
  const T* rows;
  T* output;  // one row after the other
};

template <typename T>
struct InfluenceKernels {
  void (*combine)(const CombineArguments<T>&);           // one output row
  void (*combine_together)(const CombineArguments<T>&);  // kRowsTogether of them
  // Numbers that are not zero; NaN is not.
  int64_t (*count_nonzero)(const T* numbers, int64_t count);
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_INFLUENCE_KERNELS_H_
