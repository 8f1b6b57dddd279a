// The kernels, written once and compiled once an instruction set; internal linkage throughout, as vector_math.h says.
#include <cstdint>
#include <utility>

#include "dense_template.h"
#include "influence_kernels_template.h"
#include "kernels.h"
#include "lif_kernels_template.h"
#include "live_kernels_template.h"
#include "pieces_kernels_template.h"
#include "vector_math.h"

#if defined(__AVX512F__) && defined(__AVX512VL__)
#define KERAS_EGRU_COMPRESS  // vectors can be packed by a mask
#include <immintrin.h>
#endif

namespace keras_egru {
namespace {


// Whether all gates share one stride, so that a row's place is computed once. True of packed weights; the gradients of
// z are the exception.
template <int gates, typename Rows>
inline bool SameStride(const Rows& rows) {
  bool same = true;
  for (int g = 1; g < gates; ++g) same = same && rows.stride[g] == rows.stride[0];
  return same;
}

template <typename T, int gates, int vectors, bool same_stride>
inline void AccumulateRows(const AccumulateArguments<T>& arguments) {
  constexpr int lanes = Simd<T>::kLanes;
  const AccumulateArguments<T> a = arguments;  // a copy that no store can change
  bool in_place = true;
  for (int g = 0; g < gates; ++g) in_place = in_place && a.start.base[g] == a.output.base[g];
  for (int64_t next = 0; next < a.outputs; ++next) {
    FetchShare(a.ahead, next, a.outputs);
    const int64_t o = a.order ? a.order[next] : next;
    const int64_t count = a.lists.count[o];
    if (count == 0 && in_place) continue;
    const int64_t begin = a.lists.begin ? a.lists.begin[o] : o * a.lists.capacity;
    const int32_t* index = a.lists.index + begin;
    const T* value = a.lists.value + begin;
    Vec<T> sum[gates * vectors];
#pragma GCC unroll 3
    for (int g = 0; g < gates; ++g) {
      const T* start = a.start.base[g] + o * a.start.stride[g];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[g * vectors + v] = Load(start + v * lanes);
    }
    for (int64_t e = 0; e < count; ++e) {
      const T factor = value[e];
      const int64_t i = index[e], place = i * a.source.stride[0];
#pragma GCC unroll 3
      for (int g = 0; g < gates; ++g) {
        const T* row = a.source.base[g] + (same_stride ? place : i * a.source.stride[g]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[g * vectors + v] += factor * Load(row + v * lanes);
      }
    }
#pragma GCC unroll 3
    for (int g = 0; g < gates; ++g) {
      T* output = a.output.base[g] + o * a.output.stride[g];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) Store<T>(output + v * lanes, sum[g * vectors + v]);
    }
  }
}

template <typename T, int gates, int vectors>
void Accumulate(const AccumulateArguments<T>& a) {
  if (SameStride<gates>(a.source)) {
    AccumulateRows<T, gates, vectors, true>(a);
  } else {
    AccumulateRows<T, gates, vectors, false>(a);
  }
}

// As many 8-bit integers as a vector has lanes.
template <typename T>
inline Vec<T> LoadWeights(const int8_t* from) {
#ifdef KERAS_EGRU_COMPRESS
  if constexpr (sizeof(T) == 4) {
    return (Vec<T>)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  } else {
    return (Vec<T>)_mm512_cvtepi32_pd(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  }
#else
  typedef int8_t Bytes __attribute__((vector_size(Simd<T>::kLanes)));
  Bytes bytes;
  __builtin_memcpy(&bytes, from, sizeof(bytes));
  return __builtin_convertvector(bytes, Vec<T>);
#endif
}

template <typename T>
inline Vec<T> LoadWeights(const T* from) {
  return Load(from);
}

template <typename T, typename Weight, int rows>
void StreamRows(const StreamArguments<T, Weight>& arguments) {
  constexpr int lanes = Simd<T>::kLanes;
  constexpr int64_t tile = lanes * kMaxVectors;
  const StreamArguments<T, Weight> a = arguments;  // a copy that no store can change
  const T* start = a.start;
  T* output = a.output;
  Vec<T> factor[rows + 1];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) factor[r] = Vec<T>{} + a.factor[r];
  for (int64_t first = 0; first < a.length; first += tile, start += a.start_step, output += a.output_step) {
    const int64_t size = a.length - first < tile ? a.length - first : tile;
    for (int64_t i = 0; i < size; i += lanes) {
      Vec<T> sum = {};
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) sum += factor[r] * LoadWeights<T>(a.row[r] + first + i);
      if constexpr (sizeof(Weight) < sizeof(T)) sum *= Load(a.scale + first + i);
      Store<T>(output + i, Load(start + i) + sum);
    }
  }
}

template <typename T, typename Weight>
void Stream(const StreamArguments<T, Weight>& a) {
  static_assert(kStreams == 8);
  constexpr void (*kernels[kStreams + 1])(const StreamArguments<T, Weight>&) = {
      StreamRows<T, Weight, 0>, StreamRows<T, Weight, 1>, StreamRows<T, Weight, 2>,
      StreamRows<T, Weight, 3>, StreamRows<T, Weight, 4>, StreamRows<T, Weight, 5>,
      StreamRows<T, Weight, 6>, StreamRows<T, Weight, 7>, StreamRows<T, Weight, 8>};
  kernels[a.rows](a);
}

// Sums of neighbours: the first half of the result comes from a, the second from b.
template <typename V, int... even>
inline V AddNeighbours(V a, V b, std::integer_sequence<int, even...>) {
  return __builtin_shufflevector(a, b, (2 * even)...) + __builtin_shufflevector(a, b, (2 * even + 1)...);
}

// The dot products of `left` with rows index[0], ..., of which `count` exist, in lanes 0 to group - 1 of the result;
// `group` is `lanes` or half of that. Beyond the end the last row stands in; nobody reads those results.
template <typename T, int gates, int vectors, int group>
inline Vec<T> DotGroup(const DotsArguments<T>& a, const Vec<T>* left, const int32_t* index, int64_t count) {
  constexpr int lanes = Simd<T>::kLanes;
  using Neighbours = std::make_integer_sequence<int, lanes>;
  int32_t rows[group];
  for (int j = 0; j < group; ++j) rows[j] = index[j < count ? j : count - 1];
  Vec<T> sum[group];
#pragma GCC unroll 16
  for (int j = 0; j < group; ++j) {
    const int64_t place = rows[j] * a.row.stride[0];
    Vec<T> partial[gates];
#pragma GCC unroll 3
    for (int g = 0; g < gates; ++g) {
      const T* row = a.row.base[g] + place;
      if (a.scattered) {
        for (int v = 0; v < vectors; ++v) __builtin_prefetch(row + (vectors + v) * lanes, 0, 3);
      }
      partial[g] = left[g * vectors] * Load(row);
#pragma GCC unroll 3
      for (int v = 1; v < vectors; ++v) partial[g] += left[g * vectors + v] * Load(row + v * lanes);
    }
    sum[j] = partial[0];
#pragma GCC unroll 2
    for (int g = 1; g < gates; ++g) sum[j] += partial[g];
  }
  // A transposing reduction: lane j ends with the total of sum[j].
#pragma GCC unroll 4
  for (int width = group / 2; width >= 1; width /= 2) {
#pragma GCC unroll 8
    for (int j = 0; j < width; ++j) sum[j] = AddNeighbours(sum[2 * j], sum[2 * j + 1], Neighbours{});
  }
  return group == lanes ? sum[0] : AddNeighbours(sum[0], sum[0], Neighbours{});
}

template <typename T, int gates, int vectors>
void Dots(const DotsArguments<T>& arguments) {
  constexpr int lanes = Simd<T>::kLanes;
  const DotsArguments<T> a = arguments;  // a copy that no store can change
  for (int64_t o = 0; o < a.outputs; ++o) {
    FetchShare(a.ahead, o, a.outputs);
    const int64_t count = a.lists.count[o];
    if (count == 0) continue;
    const int64_t begin = a.lists.begin ? a.lists.begin[o] : o * a.lists.capacity;
    const int32_t* index = a.lists.index + begin;
    T* result = a.result + begin;
    Vec<T> left[gates * vectors];
#pragma GCC unroll 3
    for (int g = 0; g < gates; ++g) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) left[g * vectors + v] = Load(a.left.base[g] + o * a.left.stride[g] + v * lanes);
    }
    for (int64_t p = 0; p < count; p += lanes) {
      const Vec<T> sums = count - p > lanes / 2 ? DotGroup<T, gates, vectors, lanes>(a, left, index + p, count - p)
                                                : DotGroup<T, gates, vectors, lanes / 2>(a, left, index + p, count - p);
      Store<T>(result + p, Load<T>(result + p) + sums);
    }
  }
}

template <typename T>
void CopyMasked(const T* from, const uint16_t* mask, int64_t count, T* to) {
  constexpr int64_t lanes = Simd<T>::kLanes;
  for (int64_t i = 0; i < count; i += lanes, ++mask) {
    const int all = *mask;
#ifdef __AVX512F__
    const int valid = count - i < lanes ? (1 << (count - i)) - 1 : (1 << lanes) - 1;
    if constexpr (sizeof(T) == 4) {
      const __m512 numbers = _mm512_maskz_loadu_ps(static_cast<__mmask16>(all), from + i);
      _mm512_mask_storeu_ps(to + i, static_cast<__mmask16>(valid), numbers);
    } else {
      const __m512d numbers = _mm512_maskz_loadu_pd(static_cast<__mmask8>(all), from + i);
      _mm512_mask_storeu_pd(to + i, static_cast<__mmask8>(valid), numbers);
    }
#else
    for (int64_t j = 0; j < lanes && i + j < count; ++j) to[i + j] = all >> j & 1 ? from[i + j] : T(0);
#endif
  }
}

template <typename T>
void SigmoidInPlace(T* values, int64_t count) {
  for (int64_t i = 0; i < count; i += Simd<T>::kLanes) Store<T>(values + i, Sigmoid<T>(Load(values + i)));
}

template <typename T>
inline Vec<T> LoadZoneout(const T* zoneout, int64_t stride, int64_t row, int64_t unit, int64_t valid) {
  return stride < 0 ? Vec<T>{} + zoneout[0] : LoadPart(zoneout + row * stride + unit, valid);
}

template <typename T>
int64_t ListNonzero(const T* numbers, int64_t columns, int32_t* index, T* value) {
  int64_t found = 0;
#ifdef KERAS_EGRU_COMPRESS
  constexpr int lanes = Simd<T>::kLanes;
  for (int64_t i = 0; i < columns; i += lanes) {
    const int64_t valid = columns - i < lanes ? columns - i : lanes;
    const unsigned tail = valid == 16 ? 0xffffu : (1u << valid) - 1;
    if constexpr (sizeof(T) == 4) {
      const __m512 x = _mm512_maskz_loadu_ps(tail, numbers + i);
      const __mmask16 mask = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
      const __m512i at = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(i)),
                                          _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
      _mm512_storeu_si512(index + found, _mm512_maskz_compress_epi32(mask, at));
      _mm512_storeu_ps(value + found, _mm512_maskz_compress_ps(mask, x));
      found += __builtin_popcount(mask);
    } else {
      const __m512d x = _mm512_maskz_loadu_pd(tail, numbers + i);
      const __mmask8 mask = _mm512_cmp_pd_mask(x, _mm512_setzero_pd(), _CMP_NEQ_UQ);
      const __m256i at = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(i)),
                                          _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(index + found), _mm256_maskz_compress_epi32(mask, at));
      _mm512_storeu_pd(value + found, _mm512_maskz_compress_pd(mask, x));
      found += __builtin_popcount(mask);
    }
  }
#else
  for (int64_t i = 0; i < columns; ++i) {  // without a branch: writes at `found` <= i
    index[found] = static_cast<int32_t>(i);
    value[found] = numbers[i];
    found += numbers[i] != T(0);
  }
#endif
  return found;
}

template <typename T>
int64_t ListPassing(const T* c, const T* threshold, int64_t columns, T height, T inverse_width, int32_t* index) {
  constexpr int lanes = Simd<T>::kLanes;
  int64_t found = 0;
  for (int64_t i = 0; i < columns; i += lanes) {
    const int64_t valid = columns - i < lanes ? columns - i : lanes;
    const Vec<T> state = LoadPart(c + i, valid), v = state - LoadPart(threshold + i, valid);
    const Vec<T> event = v > T(0) ? Vec<T>{} + T(1) : Vec<T>{};
    T passes[lanes];
    Store<T>(passes, event + state * SurrogateSlope<T>(v, height, inverse_width));
    int32_t at[lanes] = {};
    T unused[lanes];
    const int64_t more = ListNonzero<T>(passes, valid, at, unused);
    for (int64_t j = 0; j < lanes; ++j) index[found + j] = at[j] + static_cast<int32_t>(i);
    found += more;
  }
  return found;
}

// Brings numbers that will be written into the cache: the rows of a sequence lie so far apart that nobody guesses them.
template <typename T>
inline void FetchToWrite(T* from, int64_t count) {
  constexpr int64_t line = 64 / sizeof(T);
  for (int64_t i = 0; i < count; i += line) __builtin_prefetch(from + i, 1, 3);
}

// c_t and y_t of one tile from its pre-activations (DESIGN of the equations: keras_egru/ops/egru_step.py).
template <typename T>
void StateForward(StateForwardArguments<T>& arguments) {
  constexpr int lanes = Simd<T>::kLanes;
  constexpr int tile = lanes * kMaxVectors;
  constexpr int64_t ahead = 4;  // rows
  using Counts = typename Simd<T>::IntegerVector;
  const StateForwardArguments<T> a = arguments;  // a copy that no store can change
  Counts backward = {}, surrogate = {};
  for (int64_t row = 0; row < a.rows; ++row) {
    T* gates = a.gates + row * kGates * tile;
    T* state = a.state + row * tile;
    const T* previous_y = a.previous_y + row * a.previous_y_stride;
    T* y_row = a.y + row * a.y_stride;
    T* c_row = a.c ? a.c + row * a.c_stride : nullptr;
    if (row + ahead < a.rows) {
      FetchToWrite(y_row + ahead * a.y_stride, a.width);
      if (c_row) FetchToWrite(c_row + ahead * a.c_stride, a.width);
    }
    const bool masked = a.mask && !a.mask[row * a.mask_stride];
    for (int64_t i = 0; masked && i < a.width; i += lanes) {
      const int64_t valid = a.width - i;
      StorePart<T>(y_row + i, LoadPart(previous_y + i, valid), valid);
      if (c_row) StorePart<T>(c_row + i, Load(state + i), valid);
    }
    for (int64_t i = 0; !masked && i < a.width; i += lanes) {
      const int64_t valid = a.width - i;
      const Vec<T> threshold = Load(a.threshold + i);
      const Vec<T> c0 = Load(state + i);
      const Vec<T> u = Sigmoid<T>(Load(gates + i));
      Vec<T> r = Load(gates + tile + i);
      if (!a.reset_gate_known) r = Sigmoid<T>(r);
      Vec<T> a_z = Load(gates + 2 * tile + i);
      if (a.reset_after) a_z += r * Load(a.candidate + row * tile + i);
      const Vec<T> z = Tanh<T>(a_z);
      Store<T>(gates + i, u);
      Store<T>(gates + tile + i, r);
      Store<T>(gates + 2 * tile + i, z);

      Vec<T> c;
      if (a.reset == Reset::kThreshold) {
        c = u * z + (T(1) - u) * c0;
        c = c0 > threshold ? c - threshold : c;
      } else {
        const Vec<T> y0 = LoadPart(previous_y + i, valid);
        c = a.reset == Reset::kSubtract ? u * z + (T(1) - u) * c0 - y0 : u * z + (T(1) - u) * (c0 - y0);
      }
      if (a.zoneout) {
        const Vec<T> kept = LoadZoneout(a.zoneout, a.zoneout_stride, row, i, valid);
        c = kept * c0 + (T(1) - kept) * c;
      }
      const Vec<T> slope = SurrogateSlope<T>(c - threshold, a.height, a.inverse_width);
      const Vec<T> y = c <= threshold ? Vec<T>{} : c;  // NaN stays visible
      Store<T>(state + i, c);
      if (c_row) StorePart<T>(c_row + i, c, valid);
      StorePart<T>(y_row + i, y, valid);
      const Vec<T> passes = (c > threshold ? Vec<T>{} + T(1) : Vec<T>{}) + c * slope;
      if (valid >= lanes) {
        backward -= (Counts)(passes != T(0));
        surrogate -= (Counts)(slope != T(0));
      } else {
        for (int64_t j = 0; j < valid; ++j) {
          backward[j] += passes[j] != T(0);
          surrogate[j] += slope[j] != T(0);
        }
      }
    }
    a.event_count[row] =
        static_cast<int32_t>(ListNonzero<T>(y_row, a.width, a.event_index + row * tile, a.event_value + row * tile));
  }
  for (int j = 0; j < lanes; ++j) {
    arguments.backward_entries += backward[j];
    arguments.surrogate_entries += surrogate[j];
  }
}

// From dL/dy_t and dL/dc_t to the gradients of the pre-activations, and to what the earlier step inherits.
template <typename T>
void StateBackward(const StateBackwardArguments<T>& a) {
  constexpr int lanes = Simd<T>::kLanes;
  constexpr int tile = lanes * kMaxVectors;
  const Vec<T> zero = {}, one = zero + T(1);
  for (int64_t row = 0; row < a.rows; ++row) {
    T* gates = a.gates + row * kGates * tile;
    T* candidate = a.reset_after ? a.candidate + row * tile : nullptr;
    T* carry_y = a.carry_y + row * tile;
    T* carry_c = a.carry_c + row * tile;
    const bool masked = a.mask && !a.mask[row * a.mask_stride];
    for (int64_t i = 0; i < a.width; i += lanes) {
      const int64_t valid = a.width - i;
      Vec<T> grad_y = Load(carry_y + i), grad_c = Load(carry_c + i);
      if (a.grad_y) grad_y += LoadPart(a.grad_y + row * a.stride + i, valid);
      if (a.grad_c) grad_c += LoadPart(a.grad_c + row * a.stride + i, valid);
      if (masked) {  // y_t = y_{t-1}, c_t = c_{t-1}
        Store<T>(carry_y + i, grad_y);
        Store<T>(carry_c + i, grad_c);
        for (int g = 0; g < kGates; ++g) Store<T>(gates + g * tile + i, zero);
        if (a.reset_after) Store<T>(candidate + i, zero);
        continue;
      }
      const Vec<T> threshold = Load(a.threshold + i);
      const Vec<T> c = LoadPart(a.c + row * a.stride + i, valid);
      const Vec<T> c0 = LoadPart(a.previous_c + row * a.previous_c_stride + i, valid);
      const Vec<T> u = Load(gates + i), r = Load(gates + tile + i), z = Load(gates + 2 * tile + i);

      // y_t = c_t H(c_t - threshold)
      const Vec<T> c_slope = c * SurrogateSlope<T>(c - threshold, a.height, a.inverse_width);
      grad_c += grad_y * ((c > threshold ? one : zero) + c_slope);
      Vec<T> grad_threshold = -grad_y * c_slope;

      Vec<T> inherited_c = zero;
      if (a.zoneout) {
        const Vec<T> kept = LoadZoneout(a.zoneout, a.zoneout_stride, row, i, valid);
        inherited_c = kept * grad_c;
        grad_c = (one - kept) * grad_c;
      }
      Vec<T> leaking = c0;  // what the leak 1 - u multiplies
      Vec<T> inherited_y = zero;
      inherited_c += (one - u) * grad_c;
      if (a.reset == Reset::kThreshold) {
        const Vec<T> slope0 = SurrogateSlope<T>(c0 - threshold, a.height, a.inverse_width);
        inherited_c -= threshold * slope0 * grad_c;
        grad_threshold += grad_c * (threshold * slope0 - (c0 > threshold ? one : zero));
      } else if (a.reset == Reset::kSubtract) {
        inherited_y = -grad_c;
      } else {
        inherited_y = -(one - u) * grad_c;
        leaking = c0 - LoadPart(a.previous_y + row * a.previous_y_stride + i, valid);
      }
      const Vec<T> grad_a_u = grad_c * (z - leaking) * u * (one - u);
      const Vec<T> grad_a_z = grad_c * u * (one - z * z);
      Store<T>(carry_y + i, inherited_y);
      Store<T>(carry_c + i, inherited_c);
      Store<T>(gates + i, grad_a_u);
      Store<T>(a.grad_threshold + i, Load(a.grad_threshold + i) + grad_threshold);
      Store<T>(a.grad_bias + i, Load(a.grad_bias + i) + grad_a_u);
      Store<T>(a.grad_bias + 2 * tile + i, Load(a.grad_bias + 2 * tile + i) + grad_a_z);
      if (a.reset_after) {
        const Vec<T> grad_a_r = grad_a_z * Load(candidate + i) * r * (one - r);
        Store<T>(gates + tile + i, grad_a_r);
        Store<T>(gates + 2 * tile + i, grad_a_z * r);
        Store<T>(candidate + i, grad_a_z);
        Store<T>(a.grad_bias + tile + i, Load(a.grad_bias + tile + i) + grad_a_r);
        Store<T>(a.grad_bias + 3 * tile + i, Load(a.grad_bias + 3 * tile + i) + grad_a_z * r);
      } else {
        Store<T>(gates + 2 * tile + i, grad_a_z);  // r stays: the caller turns it into the gradient of a_r
      }
    }
  }
}

// Reads memory as fast as it comes.
template <typename T>
void Read(const T* memory, int64_t bytes) {
  constexpr int lanes = Simd<T>::kLanes, streams = 4;
  Vec<T> sum[streams] = {};
  const T* end = memory + bytes / static_cast<int64_t>(sizeof(T));
  for (; memory + streams * lanes <= end; memory += streams * lanes) {
#pragma GCC unroll 4
    for (int i = 0; i < streams; ++i) sum[i] += Load(memory + i * lanes);
  }
  for (int i = 0; i < streams; ++i) asm volatile("" : : "m"(sum[i]));
}

// Multiplies and adds in registers, on as many sums as hide the latency.
template <typename T>
int64_t MultiplyAdd(int64_t rounds) {
  constexpr int lanes = Simd<T>::kLanes, sums = 12;
  T start[sums * lanes] = {};
  asm volatile("" : : "r"(start) : "memory");  // or the compiler makes one sum of twelve that are alike
  Vec<T> sum[sums];
#pragma GCC unroll 12
  for (int s = 0; s < sums; ++s) sum[s] = Load(start + s * lanes);
  const Vec<T> factor = Vec<T>{} + T(0.5);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int s = 0; s < sums; ++s) sum[s] = sum[s] * factor + factor;
  }
  for (int s = 0; s < sums; ++s) asm volatile("" : : "m"(sum[s]));
  return rounds * sums * lanes;
}

template <typename T>
constexpr Kernels<T> MakeKernels(const char* name) {
  constexpr int lanes = Simd<T>::kLanes;
  constexpr int tile = lanes * kMaxVectors;
  static_assert(tile <= kMaxTile);
  return {
      name,
      lanes,
      tile,
      {{Accumulate<T, 1, 1>, Accumulate<T, 1, 2>, Accumulate<T, 1, 3>, Accumulate<T, 1, 4>},
       {Accumulate<T, 2, 1>, Accumulate<T, 2, 2>, Accumulate<T, 2, 3>, Accumulate<T, 2, 4>},
       {Accumulate<T, 3, 1>, Accumulate<T, 3, 2>, Accumulate<T, 3, 3>, Accumulate<T, 3, 4>}},
      Stream<T, T>,
      Stream<T, int8_t>,
      MakePieceKernels<T>(),
      {AddLive<T, 1>, AddLive<T, 2>, AddLive<T, 3>, AddLive<T, 4>},
      {AddLiveColumns<T, 1>, AddLiveColumns<T, 2>, AddLiveColumns<T, 3>, AddLiveColumns<T, 4>},
      {AddLiveRows<T, 1>, AddLiveRows<T, 2>, AddLiveRows<T, 3>, AddLiveRows<T, 4>},
      Transpose<T>,
      AccumulateSelected<T>,
      {{Dots<T, 1, 1>, Dots<T, 1, 2>, Dots<T, 1, 3>, Dots<T, 1, 4>},
       {Dots<T, 2, 1>, Dots<T, 2, 2>, Dots<T, 2, 3>, Dots<T, 2, 4>},
       {Dots<T, 3, 1>, Dots<T, 3, 2>, Dots<T, 3, 3>, Dots<T, 3, 4>}},
      CopyMasked<T>,
      SigmoidInPlace<T>,
      ListNonzero<T>,
      ListPassing<T>,
      StateForward<T>,
      StateBackward<T>,
      {DenseBlockBytes<T>(), DenseShape<T>::kPanel, 1, PackLeft<T, false>, PackLeft<T, true>, PackRight<T, false>,
       PackRight<T, true>, Multiply<T>},
      MakeLifKernels<T>(),
      MakeInfluenceKernels<T>(),
      {0.28, 0.7, 0.65, 0.6, 0.45, 0.25, 1.2, 1.4, 2.2, 1.5, 1.6, 0.058},
      Read<T>,
      MultiplyAdd<T>,
  };
}

}  // namespace
}  // namespace keras_egru
