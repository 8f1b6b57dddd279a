// What the ops share: checks of the inputs, weights that come late, and outputs that nobody wants.
#ifndef KERAS_EGRU_TFLITE_OP_CHECKS_H_
#define KERAS_EGRU_TFLITE_OP_CHECKS_H_

#include <initializer_list>
#include <vector>

#include "op.h"

namespace keras_egru {

// "[1, 8]"
std::string Text(const Shape& shape);

// Each refuses what is not as wanted, naming the input.
void ExpectCount(const std::vector<InputSpec>& inputs, size_t count);
void ExpectType(const InputSpec& input, const char* name, litert::ElementType type);
void ExpectShape(const InputSpec& input, const char* name, const Shape& shape);
void ExpectShapeOrEmpty(const InputSpec& input, const char* name, const Shape& shape);

// Whether all these inputs are known now; refuses one that may change from run to run.
bool KnownNow(const std::vector<InputSpec>& inputs, std::initializer_list<std::pair<int, const char*>> weights);

// The output, or room of its size where nobody wants it but the engine writes it.
template <typename T>
T* OrRoom(void* output, int64_t size, std::vector<T>& room) {
  if (output) return static_cast<T*>(output);
  room.resize(size);
  return room.data();
}

}  // namespace keras_egru

#endif  // KERAS_EGRU_TFLITE_OP_CHECKS_H_
