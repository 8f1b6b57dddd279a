// Lists of the nonzero entries of matrices, in the two orders that the products want.
#ifndef KERAS_EGRU_ENGINE_EVENT_LIST_H_
#define KERAS_EGRU_ENGINE_EVENT_LIST_H_

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "tiles.h"

namespace keras_egru {

// Entries of `rows` samples, cut into segments of consecutive columns: [segment, row, capacity], indices counted from
// the segment's first column; the capacity is a multiple of a vector's lanes. The rows of a segment of weights stay in
// the L1 cache while all samples read them; segments of y are the tiles of the units.
template <typename T>
struct SegmentedLists {
  SegmentedLists(int64_t segments, int64_t rows, int64_t capacity)
      : rows(rows),
        capacity(capacity),
        index(segments * rows * capacity),
        value(segments * rows * capacity),
        counts_(segments * CountStride()) {}

  int64_t slot(int64_t segment, int64_t row) const { return segment * rows + row; }

  Lists<T> From(int64_t segment, int64_t row) const {
    const int64_t entry = slot(segment, row);
    return {index.get() + entry * capacity, value.get() + entry * capacity, &count(segment, row), nullptr, capacity};
  }

  // Lists the nonzero entries of `columns` numbers as row `row` of `segment`; returns how many there are.
  int64_t Fill(const Kernels<T>& kernels, int64_t segment, int64_t row, const T* numbers, int64_t columns) const {
    const int64_t entry = slot(segment, row);
    const int64_t found =
        kernels.list_nonzero(numbers, columns, index.get() + entry * capacity, value.get() + entry * capacity);
    count(segment, row) = static_cast<int32_t>(found);
    return found;
  }

  // Lists zeros as well.
  void FillAll(int64_t segment, int64_t row, const T* numbers, int64_t columns) const {
    const int64_t entry = slot(segment, row);
    for (int64_t i = 0; i < columns; ++i) index[entry * capacity + i] = static_cast<int32_t>(i);
    std::copy_n(numbers, columns, value.get() + entry * capacity);
    count(segment, row) = static_cast<int32_t>(columns);
  }

  void Clear(int64_t segment, int64_t row) const { count(segment, row) = 0; }

  // How many entries are listed.
  int32_t& count(int64_t segment, int64_t row) const { return counts_[segment * CountStride() + row]; }

  int64_t rows, capacity;
  Buffer<int32_t> index;
  Buffer<T> value;

 private:
  // A segment's counts share no cache line with those of the next, which another thread writes.
  int64_t CountStride() const { return CeilDivide(rows, 16) * 16; }

  Buffer<int32_t> counts_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_EVENT_LIST_H_
