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
        self.height, self.width = _positive(height=height, width=width)

    def derivative(self, v):
        return self.height * ops.maximum(0.0, 1.0 - ops.abs(v) / self.width)

    def get_config(self):
        return {"height": self.height, "width": self.width}


@keras.saving.register_keras_serializable(package="keras_egru")
class FastSigmoid(Surrogate):
    """`H'(v) = 1 / (slope |v| + 1)^2` inside `(-width, width)`, zero outside (Perez-Nieves & Goodman 2021, Eq. 20).

    Args:
        slope: Float > 0, how fast it falls (the paper's beta). Default 100.
        width: Float > 0, half the support (the paper's B_th). A narrower support gives more backward sparsity.
            Default 0.2.

    Raises:
        ValueError: if `slope` or `width` is not a positive finite number.
    """

    def __init__(self, slope: float = 100.0, width: float = 0.2):
        self.slope, self.width = _positive(slope=slope, width=width)

    def derivative(self, v):
        size = ops.abs(v)
        return ops.where(size < self.width, 1.0 / ops.square(self.slope * size + 1.0), 0.0)

    def get_config(self):
        return {"slope": self.slope, "width": self.width}


@keras.saving.register_keras_serializable(package="keras_egru")
class Boxcar(Surrogate):
    """`H'(v) = height` inside `(-width, width)`, zero outside.

    Args:
        height: Float > 0. Default 0.5.
        width: Float > 0, half the support. Default 0.5.

    Raises:
        ValueError: if `height` or `width` is not a positive finite number.
    """

    def __init__(self, height: float = 0.5, width: float = 0.5):
        self.height, self.width = _positive(height=height, width=width)

    def derivative(self, v):
        return ops.where(ops.abs(v) < self.width, ops.full_like(v, self.height), 0.0)

    def get_config(self):
        return {"height": self.height, "width": self.width}


def _positive(**numbers):
    for name, value in numbers.items():
        if not 0.0 < value < float("inf"):
            raise ValueError(f"`{name}` of the surrogate must be a positive finite number, received {value}.")
    return tuple(float(value) for value in numbers.values())


_NAMES = {"triangular": Triangular, "fast_sigmoid": FastSigmoid, "boxcar": Boxcar}


def get(identifier) -> Surrogate:
    """A `Surrogate` from an instance, its name, its configuration, or None (`Triangular()`)."""
    if identifier is None:
        return Triangular()
    if isinstance(identifier, str) and identifier in _NAMES:
        return _NAMES[identifier]()
    if isinstance(identifier, Surrogate):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    raise ValueError(
        f"`surrogate` must be one of {tuple(_NAMES)}, a `keras_egru.surrogates.Surrogate` or its configuration, "
        f"received {identifier!r}."
    )
