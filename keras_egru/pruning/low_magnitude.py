"""The wrapper that prunes the weights of least magnitude while a layer trains, as tfmot's of the same name does."""

import numbers
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_egru.pruning.engine import Magnitudes
from keras_egru.pruning.masked import Masked, MaskedWeight
from keras_egru.pruning.prunable import PrunableWeight
from keras_egru.pruning.schedules import check_schedule, deserialize_schedule, serialize_schedule

NOT_BEGUN = -1


@dataclass(frozen=True, eq=False, kw_only=True)
class PrunedWeight(MaskedWeight):
    """A masked weight, and what is saved for it beside the mask.

    threshold: Keras variable `[]` (`[gates]` of a recurrent kernel), the least magnitude that was kept at the last
        change of the mask; 999 where m of n are pruned, as in tfmot.
    step: Keras variable, int64: how many updates the weight has had since pruning began; -1 before.
    """

    threshold: Any
    step: Any

    def has_begun(self) -> bool:
        """Whether `UpdatePruningStep` has seen it."""
        return int(self.step.numpy()) != NOT_BEGUN


@keras.saving.register_keras_serializable(package="keras_egru")
class PruneLowMagnitude(Masked):
    """Prunes the weights of a layer by magnitude, along a schedule; usually made by `prune_low_magnitude`.

    At the forward pass of step k (from 1) the weights are those that tfmot's wrapper would use: at the steps of the
    schedule the mask is made anew from the magnitudes after update k - 1, in which weights that were masked have moved
    by one update and may come back. tfmot does it at the beginning of step k, so that its weights are not masked
    between an update and the next step; here it is done at the end of update k - 1. So between two steps `pruning_step`
    is what tfmot's is, and the mask is the one that tfmot makes next. Two things differ:

    - Layers that make use of their masks, such as EGRU, give masked weights no gradient, so that an optimizer without
      momentum or decay does not bring these back.
    - tfmot's own callback masks weights at the end of an epoch, so that in tfmot none comes back in its next step.

    Training needs the callback `UpdatePruningStep`. A step is an update by an optimizer; one that a
    `LossScaleOptimizer` skips does not count, and calling a shared layer twice counts once. Frozen weights are pruned
    too, by the callback.

    Of a recurrent kernel `[units, gates * units]` each gate's matrix is pruned by itself, all to the sparsity of the
    schedule, with blocks of its own; the thresholds are `[gates]`.

    Args:
        layer: A Keras layer with weights that can be pruned.
        pruning_schedule: tfmot `PruningSchedule`, such as `PolynomialDecay`.
        block_size: (height, width) of the blocks that are pruned together, in weights of rank 2. Blocks that stick out
            at the end of an axis are cut off, and their magnitude is that of what is left. Default `(1, 1)`.
        block_pooling_type: `"AVG"` or `"MAX"`: what stands for the magnitudes in a block. Default `"AVG"`.
        sparsity_m_by_n: (m, n): m zeros among n consecutive elements of the next to last axis (the input's), in weights
            of rank 2 or 4. n must divide the axis: tfmot pads it, and what is pruned then is not m of n everywhere. As
            in tfmot the mask is made once, at step 1, and the schedule is not looked at. Default `None`.
        **kwargs: `name`, `dtype`, `trainable`; see `Masked`.

    Raises:
        TypeError: an argument is of another type.
        ValueError: an argument has a wrong value, the layer is pruned already, or, once built, it has no weight that
            can be pruned or one that such blocks or groups do not fit.
        RuntimeError: the layer is trained without the callback.
    """

    prefix = "prune_low_magnitude"

    def __init__(
        self,
        layer,
        pruning_schedule,
        block_size=(1, 1),
        block_pooling_type: str = "AVG",
        sparsity_m_by_n=None,
        **kwargs,
    ):
        check_schedule(pruning_schedule)
        block_size = _two_integers(block_size, "block_size")
        if min(block_size) < 1:
            raise ValueError(f"`block_size` must be positive, received {block_size}.")
        if block_pooling_type not in ("AVG", "MAX"):
            raise ValueError(f'`block_pooling_type` must be "AVG" or "MAX", received {block_pooling_type!r}.')
        if sparsity_m_by_n is not None:
            m, n = sparsity_m_by_n = _two_integers(sparsity_m_by_n, "sparsity_m_by_n")
            if not 0 < m < n:
                raise ValueError(f"`sparsity_m_by_n` must be (m, n) with 0 < m < n, received {sparsity_m_by_n}.")
            if block_size != (1, 1):
                raise ValueError(f"`block_size` must be (1, 1) with `sparsity_m_by_n`, received {block_size}.")
        super().__init__(layer, **kwargs)
        self.pruning_schedule = pruning_schedule
        self.block_size = block_size
        self.block_pooling_type = block_pooling_type
        self.sparsity_m_by_n = sparsity_m_by_n

    @property
    def pruning_step(self):
        """Keras variable: how many updates there have been since pruning began, and -1 before."""
        return self.masks[0].step

    def _masked_weight(self, weight: PrunableWeight) -> PrunedWeight:
        self._check_fit(weight)
        pair = super()._masked_weight(weight)
        shape = (weight.gates,) if weight.gates > 1 else ()
        threshold = self.add_state(f"{weight.name}_threshold", shape, "zeros", weight.variable.dtype)
        # Each weight counts for itself: an optimizer leaves out those that are frozen or have no gradient.
        begin = keras.initializers.Constant(NOT_BEGUN)
        step = self.add_state(f"{weight.name}_pruning_step", (), begin, "int64")
        return PrunedWeight(
            name=pair.name, weight=pair.weight, mask=pair.mask, gates=pair.gates, threshold=threshold, step=step
        )

    def _check_fit(self, weight):
        shape = tuple(weight.variable.shape)
        what = f"`{weight.name}` of layer '{self.layer.name}' has the shape {list(shape)}"
        if self.block_size != (1, 1):
            if len(shape) != 2:
                raise ValueError(f"`block_size` {self.block_size} is for weights of rank 2; {what}.")
            sizes = (shape[0], shape[1] // weight.gates)
            if all(block >= size for block, size in zip(self.block_size, sizes, strict=True)):
                raise ValueError(
                    f"`block_size` {self.block_size} leaves a single block, which is never pruned: {what}, "
                    f"pruned as {weight.gates} of {list(sizes)}."
                )
        if self.sparsity_m_by_n is not None:
            if len(shape) not in (2, 4):
                raise ValueError(f"`sparsity_m_by_n` is for weights of rank 2 or 4; {what}.")
            if shape[-2] % self.sparsity_m_by_n[1]:
                raise ValueError(
                    f"`sparsity_m_by_n` {self.sparsity_m_by_n} needs a next to last axis that n divides; {what}."
                )

    def begin(self) -> bool:
        """Makes the masks of step 1, unless pruning has begun before, as in a model that was saved and loaded.

        Returns:
            Whether it has not begun before.

        Raises:
            ValueError: the wrapper is not built.
        """
        if not self.built:
            raise ValueError(f"Layer '{self.name}' must be built before it is pruned: build or call the model first.")
        new = [pair for pair in self.masks if isinstance(pair, PrunedWeight) and not pair.has_begun()]
        for pair in new:
            self.advance(pair)
        return bool(new)

    def advance(self, pair: PrunedWeight):
        """Does for one weight what an update by an optimizer does, without an update."""
        self.mask_after_update(pair, ops.convert_to_tensor(pair.weight))
        pair.apply()

    def mask_after_update(self, pair, weight):
        step = ops.convert_to_tensor(pair.step) + 1
        magnitudes = Magnitudes(self.pruning_schedule, self.block_size, self.block_pooling_type, self.sparsity_m_by_n)
        # Assigned to outside of `cond`, in which replicas could not meet.
        threshold, mask = tf.cond(
            magnitudes.changes_at(step + 1),
            lambda: magnitudes.mask(weight, pair.gates, step + 1),
            lambda: (ops.convert_to_tensor(pair.threshold), ops.convert_to_tensor(pair.mask)),
        )
        pair.step.assign(step)
        pair.threshold.assign(threshold)
        pair.mask.assign(mask)
        return mask

    def call(self, *args, **kwargs):
        if kwargs.get("training"):
            self._check_begun()
        return super().call(*args, **kwargs)

    def _check_begun(self):
        message = (
            f"Layer '{self.name}' is to be pruned and must not be trained without the callback "
            "keras_egru.pruning.UpdatePruningStep(): give it to `fit`, or, in a training loop of your own, "
            "call its `set_model(model)` and `on_train_begin()` first."
        )
        # At the time of tracing, since XLA leaves assertions out of what it compiles.
        with tf.init_scope():
            if tf.executing_eagerly() and not all(pair.has_begun() for pair in self.masks):
                raise RuntimeError(message)
        tf.debugging.assert_greater(self.pruning_step.value, tf.constant(NOT_BEGUN, "int64"), message=message)

    def get_config(self):
        return {
            **super().get_config(),
            "pruning_schedule": serialize_schedule(self.pruning_schedule),
            "block_size": self.block_size,
            "block_pooling_type": self.block_pooling_type,
            "sparsity_m_by_n": self.sparsity_m_by_n,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = {**config, "pruning_schedule": deserialize_schedule(config["pruning_schedule"])}
        return super().from_config(config, custom_objects=custom_objects)


def _two_integers(value, argument):
    pair = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(pair) != 2 or not all(isinstance(item, numbers.Integral) for item in pair):
        raise TypeError(f"`{argument}` must be a pair of integers, received {value!r}.")
    return int(pair[0]), int(pair[1])
