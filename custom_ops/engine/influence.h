// The influence of parameters on the units of a recurrent layer, forward in time, and the gradient that it gives: exact
// real-time recurrent learning and its truncations SnAp (equations: keras_egru/ops/influence_sequence.py).
//
//   N_t[k, :] = leak_t[k] N_{t-1}[k, :] + sum over l: J_t[k, l] passes_{t-1}[l] N_{t-1}[l, :] + direct influence
//   gradient += sum over k: credit_t[k] passes_t[k] N_t[k, :]
//
// A unit whose `passes` is zero hands nothing on: its row is skipped as a source, and without a leak, which would carry it
// into the next step, it is not even stored. Pruned weights have no column and no place in J. Columns never meet, so a task
// takes a tile of them through all steps while it stays in the cache.
#ifndef KERAS_EGRU_ENGINE_INFLUENCE_H_
#define KERAS_EGRU_ENGINE_INFLUENCE_H_

#include <cstdint>

#include "kernels.h"
#include "parallel.h"

namespace keras_egru {

// `gates` of the recurrent kernel; `kinds` of coefficients of the direct influence; `sources` that it multiplies.
struct InfluenceShape {
  int64_t batch = 0, time = 0, units = 0, gates = 0, kinds = 0, sources = 0, parameters = 0;
};

// Tiles of columns. All parameters of a tile act upon one unit, or with `through` upon the candidates of others by way of
// that unit's reset gate. A tile has the rows of the units that its parameters can influence (or, of SnAp, may).
struct InfluenceTiles {
  int64_t tiles = 0;
  const int32_t* column_begin;  // [tiles + 1], multiples of kInfluenceLanes
  const int32_t* unit;          // [tiles]
  const int32_t* through;       // [tiles], 0 or 1
  const int32_t* row_begin;     // [tiles + 1]
  const int32_t* row;           // units in ascending order
  // A column's place among the parameters, or -1 where it fills a tile up; its kind and its source. [columns]
  const int32_t *parameter, *kind, *source;
  // Which units' events act upon unit k: from neighbour[neighbour_begin[k]] to neighbour[neighbour_begin[k + 1]]
  const int32_t* neighbour_begin;  // [units + 1]
  const int32_t* neighbour;
};

constexpr int64_t kInfluenceLanes = 16;  // whole vectors of every instruction set

// With v = kernel[l, gate units + k]:  J[k, l] = sum over gates: gain[gate, k] v[gate]  + own[k] where k = l
// With a candidate, whose gate r multiplies before the product, the gates of the kernel are u, r, z, `gain` is of u alone and
//   J[k, l] = gain[k] v[u] + candidate[k] (v[z] opened[l] + sum over m: kernel_z[m, k] turned[m] kernel_r[l, m])  + own
template <typename T>
struct InfluenceInputs {
  const T* kernel;     // [units, gates units], pruned weights are zero
  const T* leak;       // [batch, time, units] or null
  const T* passes;     // [batch, time + 1, units]: after the step before the first, and after each step
  const T* gain;       // [batch, time, gates, units], or [batch, time, 1, units] with a candidate
  const T* own;        // [batch, time, units] or null
  const T* candidate;  // [batch, time, units] or null
  const T* opened;     // [batch, time, units], with a candidate: the gate r
  const T* turned;     // the same: how y_{t-1} r changes with what enters r
  const T* direct;     // [batch, time, kinds, units]
  const T* source;     // [batch, time, sources]
  const T* credit;     // [batch, time, units] dL_t/dy_t
  const uint8_t* mask;  // [batch, time] or null: steps that are left out
  const T* influence;  // as InfluenceSize says, or null for zeros
};

struct InfluenceCounters {
  int64_t multiply_adds = 0;  // on columns of parameters, not on those that fill a tile up
  int64_t nonzero = 0;        // entries of passes_t[k] N_t[k, :] that are not zero, over all steps, if counted
  int64_t entries = 0;        // of those that all rows and columns of parameters would have
};

// Numbers that the influence takes after step `t` (-1: before the first) of all samples: one after the other, tile by tile, row
// by row.
template <typename T>
int64_t InfluenceSize(const InfluenceShape& shape, const InfluenceTiles& tiles, const InfluenceInputs<T>& inputs, int64_t t);

// `influence`: of InfluenceSize(..., time - 1); `gradient`: [parameters]. `scheduler` may be null.
template <typename T>
InfluenceCounters Influence(const InfluenceShape& shape, const InfluenceTiles& tiles, const InfluenceInputs<T>& inputs,
                            bool count_nonzero, T* influence, T* gradient, Scheduler* scheduler);

}  // namespace keras_egru

#endif  // KERAS_EGRU_ENGINE_INFLUENCE_H_
