// Attributes of ops are 32-bit floats, and what a user wrote is the shortest decimal that one stands for.
#ifndef KERAS_EGRU_ENGINE_SHORT_DECIMAL_H_
#define KERAS_EGRU_ENGINE_SHORT_DECIMAL_H_

#include <charconv>
#include <cstdlib>

namespace keras_egru {

// 0.7f as 0.7, so that float64 results use 0.7; a third as 0.33333334.
inline double ShortDecimal(float number) {
  char text[32];
  *std::to_chars(text, text + sizeof text - 1, number).ptr = '\0';
  return std::strtod(text, nullptr);
}

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_SHORT_DECIMAL_H_
