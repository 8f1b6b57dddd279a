// Matrices packed for dense products, and the choice between a dense and a sparse product.
#ifndef KERAS_EGRU_ENGINE_DENSE_BLOCKS_H_
#define KERAS_EGRU_ENGINE_DENSE_BLOCKS_H_

#include <cstddef>
#include <cstdint>

#include "egru.h"
#include "kernels.h"
#include "tiles.h"

namespace keras_egru {

// Blocks of a packed factor, numbered by their user. No memory is taken before Resize.
template <typename T>
class DenseBlocks {
 public:
  explicit DenseBlocks(const Kernels<T>& kernels) : bytes_(kernels.dense.block_bytes) {}

  void Resize(int64_t blocks) { memory_.Resize(blocks * bytes_); }
  bool empty() const { return memory_.size() == 0; }
  void* operator[](int64_t block) const { return memory_.get() + block * bytes_; }
  // Block `block`, to be fetched while another is multiplied; nothing beyond the last.
  Ahead Memory(int64_t block) const {
    if ((block + 1) * bytes_ > memory_.size()) return {};
    return {reinterpret_cast<const char*>(memory_.get() + block * bytes_), bytes_};
  }

 private:
  int64_t bytes_;
  Buffer<std::byte> memory_;
};

// The places in DenseBlocks of a weight matrix cut by tiles of its columns, gates, and blocks of its rows.
struct WeightBlocks {
  int64_t row_blocks;

  int64_t count(int64_t tiles) const { return tiles * row_blocks * kGates; }
  int64_t at(int64_t tile, int64_t row_block, int gate) const { return (tile * row_blocks + row_block) * kGates + gate; }
};

// Pointers to consecutive rows of a matrix, as many as one block takes.
template <typename T>
struct RowPointers {
  static constexpr int64_t kMost = 64;
  const T* row[kMost];
  int64_t count = 0;

  void Add(const T* pointer) { row[count++] = pointer; }
};

// Packs rows [first_row, first_row + tile) of the gates of one tile of `weights`, [rows, 3 units].
template <typename T>
void PackWeightBlock(const Kernels<T>& kernels, const Tiles<T>& tiles, const T* weights, int64_t rows, int64_t tile,
                     int64_t row_block, const WeightBlocks& places, const DenseBlocks<T>& blocks, bool transposed) {
  RowPointers<T> pointers;
  const int64_t first = row_block * tiles.width;
  for (int64_t row = first; row < std::min(rows, first + tiles.width); ++row) {
    pointers.Add(weights + row * kGates * tiles.units);
  }
  const auto pack = transposed ? kernels.dense.pack_right_transposed : kernels.dense.pack_right;
  for (int gate = 0; gate < kGates; ++gate) {
    pack({pointers.row, pointers.count, gate * tiles.units + tiles.first(tile), tiles.valid(tile),
          blocks[places.at(tile, row_block, gate)]});
  }
}

// output += left * right for rows [b0, b1) and gates [first_gate, first_gate + gates) of one tile. Block (k, row block) of
// the left factor, which has `depth` columns, is number `first_left` + k * `row_blocks` + row block. A gate starts from the
// row `start` where that is not its output.
template <typename T>
struct BlockProduct {
  const DenseBlocks<T>& left;
  int64_t first_left, row_blocks, depth;
  const DenseBlocks<T>& right;
  const WeightBlocks& places;  // of the right factor
  int64_t tile;
  int first_gate, gates;
  int64_t b0, b1;
};

template <typename T>
void MultiplyBlocks(const Kernels<T>& kernels, const Tiles<T>& tiles, const BlockProduct<T>& p,
                    const TileRows<const T>& start, const TileRows<T>& output) {
  for (int64_t k = 0; k < p.places.row_blocks; ++k) {
    const int64_t valid = std::min(tiles.width, p.depth - k * tiles.width);
    for (int g = 0; g < p.gates; ++g) {
      const int64_t weights = p.places.at(p.tile, k, p.first_gate + g);
      for (int64_t b = p.b0; b < p.b1; b += tiles.width) {
        kernels.dense.multiply({std::min(tiles.width, p.b1 - b), valid, tiles.valid(p.tile),
                                p.left[p.first_left + k * p.row_blocks + b / tiles.width], p.right[weights],
                                output.base[g] + (b - p.b0) * output.stride[g], output.stride[g],
                                b + tiles.width < p.b1 ? Ahead{} : p.right.Memory(weights + 1),
                                k == 0 && start.base[g] != output.base[g] ? start.base[g] : nullptr});
      }
    }
  }
}

// Whether the dense product of [rows, depth] with any right factor takes less time than the sparse one, whose left factor
// has `entries` that count and costs `sparse_cost` for each.
template <typename T>
bool DenseIsFaster(const Kernels<T>& kernels, Products products, int64_t rows, int64_t depth, double entries,
                   double sparse_cost) {
  if (products != Products::kAuto) return products == Products::kDense;
  const DenseKernels<T>& dense = kernels.dense;
  const double multiplied = static_cast<double>(CeilDivide(rows, dense.row_block) * dense.row_block) *
                            static_cast<double>(CeilDivide(depth, dense.depth_block) * dense.depth_block);
  return multiplied * kernels.costs.dense < entries * sparse_cost;
}

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_DENSE_BLOCKS_H_
