// Dense float products on the matrix unit (AMX) at the accuracy of float: compiled with its flags, run only where the
// processor has it. Everything else is taken from the AVX-512 kernels.
//
// The unit multiplies bfloat16 and adds in float. A float is the exact sum of three bfloat16 numbers, high + middle + low
// (8 bits of mantissa each); of the nine products of two such sums the three smallest, middle * low and below, are less
// than 2^-25 of the whole and are left out. The six others cost less than half of the time of float arithmetic.
//
// A left block is [row tiles, depth tiles, 3 parts] of tiles [16 rows, 32 numbers of depth]; a right block is [column
// tiles, depth tiles, 3 parts] of tiles [16 pairs of depth, 16 columns, 2]. A tile is a kilobyte.
#include "kernels.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace keras_egru {
namespace {

constexpr int64_t kTile = 64;      // tile_units of the AVX-512 kernels for float
constexpr int64_t kSide = 16;      // rows and columns of an output tile
constexpr int64_t kDepth = 32;     // of one tile of a factor
constexpr int64_t kTileBytes = 1024;
constexpr int64_t kParts = 3;
constexpr int64_t kDepthTiles = kTile / kDepth;

inline int64_t CeilOf(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline char* TileAt(void* block, int64_t side, int64_t depth, int64_t part) {
  return static_cast<char*>(block) + ((side * kDepthTiles + depth) * kParts + part) * kTileBytes;
}
inline const char* TileAt(const void* block, int64_t side, int64_t depth, int64_t part) {
  return TileAt(const_cast<void*>(block), side, depth, part);
}

inline __m512 Widen(__m512i low_halves) { return _mm512_castsi512_ps(_mm512_slli_epi32(low_halves, 16)); }

// The next part of `rest` as bfloat16 in the low halves; what it leaves stays in `rest`. Infinities and NaN have no rest.
inline __m512i TakePart(__m512& rest) {
  const __m512i part = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(rest));
  const __m512 value = Widen(part);
  const __mmask16 special = _mm512_fpclass_ps_mask(value, 0x99);
  rest = _mm512_maskz_sub_ps(_knot_mask16(special), rest, value);
  return part;
}

// The parts of two vectors: a in the low and b in the high halves.
inline void SplitPair(__m512 a, __m512 b, __m512i parts[kParts]) {
  for (int p = 0; p < kParts; ++p) {
    const __m512i low = TakePart(a), high = TakePart(b);
    parts[p] = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }
}

inline __m512 LoadPart(const float* from, int64_t count) {
  if (count >= kSide) return _mm512_loadu_ps(from);
  return count <= 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps((1u << count) - 1, from);
}

// Transposes 16 x 16 numbers of 32 bits.
inline void Transpose(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

// Vectors of numbers of one depth each, [depth, side]: tiles of pairs as the right factor wants them.
template <bool left>
void PackAcross(const PackArguments<float>& a) {
  for (int64_t side = 0; side < CeilOf(a.length, kSide); ++side) {
    for (int64_t depth = 0; depth < CeilOf(a.count, kDepth); ++depth) {
      __m512i tiles[kParts][16];
      for (int64_t pair = 0; pair < 16; ++pair) {
        __m512 rows[2];
        for (int64_t half = 0; half < 2; ++half) {
          const int64_t v = depth * kDepth + pair * 2 + half;
          const float* from = v < a.count ? a.vectors[v] : nullptr;
          rows[half] = from ? LoadPart(from + a.offset + side * kSide, a.length - side * kSide) : _mm512_setzero_ps();
        }
        __m512i parts[kParts];
        SplitPair(rows[0], rows[1], parts);
        for (int64_t p = 0; p < kParts; ++p) tiles[p][pair] = parts[p];
      }
      for (int64_t p = 0; p < kParts; ++p) {
        if (left) Transpose(tiles[p]);
        char* to = TileAt(a.block, side, depth, p);
        for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(to + i * 64, tiles[p][i]);
      }
    }
  }
}

// Vectors that run along the depth, [side, depth]: rows of tiles as the left factor wants them.
template <bool left>
void PackAlong(const PackArguments<float>& a) {
  // Picks the low halves of 16-bit pairs: those of the first vector, then those of the second.
  const __m512i lows = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26, 24, 22,
                                        20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  for (int64_t side = 0; side < CeilOf(a.count, kSide); ++side) {
    for (int64_t depth = 0; depth < CeilOf(a.length, kDepth); ++depth) {
      __m512i tiles[kParts][16];
      for (int64_t row = 0; row < 16; ++row) {
        const int64_t v = side * kSide + row;
        const float* from = v < a.count ? a.vectors[v] : nullptr;
        __m512 halves[2];
        for (int64_t half = 0; half < 2; ++half) {
          const int64_t first = depth * kDepth + half * kSide;
          halves[half] = from ? LoadPart(from + a.offset + first, a.length - first) : _mm512_setzero_ps();
        }
        for (int64_t p = 0; p < kParts; ++p) {
          const __m512i first = TakePart(halves[0]), second = TakePart(halves[1]);
          tiles[p][row] = _mm512_permutex2var_epi16(first, lows, second);
        }
      }
      for (int64_t p = 0; p < kParts; ++p) {
        if (!left) Transpose(tiles[p]);
        char* to = TileAt(a.block, side, depth, p);
        for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(to + i * 64, tiles[p][i]);
      }
    }
  }
}

struct alignas(64) TileConfiguration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Two row tiles by two column tiles of the output in tiles 0 to 3, or fewer; parts of the left factor in 4 and 5, of the
// right in 6 and 7.
template <int row_tiles, int column_tiles>
inline void MultiplyTiles(const MultiplyArguments<float>& a, int64_t row, int64_t column, int64_t depth_tiles, float* output,
                          int64_t stride, int64_t part, int64_t parts) {
  const int64_t bytes = stride * static_cast<int64_t>(sizeof(float));
  // Rows 0 apart are one row again and again.
  const float* start = a.start ? a.start + column * kSide : output;
  const int64_t start_stride = a.start ? 0 : stride, start_bytes = start_stride * static_cast<int64_t>(sizeof(float));
  _tile_loadd(0, start, start_bytes);
  if (column_tiles > 1) _tile_loadd(1, start + kSide, start_bytes);
  if (row_tiles > 1) _tile_loadd(2, start + kSide * start_stride, start_bytes);
  if (row_tiles > 1 && column_tiles > 1) _tile_loadd(3, start + kSide * start_stride + kSide, start_bytes);
  for (int64_t depth = 0; depth < depth_tiles; ++depth) {
    const auto left = [&](int which) {
      _tile_loadd(4, TileAt(a.left, row, depth, which), 64);
      if (row_tiles > 1) _tile_loadd(5, TileAt(a.left, row + 1, depth, which), 64);
    };
    const auto right = [&](int which) {
      _tile_loadd(6, TileAt(a.right, column, depth, which), 64);
      if (column_tiles > 1) _tile_loadd(7, TileAt(a.right, column + 1, depth, which), 64);
    };
    constexpr int64_t products = 6;
    int64_t product = (part * depth_tiles + depth) * products;
    const auto multiply = [&] {
      FetchShare(a.ahead, product++, parts * depth_tiles * products);
      _tile_dpbf16ps(0, 4, 6);
      if (column_tiles > 1) _tile_dpbf16ps(1, 4, 7);
      if (row_tiles > 1) _tile_dpbf16ps(2, 5, 6);
      if (row_tiles > 1 && column_tiles > 1) _tile_dpbf16ps(3, 5, 7);
    };
    left(0);
    right(2);
    multiply();
    right(1);
    multiply();
    right(0);
    multiply();
    left(2);
    multiply();
    left(1);
    multiply();
    right(1);
    multiply();
  }
  _tile_stored(0, output, bytes);
  if (column_tiles > 1) _tile_stored(1, output + kSide, bytes);
  if (row_tiles > 1) _tile_stored(2, output + kSide * stride, bytes);
  if (row_tiles > 1 && column_tiles > 1) _tile_stored(3, output + kSide * stride + kSide, bytes);
}

void AmxMultiply(const MultiplyArguments<float>& a) {
  static const TileConfiguration configuration;
  _tile_loadconfig(&configuration);
  const int64_t row_tiles = CeilOf(a.rows, kSide), column_tiles = CeilOf(a.columns, kSide);
  const int64_t depth_tiles = CeilOf(a.depth, kDepth), parts = CeilOf(row_tiles, 2) * CeilOf(column_tiles, 2);
  int64_t part = 0;
  for (int64_t row = 0; row < row_tiles; row += 2) {
    for (int64_t column = 0; column < column_tiles; column += 2, ++part) {
      const bool two_rows = row + 1 < row_tiles, two_columns = column + 1 < column_tiles;
      const auto multiply = two_rows ? (two_columns ? MultiplyTiles<2, 2> : MultiplyTiles<2, 1>)
                                     : (two_columns ? MultiplyTiles<1, 2> : MultiplyTiles<1, 1>);
      float* output = a.output + row * kSide * a.stride + column * kSide;
      const int64_t rows = a.rows - row * kSide;
      if (rows >= (two_rows ? 2 : 1) * kSide) {
        multiply(a, row, column, depth_tiles, output, a.stride, part, parts);
        continue;
      }
      // Rows that do not fill their tiles go through a copy.
      alignas(64) float whole[2 * kSide][2 * kSide] = {};
      const int64_t columns = (two_columns ? 2 : 1) * kSide;
      for (int64_t i = 0; i < rows; ++i) __builtin_memcpy(whole[i], output + i * a.stride, columns * sizeof(float));
      multiply(a, row, column, depth_tiles, whole[0], 2 * kSide, part, parts);
      for (int64_t i = 0; i < rows; ++i) __builtin_memcpy(output + i * a.stride, whole[i], columns * sizeof(float));
    }
  }
  _tile_release();
}

// The processor and the system have the matrix unit, and the system lets this process use it.
bool HasAmx() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24, avx512_bf16 = 1u << 5;
  if ((d & amx_bf16) == 0 || (d & amx_tile) == 0) return false;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a & avx512_bf16) == 0) return false;
  constexpr int request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

template <typename T>
Kernels<T> WithAmx(Kernels<T> kernels) {
  kernels.name = "amx";
  return kernels;
}

template <>
Kernels<float> WithAmx(Kernels<float> kernels) {
  kernels.name = "amx";
  DenseKernels<float>& dense = kernels.dense;
  dense.block_bytes = kTile / kSide * kDepthTiles * kParts * kTileBytes;
  dense.row_block = kSide;
  dense.depth_block = kDepth;
  dense.pack_left = PackAlong<true>;
  dense.pack_left_transposed = PackAcross<true>;
  dense.pack_right = PackAcross<false>;
  dense.pack_right_transposed = PackAlong<false>;
  dense.multiply = AmxMultiply;
  kernels.costs.dense = 0.28;  // 0.13 alone on a core, up to 0.35 where neighbours use the unit too
  return kernels;
}

}  // namespace

template <typename T>
const Kernels<T>* AmxKernels() {
  static const bool has_amx = HasAmx();
  if (!has_amx || !Avx512Kernels<T>()) return nullptr;
  static const Kernels<T> kernels = WithAmx<T>(*Avx512Kernels<T>());
  return &kernels;
}

}  // namespace keras_egru

#else

namespace keras_egru {

template <typename T>
const Kernels<T>* AmxKernels() {
  return nullptr;
}

}  // namespace keras_egru

#endif

namespace keras_egru {

template const Kernels<float>* AmxKernels<float>();
template const Kernels<double>* AmxKernels<double>();

}  // namespace keras_egru
