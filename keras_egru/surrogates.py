"""Surrogate derivatives of the event function.

An event is `H(v)` with `v = c - threshold` and `H(0) = 0`. Its derivative is zero almost everywhere, so training uses a
surrogate in its place (EGRU paper, section 3; Neftci et al. 2019). Values stay exact: only gradients change.
"""

import keras
from keras import ops


class Surrogate:
    """Base class: a pseudo-derivative `H'(v)` of the event function.

    A subclass gives `derivative(v)`, written with `keras.ops`, and `get_config()`.
    """

    def derivative(self, v):
        """Pseudo-derivative of the event function at `v = c - threshold`, elementwise."""
        raise NotImplementedError(f"{type(self).__name__} must implement `derivative(v)`.")

    def event(self, v):
        """`H(v)`, exactly 0 or 1, which differentiates to `derivative(v)` on every Keras backend."""
        value = ops.stop_gradient(ops.cast(v > 0, v.dtype))
        slope = ops.stop_gradient(self.derivative(v))
        # The bracket is exactly zero: it carries the gradient and leaves the value alone.
        return value + slope * (v - ops.stop_gradient(v))

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), tuple(sorted(self.get_config().items()))))

    def __repr__(self):
        arguments = ", ".join(f"{name}={value}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


@keras.saving.register_keras_serializable(package="keras_egru")
class Triangular(Surrogate):
    """`H'(v) = height * max(0, 1 - |v| / width)`, zero outside `(-width, width)`.

    Three conventions exist for the width. EvNN's `pseudo_derivative_support` k means `width = 1 / k`; the RTRL paper
    (Subramoney 2023) writes `1 - |v| / (2 epsilon)`, so `width = 2 epsilon`. Ours is the EGRU paper's.

    Args:
        height: Float > 0, the value at `v = 0` (the paper's gamma). Default 0.7.
        width: Float > 0, half the support (the paper's epsilon). A narrower support gives more backward sparsity.
            Default 1.0.

    Raises:
        ValueError: if `height` or `width` is not a positive finite number.
    """

    def __init__(self, height: float = 0.7, width: float = 1.0):
        for name, value in (("height", height), ("width", width)):
            if not 0.0 < value < float("inf"):
                raise ValueError(f"`{name}` of the surrogate must be a positive finite number, received {value}.")
        self.height = float(height)
        self.width = float(width)

    def derivative(self, v):
        return self.height * ops.maximum(0.0, 1.0 - ops.abs(v) / self.width)

    def get_config(self):
        return {"height": self.height, "width": self.width}


def get(identifier) -> Surrogate:
    """A `Surrogate` from an instance, its name (`"triangular"`), its configuration, or None (the default)."""
    if identifier is None or identifier == "triangular":
        return Triangular()
    if isinstance(identifier, Surrogate):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    raise ValueError(
        '`surrogate` must be "triangular", a `keras_egru.surrogates.Surrogate` or its configuration, '
        f"received {identifier!r}."
    )
