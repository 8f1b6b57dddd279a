// The steps are prepared once for all columns (influence_steps.h). Then a task takes a tile of columns through all steps and
// samples, between two buffers that stay in the cache; the gradient of its parameters is its own, so that nothing is shared
// and sums do not depend on the number of threads.
#include "influence.h"

#include <algorithm>
#include <vector>

#include "influence_steps.h"
#include "tiles.h"

namespace keras_egru {
namespace {

constexpr int64_t kListBytes = int64_t{16} << 20;  // of the lists of J that are kept at once, unless one sample needs more
constexpr int64_t kWorthSharing = 1 << 16;         // multiply-adds; below, one thread does all

// Of each thread.
template <typename T>
struct Scratch {
  Scratch(int members, int64_t units, int64_t width, int64_t padded)
      : rows(members * 2 * units * width), sum(members * width), direct(members * width), row(members * 2 * padded),
        slot(members * 2 * units), index(members * units), value(members * units), units(units), width(width) {}

  Buffer<T> rows, sum, direct, row;
  Buffer<int32_t> slot, index;
  Buffer<T> value;
  int64_t units, width;
};

// Begins of each sample's tiles after step t, and the end of the last: [batch * tiles + 1].
template <typename T>
void FindPlaces(const InfluenceSteps<T>& steps, int64_t t, Buffer<int64_t>& places) {
  const int64_t batch = steps.shape().batch, tiles = steps.tiles().tiles, n = steps.shape().units;
  places.Resize(batch * tiles + 1);
  int64_t at = 0;
  for (int64_t b = 0; b < batch; ++b) {
    const T* passes = steps.Passes(b, t);
    const int64_t whole = steps.in().leak ? n : n - std::count(passes, passes + n, T(0));
    for (int64_t tile = 0; tile < tiles; ++tile) {
      places[b * tiles + tile] = at;
      at += (steps.Whole(tile) ? whole : steps.StoredRows(b, t, tile)) * steps.Width(tile);
    }
  }
  places[batch * tiles] = at;
}

// A tile of columns on its way through the samples.
template <typename T>
class Tile {
 public:
  Tile(const InfluenceSteps<T>& steps, Scratch<T>& scratch, int member, int64_t tile, bool count_nonzero)
      : s_(steps), tile_(tile), count_nonzero_(count_nonzero), whole_(steps.Whole(tile)),
        width_(steps.Width(tile)), first_(steps.tiles().column_begin[tile]),
        rows_(scratch.rows.get() + member * 2 * scratch.units * scratch.width),
        sum_(scratch.sum.get() + member * scratch.width),
        direct_(scratch.direct.get() + member * scratch.width), slot_(scratch.slot.get() + member * 2 * scratch.units),
        index_(scratch.index.get() + member * scratch.units), value_(scratch.value.get() + member * scratch.units) {
    const int32_t* parameter = s_.tiles().parameter + first_;
    columns_ = width_ - std::count(parameter, parameter + width_, -1);
    std::fill(sum_, sum_ + width_, T(0));
    std::fill(direct_, direct_ + width_, T(0));
  }

  void Run(int64_t b, const InfluenceStep<T>* steps, const T* before, T* after) {
    const int64_t time = s_.shape().time, n = s_.shape().units;
    int64_t last = time - 1;
    while (last >= 0 && !steps[last].valid) --last;
    InfluenceRows stored;  // those of `before`
    int32_t* slot_of_first = slot_ + n;
    if (!whole_) stored = PartRows(b, -1, slot_of_first);
    bool other = false;
    for (int64_t t = 0; t < time; ++t) {
      const InfluenceStep<T>& step = steps[t];
      if (step.valid) {
        T* next = t == last ? after : rows_ + other * n * width_;
        other = !other;
        const InfluenceRows rows = whole_ ? step.rows : PartRows(b, t, stored.slot == slot_ ? slot_of_first : slot_);
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
    for (int64_t c = 0; c < columns_; ++c) gradient[s_.tiles().parameter[first_ + c]] += sum_[c];
    counters->multiply_adds += counters_.multiply_adds;
    counters->nonzero += counters_.nonzero;
    counters->entries += counters_.entries;
  }

 private:
  // The rows that this tile has, and their slots in it.
  InfluenceRows PartRows(int64_t b, int64_t t, int32_t* slot) const {
    std::fill(slot, slot + s_.shape().units, -1);
    int64_t count = 0;
    for (int64_t r = s_.tiles().row_begin[tile_]; r < s_.tiles().row_begin[tile_ + 1]; ++r) {
      const int32_t k = s_.tiles().row[r];
      if (s_.Stored(b, t, k)) slot[k] = static_cast<int32_t>(count++);
    }
    return {slot, s_.tiles().row + s_.tiles().row_begin[tile_], count};
  }

  void Advance(const InfluenceStep<T>& step, const T* before, T* next) {
    const bool leak = s_.in().leak;
    const auto& kernels = s_.kernels().influence;
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
    if (s_.full()) {
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
      if (s_.full()) {
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
  void AdvancePart(const InfluenceStep<T>& step, const InfluenceRows& rows, const InfluenceRows& stored, const T* before,
                   T* next) {
    const bool leak = s_.in().leak;
    if (!before) {
      std::fill(next, next + rows.count * width_, T(0));
      return;
    }
    CombineArguments<T> a = {width_, 0, index_, value_, nullptr, nullptr, before, next};
    for (int64_t r = s_.tiles().row_begin[tile_]; r < s_.tiles().row_begin[tile_ + 1]; ++r) {
      const int32_t k = s_.tiles().row[r];
      if (rows.slot[k] < 0) continue;
      const int64_t i = step.rows.slot[k];
      const int64_t count = s_.full() ? step.sources : step.begin[i + 1] - step.begin[i];
      const int32_t* source = step.source + (s_.full() ? 0 : step.begin[i]);
      const T* value = step.value + (s_.full() ? (i / kRowsTogether) * kRowsTogether * step.sources + i % kRowsTogether
                                              : step.begin[i]);
      const int64_t stride = s_.full() ? kRowsTogether : 1;
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
      s_.kernels().influence.combine(a);
      counters_.multiply_adds += (a.count + leak) * columns_;
    }
  }

  void AddDirect(int64_t b, int64_t t, const InfluenceRows& rows, T* next) {
    const int64_t n = s_.shape().units, at = s_.Row(b, t);
    const int32_t u = s_.tiles().unit[tile_];
    const bool through = s_.tiles().through[tile_];
    if (!through && rows.slot[u] < 0) return;
    const T *coefficient = s_.in().direct + at * s_.shape().kinds * n + u, *source = s_.in().source + at * s_.shape().sources;
    const int32_t *kind = s_.tiles().kind + first_, *from = s_.tiles().source + first_;
    if (!through) {
      T* row = next + rows.slot[u] * width_;
      for (int64_t c = 0; c < columns_; ++c) row[c] += coefficient[kind[c] * n] * source[from[c]];
      counters_.multiply_adds += columns_;
      return;
    }
    if (s_.in().turned[at * n + u] == T(0)) return;
    for (int64_t c = 0; c < columns_; ++c) direct_[c] = coefficient[kind[c] * n] * source[from[c]];
    const T *candidate = s_.in().candidate + at * n, *kernel = s_.in().kernel + u * 3 * n + 2 * n;
    int64_t count = 0;
    for (int64_t r = s_.tiles().row_begin[tile_]; r < s_.tiles().row_begin[tile_ + 1]; ++r) {
      const int32_t k = s_.tiles().row[r];
      if (kernel[k] == T(0)) continue;
      index_[count] = rows.slot[k];
      value_[count++] = candidate[k] * kernel[k];
    }
    s_.kernels().lif.add_to_rows(width_, count, index_, value_, direct_, next);
    counters_.multiply_adds += (count + 1) * columns_;
  }

  void AddCredit(const InfluenceStep<T>& step, const InfluenceRows& rows, const T* now) {
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
    s_.kernels().lif.add_rows(width_, count, index, value, now, sum_);
    counters_.multiply_adds += count * columns_;
  }

  void CountNonzero(int64_t b, int64_t t, const InfluenceRows& rows, const T* now) {
    const T* passes = s_.Passes(b, t);
    for (int64_t k = 0; k < s_.shape().units; ++k) {
      if (rows.slot[k] < 0 || passes[k] == T(0)) continue;
      counters_.nonzero += s_.kernels().influence.count_nonzero(now + rows.slot[k] * width_, columns_);
    }
  }

  const InfluenceSteps<T>& s_;
  const int64_t tile_;
  const bool count_nonzero_, whole_;
  const int64_t width_, first_;
  int64_t columns_;  // of parameters; the others fill the tile up
  T *const rows_, *const sum_, *const direct_;
  int32_t *const slot_, *const index_;
  T* const value_;
  InfluenceCounters counters_;
};

}  // namespace

template <typename T>
int64_t InfluenceSize(const InfluenceShape& shape, const InfluenceTiles& tiles, const InfluenceInputs<T>& inputs, int64_t t) {
  Buffer<int64_t> places;
  FindPlaces(InfluenceSteps<T>(shape, tiles, inputs), t, places);
  return places[shape.batch * tiles.tiles];
}

template <typename T>
InfluenceCounters Influence(const InfluenceShape& shape, const InfluenceTiles& tiles, const InfluenceInputs<T>& inputs,
                            bool count_nonzero, T* influence, T* gradient, Scheduler* scheduler) {
  const int64_t n = shape.units, time = shape.time;
  std::fill_n(gradient, shape.parameters, T(0));
  InfluenceSteps<T> steps(shape, tiles, inputs);
  Buffer<int64_t> before, after;
  FindPlaces(steps, -1, before);
  FindPlaces(steps, time - 1, after);
  const int64_t work = shape.batch * time * tiles.column_begin[tiles.tiles] * tiles.neighbour_begin[n];
  Team team(scheduler, scheduler && work >= kWorthSharing ? scheduler->threads() : 1);
  steps.GatherWeights(team);

  int64_t widest = 0;
  for (int64_t tile = 0; tile < tiles.tiles; ++tile) widest = std::max(widest, steps.Width(tile));
  Scratch<T> scratch(team.members(), n, widest, steps.padded());
  std::vector<InfluenceCounters> counters(tiles.tiles);
  const int64_t fit = kListBytes / (steps.ListBytes() * std::max<int64_t>(time, 1));
  const int64_t together = std::clamp<int64_t>(fit, 1, std::max<int64_t>(shape.batch, 1));
  typename InfluenceSteps<T>::Lists lists(steps, together * time);
  for (int64_t first = 0; first < shape.batch; first += together) {
    const int64_t samples = std::min(together, shape.batch - first);
    team.Run(samples * time, [&](int64_t i, int member) {
      steps.Prepare(first + i / time, i % time, i, lists, scratch.row.get() + member * 2 * steps.padded(),
                    scratch.slot.get() + member * 2 * n);
    });
    team.Run(tiles.tiles, [&](int64_t tile, int member) {
      Tile<T> task(steps, scratch, member, tile, count_nonzero);
      for (int64_t s = 0; s < samples; ++s) {
        const int64_t place = (first + s) * tiles.tiles + tile;
        task.Run(first + s, lists.steps.data() + s * time, inputs.influence ? inputs.influence + before[place] : nullptr,
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

#define INSTANTIATE(T)                                                                                                  \
  template int64_t InfluenceSize<T>(const InfluenceShape&, const InfluenceTiles&, const InfluenceInputs<T>&, int64_t);   \
  template InfluenceCounters Influence<T>(const InfluenceShape&, const InfluenceTiles&, const InfluenceInputs<T>&, bool, \
                                          T*, T*, Scheduler*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
