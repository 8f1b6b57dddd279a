"""tfmot's engine: what it makes of the magnitudes of one weight at one step of its schedule.

The mathematics and the schedules are TensorFlow Model Optimization's own. It is loaded when it is first needed, since
its import takes a second and turns `tf.keras` into Keras 2 where nothing holds it back.
"""

import functools
import importlib
import math
import os
from typing import Any, NamedTuple

import tensorflow as tf

TFMOT = "tensorflow_model_optimization.python.core.sparsity.keras"


class Tfmot(NamedTuple):
    """The parts of tfmot that are used."""

    Pruning: Any
    utils: Any
    PruningSchedule: Any
    ConstantSparsity: Any
    PolynomialDecay: Any


@functools.cache
def load_tfmot() -> Tfmot:
    """Imports tfmot and leaves the process as it was: `tf.keras` and the environment stay.

    Raises:
        ImportError: tfmot or the `tf_keras` that it needs is not installed.
    """
    name = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(name)
    try:
        # `tf.keras` is what the variable says when it is first looked at; tfmot sets the variable.
        _ = tf.keras.__version__
        modules = ("pruning_impl", "pruning_utils", "pruning_schedule")
        implementation, utils, schedules = (importlib.import_module(f"{TFMOT}.{module}") for module in modules)
    except ImportError as error:
        raise ImportError(
            f"Pruning by magnitude needs tensorflow-model-optimization and tf_keras ({error}): "
            'run `pip install "keras-egru[pruning]"`.'
        ) from error
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
    return Tfmot(
        implementation.Pruning,
        utils,
        schedules.PruningSchedule,
        schedules.ConstantSparsity,
        schedules.PolynomialDecay,
    )


class Magnitudes(NamedTuple):
    """How the magnitudes of a weight become its mask, step by step.

    schedule: tfmot `PruningSchedule`.
    block_size: (height, width) of the blocks that are pruned together.
    block_pooling_type: `"AVG"` or `"MAX"`, what stands for the magnitudes in a block.
    sparsity_m_by_n: (m, n) or None: m zeros among each n consecutive elements of the next to last axis, from step 1 on.
    """

    schedule: Any
    block_size: tuple[int, int] = (1, 1)
    block_pooling_type: str = "AVG"
    sparsity_m_by_n: tuple[int, int] | None = None

    def changes_at(self, step):
        """Whether masks are renewed at `step`, an integer tensor; a boolean tensor."""
        if self.sparsity_m_by_n is not None:
            return tf.equal(step, 1)
        return self.schedule(step)[0]

    def mask(self, weight, gates: int, step):
        """The mask that `weight` gets at `step`.

        Args:
            weight: Tensor.
            gates: Of how many matrices side by side it consists; each is pruned to the sparsity of the schedule.
            step: Integer tensor.

        Returns:
            `(threshold, mask)` of the weight's type: `[]`, or `[gates]` of more than one gate, and `[...]` as `weight`.
        """
        matrices = tf.split(weight, gates, axis=-1) if gates > 1 else [weight]
        thresholds, masks = zip(*(self._matrix_mask(matrix, step) for matrix in matrices), strict=True)
        threshold = tf.stack(thresholds) if gates > 1 else thresholds[0]
        return threshold, tf.concat(masks, axis=-1)

    def _matrix_mask(self, matrix, step):
        engine = load_tfmot().Pruning(
            lambda: step, [], self.schedule, self.block_size, self.block_pooling_type, self.sparsity_m_by_n
        )
        if self.sparsity_m_by_n is None and self.block_size != (1, 1):
            threshold, mask = self._block_mask(engine, matrix)
        else:
            threshold, mask = engine._maybe_update_block_mask(matrix)
        return tf.cast(threshold, matrix.dtype), tf.cast(mask, matrix.dtype)

    def _block_mask(self, engine, matrix):
        """tfmot's `_maybe_update_block_mask` for blocks, which fails where one block spans an axis of the matrix."""
        utils = load_tfmot().utils
        pooled = utils.factorized_pool(
            tf.abs(matrix),
            window_shape=self.block_size,
            pooling_type=self.block_pooling_type,
            strides=self.block_size,
            padding="SAME",
        )
        # The pooling has squeezed axes of one block away.
        blocks = [math.ceil(size / block) for size, block in zip(matrix.shape, self.block_size, strict=True)]
        threshold, mask = engine._update_mask(tf.reshape(pooled, blocks))
        return threshold, utils.expand_tensor(mask, self.block_size)[: matrix.shape[0], : matrix.shape[1]]
