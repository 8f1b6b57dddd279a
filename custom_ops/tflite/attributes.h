// The attributes of an op by name, each of one type, none of them unknown.
#ifndef KERAS_EGRU_TFLITE_ATTRIBUTES_H_
#define KERAS_EGRU_TFLITE_ATTRIBUTES_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "flexbuffer.h"

namespace keras_egru {

// Every getter refuses an attribute of another type or value, and one that is not there where it has no default.
class Attributes {
 public:
  Attributes(const uint8_t* buffer, size_t size) : map_(ReadFlexbufferMap(buffer, size)) {}

  bool Flag(const std::string& name, std::optional<bool> otherwise = {});
  int64_t Integer(const std::string& name);
  // As the TensorFlow ops read it (short_decimal.h).
  double Number(const std::string& name, std::optional<double> otherwise = {});

  template <typename Enum>
  Enum Choice(const std::string& name, std::initializer_list<std::pair<const char*, Enum>> known,
              std::optional<Enum> otherwise = {}) {
    const std::optional<std::string> text = Text(name, otherwise.has_value());
    if (!text) return *otherwise;
    std::string names;
    for (const auto& [word, value] : known) {
      if (*text == word) return value;
      names += (names.empty() ? "'" : ", '") + std::string(word) + "'";
    }
    NoChoice(name, names, *text);
  }

  // The element type of an op that computes in 32-bit floats alone.
  void ExpectFloat32();
  // What is left was asked for by nobody: the model is of another version than this library.
  void ExpectNoMore() const;

 private:
  // Takes the attribute out of the map; monostate where it is not there.
  FlexbufferValue Take(const std::string& name, bool optional);
  std::optional<std::string> Text(const std::string& name, bool optional);
  [[noreturn]] static void NoChoice(const std::string& name, const std::string& known, const std::string& received);

  FlexbufferMap map_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_TFLITE_ATTRIBUTES_H_
