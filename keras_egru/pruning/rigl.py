"""RigL: masks that move to where the gradient is largest (Evci et al. 2020, arXiv 1911.11134).

The number of live weights is the same at every moment; a dense gradient is computed only when masks move.
"""

import math
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_egru.pruning.mask_updates import MaskUpdates, positive_integer
from keras_egru.pruning.masked import MASK_ATTRIBUTES, masked_layers
from keras_egru.pruning.prunable import parts
from keras_egru.pruning.recurrent_states import recurrent_states


class RigL(MaskUpdates):
    """Drops the smallest live weights and grows those with the largest gradient, every `interval` updates.

    After update t, a multiple of `interval` below `end_step`, a weight, gate by gate (Evci et al. 2020, Algorithm 1),

    1. drops the share `drop_fraction / 2 (1 + cos(pi t / end_step))` of its live blocks, rounded down: those with the
       least sum of magnitudes;
    2. grows as many of the blocks that are dormant now: those where the magnitudes of the loss's dense gradient have
       the largest sum. What grows is zero at first, and the optimizer's memory of it is that of a new weight. A block
       that was dropped just before may be chosen again; then it stays as it was, as in the authors' code.

    The paper skips the optimizer's update where masks move; here masks move after it. Ties are broken at random. Blocks
    are those of the `RandomMask` wrapper. Masks are moved between two updates of the optimizer and belong to the
    model, so that it can be saved and training resumed at any time; for the same course give the same `seed`. The
    schedule counts the updates of the optimizer: with a new optimizer it starts again.

    The gradient is that of the compiled loss in training mode (regularisers and dropout included), on data of the
    callback's own, since Keras shows callbacks no batches. Layers that spare masked weights a gradient, such as EGRU,
    compute it for all of them there. Nothing else comes of it: states, moving statistics and seeds are put back.

    ```python
    sparse = keras_egru.pruning.random_mask(model, 0.9, seed=1)
    sparse.compile("adam", "mse")
    sparse.fit(x, y, epochs=20, callbacks=[keras_egru.pruning.RigL((x, y), end_step=3000, seed=1)])
    ```

    Args:
        data: `(x, y)` or `(x, y, sample_weight)`, arrays with samples along axis 0 (`x` and `y` may be nested), of
            which `batch_size` are drawn each time; or a callable that takes the number of the update and returns such a
            batch.
        end_step: Positive integer, T_end: the update of the optimizer from which on masks stay. The paper takes 75 % of
            all updates.
        interval: Positive integer, Delta T, updates between two moves. Default 100.
        drop_fraction: Float in (0, 1], alpha, the share of live blocks that is dropped at first. Default 0.3.
        batch_size: Positive integer, samples of a gradient, where `data` are arrays. Default 128.
        seed: Integer or None, of draws and ties. Default `None`: drawn from Python's `random`.

    Raises:
        TypeError: an argument is of another type.
        ValueError: an argument has a wrong value; or, when training begins, the model has no masked layer or one that
            changes its masks by itself, `steps_per_execution` is not 1, or the optimizer has `use_ema=True`.
    """

    def __init__(
        self,
        data,
        end_step: int,
        interval: int = 100,
        drop_fraction: float = 0.3,
        batch_size: int = 128,
        seed: int | None = None,
    ):
        super().__init__(interval, seed)
        if not callable(data):
            _check_arrays(data)
        if not 0.0 < drop_fraction <= 1.0:
            raise ValueError(f"`drop_fraction` must lie in (0, 1], received {drop_fraction}.")
        self.data = data
        self.end_step = positive_integer("end_step", end_step)
        self.drop_fraction = float(drop_fraction)
        self.batch_size = positive_integer("batch_size", batch_size)
        self._gradient_function = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        # It is traced for the weights that are trained now.
        self._gradient_function = None

    def update(self, targets, step):
        share = self.share_at(step)
        if share == 0.0:
            return
        gradients = self._gradients([target.pair.weight for target in targets], step)
        for index, (target, gradient) in enumerate(zip(targets, gradients, strict=True)):
            _move(target, np.abs(gradient), share, self.generator(step, index))

    def share_at(self, step: int) -> float:
        """The share of live blocks that is dropped after update `step`; 0 from `end_step` on."""
        if step >= self.end_step:
            return 0.0
        return self.drop_fraction / 2.0 * (1.0 + math.cos(math.pi * step / self.end_step))

    def _gradients(self, weights, step):
        """The dense gradient of the loss for each of `weights`, arrays."""
        batch = keras.tree.map_structure(_as_tensor, self._batch(step))
        with _masks_hidden(self.model), _left_as_it_is(self.model):
            if self._gradient_function is None:
                self._gradient_function = _gradient_function(self.model, weights)
            gradients = self._gradient_function(*keras.utils.unpack_x_y_sample_weight(batch))
        return [ops.convert_to_numpy(gradient) for gradient in gradients]

    def _batch(self, step):
        if callable(self.data):
            return tuple(self.data(step))
        samples = len(keras.tree.flatten(self.data)[0])
        if samples <= self.batch_size:
            return tuple(self.data)
        # No target has this index.
        drawn = self.generator(step, 2**32).choice(samples, self.batch_size, replace=False)
        return tuple(keras.tree.map_structure(lambda part: np.asarray(part)[drawn], self.data))


def _move(target, gradient, share, generator):
    """Steps 1 and 2 for one weight; `gradient` holds magnitudes."""
    live = target.live
    weights = ops.convert_to_numpy(target.pair.weight)
    magnitudes, gradients = target.blocks.pooled(np.abs(weights)), target.blocks.pooled(gradient)
    moved = live.copy()
    for gate in range(len(live)):
        number = int(share * np.count_nonzero(live[gate]))
        alive = np.flatnonzero(live[gate])
        moved[gate, alive[_least(magnitudes[gate, alive], number, generator)]] = False
        dormant = np.flatnonzero(~moved[gate])
        moved[gate, dormant[_least(-gradients[gate, dormant], number, generator)]] = True
    target.move(np.where(target.blocks.spread(moved), weights, 0.0), moved, moved & ~live)


def _least(values, number, generator):
    """The indices of the `number` least of `values`, drawn at random among equals."""
    shuffled = generator.permutation(len(values))
    return shuffled[np.argsort(values[shuffled], kind="stable")[:number]]


def _gradient_function(model, weights):
    def gradients(x, y, sample_weight):
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=sample_weight, training=True)
            # Against underflow; only the order counts.
            loss = model.optimizer.scale_loss(loss)
        found = tape.gradient(
            loss, [weight.value for weight in weights], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [tf.convert_to_tensor(gradient) for gradient in found]

    return gradients if model.run_eagerly else tf.function(gradients)


@contextmanager
def _masks_hidden(model):
    """Takes the masks from layers and cells that would compute no gradient outside of them."""
    shown = [
        (part, name, getattr(part, name))
        for wrapper in masked_layers(model)
        for _, part in parts(wrapper.layer)
        for name in MASK_ATTRIBUTES.values()
        if hasattr(part, name)
    ]
    for part, name, _ in shown:
        object.__setattr__(part, name, None)  # past Keras, which would track it
    try:
        yield
    finally:
        for part, name, mask in shown:
            object.__setattr__(part, name, mask)


@contextmanager
def _left_as_it_is(model):
    """Puts states, moving statistics, seeds and metrics back at the end."""
    masks = {id(variable) for wrapper in masked_layers(model) for variable in wrapper._non_trainable_variables}
    changed = [*model.non_trainable_variables, *model.metrics_variables, *recurrent_states(model)]
    variables = {id(variable): variable for variable in changed if id(variable) not in masks}.values()
    before = [(variable, variable.numpy().copy()) for variable in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _as_tensor(part):
    return part if part is None else ops.convert_to_tensor(part)


def _check_arrays(data):
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise TypeError(
            "`data` must be (x, y) or (x, y, sample_weight), arrays, or a callable that takes the number of the update "
            f"and returns a batch of them, received {type(data).__name__}."
        )
    shapes = [np.shape(part) for part in keras.tree.flatten(data)]
    sizes = sorted({shape[0] if shape else 0 for shape in shapes})
    if len(sizes) != 1 or sizes[0] == 0:
        raise ValueError(f"`data` must hold samples along axis 0, equally many in all its parts, received {sizes}.")
