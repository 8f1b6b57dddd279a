// The influence op kernel: it checks shapes and places, allocates outputs and hands plain pointers to the engine.
#include <algorithm>
#include <array>
#include <mutex>
#include <tuple>

#include "../engine/influence.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "op_checks.h"
#include "scheduler.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace keras_egru {
namespace {

using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;

// In the order of the registration.
enum Input {
  kInfluence, kKernel, kLeak, kPasses, kGain, kOwn, kCandidate, kOpened, kTurned, kDirect, kSource, kCredit, kMask,
  kColumnBegin, kTileUnit, kTileThrough, kRowBegin, kRow, kParameter, kKind, kColumnSource, kNeighbourBegin, kNeighbour
};

template <typename V>
const V* Data(const Tensor& tensor) {
  return tensor.NumElements() ? tensor.flat<V>().data() : nullptr;
}

// Numbers in [least, end).
absl::Status CheckPlaces(const Tensor& tensor, const char* name, int64_t size, int64_t least, int64_t end) {
  TF_RETURN_IF_ERROR(Expect(tensor, name, {size}));
  const auto flat = tensor.flat<int32_t>();
  bool inside = true;
  for (int64_t i = 0; i < size; ++i) inside &= flat(i) >= least && flat(i) < end;
  if (inside) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("`", name, "` must lie in [", least, ", ", end, ")."));
}

// Ends of lists one after the other: from 0 to `last`, never falling.
absl::Status CheckBegins(const Tensor& tensor, const char* name, int64_t lists, int64_t last, int64_t multiple) {
  TF_RETURN_IF_ERROR(Expect(tensor, name, {lists + 1}));
  const auto flat = tensor.flat<int32_t>();
  bool rising = flat(0) == 0 && flat(lists) == last;
  for (int64_t i = 0; i < lists; ++i) rising &= flat(i + 1) >= flat(i) && flat(i) % multiple == 0;
  if (rising) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("`", name, "` must rise from 0 to ", last, " in multiples of ", multiple, "."));
}

void PointAtTiles(OpKernelContext* context, InfluenceTiles* tiles) {
  const auto data = [&](int i) { return context->input(i).flat<int32_t>().data(); };
  *tiles = {context->input(kTileUnit).NumElements(), data(kColumnBegin), data(kTileUnit), data(kTileThrough), data(kRowBegin),
            data(kRow), data(kParameter), data(kKind), data(kColumnSource), data(kNeighbourBegin), data(kNeighbour)};
}

absl::Status CheckTiles(OpKernelContext* context, const InfluenceShape& shape, const InfluenceTiles* tiles) {
  const auto in = [&](int i) -> const Tensor& { return context->input(i); };
  const int64_t count = in(kTileUnit).NumElements(), columns = in(kParameter).NumElements(), n = shape.units;
  TF_RETURN_IF_ERROR(CheckBegins(in(kColumnBegin), "column_begin", count, columns, kInfluenceLanes));
  TF_RETURN_IF_ERROR(CheckPlaces(in(kTileUnit), "tile_unit", count, 0, n));
  TF_RETURN_IF_ERROR(CheckPlaces(in(kTileThrough), "tile_through", count, 0, in(kCandidate).NumElements() ? 2 : 1));
  TF_RETURN_IF_ERROR(CheckBegins(in(kRowBegin), "row_begin", count, in(kRow).NumElements(), 1));
  TF_RETURN_IF_ERROR(CheckPlaces(in(kRow), "row", in(kRow).NumElements(), 0, n));
  TF_RETURN_IF_ERROR(CheckPlaces(in(kParameter), "column_parameter", columns, -1, shape.parameters));
  TF_RETURN_IF_ERROR(CheckPlaces(in(kKind), "column_kind", columns, 0, shape.kinds));
  TF_RETURN_IF_ERROR(CheckPlaces(in(kColumnSource), "column_source", columns, 0, shape.sources));
  TF_RETURN_IF_ERROR(CheckBegins(in(kNeighbourBegin), "neighbour_begin", n, in(kNeighbour).NumElements(), 1));
  TF_RETURN_IF_ERROR(CheckPlaces(in(kNeighbour), "neighbour", in(kNeighbour).NumElements(), 0, n));
  for (int64_t tile = 0; tile < count; ++tile) {
    const int32_t *parameter = tiles->parameter + tiles->column_begin[tile];
    const int32_t *parameters_end = tiles->parameter + tiles->column_begin[tile + 1];
    if (std::find_if(std::find(parameter, parameters_end, -1), parameters_end, [](int32_t p) { return p >= 0; }) !=
        parameters_end) {
      return absl::InvalidArgumentError("`column_parameter` must have its fillings, -1, at the end of a tile.");
    }
    const int32_t *first = tiles->row + tiles->row_begin[tile], *end = tiles->row + tiles->row_begin[tile + 1];
    if (std::adjacent_find(first, end, [](int32_t a, int32_t b) { return a >= b; }) != end) {
      return absl::InvalidArgumentError("`row` must rise within a tile.");
    }
  }
  for (int64_t k = 0; k < n; ++k) {
    const int32_t *first = tiles->neighbour + tiles->neighbour_begin[k], *end = tiles->neighbour + tiles->neighbour_begin[k + 1];
    if (std::adjacent_find(first, end, [](int32_t a, int32_t b) { return a >= b; }) != end) {
      return absl::InvalidArgumentError("`neighbour` must rise within a unit's list.");
    }
  }
  return absl::OkStatus();
}

// Remembers the tiles that were found good last: TensorFlow never writes to a buffer that somebody else holds, so that tiles
// in the same buffers are the same. Safe to use from several threads.
class CheckedTiles {
 public:
  absl::Status Read(OpKernelContext* context, const InfluenceShape& shape, InfluenceTiles* tiles) {
    PointAtTiles(context, tiles);
    const std::array<int64_t, 4> sizes = {shape.units, shape.kinds, shape.sources, context->input(kCandidate).NumElements() > 0};
    std::lock_guard<std::mutex> lock(mutex_);
    bool known = sizes == sizes_;
    for (int i = kColumnBegin; i <= kNeighbour; ++i) {
      const Tensor &found = context->input(i), &kept = tensors_[i - kColumnBegin];
      known = known && kept.IsInitialized() && kept.shape() == found.shape() &&
              (found.NumElements() == 0 || kept.SharesBufferWith(found));
    }
    if (known) return absl::OkStatus();
    TF_RETURN_IF_ERROR(CheckTiles(context, shape, tiles));
    for (int i = kColumnBegin; i <= kNeighbour; ++i) tensors_[i - kColumnBegin] = context->input(i);
    sizes_ = sizes;
    return absl::OkStatus();
  }

 private:
  std::mutex mutex_;
  std::array<Tensor, kNeighbour - kColumnBegin + 1> tensors_;
  std::array<int64_t, 4> sizes_ = {};
};

template <typename T>
absl::Status ReadInputs(OpKernelContext* context, InfluenceShape* shape, InfluenceInputs<T>* inputs) {
  const auto in = [&](int i) -> const Tensor& { return context->input(i); };
  for (const auto& [input, name, rank] : {std::tuple{kKernel, "kernel", 2}, {kPasses, "passes", 3}, {kGain, "gain", 4},
                                          {kDirect, "direct", 4}, {kSource, "source", 3}, {kCredit, "credit", 3}}) {
    if (in(input).dims() != rank) {
      return absl::InvalidArgumentError(
          absl::StrCat("`", name, "` must have ", rank, " dimensions, received ", in(input).shape().DebugString(), "."));
    }
  }
  const int64_t n = in(kKernel).dim_size(0), batch = in(kCredit).dim_size(0), time = in(kCredit).dim_size(1);
  const bool candidate = in(kCandidate).NumElements() > 0;
  if (n == 0 || in(kKernel).dim_size(1) % n != 0) {
    return absl::InvalidArgumentError(absl::StrCat("`kernel` must have the shape [units, gates units], received ",
                                                   in(kKernel).shape().DebugString(), "."));
  }
  const int64_t gates = in(kKernel).dim_size(1) / n;
  shape->batch = batch;
  shape->time = time;
  shape->units = n;
  shape->gates = gates;
  shape->kinds = in(kDirect).dim_size(2);
  shape->sources = in(kSource).dim_size(2);
  if (candidate && gates != 3) return absl::InvalidArgumentError("`candidate` needs a `kernel` of three gates.");
  TF_RETURN_IF_ERROR(Expect(in(kPasses), "passes", {batch, time + 1, n}));
  TF_RETURN_IF_ERROR(Expect(in(kGain), "gain", {batch, time, candidate ? 1 : gates, n}));
  TF_RETURN_IF_ERROR(Expect(in(kDirect), "direct", {batch, time, shape->kinds, n}));
  TF_RETURN_IF_ERROR(Expect(in(kSource), "source", {batch, time, shape->sources}));
  TF_RETURN_IF_ERROR(Expect(in(kCredit), "credit", {batch, time, n}));
  for (const auto& [input, name] : {std::tuple{kLeak, "leak"}, {kOwn, "own"}}) {
    if (in(input).NumElements()) TF_RETURN_IF_ERROR(Expect(in(input), name, {batch, time, n}));
  }
  if (candidate) {
    for (const auto& [input, name] : {std::tuple{kCandidate, "candidate"}, {kOpened, "opened"}, {kTurned, "turned"}}) {
      TF_RETURN_IF_ERROR(Expect(in(input), name, {batch, time, n}));
    }
  }
  // A step without a leak stores rows where `passes` is not zero, and reads what a unit does to itself from `leak` alone.
  if ((candidate || in(kOwn).NumElements()) && !in(kLeak).NumElements()) {
    return absl::InvalidArgumentError("`own` and `candidate` need a `leak`.");
  }
  if (in(kMask).NumElements()) TF_RETURN_IF_ERROR(Expect(in(kMask), "mask", {batch, time}));
  *inputs = {Data<T>(in(kKernel)),
             Data<T>(in(kLeak)),
             Data<T>(in(kPasses)),
             Data<T>(in(kGain)),
             Data<T>(in(kOwn)),
             Data<T>(in(kCandidate)),
             Data<T>(in(kOpened)),
             Data<T>(in(kTurned)),
             Data<T>(in(kDirect)),
             Data<T>(in(kSource)),
             Data<T>(in(kCredit)),
             reinterpret_cast<const uint8_t*>(Data<bool>(in(kMask))),
             Data<T>(in(kInfluence))};
  return absl::OkStatus();
}

template <typename T>
class InfluenceOp : public OpKernel {
 public:
  explicit InfluenceOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("parameters", &parameters_));
    OP_REQUIRES_OK(context, context->GetAttr("count_nonzero", &count_nonzero_));
  }

  void Compute(OpKernelContext* context) override {
    InfluenceShape shape;
    InfluenceTiles tiles;
    InfluenceInputs<T> inputs;
    shape.parameters = parameters_;
    OP_REQUIRES_OK(context, ReadInputs(context, &shape, &inputs));
    OP_REQUIRES(context, shape.batch > 0 && shape.time > 0,
                absl::InvalidArgumentError("`credit` must hold a sample and a step at least."));
    OP_REQUIRES_OK(context, tiles_.Read(context, shape, &tiles));
    Tensor *next, *gradient, *counters;
    TensorFlowScheduler scheduler(context);
    Run(context, [&] {
      if (inputs.influence) {
        OP_REQUIRES_OK(context, Expect(context->input(kInfluence), "influence", {InfluenceSize(shape, tiles, inputs, -1)}));
      }
      OP_REQUIRES_OK(context, context->allocate_output(0, {InfluenceSize(shape, tiles, inputs, shape.time - 1)}, &next));
      OP_REQUIRES_OK(context, context->allocate_output(1, {parameters_}, &gradient));
      OP_REQUIRES_OK(context, context->allocate_output(2, {3}, &counters));
      const InfluenceCounters found = Influence<T>(shape, tiles, inputs, count_nonzero_, next->flat<T>().data(),
                                                   gradient->flat<T>().data(), &scheduler);
      auto out = counters->flat<int64_t>();
      out(0) = found.multiply_adds;
      out(1) = found.nonzero;
      out(2) = found.entries;
    });
  }

 private:
  int64_t parameters_;
  bool count_nonzero_;
  CheckedTiles tiles_;
};

#define REGISTER(T)                                                                                             \
  REGISTER_KERNEL_BUILDER(Name("KerasEgru>Influence").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), \
                          InfluenceOp<T>);
REGISTER(float)
REGISTER(double)
#undef REGISTER

}  // namespace
}  // namespace keras_egru
