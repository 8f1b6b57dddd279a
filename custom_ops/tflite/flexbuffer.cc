// The format in short. A buffer ends in: the root value, its packed type, its width in bytes. A packed type is 4 times the
// type plus the logarithm of the width of what the value points to. Values other than numbers are offsets backwards from where
// they stand. A map is a vector of values: before it stand the offset of its vector of keys, the width of that vector's
// elements, and its size; behind it the packed types. Keys end in a zero byte. Strings have their size before them.
#include "flexbuffer.h"

#include <cstring>
#include <utility>

#include "refusal.h"

namespace keras_egru {
namespace {

enum Type { kNull = 0, kInt = 1, kUInt = 2, kFloat = 3, kKey = 4, kString = 5, kIndirectInt = 6, kIndirectUInt = 7,
            kIndirectFloat = 8, kMap = 9, kBool = 26 };

// Places are computed without a check, and may wrap around: nothing is read but by Bytes, which refuses what lies outside.
class Reader {
 public:
  Reader(const uint8_t* buffer, size_t size) : buffer_(buffer), size_(size) {}

  FlexbufferMap Read() const {
    if (size_ > kMost) Refuse("the attributes of the op take ", size_, " bytes, more than any of this library.");
    const size_t width = UInt(size_ - 1, 1);
    const uint8_t packed = *Bytes(size_ - 2, 1);
    if (Kind(packed) != kMap) Refuse("the attributes of the op are no flexbuffer map.");
    return ReadMap(Follow(size_ - 2 - width, width), Width(packed));
  }

 private:
  [[noreturn]] static void Damaged() { Refuse("the attributes of the op are damaged: the model file is cut short or altered."); }

  static int Kind(uint8_t packed) { return packed >> 2; }
  static size_t Width(uint8_t packed) { return size_t{1} << (packed & 3); }

  const uint8_t* Bytes(size_t at, size_t count) const {
    if (at > size_ || count > size_ - at) Damaged();
    return buffer_ + at;
  }

  uint64_t UInt(size_t at, size_t width) const {
    if (width == 0 || width > 8) Damaged();
    const uint8_t* bytes = Bytes(at, width);
    uint64_t value = 0;  // little-endian
    for (size_t i = 0; i < width; ++i) value |= uint64_t{bytes[i]} << (8 * i);
    return value;
  }

  int64_t Int(size_t at, size_t width) const {
    const uint64_t value = UInt(at, width);
    const int rest = static_cast<int>(64 - 8 * width);
    return static_cast<int64_t>(value << rest) >> rest;
  }

  double Float(size_t at, size_t width) const {
    const uint64_t bits = UInt(at, width);
    if (width == 4) {
      const uint32_t low = static_cast<uint32_t>(bits);
      float value;
      std::memcpy(&value, &low, sizeof value);
      return value;
    }
    if (width != 8) Damaged();  // nobody writes halves
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  // Where the offset at `at` leads.
  size_t Follow(size_t at, size_t width) const { return at - UInt(at, width); }

  // Of a width that is in doubt, UInt accepts 1 to 8; of a size that is, the first element outside ends the loop.
  FlexbufferMap ReadMap(size_t values, size_t width) const {
    const size_t count = UInt(values - width, width), key_width = UInt(values - 2 * width, width);
    const size_t keys = Follow(values - 3 * width, width), types = values + count * width;
    FlexbufferMap map;
    for (size_t i = 0; i < count; ++i) {
      std::string key = Key(Follow(keys + i * key_width, key_width));
      map[std::move(key)] = Value(values + i * width, width, *Bytes(types + i, 1));
    }
    return map;
  }

  std::string Key(size_t at) const {
    const uint8_t* begin = Bytes(at, 1);
    const void* end = std::memchr(begin, 0, size_ - at);
    if (!end) Damaged();
    return {reinterpret_cast<const char*>(begin), static_cast<const char*>(end)};
  }

  FlexbufferValue Value(size_t at, size_t width, uint8_t packed) const {
    switch (Kind(packed)) {
      case kInt:
        return Int(at, width);
      case kUInt:
        return static_cast<int64_t>(UInt(at, width));
      case kFloat:
        return Float(at, width);
      case kBool:
        return UInt(at, width) != 0;
      case kIndirectInt:
        return Int(Follow(at, width), Width(packed));
      case kIndirectUInt:
        return static_cast<int64_t>(UInt(Follow(at, width), Width(packed)));
      case kIndirectFloat:
        return Float(Follow(at, width), Width(packed));
      case kKey:
        return Key(Follow(at, width));
      case kString: {
        const size_t text = Follow(at, width), length = UInt(text - Width(packed), Width(packed));
        return std::string(reinterpret_cast<const char*>(Bytes(text, length)), length);
      }
      default:
        return std::monostate{};
    }
  }

  // Ten times what there is. Entries may share bytes, so a larger buffer could ask for the square of its size.
  static constexpr size_t kMost = 4096;

  const uint8_t* const buffer_;
  const size_t size_;
};

}  // namespace

FlexbufferMap ReadFlexbufferMap(const uint8_t* buffer, size_t size) { return Reader(buffer, size).Read(); }

}  // namespace keras_egru
