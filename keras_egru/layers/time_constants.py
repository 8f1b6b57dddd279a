"""Time constants of spiking layers: one number, or a variable with one for each unit, drawn or trained."""

import math
import numbers

import numpy as np
from keras import initializers, ops

from keras_egru.constraints import AtLeast
from keras_egru.layers.input_checks import is_symbolic

LEAST_TAU_MEM, LEAST_TAU_SYN = 3.0, 1.0  # in steps; Nowotny, Turner & Knight (section 4.9) clip at 3 ms and 1 ms


def checked(name, value):
    """`value` as a float, or as an initializer that draws one time constant a unit.

    Raises:
        ValueError: it is neither a positive finite number nor an initializer.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if not 0.0 < value < math.inf:
            raise ValueError(f"`{name}` must be a positive finite time constant, received {value}.")
        return float(value)
    if not isinstance(value, (str, dict)) and not callable(value):
        raise ValueError(f"`{name}` must be a positive finite time constant or an initializer, received {value!r}.")
    return initializers.get(value)


def serialized(value):
    """`value` of `checked` for a configuration."""
    return value if isinstance(value, float) else initializers.serialize(value)


def add_variable(layer, name, value, units, least, trainable):
    """The variable `[units]` of a time constant on `layer`, or the float itself where there is nothing to vary."""
    if isinstance(value, float) and not trainable:
        return value
    initializer = initializers.Constant(value) if isinstance(value, float) else _positive(name, value)
    return layer.add_weight(
        shape=(units,),
        name=name,
        initializer=initializer,
        constraint=AtLeast(least),
        trainable=trainable,
        autocast=False,
    )


def as_tensor(value, units, dtype):
    """`[units]`, from a float or a variable."""
    if isinstance(value, float):
        # As an array: Keras takes a Python float through float32 on its way to float64.
        return ops.convert_to_tensor(np.full((units,), value, dtype))
    return ops.cast(ops.convert_to_tensor(value), dtype)


def _positive(name, initializer):
    def draw(shape, dtype=None):
        values = initializer(shape, dtype=dtype)
        if not is_symbolic(values):
            drawn = np.asarray(ops.convert_to_numpy(values))
            if not np.all((drawn > 0.0) & np.isfinite(drawn)):
                raise ValueError(
                    f"`{name}` must draw positive finite time constants, received values from {drawn.min()} to "
                    f"{drawn.max()}."
                )
        return values

    return draw


def checked_dt(dt):
    """`dt` as a float.

    Raises:
        ValueError: it is not a positive finite number.
    """
    if not 0.0 < dt < math.inf:
        raise ValueError(f"`dt` must be a positive finite length of a step, received {dt}.")
    return float(dt)


def step_dtype(layer):
    """The type in which a layer computes: spikes come of a comparison, which half precision would blur."""
    return "float64" if layer.compute_dtype == "float64" else "float32"


def kernel_tensor(variable, mask, dtype):
    """A kernel in `dtype`, without its pruned weights where it has a mask."""
    if variable is None:
        return None
    weights = ops.cast(ops.convert_to_tensor(variable), dtype)
    return weights if mask is None else weights * ops.cast(ops.convert_to_tensor(mask), dtype)
