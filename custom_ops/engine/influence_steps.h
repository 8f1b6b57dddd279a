// What the steps of a sequence ask of the influence (influence.h), prepared once for all columns: which rows there are, lists
// of J, the rows that credit reaches.
#ifndef KERAS_EGRU_ENGINE_INFLUENCE_STEPS_H_
#define KERAS_EGRU_ENGINE_INFLUENCE_STEPS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "influence.h"
#include "tiles.h"

namespace keras_egru {

// Where the row of each unit is, or -1; and the units that have one, in ascending order.
struct InfluenceRows {
  const int32_t* slot;
  const int32_t* unit;
  int64_t count;
};

// One step of one sample.
template <typename T>
struct InfluenceStep {
  bool valid;
  InfluenceRows rows;     // after the step
  const int64_t* begin;   // of the list of each row; where J is full, all rows share the list from 0 on
  const int32_t* source;  // slots before the step
  const int32_t* stored;  // the unit of each of these slots
  const T* value;         // as CombineArguments::value; where J is full, [rows / kRowsTogether, sources, kRowsTogether]
  int64_t sources;        // where J is full
  const T* start_factor;  // of each row, with a leak
  const int32_t* credited;  // slots after the step
  const T* credit;
  int64_t credits;
};

template <typename T>
class InfluenceSteps {
 public:
  InfluenceSteps(const InfluenceShape& shape, const InfluenceTiles& tiles, const InfluenceInputs<T>& inputs)
      : shape_(shape), tiles_(tiles), in_(inputs), kernels_(SelectKernels<T>()), n_(shape.units),
        full_(tiles.neighbour_begin[n_] == n_ * n_), padded_(CeilDivide(n_, kInfluenceLanes) * kInfluenceLanes),
        everyone_(n_) {
    for (int64_t k = 0; k < n_; ++k) everyone_[k] = static_cast<int32_t>(k);
  }

  const InfluenceShape& shape() const { return shape_; }
  const InfluenceTiles& tiles() const { return tiles_; }
  const InfluenceInputs<T>& in() const { return in_; }
  const Kernels<T>& kernels() const { return kernels_; }
  bool full() const { return full_; }  // every unit acts upon every unit
  int64_t padded() const { return padded_; }

  int64_t Row(int64_t b, int64_t t) const { return b * shape_.time + t; }
  const T* Passes(int64_t b, int64_t t) const { return in_.passes + (b * (shape_.time + 1) + t + 1) * n_; }
  bool Stored(int64_t b, int64_t t, int64_t k) const { return in_.leak || Passes(b, t)[k] != T(0); }

  // Of a tile: numbers of a row, whether it has the rows of all units, and how many rows are stored.
  int64_t Width(int64_t tile) const { return tiles_.column_begin[tile + 1] - tiles_.column_begin[tile]; }
  bool Whole(int64_t tile) const { return tiles_.row_begin[tile + 1] - tiles_.row_begin[tile] == n_; }
  int64_t StoredRows(int64_t b, int64_t t, int64_t tile) const {
    const int32_t *row = tiles_.row + tiles_.row_begin[tile], *end = tiles_.row + tiles_.row_begin[tile + 1];
    if (in_.leak) return end - row;
    return std::count_if(row, end, [&](int32_t k) { return Stored(b, t, k); });
  }

  // Memory for the lists of some steps; each has room for the longest lists.
  struct Lists {
    Lists(const InfluenceSteps& all, int64_t count)
        : steps(count), slot(count * all.n_), unit(count * all.n_), begin(count * (all.n_ + 1)),
          source(count * all.ListSources()), stored(count * all.n_), value(count * all.ListValues()),
          start_factor(count * all.n_), credited(count * all.n_), credit(count * all.n_) {}

    std::vector<InfluenceStep<T>> steps;
    Buffer<int32_t> slot, unit;
    Buffer<int64_t> begin;
    Buffer<int32_t> source, stored;
    Buffer<T> value, start_factor;
    Buffer<int32_t> credited;
    Buffer<T> credit;
  };

  // Of one step of one sample.
  int64_t ListBytes() const { return ListSources() * 4 + ListValues() * sizeof(T) + n_ * (4 * 4 + 2 * sizeof(T)); }

  // Weights in the order of the lists of J, so that a step reads them one after the other.
  void GatherWeights(Team& team) {
    const int64_t entries = tiles_.neighbour_begin[n_], stride = shape_.gates * n_;
    weights_.Resize(shape_.gates * entries);
    team.Run(n_, [&](int64_t k, int) {
      for (int64_t e = tiles_.neighbour_begin[k]; e < tiles_.neighbour_begin[k + 1]; ++e) {
        for (int64_t g = 0; g < shape_.gates; ++g) {
          weights_[g * entries + e] = in_.kernel[tiles_.neighbour[e] * stride + g * n_ + k];
        }
      }
    });
    if (!in_.candidate) return;
    turning_.Resize(n_ * padded_);
    team.Run(n_, [&](int64_t m, int) {
      for (int64_t l = 0; l < n_; ++l) turning_[m * padded_ + l] = in_.kernel[l * stride + n_ + m];
      std::fill(turning_.get() + m * padded_ + n_, turning_.get() + (m + 1) * padded_, T(0));
    });
  }

  // Step t of sample b, in its place among the lists; scratch of [2 padded] and [units].
  void Prepare(int64_t b, int64_t t, int64_t place, Lists& lists, T* scratch, int32_t* slot) const {
    InfluenceStep<T>& step = lists.steps[place];
    const T* after = Passes(b, t);
    step.valid = !in_.mask || in_.mask[Row(b, t)];
    step.rows = FindRows(after, lists.slot.get() + place * n_, lists.unit.get() + place * n_);
    FindCredit(in_.credit + Row(b, t) * n_, after, step, lists.credited.get() + place * n_,
               lists.credit.get() + place * n_);
    if (!step.valid) return;

    const T* before = Passes(b, t - 1);
    int32_t* source = lists.source.get() + place * ListSources();
    T* value = lists.value.get() + place * ListValues();
    int64_t* begin = lists.begin.get() + place * (n_ + 1);
    T* start_factor = lists.start_factor.get() + place * n_;
    step.begin = begin;
    step.source = source;
    step.value = value;
    step.start_factor = start_factor;
    for (int64_t k = 0; in_.leak && k < n_; ++k) {
      start_factor[k] = in_.leak[Row(b, t) * n_ + k] + (in_.own ? in_.own[Row(b, t) * n_ + k] * before[k] : T(0));
    }
    int32_t* stored = lists.stored.get() + place * n_;
    step.stored = FindRows(before, slot, stored).unit;
    for (int64_t l = 0; in_.leak && l < n_; ++l) slot[l] = static_cast<int32_t>(l);
    if (full_) {
      int64_t s = 0;
      for (int64_t l = 0; l < n_; ++l) {
        if (before[l] != T(0)) source[s++] = slot[l];
      }
      step.sources = s;
    }
    int64_t at = 0;
    for (int64_t i = 0; i < step.rows.count; ++i) {
      const int64_t k = step.rows.unit[i], first = tiles_.neighbour_begin[k], end = tiles_.neighbour_begin[k + 1];
      Jacobian(b, t, k, scratch);
      begin[i] = at;
      if (full_) {
        T* column = value + (i / kRowsTogether) * kRowsTogether * step.sources + i % kRowsTogether;
        for (int64_t l = 0; l < n_; ++l) {
          if (before[l] == T(0)) continue;
          *column = scratch[l] * before[l];
          column += kRowsTogether;
        }
        continue;
      }
      for (int64_t e = first; e < end; ++e) {  // without a branch that nobody can predict
        const int32_t l = tiles_.neighbour[e];
        source[at] = slot[l];  // of a unit that hands nothing on, to be written over
        value[at] = scratch[e - first] * before[l];
        at += before[l] != T(0);
      }
    }
    begin[step.rows.count] = at;
  }

 private:
  static constexpr int64_t kThroughTogether = 64;

  int64_t ListSources() const { return full_ ? n_ : tiles_.neighbour_begin[n_]; }
  int64_t ListValues() const {
    return full_ ? CeilDivide(n_, kRowsTogether) * kRowsTogether * n_ : int64_t{tiles_.neighbour_begin[n_]};
  }

  // Row k of J, without what a unit does to itself, over the neighbours of k.
  void Jacobian(int64_t b, int64_t t, int64_t k, T* scratch) const {
    const int64_t first = tiles_.neighbour_begin[k], count = tiles_.neighbour_begin[k + 1] - first;
    const int64_t entries = tiles_.neighbour_begin[n_];
    const T* weight = weights_.get() + first;
    if (!in_.candidate) {
      const T* gain = in_.gain + Row(b, t) * shape_.gates * n_ + k;
      for (int64_t e = 0; e < count; ++e) scratch[e] = gain[0] * weight[e];
      for (int64_t g = 1; g < shape_.gates; ++g) {
        for (int64_t e = 0; e < count; ++e) scratch[e] += gain[g * n_] * weight[g * entries + e];
      }
      return;
    }
    const T gain = in_.gain[Row(b, t) * n_ + k], candidate = in_.candidate[Row(b, t) * n_ + k];
    const T *opened = in_.opened + Row(b, t) * n_, *turned = in_.turned + Row(b, t) * n_;
    // What comes by way of the reset gates of the neighbours m of k that were active.
    T *through = scratch + padded_, factor[kThroughTogether];
    int32_t index[kThroughTogether];
    std::fill(through, through + padded_, T(0));
    int64_t listed = 0;
    const auto add = [&] {
      kernels_.lif.add_rows(padded_, listed, index, factor, turning_.get(), through);
      listed = 0;
    };
    for (int64_t m = 0; m < n_; ++m) {
      const T z = in_.kernel[m * 3 * n_ + 2 * n_ + k];
      if (turned[m] == T(0) || z == T(0)) continue;
      index[listed] = static_cast<int32_t>(m);
      factor[listed++] = candidate * z * turned[m];
      if (listed == kThroughTogether) add();
    }
    add();
    for (int64_t e = 0; e < count; ++e) {
      const int32_t l = tiles_.neighbour[first + e];
      scratch[e] = gain * weight[e] + candidate * weight[2 * entries + e] * opened[l] + through[l];
    }
  }

  InfluenceRows FindRows(const T* passes, int32_t* slot, int32_t* unit) const {
    if (in_.leak) return {everyone_.get(), everyone_.get(), n_};
    int64_t count = 0;
    for (int64_t k = 0; k < n_; ++k) {
      const bool there = passes[k] != T(0);
      slot[k] = there ? static_cast<int32_t>(count) : -1;
      if (there) unit[count++] = static_cast<int32_t>(k);
    }
    return {slot, unit, count};
  }

  void FindCredit(const T* credit, const T* passes, InfluenceStep<T>& step, int32_t* credited, T* value) const {
    step.credited = credited;
    step.credit = value;
    step.credits = 0;
    for (int64_t k = 0; k < n_; ++k) {
      if (credit[k] == T(0) || passes[k] == T(0)) continue;
      credited[step.credits] = step.rows.slot[k];
      value[step.credits++] = credit[k] * passes[k];
    }
  }

  const InfluenceShape& shape_;
  const InfluenceTiles& tiles_;
  const InfluenceInputs<T>& in_;
  const Kernels<T>& kernels_;
  const int64_t n_;
  const bool full_;
  const int64_t padded_;
  Buffer<int32_t> everyone_;
  Buffer<T> weights_;  // [gates, neighbours]
  Buffer<T> turning_;  // [units, padded]: row m holds the weights to the reset gate of m
};

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_INFLUENCE_STEPS_H_
