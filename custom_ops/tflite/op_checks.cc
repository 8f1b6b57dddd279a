#include "op_checks.h"

#include "refusal.h"

namespace keras_egru {
namespace {

const char* NameOf(litert::ElementType type) {
  switch (type) {
    case litert::kFloat32:
      return "float32";
    case litert::kInt32:
      return "int32";
    case litert::kInt64:
      return "int64";
    case litert::kBool:
      return "bool";
    case litert::kInt8:
      return "int8";
  }
  return "another type";
}

}  // namespace

int64_t InputSpec::size() const {
  int64_t size = 1;
  for (int64_t extent : shape) size *= extent;
  return size;
}

std::string Text(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

void ExpectCount(const std::vector<InputSpec>& inputs, size_t count) {
  if (inputs.size() != count) Refuse("the op must have ", count, " inputs, received ", inputs.size(), ".");
}

void ExpectType(const InputSpec& input, const char* name, litert::ElementType type) {
  if (input.type != type) Refuse("`", name, "` must be of the type ", NameOf(type), ", received ", NameOf(input.type), ".");
}

void ExpectShape(const InputSpec& input, const char* name, const Shape& shape) {
  if (input.shape != shape) {
    Refuse("`", name, "` must have the shape ", Text(shape), ", received ", Text(input.shape), ".");
  }
}

void ExpectShapeOrEmpty(const InputSpec& input, const char* name, const Shape& shape) {
  if (input.size() > 0) ExpectShape(input, name, shape);
}

bool KnownNow(const std::vector<InputSpec>& inputs, std::initializer_list<std::pair<int, const char*>> weights) {
  bool now = true;
  for (const auto& [index, name] : weights) {
    const InputSpec& input = inputs[index];
    if (input.size() == 0) continue;
    if (input.known == InputSpec::kNever) {
      Refuse("`", name, "` must be a constant of the model, received one that is computed anew in every call.");
    }
    now = now && input.known == InputSpec::kNow;
  }
  return now;
}

std::unique_ptr<Op> MakeOp(const std::string& name, const uint8_t* attributes, size_t size) {
  if (name == "KerasEgru>EgruSequence") return MakeEgruOp(false, attributes, size);
  if (name == "KerasEgru>EgruSequenceInt8") return MakeEgruOp(true, attributes, size);
  if (name == "KerasEgru>LifSequence") return MakeLifOp(attributes, size);
  return nullptr;
}

}  // namespace keras_egru
