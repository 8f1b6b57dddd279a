"""What callbacks share that move masks while a model trains: which masks, at which updates, and how one is moved.

The number of an update is that of the optimizer, which is saved with it, and everything random is drawn anew from the
seed and that number: training that is resumed goes on as if it had not stopped.
"""

import numbers
import random

import keras
import numpy as np
from keras import ops

from keras_egru.pruning.blocks import Blocks, gates_of
from keras_egru.pruning.masked import Masked, masked_layers
from keras_egru.pruning.optimizer_slots import Slots


class MaskTarget:
    """One trainable masked weight whose mask a callback moves.

    Args:
        wrapper: The `Masked` wrapper.
        pair: One of its `masks`.
        optimizer: The built optimizer of the model.
    """

    def __init__(self, wrapper, pair, optimizer):
        self.wrapper = wrapper
        self.pair = pair
        self.blocks = Blocks(pair, gates_of(pair, wrapper.masks), getattr(wrapper, "block_size", (1, 1)))
        self.slots = Slots(optimizer, pair.weight)

    @property
    def live(self) -> np.ndarray:
        """`[gates, blocks]`, the blocks that the mask keeps."""
        return self.blocks.live(ops.convert_to_numpy(self.pair.mask))

    def move(self, weights, live, born):
        """Makes `live` the mask; the optimizer forgets what it knew of the weights of `born`.

        Args:
            weights: The weights from then on, of the weight's shape; zero outside of the old mask and of the new one.
            live: Booleans `[gates, blocks]`.
            born: Booleans `[gates, blocks]`, live blocks that start anew.
        """
        # The weights first: so they are masked at every moment.
        self.pair.weight.assign(weights)
        self.pair.mask.assign(self.blocks.spread(live))
        if born.any():
            self.slots.reset(self.blocks.spread(born))


class MaskUpdates(keras.callbacks.Callback):
    """Calls `update` after every `interval`-th update of the optimizer; subclasses move masks there.

    Args:
        interval: Updates of the optimizer between two calls.
        seed: Integer or None.
    """

    def __init__(self, interval: int, seed: int | None):
        super().__init__()
        self.interval = positive_integer("interval", interval)
        self.seed = random.randint(1, 10**9) if seed is None else _not_negative("seed", seed)
        self._targets: list[MaskTarget] = []
        self._optimizer = None
        self._step = 0

    def update(self, targets: list[MaskTarget], step: int):
        """Moves the masks of `targets` after update `step` of the optimizer."""
        raise NotImplementedError(f"{type(self).__name__} must implement `update`.")

    def check_wrapper(self, wrapper: Masked):
        """Raises a ValueError if the masks of `wrapper` cannot be moved."""
        if type(wrapper).mask_after_update is not Masked.mask_after_update:
            raise ValueError(
                f"Layer '{wrapper.name}' ({type(wrapper).__name__}) changes its masks by itself: "
                f"`{type(self).__name__}` needs masks that stay, such as those of `random_mask`."
            )

    def generator(self, step: int, index: int) -> np.random.Generator:
        """The random numbers of one target at one update."""
        return np.random.default_rng([self.seed, step, index])

    def on_train_begin(self, logs=None):
        name = type(self).__name__
        if self.model.steps_per_execution != 1:
            raise ValueError(
                f"`{name}` needs `steps_per_execution=1`, since it works between two updates, "
                f"received {self.model.steps_per_execution}."
            )
        if _keeps_averages(self.model.optimizer):
            raise ValueError(
                f"`{name}` needs an optimizer with `use_ema=False`: the averages, which become the weights when "
                "training ends, lie outside of the masks too."
            )
        wrappers = list(masked_layers(self.model))
        if not wrappers:
            raise ValueError(f"`{name}` found no masked layer in '{self.model.name}': wrap layers with `random_mask`.")
        for wrapper in wrappers:
            self.check_wrapper(wrapper)
        self._targets = []
        self._optimizer = None
        self._step = self._current_step()

    def on_train_batch_end(self, batch, logs=None):
        step = self._current_step()
        if step == self._step:  # Gradients are being accumulated.
            return
        self._step = step
        if step % self.interval == 0:
            if self._optimizer is not self.model.optimizer:
                # Here and not before: a model may be built by its first batch, and an optimizer is.
                self._optimizer = self.model.optimizer
                self._targets = self._find_targets()
            self.update(self._targets, step)

    def _current_step(self):
        return int(ops.convert_to_numpy(self.model.optimizer.iterations))

    def _find_targets(self):
        trainable = {id(variable) for variable in self.model.trainable_variables}
        targets = [
            MaskTarget(wrapper, pair, self.model.optimizer)
            for wrapper in masked_layers(self.model)
            for pair in wrapper.masks
            if id(pair.weight) in trainable
        ]
        if not targets:
            raise ValueError(f"`{type(self).__name__}` found no masked weight in '{self.model.name}' that is trained.")
        return targets


def _keeps_averages(optimizer):
    inner = getattr(optimizer, "inner_optimizer", None)
    several = [inner] if inner is not None else getattr(optimizer, "optimizers", [])
    return optimizer.use_ema or any(_keeps_averages(single) for single in several)


def positive_integer(name: str, value) -> int:
    """`value` as an integer above 0; raises a TypeError or ValueError that names it otherwise."""
    if _not_negative(name, value) == 0:
        raise ValueError(f"`{name}` must be a positive integer, received 0.")
    return int(value)


def _not_negative(name, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"`{name}` must be an integer, received {value!r}.")
    if int(value) < 0:
        raise ValueError(f"`{name}` must not be negative, received {value}.")
    return int(value)
