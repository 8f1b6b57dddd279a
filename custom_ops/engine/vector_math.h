// Vectors of numbers and the functions of the gates, written with the compiler's vector types; the including file defines
// KERAS_EGRU_VECTOR_BYTES. Everything here has internal linkage and uses no library templates that leave code behind, so
// that no wide instruction can reach a function shared with other files.
#ifndef KERAS_EGRU_ENGINE_VECTOR_MATH_H_
#define KERAS_EGRU_ENGINE_VECTOR_MATH_H_

#include <cstdint>
#include <type_traits>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace keras_egru {
namespace {

template <typename T>
struct Simd {
  static constexpr int kLanes = KERAS_EGRU_VECTOR_BYTES / sizeof(T);
  typedef T Vector __attribute__((vector_size(KERAS_EGRU_VECTOR_BYTES)));
  typedef T Unaligned __attribute__((vector_size(KERAS_EGRU_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
  using Integer = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef Integer IntegerVector __attribute__((vector_size(KERAS_EGRU_VECTOR_BYTES)));
};

template <typename T>
using Vec = typename Simd<T>::Vector;

template <typename T>
inline Vec<T> Load(const T* from) {
  return *reinterpret_cast<const typename Simd<T>::Unaligned*>(from);
}

template <typename T>
inline void Store(T* to, Vec<T> value) {
  *reinterpret_cast<typename Simd<T>::Unaligned*>(to) = value;
}

// The first `count` numbers; the rest is zero, or is left alone in memory.
template <typename T>
inline Vec<T> LoadPart(const T* from, int64_t count) {
  if (count >= Simd<T>::kLanes) return Load(from);
  Vec<T> value = {};
  for (int64_t i = 0; i < count; ++i) value[i] = from[i];
  return value;
}

template <typename T>
inline void StorePart(T* to, Vec<T> value, int64_t count) {
  if (count >= Simd<T>::kLanes) return Store(to, value);
  for (int64_t i = 0; i < count; ++i) to[i] = value[i];
}

template <typename T>
inline T Sum(Vec<T> v) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) {
    return _mm512_reduce_add_ps((__m512)v);
  } else {
    return _mm512_reduce_add_pd((__m512d)v);
  }
#else
  T sum = T(0);
#pragma GCC unroll 8
  for (int i = 0; i < Simd<T>::kLanes; ++i) sum += v[i];
  return sum;
#endif
}

// exp(x) - 1 = 2^k (p(r) + 1) - 1 with x = k ln 2 + r and p the Taylor polynomial of exp - 1: no cancellation near 0.
// Relative error about 2 units in the last place. x is clamped so that 2^k stays a normal number.
template <typename T>
inline Vec<T> Expm1(Vec<T> x) {
  using I = typename Simd<T>::Integer;
  constexpr bool is_float = sizeof(T) == 4;
  constexpr T limit = is_float ? T(87) : T(708);
  constexpr T log2e = T(1.4426950408889634074);
  constexpr T ln2_high = is_float ? T(0.693359375) : T(6.93145751953125e-1);
  constexpr T ln2_low = is_float ? T(-2.12194440e-4) : T(1.42860682030941723212e-6);
  // Adding and taking away 1.5 * 2^(mantissa bits) rounds to the nearest integer.
  constexpr T magic = is_float ? T(12582912.0) : T(6755399441055744.0);
  const Vec<T> low = Vec<T>{} - limit, high = Vec<T>{} + limit;
  x = x < low ? low : x;
  x = x > high ? high : x;
  const Vec<T> rounded = x * log2e + magic;
  const Vec<T> k = rounded - magic;
  const Vec<T> r = (x - k * ln2_high) - k * ln2_low;
  Vec<T> p;
  if constexpr (is_float) {
    p = Vec<T>{} + T(1.0 / 5040);
    p = p * r + T(1.0 / 720);
    p = p * r + T(1.0 / 120);
  } else {
    p = Vec<T>{} + T(1.0 / 6227020800.0);
    p = p * r + T(1.0 / 479001600);
    p = p * r + T(1.0 / 39916800);
    p = p * r + T(1.0 / 3628800);
    p = p * r + T(1.0 / 362880);
    p = p * r + T(1.0 / 40320);
    p = p * r + T(1.0 / 5040);
    p = p * r + T(1.0 / 720);
    p = p * r + T(1.0 / 120);
  }
  p = p * r + T(1.0 / 24);
  p = p * r + T(1.0 / 6);
  p = p * r + T(0.5);
  p = p * r * r + r;
  constexpr int mantissa = is_float ? 23 : 52;
  constexpr I bias = is_float ? 127 : 1023;
  const auto exponent = __builtin_convertvector(k, typename Simd<T>::IntegerVector);
  const Vec<T> scale = (Vec<T>)((exponent + bias) << mantissa);
  const Vec<T> result = scale * p + (scale - T(1));
  // A comparison with NaN is false, so NaN came through the clamps; it must come through the integer part too.
  return x == x ? result : x;
}

// 1 / x for x of a size that squares neither to zero nor to infinity. A division holds the processor up for longer than
// the rest of a gate; an estimate and one step of Newton are within 2 units in the last place.
template <typename T>
inline Vec<T> Reciprocal(Vec<T> x) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) {
    const Vec<T> estimate = (Vec<T>)_mm512_rcp14_ps((__m512)x);
    return estimate + estimate * (T(1) - x * estimate);
  }
#endif
  return T(1) / x;
}

// e^-x + 1 is at most e^87 + 1, so its reciprocal is normal.
template <typename T>
inline Vec<T> Sigmoid(Vec<T> x) {
  return Reciprocal<T>(T(2) + Expm1<T>(-x));
}

template <typename T>
inline Vec<T> Tanh(Vec<T> x) {
  const Vec<T> e = Expm1<T>(x + x);
  return e * Reciprocal<T>(e + T(2));
}

template <typename T>
inline Vec<T> Maximum(Vec<T> a, T b) {
  const Vec<T> bound = Vec<T>{} + b;
  return a > bound ? a : bound;
}

// H'(v) = height * max(0, 1 - |v| / width).
template <typename T>
inline Vec<T> SurrogateSlope(Vec<T> v, T height, T inverse_width) {
  const Vec<T> size = v < T(0) ? -v : v;
  return height * Maximum<T>(T(1) - size * inverse_width, T(0));
}

}  // namespace
}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_VECTOR_MATH_H_
