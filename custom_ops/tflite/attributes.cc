#include "attributes.h"

#include "../engine/short_decimal.h"
#include "refusal.h"

namespace keras_egru {
namespace {

[[noreturn]] void OfAnotherType(const std::string& name, const char* wanted) {
  Refuse("the attribute `", name, "` must be ", wanted, ", received something else: export the model again.");
}

}  // namespace

FlexbufferValue Attributes::Take(const std::string& name, bool optional) {
  const auto found = map_.find(name);
  if (found == map_.end()) {
    if (!optional) Refuse("the attribute `", name, "` is missing: export the model again.");
    return {};
  }
  FlexbufferValue value = std::move(found->second);
  map_.erase(found);
  if (std::holds_alternative<std::monostate>(value)) OfAnotherType(name, "a flag, a number or a word");
  return value;
}

bool Attributes::Flag(const std::string& name, std::optional<bool> otherwise) {
  const FlexbufferValue value = Take(name, otherwise.has_value());
  if (std::holds_alternative<std::monostate>(value)) return *otherwise;
  if (const bool* flag = std::get_if<bool>(&value)) return *flag;
  OfAnotherType(name, "a flag");
}

int64_t Attributes::Integer(const std::string& name) {
  const FlexbufferValue value = Take(name, false);
  if (const int64_t* number = std::get_if<int64_t>(&value)) return *number;
  OfAnotherType(name, "an integer");
}

double Attributes::Number(const std::string& name, std::optional<double> otherwise) {
  const FlexbufferValue value = Take(name, otherwise.has_value());
  if (std::holds_alternative<std::monostate>(value)) return *otherwise;
  const double* number = std::get_if<double>(&value);
  if (!number) OfAnotherType(name, "a number");
  return ShortDecimal(static_cast<float>(*number));
}

std::optional<std::string> Attributes::Text(const std::string& name, bool optional) {
  const FlexbufferValue value = Take(name, optional);
  if (std::holds_alternative<std::monostate>(value)) return {};
  if (const std::string* text = std::get_if<std::string>(&value)) return *text;
  OfAnotherType(name, "a word");
}

void Attributes::NoChoice(const std::string& name, const std::string& known, const std::string& received) {
  Refuse("the attribute `", name, "` must be one of ", known, ", received '", received,
         "': the model may be of a newer keras-egru.");
}

void Attributes::ExpectFloat32() {
  constexpr int64_t kFloat32 = 0;  // TensorType_FLOAT32 of schema.fbs
  const FlexbufferValue value = Take("T", true);
  if (std::holds_alternative<std::monostate>(value)) return;
  const int64_t* type = std::get_if<int64_t>(&value);
  if (!type || *type != kFloat32) Refuse("the op computes in float32 on a device: export a model of that type.");
}

void Attributes::ExpectNoMore() const {
  if (!map_.empty()) {
    Refuse("the attribute `", map_.begin()->first, "` is unknown: the model may be of a newer keras-egru.");
  }
}

}  // namespace keras_egru
