// The arithmetic of the engine: a table of kernels, one table an instruction set and number type.
//
// The kernels know tiles and lists, not sequences. A tile is `tile_units` consecutive units; weights are packed tile by
// tile, so that each row of a tile is read in order. Every kernel works on whole tiles of one, two or three gates.
#ifndef KERAS_EGRU_ENGINE_KERNELS_H_
#define KERAS_EGRU_ENGINE_KERNELS_H_

#include <cstdint>

#include "influence_kernels.h"
#include "lif_kernels.h"

namespace keras_egru {

constexpr int kGates = 3;        // u, r, z
constexpr int kMaxVectors = 4;   // vectors of one gate in a tile
constexpr int kMaxTile = 64;     // units of a tile: its rows of a weight tile about fill the L1 cache

enum class Reset { kThreshold = 0, kSubtract = 1, kZero = 2 };

// Lists of (index, value), one an output row. Row o holds `count[o]` entries from `begin[o]` on, or from
// `o * capacity` on where `begin` is null.
template <typename T>
struct Lists {
  const int32_t* index = nullptr;
  const T* value = nullptr;
  const int32_t* count = nullptr;
  const int64_t* begin = nullptr;
  int64_t capacity = 0;
};

// Rows of one tile, gate by gate: row i of gate g starts at `base[g] + i * stride[g]`.
template <typename T>
struct TileRows {
  T* base[kGates] = {nullptr, nullptr, nullptr};
  int64_t stride[kGates] = {0, 0, 0};

  operator TileRows<const T>() const { return {{base[0], base[1], base[2]}, {stride[0], stride[1], stride[2]}}; }
};

// Memory that the next call will read: fetched towards the cache while this call computes, a share for each output row,
// since rows are read in an order that the processor cannot guess.
struct Ahead {
  const char* from = nullptr;
  int64_t bytes = 0;
};

// Fetches the share of part `part` of `parts`.
inline void FetchShare(const Ahead& ahead, int64_t part, int64_t parts) {
  if (ahead.bytes == 0) return;
  constexpr int64_t line = 64;
  const int64_t lines = ahead.bytes / line;
  for (int64_t l = lines * part / parts; l < lines * (part + 1) / parts; ++l) {
    __builtin_prefetch(ahead.from + l * line, 0, 3);
  }
}

// output[o] = start[o] + sum over entries e of row o: value[e] * source[index[e]]   (a sparse-times-dense product)
// Cost an entry: gates * vectors FMAs and loads, one broadcast; an output row is loaded and stored once. `start` is the
// output itself, or a bias of stride 0.
template <typename T>
struct AccumulateArguments {
  int64_t outputs;
  Lists<T> lists;
  TileRows<const T> start;
  TileRows<T> output;
  TileRows<const T> source;
  Ahead ahead = {};
  const int32_t* order = nullptr;  // of the outputs, or null
};

constexpr int64_t kLiveTogether = 4;  // weights of a row

// Rows of sums, `width` numbers apart, over lists of live weights times rows of `source`, as far apart; the outputs in `order`.
//   add_live:          sums[o]     += value[e] * source[index[e]]
//   add_live_columns:  sums[4 o+q] += value[e][q] * source[index[e]]
//   add_live_rows:     sums[o]     += over q: value[e][q] * source[index[e] + q]
// Cost a weight: `vectors` FMAs, with as many loads but for add_live_columns, which has a quarter of them; one broadcast.
template <typename T>
struct LiveArguments {
  int64_t outputs;
  Lists<T> lists;
  const int32_t* order;
  bool begins;  // the sums start from zero
  const T* source;
  T* sums;
  int64_t width;
};

constexpr int kStreams = 8;  // rows that are read at once, as many as the processor fetches ahead without being told

// output[j] = start[j] + scale[j] * sum over r < rows: factor[r] * row[r][j], for j < length: rows far from the cache, each
// read in order. `Weight` is T, without a scale, or int8_t. Output and start lie in pieces of `tile_units`, `*_step` apart.
template <typename T, typename Weight>
struct StreamArguments {
  int rows;  // at most kStreams
  const Weight* row[kStreams];
  const T* factor;
  int64_t length;  // a multiple of `lanes`
  const T* scale;  // [length], or null for numbers
  const T* start;
  int64_t start_step;
  T* output;
  int64_t output_step;
};

// How the live weights of a row are kept (live_pieces.h): number by number, vectors of which some number is live, in bunches of
// kPiecesTogether, or numbers beside the masks of all vectors.
enum class Pieces { kNumbers = 0, kVectors = 1, kMasked = 2 };
constexpr int kPieceForms = 3;
constexpr int kPiecesTogether = 4;

template <typename T>
struct PieceLists {
  const int64_t* begin;  // of row i: numbers, or bunches, from begin[i * stride] to begin[i * stride + 1]
  int64_t stride;
  const int32_t* place;  // of a number, or of each vector of a bunch
  const uint16_t* mask;  // which lanes of a vector are live; row i from mask[i * mask_stride] on, `vectors` long
  int64_t mask_stride, vectors;
  const T* value;
};

struct LiveCount {
  int32_t numbers, vectors;  // that are not zero; of which some number is not
};

template <typename T>
struct PieceKernels {
  // Writes a bit for every lane of `vectors` vectors, set where a number is not zero (NaN is not); `columns` numbers are there.
  LiveCount (*mask_nonzero)(const T* numbers, int64_t columns, int64_t vectors, uint16_t* mask);
  // By form, null where there are no instructions for it.
  // output[column] += factor[r] * weight[index[r], column] over `rows` rows r
  void (*add[kPieceForms])(const PieceLists<T>& lists, int64_t rows, const int32_t* index, const T* factor, T* output);
  // result[r] = <weight[index[r], :], source>
  void (*dot[kPieceForms])(const PieceLists<T>& lists, int64_t rows, const int32_t* index, const T* source, T* result);
};

// to[j][i] = start[j][i] + from[i][j] for i < rows, zero beyond, and j < columns. Reads whole vectors of `from` and writes
// whole vectors of `to`; `start` null is zero. Cost: 2 log2(lanes) shuffles for `lanes` numbers of a row.
template <typename T>
struct TransposeArguments {
  int64_t rows, columns;
  const T* from;
  int64_t from_stride;
  const T* start;
  int64_t start_stride;
  T* to;
  int64_t to_stride;
};

// As AccumulateArguments, for some vectors of every output row alone: those that its list of columns, counted from the start
// of [3, tile_units], names. Cost an entry and vector: an FMA with a load; a broadcast for up to four.
template <typename T>
struct SelectedArguments {
  int64_t outputs;
  const int32_t* order;  // of the outputs
  Lists<T> lists;
  const int64_t* begin;  // the vectors of every output row
  const int32_t* count;
  const int32_t* column;
  T* output;  // rows [3, tile_units]
  TileRows<const T> source;
};

// result[begin[o] + p] += <left[o], row[index[p]]>   for every entry p of row o   (a sampled dense-dense product)
// Cost an entry: gates * vectors FMAs and loads, and a share of one transposing reduction of `lanes` entries.
// `result` is as long as the lists, whose capacity is a multiple of `lanes`. The gates of `row` share one stride.
template <typename T>
struct DotsArguments {
  int64_t outputs;
  Lists<T> lists;
  TileRows<const T> left;
  TileRows<const T> row;
  T* result;
  Ahead ahead = {};
  bool scattered = false;  // the next call reads the same rows, a tile further: fetch that
};

// The elementwise part of one step for one tile of `rows` samples; see egru_forward.cc.
template <typename T>
struct StateForwardArguments {
  int64_t rows;
  int64_t width;      // units of the tile that exist
  bool reset_after;
  bool reset_gate_known;  // r is final already (reset_after=false)
  Reset reset;
  T height, inverse_width;  // of the triangular surrogate
  T* gates;                 // [rows, 3, tile_units]: in pre-activations, out u, r, z
  T* candidate;             // [rows, tile_units]: y V_z + b_rz, with reset_after only
  const T* threshold;       // [tile_units]
  T* state;                 // [rows, tile_units]: in c_{t-1}, out c_t
  const T* previous_y;      // rows `previous_y_stride` apart
  int64_t previous_y_stride;
  T *y, *c;                 // out, rows `y_stride` and `c_stride` apart; c may be null
  int64_t y_stride, c_stride;
  int32_t* event_index;     // out, lists of the events of y_t: row o from `o * tile_units` on, `event_count[o]` long
  T* event_value;
  int32_t* event_count;
  const T* zoneout;  // null, or rows `zoneout_stride` apart; one value for all where the stride is -1
  int64_t zoneout_stride;
  const uint8_t* mask;  // null, or one byte a row, `mask_stride` apart
  int64_t mask_stride;
  int64_t backward_entries, surrogate_entries;  // out, added to
};

// The elementwise part of one backward step for one tile; see egru_backward.cc.
template <typename T>
struct StateBackwardArguments {
  int64_t rows;
  int64_t width;
  bool reset_after;
  Reset reset;
  T height, inverse_width;
  T* gates;      // in u, r, z; out the gradients of a_u, a_r (reset_after) and of the recurrent part of a_z
  T* candidate;  // with reset_after: in y V_z + b_rz, out the gradient of a_z
  const T* threshold;
  const T *previous_y, *previous_c, *c;
  int64_t previous_y_stride, previous_c_stride, stride;
  const T *grad_y, *grad_c;  // from above, rows `stride` apart, or null for zeros
  T *carry_y, *carry_c;      // [rows, tile_units]: in from the later step, out for the earlier step
  const T* zoneout;
  int64_t zoneout_stride;
  const uint8_t* mask;
  int64_t mask_stride;
  T* grad_threshold;  // [tile_units], added to
  T* grad_bias;       // [4, tile_units], added to: u, r, z of the input; z of the recurrent part
};

// A dense product in blocks of up to `tile_units` squared: output += left * right. Both factors are packed first, from
// vectors of consecutive numbers, and padded with zeros where the product would read further.
template <typename T>
struct PackArguments {
  const T* const* vectors;  // null for a vector of zeros
  int64_t count;            // of vectors
  int64_t offset, length;   // the numbers of each vector that belong to the block
  void* block;              // `block_bytes`, aligned to a cache line
};

template <typename T>
struct MultiplyArguments {
  int64_t rows, depth, columns;
  const void* left;   // [rows, depth]
  const void* right;  // [depth, columns]
  T* output;          // [rows, columns rounded up to `lanes`], rows `stride` apart
  int64_t stride;
  Ahead ahead = {};
  const T* start = nullptr;  // a row that every output row starts from, in the place of what is there
};

template <typename T>
struct DenseKernels {
  int64_t block_bytes;
  int row_block, depth_block;  // rows and depth are rounded up to these, in time though not in memory
  void (*pack_left)(const PackArguments<T>&);              // the vectors are rows
  void (*pack_left_transposed)(const PackArguments<T>&);   // the vectors are columns
  void (*pack_right)(const PackArguments<T>&);             // the vectors are rows
  void (*pack_right_transposed)(const PackArguments<T>&);  // the vectors are columns
  void (*multiply)(const MultiplyArguments<T>&);
};

// Nanoseconds a vector of multiply-adds on the machines this was tuned on, by which a product is chosen: only their ratios
// matter. docs/performance.md has the crossovers.
struct Costs {
  double dense;                         // Kernels::dense
  double accumulate, dots, gradient;    // sparse products: forward, backward, of the weight gradient
  double live, live_together;           // live weights one by one or four together, forward and backward
  double live_gradient;                 // vectors with live weights, of the weight gradient
  double live_number, live_vector, live_masked;  // a number or vector of a row for one sample (PieceKernels::add)
  double stream;                        // a vector of a whole row for one sample
  double far_byte;                      // a byte that one core reads from beyond its cache
};

template <typename T>
struct Kernels {
  const char* name;
  int lanes;       // numbers in a vector
  int tile_units;  // kMaxVectors * lanes
  void (*accumulate[kGates][kMaxVectors])(const AccumulateArguments<T>&);
  void (*stream)(const StreamArguments<T, T>&);
  void (*stream_int8)(const StreamArguments<T, int8_t>&);
  PieceKernels<T> pieces;
  void (*add_live[kMaxVectors])(const LiveArguments<T>&);
  void (*add_live_columns[kMaxVectors])(const LiveArguments<T>&);
  void (*add_live_rows[kMaxVectors])(const LiveArguments<T>&);
  void (*transpose)(const TransposeArguments<T>&);
  void (*accumulate_selected)(const SelectedArguments<T>&);
  void (*dots[kGates][kMaxVectors])(const DotsArguments<T>&);
  void (*copy_masked)(const T* from, const uint16_t* mask, int64_t count, T* to);  // zeros where a vector's mask has no bit
  void (*sigmoid)(T* values, int64_t count);  // in place, count a multiple of lanes
  // Lists the nonzero numbers (NaN among them) and returns how many there are. Writes whole vectors: `index` and `value`
  // have room for `columns` rounded up to a multiple of `lanes`.
  int64_t (*list_nonzero)(const T* numbers, int64_t columns, int32_t* index, T* value);
  // Lists the units with e = dy/dc = H(c - threshold) + c H'(c - threshold) != 0, where a gradient passes.
  int64_t (*list_passing)(const T* c, const T* threshold, int64_t columns, T height, T inverse_width, int32_t* index);
  void (*state_forward)(StateForwardArguments<T>&);
  void (*state_backward)(const StateBackwardArguments<T>&);
  DenseKernels<T> dense;
  LifKernels<T> lif;
  InfluenceKernels<T> influence;
  Costs costs;
  // What the machine can do at most; see machine_limits.cc.
  void (*read)(const T* memory, int64_t bytes);
  int64_t (*multiply_add)(int64_t rounds);  // returns the number of multiply-adds
};

// The widest kernels that this processor runs; the environment variable KERAS_EGRU_ISA (scalar, avx2, avx512, amx) names
// others, and is ignored where the processor lacks them.
template <typename T>
const Kernels<T>& SelectKernels();

// The same for a dense product of so few rows that packing for the matrix unit takes longer than the unit saves.
template <typename T>
const Kernels<T>& KernelsForFewRows(const Kernels<T>& kernels);

template <typename T>
const Kernels<T>* ScalarKernels();
template <typename T>
const Kernels<T>* Avx2Kernels();  // null where not compiled in or not supported
template <typename T>
const Kernels<T>* Avx512Kernels();
template <typename T>
const Kernels<T>* AmxKernels();  // those of AVX-512, with the dense products of float on the matrix unit

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_KERNELS_H_
