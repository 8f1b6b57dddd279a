"""Learning rates that begin small.

Section 4.6 of Nowotny, Turner & Knight 2022, "Loss shaping enhances exact gradient learning with Eventprop in spiking
neural networks". A callback and not a Keras `LearningRateSchedule`: an optimizer with a schedule refuses every other
change of its learning rate, and neither saves nor restores what such a change has come to.
"""

import math

import keras
from keras import ops


class EaseIn(keras.callbacks.Callback):
    """Begins at `start * learning_rate` and multiplies by `growth` each batch, up to `learning_rate`.

    Weights drawn at random make spiking layers far too busy or too silent, and the first large steps of the rate's
    regularisation then silence them for good. With the defaults, which are the paper's, 142 batches are eased.

    The rate follows `optimizer.iterations` and is written to `optimizer.learning_rate`, which optimizers save: training
    that is resumed goes on where it was, and once the rate is full nothing is written any more. A change that another
    callback makes meanwhile, such as `HalveOnDecline`, is kept as a factor; only training resumed while the rate is
    still being eased does not know of an earlier one. With `steps_per_execution` the rate changes once an execution.

    ```python
    model.compile(keras.optimizers.Adam(1e-3), ...)
    model.fit(x, y, callbacks=[EaseIn(1e-3), HalveOnDecline()])
    ```

    Args:
        learning_rate: Float > 0, the full rate; the optimizer's own is overwritten while the rate is being eased.
        start: Float in (0, 1], share of the full rate at the first batch. Default 1e-3.
        growth: Float > 1, factor a batch. Default 1.05.

    Raises:
        ValueError: an argument is out of range; when training begins, the optimizer's learning rate is a schedule.
    """

    def __init__(self, learning_rate: float, start: float = 1e-3, growth: float = 1.05):
        super().__init__()
        if not 0.0 < learning_rate < math.inf:
            raise ValueError(f"`learning_rate` must be a positive finite number, received {learning_rate!r}.")
        if not 0.0 < start <= 1.0:
            raise ValueError(f"`start` must be a share in (0, 1], received {start!r}.")
        if not 1.0 < growth < math.inf:
            raise ValueError(f"`growth` must be a finite factor above 1, received {growth!r}.")
        self.learning_rate = float(learning_rate)
        self.start = float(start)
        self.growth = float(growth)
        self._begun = False
        self._written: float | None = None
        self._factor = 1.0

    @property
    def batches(self) -> int:
        """How many batches run below the full rate."""
        return math.ceil(-math.log(self.start) / math.log(self.growth))

    def rate(self, iteration: int) -> float:
        """The learning rate of the batch with that number, from 0."""
        if iteration >= self.batches:
            return self.learning_rate
        return self.learning_rate * min(1.0, self.start * self.growth**iteration)

    def on_train_begin(self, logs=None):
        settable_rate(self.model, type(self).__name__)
        self._begun, self._written, self._factor = False, None, 1.0

    def on_train_batch_begin(self, batch, logs=None):
        # Not when training begins: another callback may restore the optimizer there.
        if not self._begun:
            self._begun = True
            if self._iteration() < self.batches:
                self._write()

    def on_train_batch_end(self, batch, logs=None):
        # For the next batch, so that a checkpoint holds the rate that belongs to its iterations.
        if self._written is None:
            return
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        if rate != self._written:
            self._factor *= rate / self._written
        self._write()
        if self._iteration() >= self.batches:
            self._written = None

    def _iteration(self):
        return int(ops.convert_to_numpy(self.model.optimizer.iterations))

    def _write(self):
        variable = settable_rate(self.model, type(self).__name__)
        variable.assign(self._factor * self.rate(self._iteration()))
        self._written = float(ops.convert_to_numpy(variable))


def settable_rate(model, needed_by: str):
    """The Keras variable of the learning rate of the model's optimizer.

    Raises:
        ValueError: the learning rate is a schedule or a function.
    """
    rate = model.optimizer.learning_rate
    if not isinstance(rate, keras.Variable):
        raise ValueError(
            f"{needed_by} changes the learning rate, so the optimizer must be given a number for it, "
            "received a schedule or a function."
        )
    return rate
