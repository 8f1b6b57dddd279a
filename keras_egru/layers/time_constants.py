"""Time constants of spiking layers: one number, or a variable with one for each unit, drawn or trained."""

import math
import numbers

import numpy as np
from keras import initializers, ops

from keras_egru.constraints import AtLeast
from keras_egru.layers.input_checks import is_symbolic
from keras_egru.ops.lif_step import Decays, decays

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


def add_variables(layer) -> None:
    """Builds `tau_mem_of_units` and `tau_syn_of_units` of `layer`, from its `tau_mem`, and its `tau_syn` if it has one.

    A time constant is a variable `[units]`, or the float itself where there is nothing to vary.
    """
    layer.tau_mem_of_units = _variable(layer, "tau_mem", layer.tau_mem, LEAST_TAU_MEM)
    layer.tau_syn_of_units = (
        None if layer.tau_syn is None else _variable(layer, "tau_syn", layer.tau_syn, LEAST_TAU_SYN)
    )


def decays_of(layer, dtype) -> Decays:
    """The `Decays` of a step of `layer`, whose variables have been added."""
    tau_mem, tau_syn = (
        None if value is None else _as_tensor(value, layer.units, dtype)
        for value in (layer.tau_mem_of_units, layer.tau_syn_of_units)
    )
    return decays(tau_mem, tau_syn, layer.dt)


def _variable(layer, name, value, least):
    if isinstance(value, float) and not layer.train_time_constants:
        return value
    return layer.add_weight(
        shape=(layer.units,),
        name=name,
        initializer=initializers.Constant(value) if isinstance(value, float) else _positive(name, value),
        constraint=AtLeast(least * layer.dt),
        trainable=layer.train_time_constants,
        autocast=False,
    )


def _as_tensor(value, units, dtype):
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
