// The nonzero entries of a matrix [rows, columns], column by column within chunks of rows: what a weight gradient reads.
//
// dW[i, :] collects only the rows in which entry i is nonzero. Rows are taken in chunks, so that the gradients of a
// chunk stay in the cache while all columns read them.
#ifndef KERAS_EGRU_ENGINE_COLUMN_LISTS_H_
#define KERAS_EGRU_ENGINE_COLUMN_LISTS_H_

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "parallel.h"
#include "tiles.h"

namespace keras_egru {

template <typename T>
class ColumnLists {
 public:
  static constexpr int64_t kChunk = 64;   // rows
  static constexpr int64_t kBlock = 512;  // columns that are read together

  ColumnLists(const Kernels<T>& kernels, int64_t rows, int64_t columns)
      : kernels_(kernels),
        rows_(rows),
        columns_(columns),
        chunks_(CeilDivide(rows, kChunk)),
        count_(chunks_ * columns),
        begin_(chunks_ * columns),
        order_(chunks_ * columns) {}

  // Counts the entries of every column. row_data(row): its `columns` numbers, or null for a row to leave out.
  template <typename RowData>
  void Count(Team& team, const RowData& row_data) {
    count_.Zero();
    team.Run(chunks_, [&](int64_t chunk, int) {
      int32_t* count = count_.get() + chunk * columns_;
      ForRows(chunk, row_data, [&](int64_t, const T* data) {
        for (int64_t i = 0; i < columns_; ++i) count[i] += data[i] != T(0);
      });
    });
    team.Run(chunks_, [&](int64_t chunk, int) {
      for (int64_t first = 0; first < columns_; first += kBlock) {
        Order(chunk * columns_ + first, std::min(kBlock, columns_ - first));
      }
    });
    entries_ = 0;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      for (int64_t i = 0; i < columns_; ++i) {
        const int64_t list = chunk * columns_ + i / kBlock * kBlock + order_[chunk * columns_ + i];
        begin_[list] = entries_;
        entries_ += count_[list];
      }
    }
  }

  // Lists what was counted. index_of(row): the number that names the row in the lists. `extra_values`: room for a second
  // value an entry, set by FillExtra.
  template <typename RowData, typename IndexOf>
  void Fill(Team& team, bool extra_values, const RowData& row_data, const IndexOf& index_of) {
    // The nonzero entries of one row, for each member of the team.
    const int64_t room = columns_ + kernels_.lanes;
    Buffer<int32_t> row_index(team.members() * room);
    Buffer<T> row_value(team.members() * room);
    index_.Resize(entries_);
    value_.Resize(entries_);
    if (extra_values) extra_.Resize(entries_);
    team.Run(chunks_, [&](int64_t chunk, int member) {
      int32_t* column = row_index.get() + member * room;
      T* number = row_value.get() + member * room;
      int32_t* count = count_.get() + chunk * columns_;
      const int64_t* begin = begin_.get() + chunk * columns_;
      std::fill(count, count + columns_, 0);
      ForRows(chunk, row_data, [&](int64_t row, const T* data) {
        const int32_t index = static_cast<int32_t>(index_of(row));
        const int64_t found = kernels_.list_nonzero(data, columns_, column, number);
        for (int64_t e = 0; e < found; ++e) {
          const int64_t entry = begin[column[e]] + count[column[e]]++;
          index_[entry] = index;
          value_[entry] = number[e];
        }
      });
    });
  }

  // extra value of every entry = function(column, index, value)
  template <typename Function>
  void FillExtra(Team& team, const Function& function) {
    team.Run(chunks_, [&](int64_t chunk, int) {
      for (int64_t i = 0; i < columns_; ++i) {
        const int64_t slot = chunk * columns_ + i;
        for (int64_t e = begin_[slot]; e < begin_[slot] + count_[slot]; ++e) extra_[e] = function(i, index_[e], value_[e]);
      }
    });
  }

  // The order in which the columns of the block from `first` on lie in memory, counted from `first`.
  const int32_t* order(int64_t chunk, int64_t first) const { return order_.get() + chunk * columns_ + first; }

  int64_t chunks() const { return chunks_; }
  int64_t entries() const { return entries_; }

  // The lists of one chunk from column `first` on.
  Lists<T> From(int64_t chunk, int64_t first, bool extra_values) const {
    const int64_t slot = chunk * columns_ + first;
    return {index_.get(), extra_values ? extra_.get() : value_.get(), count_.get() + slot, begin_.get() + slot, 0};
  }

 private:
  // Lists of one length follow each other, so that the end of a list can be guessed.
  void Order(int64_t first, int64_t lists) const {
    const int32_t* count = count_.get() + first;
    int32_t* order = order_.get() + first;
    int32_t place[kChunk + 2] = {};  // of the first list of each length
    for (int64_t i = 0; i < lists; ++i) ++place[count[i] + 1];
    for (int64_t length = 0; length < kChunk; ++length) place[length + 1] += place[length];
    for (int64_t i = 0; i < lists; ++i) order[place[count[i]]++] = static_cast<int32_t>(i);
  }

  template <typename RowData, typename Visit>
  void ForRows(int64_t chunk, const RowData& row_data, const Visit& visit) const {
    for (int64_t row = chunk * kChunk; row < std::min(rows_, (chunk + 1) * kChunk); ++row) {
      if (const T* data = row_data(row)) visit(row, data);
    }
  }

  const Kernels<T>& kernels_;
  int64_t rows_, columns_, chunks_, entries_ = 0;
  Buffer<int32_t> count_;
  Buffer<int64_t> begin_;
  Buffer<int32_t> order_;
  Buffer<int32_t> index_;
  Buffer<T> value_, extra_;
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_COLUMN_LISTS_H_
