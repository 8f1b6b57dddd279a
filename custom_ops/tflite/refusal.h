// How the op says what it cannot do.
#ifndef KERAS_EGRU_TFLITE_REFUSAL_H_
#define KERAS_EGRU_TFLITE_REFUSAL_H_

#include <sstream>
#include <stdexcept>
#include <string>

namespace keras_egru {

// One sentence for the user. The delegate, the only one that the runtime calls, turns it into the runtime's own error.
class Refusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Refuse("`units` must be positive, received ", n, ".")
template <typename... Parts>
[[noreturn]] void Refuse(const Parts&... parts) {
  std::ostringstream sentence;
  (sentence << ... << parts);
  throw Refusal(sentence.str());
}

}  // namespace keras_egru

#endif  // KERAS_EGRU_TFLITE_REFUSAL_H_
