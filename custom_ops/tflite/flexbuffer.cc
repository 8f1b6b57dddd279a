// The format in short. A buffer ends in: the root value, its packed type, its width in bytes. A packed type is 4 times the
// type plus the logarithm of the width of what the value points to. Values other than numbers are offsets backwards from where
// they stand. A map is a vector of values: before it stand the offset of its vector of keys, the width of that vector's
// elements, and its size; behind it the packed types. Keys end in a zero byte. Strings have their size before them.
#include "flexbuffer.h"

#include <cstring>

#include "refusal.h"

namespace keras_egru {
namespace {

enum Type { kNull = 0, kInt = 1, kUInt = 2, kFloat = 3, kKey = 4, kString = 5, kIndirectInt = 6, kIndirectUInt = 7,
            kIndirectFloat = 8, kMap = 9, kBool = 26 };

class Reader {
 public:
  Reader(const uint8_t* buffer, size_t size) : buffer_(buffer), size_(size) {}

  FlexbufferMap Read() const {
    if (size_ < 3) Damaged();
    const uint8_t width = buffer_[size_ - 1], packed = buffer_[size_ - 2];
    if (Kind(packed) != kMap) Refuse("the attributes of the op are no flexbuffer map.");
    if (width > size_ - 2) Damaged();
    return ReadMap(Follow(size_ - 2 - width, width), Width(packed));
  }

 private:
  [[noreturn]] static void Damaged() { Refuse("the attributes of the op are damaged: the model file is cut short or altered."); }

  static int Kind(uint8_t packed) { return packed >> 2; }
  static size_t Width(uint8_t packed) { return size_t{1} << (packed & 3); }

  uint64_t UInt(size_t at, size_t width) const {
    if (width == 0 || width > 8 || at > size_ || size_ - at < width) Damaged();
    uint64_t value = 0;  // little-endian
    for (size_t i = 0; i < width; ++i) value |= uint64_t{buffer_[at + i]} << (8 * i);
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
  size_t Follow(size_t at, size_t width) const {
    const uint64_t offset = UInt(at, width);
    if (offset > at) Damaged();
    return at - static_cast<size_t>(offset);
  }

  // `before` bytes before `at`.
  static size_t Back(size_t at, size_t before) {
    if (before > at) Damaged();
    return at - before;
  }

  FlexbufferMap ReadMap(size_t values, size_t width) const {
    const uint64_t count = UInt(Back(values, width), width);
    if (count > size_) Damaged();  // an element takes a byte at least: this also keeps the products below from overflowing
    const uint64_t key_width = UInt(Back(values, 2 * width), width);
    if (key_width != 1 && key_width != 2 && key_width != 4 && key_width != 8) Damaged();
    const size_t keys = Follow(Back(values, 3 * width), width);
    if (UInt(Back(keys, key_width), key_width) != count) Damaged();
    FlexbufferMap map;
    for (size_t i = 0; i < count; ++i) {
      const size_t types = values + count * width;
      if (types + i >= size_) Damaged();
      map[Key(Follow(keys + i * key_width, key_width))] = Value(values + i * width, width, buffer_[types + i]);
    }
    return map;
  }

  std::string Key(size_t at) const {
    if (at >= size_) Damaged();
    const void* end = std::memchr(buffer_ + at, 0, size_ - at);
    if (!end) Damaged();
    return {reinterpret_cast<const char*>(buffer_ + at), static_cast<const char*>(end)};
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
        const size_t text = Follow(at, width);
        const uint64_t length = UInt(Back(text, Width(packed)), Width(packed));
        if (length > size_ - text) Damaged();
        return std::string(reinterpret_cast<const char*>(buffer_ + text), static_cast<size_t>(length));
      }
      default:
        return std::monostate{};
    }
  }

  const uint8_t* const buffer_;
  const size_t size_;
};

}  // namespace

FlexbufferMap ReadFlexbufferMap(const uint8_t* buffer, size_t size) { return Reader(buffer, size).Read(); }

}  // namespace keras_egru
