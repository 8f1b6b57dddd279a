// Every step is prepared once for all columns: which rows there are, lists of J, the rows that credit reaches. Then a task
// takes a tile of columns through all steps and samples, between two buffers that stay in the cache; the gradient of its
// parameters is its own, so that nothing is shared and sums do not depend on the number of threads.
#include "influence.h"

#include <algorithm>
#include <vector>

#include "tiles.h"

namespace keras_egru {
namespace {

constexpr int64_t kListBytes = int64_t{16} << 20;  // of the lists of J that are kept at once, unless one sample needs more
constexpr int64_t kWorthSharing = 1 << 16;         // multiply-adds; below, one thread does all

// Where the row of each unit is, or -1; and the units that have one, in ascending order.
struct Rows {
  const int32_t* slot;
  const int32_t* unit;
  int64_t count;
};

// One step of one sample.
template <typename T>
struct Step {
  bool valid;
  Rows rows;              // after the step
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
class Sequence {
 public:
  Sequence(const InfluenceShape& shape, const InfluenceTiles& tiles, const InfluenceInputs<T>& inputs)
      : shape_(shape), tiles_(tiles), in_(inputs), kernels_(SelectKernels<T>()), n_(shape.units),
        full_(tiles.neighbour_begin[n_] == n_ * n_), padded_(CeilDivide(n_, kInfluenceLanes) * kInfluenceLanes),
        everyone_(n_) {
    for (int64_t k = 0; k < n_; ++k) everyone_[k] = static_cast<int32_t>(k);
  }

  bool Stored(int64_t b, int64_t t, int64_t k) const { return in_.leak || Passes(b, t)[k] != T(0); }

  int64_t StoredRows(int64_t b, int64_t t, int64_t tile) const {
    const int32_t *row = tiles_.row + tiles_.row_begin[tile], *end = tiles_.row + tiles_.row_begin[tile + 1];
    if (in_.leak) return end - row;
    return std::count_if(row, end, [&](int32_t k) { return Stored(b, t, k); });
  }

  int64_t Width(int64_t tile) const { return tiles_.column_begin[tile + 1] - tiles_.column_begin[tile]; }

  // Begins of each sample's tiles, and the end of the last: [batch * tiles + 1].
  Buffer<int64_t>& Places(int64_t t, Buffer<int64_t>& places) const {
    places.Resize(shape_.batch * tiles_.tiles + 1);
    int64_t at = 0;
    for (int64_t b = 0; b < shape_.batch; ++b) {
      const int64_t whole = in_.leak ? n_ : n_ - std::count(Passes(b, t), Passes(b, t) + n_, T(0));
      for (int64_t tile = 0; tile < tiles_.tiles; ++tile) {
        places[b * tiles_.tiles + tile] = at;
        at += (Whole(tile) ? whole : StoredRows(b, t, tile)) * Width(tile);
      }
    }
    places[shape_.batch * tiles_.tiles] = at;
    return places;
  }

  InfluenceCounters Run(bool count_nonzero, T* influence, T* gradient, Scheduler* scheduler) {
    std::fill_n(gradient, shape_.parameters, T(0));
    Buffer<int64_t> before, after;
    Places(-1, before);
    Places(shape_.time - 1, after);
    const int64_t columns = tiles_.column_begin[tiles_.tiles];
    const int64_t work = shape_.batch * shape_.time * columns * tiles_.neighbour_begin[n_];
    Team team(scheduler, scheduler && work >= kWorthSharing ? scheduler->threads() : 1);
    GatherWeights(team);

    int64_t widest = 0;
    for (int64_t tile = 0; tile < tiles_.tiles; ++tile) widest = std::max(widest, Width(tile));
    Scratch scratch(team.members(), n_, widest, padded_);
    std::vector<InfluenceCounters> counters(tiles_.tiles);
    const int64_t together = std::clamp<int64_t>(kListBytes / (ListBytes() * std::max<int64_t>(shape_.time, 1)), 1,
                                                 std::max<int64_t>(shape_.batch, 1));
    Lists lists(*this, together * shape_.time);
    for (int64_t first = 0; first < shape_.batch; first += together) {
      const int64_t samples = std::min(together, shape_.batch - first);
      team.Run(samples * shape_.time, [&](int64_t i, int member) {
        Prepare(first + i / shape_.time, i % shape_.time, i, lists, scratch.row.get() + member * 2 * padded_,
                scratch.slot.get() + member * 2 * n_);
      });
      team.Run(tiles_.tiles, [&](int64_t tile, int member) {
        Tile task(*this, scratch, member, tile, count_nonzero);
        for (int64_t s = 0; s < samples; ++s) {
          const int64_t b = first + s, place = b * tiles_.tiles + tile;
          task.Run(b, lists.steps.data() + s * shape_.time, in_.influence ? in_.influence + before[place] : nullptr,
                   influence + after[place]);
        }
        task.End(gradient, &counters[tile]);
      });
    }
    InfluenceCounters sum;
    for (const InfluenceCounters& found : counters) {
      sum.multiply_adds += found.multiply_adds;
      sum.nonzero += found.nonzero;
      sum.entries += found.entries;
    }
    return sum;
  }

 private:
  // Memory for the lists of some steps; each has room for the longest lists.
  struct Lists {
    Lists(const Sequence& sequence, int64_t count)
        : steps(count), slot(count * sequence.n_), unit(count * sequence.n_), begin(count * (sequence.n_ + 1)),
          source(count * sequence.ListSources()), stored(count * sequence.n_), value(count * sequence.ListValues()), start_factor(count * sequence.n_),
          credited(count * sequence.n_), credit(count * sequence.n_) {}

    std::vector<Step<T>> steps;
    Buffer<int32_t> slot, unit;
    Buffer<int64_t> begin;
    Buffer<int32_t> source, stored;
    Buffer<T> value, start_factor;
    Buffer<int32_t> credited;
    Buffer<T> credit;
  };

  // Of each thread.
  struct Scratch {
    Scratch(int members, int64_t units, int64_t width, int64_t padded)
        : rows(members * 2 * units * width), sum(members * width), direct(members * width), row(members * 2 * padded),
          slot(members * 2 * units), index(members * units), value(members * units), units(units), width(width) {}

    Buffer<T> rows, sum, direct, row;
    Buffer<int32_t> slot, index;
    Buffer<T> value;
    int64_t units, width;
  };

  const T* Passes(int64_t b, int64_t t) const { return in_.passes + (b * (shape_.time + 1) + t + 1) * n_; }
  int64_t Row(int64_t b, int64_t t) const { return b * shape_.time + t; }
  bool Whole(int64_t tile) const { return tiles_.row_begin[tile + 1] - tiles_.row_begin[tile] == n_; }
  int64_t ListSources() const { return full_ ? n_ : tiles_.neighbour_begin[n_]; }
  int64_t ListValues() const {
    return full_ ? CeilDivide(n_, kRowsTogether) * kRowsTogether * n_ : int64_t{tiles_.neighbour_begin[n_]};
  }
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

  void Prepare(int64_t b, int64_t t, int64_t place, Lists& lists, T* scratch, int32_t* slot) const {
    Step<T>& step = lists.steps[place];
    const T* after = Passes(b, t);
    step.valid = !in_.mask || in_.mask[Row(b, t)];
    step.rows = FindRows(after, lists.slot.get() + place * n_, lists.unit.get() + place * n_);
    FindCredit(in_.credit + Row(b, t) * n_, after, step, lists.credited.get() + place * n_, lists.credit.get() + place * n_);
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

  Rows FindRows(const T* passes, int32_t* slot, int32_t* unit) const {
    if (in_.leak) return {everyone_.get(), everyone_.get(), n_};
    int64_t count = 0;
    for (int64_t k = 0; k < n_; ++k) {
      const bool there = passes[k] != T(0);
      slot[k] = there ? static_cast<int32_t>(count) : -1;
      if (there) unit[count++] = static_cast<int32_t>(k);
    }
    return {slot, unit, count};
  }

  void FindCredit(const T* credit, const T* passes, Step<T>& step, int32_t* credited, T* value) const {
    step.credited = credited;
    step.credit = value;
    step.credits = 0;
    for (int64_t k = 0; k < n_; ++k) {
      if (credit[k] == T(0) || passes[k] == T(0)) continue;
      credited[step.credits] = step.rows.slot[k];
      value[step.credits++] = credit[k] * passes[k];
    }
  }

  // A tile of columns on its way through the samples.
  class Tile {
   public:
    Tile(const Sequence& sequence, Scratch& scratch, int member, int64_t tile, bool count_nonzero)
        : s_(sequence), tile_(tile), count_nonzero_(count_nonzero), whole_(sequence.Whole(tile)),
          width_(sequence.Width(tile)), first_(sequence.tiles_.column_begin[tile]),
          rows_(scratch.rows.get() + member * 2 * scratch.units * scratch.width), sum_(scratch.sum.get() + member * scratch.width),
          direct_(scratch.direct.get() + member * scratch.width), slot_(scratch.slot.get() + member * 2 * scratch.units),
          index_(scratch.index.get() + member * scratch.units), value_(scratch.value.get() + member * scratch.units) {
      const int32_t* parameter = s_.tiles_.parameter + first_;
      columns_ = width_ - std::count(parameter, parameter + width_, -1);
      std::fill(sum_, sum_ + width_, T(0));
      std::fill(direct_, direct_ + width_, T(0));
    }

    void Run(int64_t b, const Step<T>* steps, const T* before, T* after) {
      const int64_t time = s_.shape_.time, n = s_.n_;
      int64_t last = time - 1;
      while (last >= 0 && !steps[last].valid) --last;
      Rows stored;  // those of `before`
      int32_t* slot_of_first = slot_ + n;
      if (!whole_) stored = PartRows(b, -1, slot_of_first);
      bool other = false;
      for (int64_t t = 0; t < time; ++t) {
        const Step<T>& step = steps[t];
        if (step.valid) {
          T* next = t == last ? after : rows_ + other * n * width_;
          other = !other;
          const Rows rows = whole_ ? step.rows : PartRows(b, t, stored.slot == slot_ ? slot_of_first : slot_);
          if (whole_) {
            Advance(step, before, next);
          } else {
            AdvancePart(step, rows, stored, before, next);
          }
          stored = rows;
          AddDirect(b, t, rows, next);
          before = next;
          if (count_nonzero_) CountNonzero(b, t, rows, next);
          counters_.entries += n * columns_;
        }
        if (before) AddCredit(step, stored, before);
      }
      if (last < 0) {
        const int64_t size = s_.StoredRows(b, time - 1, tile_) * width_;
        if (before) {
          std::copy(before, before + size, after);
        } else {
          std::fill(after, after + size, T(0));
        }
      }
    }

    void End(T* gradient, InfluenceCounters* counters) {
      for (int64_t c = 0; c < columns_; ++c) gradient[s_.tiles_.parameter[first_ + c]] += sum_[c];
      counters->multiply_adds += counters_.multiply_adds;
      counters->nonzero += counters_.nonzero;
      counters->entries += counters_.entries;
    }

   private:
    // The rows that this tile has, and their slots in it.
    Rows PartRows(int64_t b, int64_t t, int32_t* slot) const {
      std::fill(slot, slot + s_.n_, -1);
      int64_t count = 0;
      for (int64_t r = s_.tiles_.row_begin[tile_]; r < s_.tiles_.row_begin[tile_ + 1]; ++r) {
        const int32_t k = s_.tiles_.row[r];
        if (s_.Stored(b, t, k)) slot[k] = static_cast<int32_t>(count++);
      }
      return {slot, s_.tiles_.row + s_.tiles_.row_begin[tile_], count};
    }

    void Advance(const Step<T>& step, const T* before, T* next) {
      const bool leak = s_.in_.leak;
      const auto& kernels = s_.kernels_.influence;
      CombineArguments<T> a = {width_, 0, step.source, nullptr, nullptr, nullptr, before, next};
      int64_t i = 0, products = 0;
      if (!before) {
        std::fill(next, next + step.rows.count * width_, T(0));
        return;
      }
      const auto point = [&](int64_t row) {
        a.start = leak ? step.rows.unit + row : nullptr;
        a.start_factor = step.start_factor + row;
        a.output = next + row * width_;
      };
      if (s_.full_) {
        a.count = step.sources;
        for (; i + kRowsTogether <= step.rows.count; i += kRowsTogether) {
          point(i);
          a.value = step.value + i * step.sources;
          kernels.combine_together(a);
        }
        products = i * (step.sources + leak);
      }
      for (; i < step.rows.count; ++i) {
        point(i);
        if (s_.full_) {
          // What is left of the last rows together, one value in kRowsTogether.
          const T* value = step.value + (i / kRowsTogether) * kRowsTogether * step.sources + i % kRowsTogether;
          for (int64_t e = 0; e < step.sources; ++e) value_[e] = value[e * kRowsTogether];
          a.value = value_;
        } else {
          a.index = step.source + step.begin[i];
          a.value = step.value + step.begin[i];
          a.count = step.begin[i + 1] - step.begin[i];
        }
        kernels.combine(a);
        products += a.count + leak;
      }
      counters_.multiply_adds += products * columns_;
    }

    // The same for the rows that the tile has alone.
    void AdvancePart(const Step<T>& step, const Rows& rows, const Rows& stored, const T* before, T* next) {
      const bool leak = s_.in_.leak;
      if (!before) {
        std::fill(next, next + rows.count * width_, T(0));
        return;
      }
      CombineArguments<T> a = {width_, 0, index_, value_, nullptr, nullptr, before, next};
      for (int64_t r = s_.tiles_.row_begin[tile_]; r < s_.tiles_.row_begin[tile_ + 1]; ++r) {
        const int32_t k = s_.tiles_.row[r];
        if (rows.slot[k] < 0) continue;
        const int64_t i = step.rows.slot[k];
        const int64_t count = s_.full_ ? step.sources : step.begin[i + 1] - step.begin[i];
        const int32_t* source = step.source + (s_.full_ ? 0 : step.begin[i]);
        const T* value = step.value + (s_.full_ ? (i / kRowsTogether) * kRowsTogether * step.sources + i % kRowsTogether
                                                : step.begin[i]);
        const int64_t stride = s_.full_ ? kRowsTogether : 1;
        a.count = 0;
        for (int64_t e = 0; e < count; ++e) {  // without a branch that nobody can predict
          const int32_t slot = stored.slot[step.stored[source[e]]];
          index_[a.count] = slot;
          value_[a.count] = value[e * stride];
          a.count += slot >= 0;
        }
        const int32_t own = stored.slot[k];
        a.start = leak ? &own : nullptr;
        a.start_factor = step.start_factor + k;
        a.output = next + rows.slot[k] * width_;
        s_.kernels_.influence.combine(a);
        counters_.multiply_adds += (a.count + leak) * columns_;
      }
    }

    void AddDirect(int64_t b, int64_t t, const Rows& rows, T* next) {
      const int64_t n = s_.n_, at = s_.Row(b, t);
      const int32_t u = s_.tiles_.unit[tile_];
      const bool through = s_.tiles_.through[tile_];
      if (!through && rows.slot[u] < 0) return;
      const T *coefficient = s_.in_.direct + at * s_.shape_.kinds * n + u, *source = s_.in_.source + at * s_.shape_.sources;
      const int32_t *kind = s_.tiles_.kind + first_, *from = s_.tiles_.source + first_;
      if (!through) {
        T* row = next + rows.slot[u] * width_;
        for (int64_t c = 0; c < columns_; ++c) row[c] += coefficient[kind[c] * n] * source[from[c]];
        counters_.multiply_adds += columns_;
        return;
      }
      if (s_.in_.turned[at * n + u] == T(0)) return;
      for (int64_t c = 0; c < columns_; ++c) direct_[c] = coefficient[kind[c] * n] * source[from[c]];
      const T *candidate = s_.in_.candidate + at * n, *kernel = s_.in_.kernel + u * 3 * n + 2 * n;
      int64_t count = 0;
      for (int64_t r = s_.tiles_.row_begin[tile_]; r < s_.tiles_.row_begin[tile_ + 1]; ++r) {
        const int32_t k = s_.tiles_.row[r];
        if (kernel[k] == T(0)) continue;
        index_[count] = rows.slot[k];
        value_[count++] = candidate[k] * kernel[k];
      }
      s_.kernels_.lif.add_to_rows(width_, count, index_, value_, direct_, next);
      counters_.multiply_adds += (count + 1) * columns_;
    }

    void AddCredit(const Step<T>& step, const Rows& rows, const T* now) {
      int64_t count = step.credits;
      const int32_t* index = step.credited;
      const T* value = step.credit;
      if (!whole_) {
        count = 0;
        for (int64_t i = 0; i < step.credits; ++i) {
          const int32_t slot = rows.slot[step.rows.unit[step.credited[i]]];
          if (slot < 0) continue;
          index_[count] = slot;
          value_[count++] = step.credit[i];
        }
        index = index_;
        value = value_;
      }
      if (count == 0) return;
      s_.kernels_.lif.add_rows(width_, count, index, value, now, sum_);
      counters_.multiply_adds += count * columns_;
    }

    void CountNonzero(int64_t b, int64_t t, const Rows& rows, const T* now) {
      const T* passes = s_.Passes(b, t);
      for (int64_t k = 0; k < s_.n_; ++k) {
        if (rows.slot[k] < 0 || passes[k] == T(0)) continue;
        counters_.nonzero += s_.kernels_.influence.count_nonzero(now + rows.slot[k] * width_, columns_);
      }
    }

    const Sequence& s_;
    const int64_t tile_;
    const bool count_nonzero_, whole_;
    const int64_t width_, first_;
    int64_t columns_;  // of parameters; the others fill the tile up
    T *const rows_, *const sum_, *const direct_;
    int32_t *const slot_, *const index_;
    T* const value_;
    InfluenceCounters counters_;
  };

  static constexpr int64_t kThroughTogether = 64;

  const InfluenceShape& shape_;
  const InfluenceTiles& tiles_;
  const InfluenceInputs<T>& in_;
  const Kernels<T>& kernels_;
  const int64_t n_;
  const bool full_;  // every unit acts upon every unit
  const int64_t padded_;
  Buffer<int32_t> everyone_;
  Buffer<T> weights_;  // [gates, neighbours]
  Buffer<T> turning_;  // [units, padded]: row m holds the weights to the reset gate of m
};

}  // namespace

template <typename T>
int64_t InfluenceSize(const InfluenceShape& shape, const InfluenceTiles& tiles, const InfluenceInputs<T>& inputs, int64_t t) {
  Buffer<int64_t> places;
  return Sequence<T>(shape, tiles, inputs).Places(t, places)[shape.batch * tiles.tiles];
}

template <typename T>
InfluenceCounters Influence(const InfluenceShape& shape, const InfluenceTiles& tiles, const InfluenceInputs<T>& inputs,
                            bool count_nonzero, T* influence, T* gradient, Scheduler* scheduler) {
  return Sequence<T>(shape, tiles, inputs).Run(count_nonzero, influence, gradient, scheduler);
}

#define INSTANTIATE(T)                                                                                                  \
  template int64_t InfluenceSize<T>(const InfluenceShape&, const InfluenceTiles&, const InfluenceInputs<T>&, int64_t);   \
  template InfluenceCounters Influence<T>(const InfluenceShape&, const InfluenceTiles&, const InfluenceInputs<T>&, bool, \
                                          T*, T*, Scheduler*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
