// An op of a model as the delegate sees it: shapes first, numbers later.
#ifndef KERAS_EGRU_TFLITE_OP_H_
#define KERAS_EGRU_TFLITE_OP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "litert_abi.h"

namespace keras_egru {

using Shape = std::vector<int64_t>;

// What is known of an input before a run.
struct InputSpec {
  litert::ElementType type;
  Shape shape;
  // Since when its numbers are there, and do not change any more: `data` of a constant; of what is computed once from
  // constants, such as weights that were stored in 16 bits, they are there at the first run.
  enum Known { kNow, kAtFirstRun, kNever } known;
  const void* data;

  int64_t size() const;
};

struct OutputSpec {
  litert::ElementType type;
  Shape shape;
};

class Op {
 public:
  virtual ~Op() = default;

  // Of each output, as long as the inputs are these. Weights are prepared here, where they are known.
  virtual std::vector<OutputSpec> Prepare(const std::vector<InputSpec>& inputs) = 0;
  // Empty inputs may be null, and so may outputs that nobody wants.
  virtual void Run(const void* const* inputs, void* const* outputs) = 0;
};

// The op of this name and with these attributes; null for a name that is not of this library.
std::unique_ptr<Op> MakeOp(const std::string& name, const uint8_t* attributes, size_t size);

// The makers of the ops, each in a file of its own.
std::unique_ptr<Op> MakeEgruOp(bool int8, const uint8_t* attributes, size_t size);
std::unique_ptr<Op> MakeLifOp(const uint8_t* attributes, size_t size);

}  // namespace keras_egru

#endif  // KERAS_EGRU_TFLITE_OP_H_
