// Writes the attributes of an op as a model file has them, all numbers in 8 bytes.
#ifndef KERAS_EGRU_TFLITE_TESTS_ATTRIBUTES_WRITER_H_
#define KERAS_EGRU_TFLITE_TESTS_ATTRIBUTES_WRITER_H_

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "../flexbuffer.h"

namespace keras_egru {

inline std::vector<uint8_t> WriteAttributes(const FlexbufferMap& map) {
  std::vector<uint8_t> buffer;
  const auto number = [&](uint64_t value) {
    for (int i = 0; i < 8; ++i) buffer.push_back(static_cast<uint8_t>(value >> (8 * i)));
  };
  const auto text = [&](const std::string& value) {
    const size_t at = buffer.size();
    buffer.insert(buffer.end(), value.begin(), value.end());
    buffer.push_back(0);
    return at;
  };
  std::vector<size_t> keys, texts;
  for (const auto& [key, value] : map) {
    keys.push_back(text(key));
    const std::string* word = std::get_if<std::string>(&value);
    if (word) number(word->size());
    texts.push_back(word ? text(*word) : 0);
  }
  number(map.size());
  const size_t all_keys = buffer.size();
  for (size_t key : keys) number(buffer.size() - key);
  number(buffer.size() - all_keys);
  number(8);
  number(map.size());
  const size_t values = buffer.size();
  std::vector<uint8_t> types;
  size_t i = 0;
  for (const auto& [key, value] : map) {
    if (const bool* flag = std::get_if<bool>(&value)) {
      types.push_back(26 << 2 | 3);
      number(*flag);
    } else if (const int64_t* integer = std::get_if<int64_t>(&value)) {
      types.push_back(1 << 2 | 3);
      number(static_cast<uint64_t>(*integer));
    } else if (const double* real = std::get_if<double>(&value)) {
      types.push_back(3 << 2 | 3);
      uint64_t bits;
      std::memcpy(&bits, real, sizeof bits);
      number(bits);
    } else if (std::holds_alternative<std::string>(value)) {
      types.push_back(5 << 2 | 3);
      number(buffer.size() - texts[i]);
    } else {
      types.push_back(0);
      number(0);
    }
    ++i;
  }
  buffer.insert(buffer.end(), types.begin(), types.end());
  number(buffer.size() - values);
  buffer.push_back(9 << 2 | 3);
  buffer.push_back(8);
  return buffer;
}

inline FlexbufferMap EgruAttributes(bool int8 = false) {
  FlexbufferMap map = {{"T", int64_t{0}},
                       {"all_c", true},
                       {"all_y", true},
                       {"products", std::string("auto")},
                       {"reset", std::string("threshold")},
                       {"reset_after", true},
                       {"surrogate_height", 0.7},
                       {"surrogate_width", 1.0}};
  if (!int8) map["save_for_backward"] = false;
  return map;
}

inline FlexbufferMap LifAttributes() {
  return {{"T", int64_t{0}},
          {"all_v", true},
          {"gradient", std::string("surrogate")},
          {"refractory", int64_t{0}},
          {"reset", std::string("subtract")},
          {"save_for_backward", false},
          {"spiking", true},
          {"surrogate", std::string("boxcar")},
          {"surrogate_height", 1.0},
          {"surrogate_slope", 1.0},
          {"surrogate_width", 0.2},
          {"threshold", 1.0},
          {"time_constants", false},
          {"v_reset", 0.0},
          {"v_rest", 0.0}};
}

}  // namespace keras_egru

#endif  // KERAS_EGRU_TFLITE_TESTS_ATTRIBUTES_WRITER_H_
