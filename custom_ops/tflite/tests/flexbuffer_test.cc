// Attributes of the converter's making, and damaged ones: whatever the bytes are, nothing outside of them is read.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "../../engine/tests/random_numbers.h"
#include "../attributes.h"
#include "../refusal.h"
#include "attributes_writer.h"

using namespace keras_egru;

namespace {

// {T: 200 (unsigned), all_y: true, far: 70000 (elsewhere), farther: 1.5 (elsewhere), list: [1], refractory: -3,
// reset: "threshold", surrogate_width: 0.3}, as the Python package flatbuffers writes it.
const std::vector<uint8_t> kWritten = {
    97,  108, 108, 95,  121, 0,   114, 101, 102, 114, 97,  99,  116, 111, 114, 121, 0,   115, 117, 114, 114, 111, 103, 97,
    116, 101, 95,  119, 105, 100, 116, 104, 0,   114, 101, 115, 101, 116, 0,   9,   116, 104, 114, 101, 115, 104, 111, 108,
    100, 0,   84,  0,   102, 97,  114, 0,   112, 17,  1,   0,   102, 97,  114, 116, 104, 101, 114, 0,   0,   0,   192, 63,
    108, 105, 115, 116, 0,   1,   1,   4,   8,   31,  82,  31,  24,  13,  80,  54,  71,  0,   0,   0,   0,   0,   0,   0,
    15,  0,   0,   0,   0,   0,   0,   0,   1,   0,   0,   0,   0,   0,   0,   0,   8,   0,   0,   0,   0,   0,   0,   0,
    200, 0,   0,   0,   0,   0,   0,   0,   1,   0,   0,   0,   0,   0,   0,   0,   80,  0,   0,   0,   0,   0,   0,   0,
    76,  0,   0,   0,   0,   0,   0,   0,   74,  0,   0,   0,   0,   0,   0,   0,   253, 255, 255, 255, 255, 255, 255, 255,
    128, 0,   0,   0,   0,   0,   0,   0,   51,  51,  51,  51,  51,  51,  211, 63,  11,  107, 26,  34,  40,  7,   20,  15,
    72,  39,  1};

// Reads from memory of just this size, so that a byte too many shows. Whether it was a map.
bool Reads(const std::vector<uint8_t>& bytes) {
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  try {
    ReadFlexbufferMap(exact.get(), bytes.size());
    return true;
  } catch (const Refusal&) {
    return false;
  }
}

}  // namespace

TEST_CASE("attributes are read as they were written") {
  FlexbufferMap map = ReadFlexbufferMap(kWritten.data(), kWritten.size());
  CHECK(map.size() == 8);
  CHECK(std::get<int64_t>(map["T"]) == 200);
  CHECK(std::get<bool>(map["all_y"]));
  CHECK(std::get<int64_t>(map["far"]) == 70000);
  CHECK(std::get<double>(map["farther"]) == 1.5);
  CHECK(std::holds_alternative<std::monostate>(map["list"]));
  CHECK(std::get<int64_t>(map["refractory"]) == -3);
  CHECK(std::get<std::string>(map["reset"]) == "threshold");
  CHECK(std::get<double>(map["surrogate_width"]) == 0.3);
  const std::vector<uint8_t> own = WriteAttributes(EgruAttributes());
  CHECK(ReadFlexbufferMap(own.data(), own.size()) == EgruAttributes());
}

TEST_CASE("attributes that are cut short are refused") {
  for (const std::vector<uint8_t>& whole : {kWritten, WriteAttributes(EgruAttributes()), WriteAttributes(LifAttributes())}) {
    REQUIRE(Reads(whole));
    for (size_t size = 0; size < whole.size(); ++size) {
      CAPTURE(size);
      CHECK_FALSE(Reads({whole.begin(), whole.begin() + size}));
      if (size > 0) Reads({whole.begin() + size, whole.end()});  // a part of the keys may be gone without a trace
    }
  }
}

TEST_CASE("attributes that are far too long are refused") {
  CHECK(Reads(WriteAttributes({{"reset", std::string(3000, 'x')}})));
  CHECK_FALSE(Reads(WriteAttributes({{"reset", std::string(5000, 'x')}})));
}

TEST_CASE("altered attributes are read or refused, and no byte beside them") {
  RandomNumbers random(1);
  int64_t refused = 0;
  for (const std::vector<uint8_t>& whole : {kWritten, WriteAttributes(LifAttributes())}) {
    for (size_t at = 0; at < whole.size(); ++at) {
      for (int value = 0; value < 256; ++value) {
        std::vector<uint8_t> altered = whole;
        altered[at] = static_cast<uint8_t>(value);
        refused += !Reads(altered);
      }
    }
    for (int draw = 0; draw < 20000; ++draw) {
      std::vector<uint8_t> altered = whole;
      for (double at : random.Uniform<double>(4, 0, static_cast<double>(whole.size()))) {
        altered[static_cast<size_t>(at)] = static_cast<uint8_t>(random.Uniform<double>(1, 0, 256)[0]);
      }
      refused += !Reads(altered);
    }
  }
  CHECK(refused > 0);
}

TEST_CASE("a map of one entry is read or refused with any two bytes altered") {
  // {"a": 1}: the key; the keys' size and the way to the key; the way to the keys, their width, the size; 1; its type; the root.
  const std::vector<uint8_t> whole = {97, 0, 1, 3, 1, 1, 1, 1, 4, 2, 36, 1};
  REQUIRE(ReadFlexbufferMap(whole.data(), whole.size()) == FlexbufferMap{{"a", int64_t{1}}});
  std::vector<uint8_t> values = {128, 254, 255};
  for (uint8_t value = 0; value < 44; ++value) values.push_back(value);  // small ways and sizes, and types up to that of maps
  int64_t refused = 0;
  for (size_t first = 0; first < whole.size(); ++first) {
    for (size_t second = 0; second < first; ++second) {
      for (uint8_t one : values) {
        for (uint8_t other : values) {
          std::vector<uint8_t> altered = whole;
          altered[first] = one;
          altered[second] = other;
          refused += !Reads(altered);
        }
      }
    }
  }
  CHECK(refused > 0);
}

TEST_CASE("an attribute of another type, value or name is refused in a sentence that names it") {
  const auto sentence = [](const FlexbufferMap& map, auto get) -> std::string {
    const std::vector<uint8_t> bytes = WriteAttributes(map);
    try {
      Attributes attributes(bytes.data(), bytes.size());
      get(attributes);
      return "";
    } catch (const Refusal& refusal) {
      return refusal.what();
    }
  };
  const auto choose = [](Attributes& a) { a.Choice<int>("reset", {{"zero", 0}, {"subtract", 1}}); };
  CHECK(sentence({{"reset", std::string("zero")}}, choose) == "");
  CHECK(sentence({{"reset", std::string("new")}}, choose) ==
        "the attribute `reset` must be one of 'zero', 'subtract', received 'new': the model may be of a newer keras-egru.");
  CHECK(sentence({{"reset", true}}, choose).find("the attribute `reset` must be a word") == 0);
  CHECK(sentence({}, choose) == "the attribute `reset` is missing: export the model again.");
  CHECK(sentence({{"a", 1.0}}, [](Attributes& a) { a.Flag("a"); }).find("`a` must be a flag") != std::string::npos);
  CHECK(sentence({{"a", 1.0}}, [](Attributes& a) { a.Integer("a"); }).find("an integer") != std::string::npos);
  CHECK(sentence({{"a", true}}, [](Attributes& a) { a.Number("a", 2.0); }).find("a number") != std::string::npos);
  CHECK(sentence({{"a", {}}}, [](Attributes& a) { a.Number("a", 2.0); }).find("`a` must be") != std::string::npos);
  CHECK(sentence({{"newer", 1.0}}, [](Attributes& a) { a.ExpectNoMore(); }) ==
        "the attribute `newer` is unknown: the model may be of a newer keras-egru.");
  CHECK(sentence({{"T", int64_t{10}}}, [](Attributes& a) { a.ExpectFloat32(); }).find("float32") != std::string::npos);
  CHECK(sentence({{"T", int64_t{0}}}, [](Attributes& a) { a.ExpectFloat32(); }) == "");
}

TEST_CASE("a number is the nearest short decimal, as TensorFlow's op reads it") {
  const std::vector<uint8_t> bytes = WriteAttributes({{"width", static_cast<double>(0.7f)}});
  CHECK(Attributes(bytes.data(), bytes.size()).Number("width") == 0.7);
  CHECK(Attributes(bytes.data(), bytes.size()).Number("height", 0.5) == 0.5);
}
