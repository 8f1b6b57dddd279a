// Reads the attributes of a custom op: a map in the FlexBuffers format (https://flatbuffers.dev/flexbuffers).
//
// A model file may come from anybody, so no byte is read before it is known to lie in the buffer.
#ifndef KERAS_EGRU_TFLITE_FLEXBUFFER_H_
#define KERAS_EGRU_TFLITE_FLEXBUFFER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <variant>

namespace keras_egru {

// std::monostate stands for what no attribute of this library is made of, such as a vector.
using FlexbufferValue = std::variant<std::monostate, bool, int64_t, double, std::string>;
using FlexbufferMap = std::map<std::string, FlexbufferValue>;

// Refuses what is no map, or a damaged one.
FlexbufferMap ReadFlexbufferMap(const uint8_t* buffer, size_t size);

}  // namespace keras_egru

#endif  // KERAS_EGRU_TFLITE_FLEXBUFFER_H_
