"""Weights between `EGRU`, `keras.layers.GRU` and the authors' layout (EvNN).

All three keep their gates in the same order, update gate first, and differ in its meaning: `EGRU`'s u is the share of
the *new* state, while Keras's z and EvNN's z are the share of the *old* one, `z = 1 - u`. That gate's columns change
sign, since `1 - sigmoid(a) = sigmoid(-a)`; everything else stays as it is.

Lists are in the order of `get_weights` and `set_weights`; a layer may be given in their place.
"""

import numpy as np

LOWEST_KEPT_THRESHOLD = 1e-4  # What `OpenUnitInterval` lets a threshold fall to.


def gru_to_egru_weights(gru, threshold=LOWEST_KEPT_THRESHOLD) -> list[np.ndarray]:
    """Weights for an `EGRU` from those of a `keras.layers.GRU` with the same `units`, `use_bias` and `reset_after`.

    With `reset="threshold"` and a threshold near 0 the EGRU is that GRU with its negative outputs silenced: where the
    GRU's states are positive, both return the same.

    Args:
        gru: A built `keras.layers.GRU`, or its weights: kernel, recurrent kernel and, if it has one, bias.
        threshold: Float, or array `[units]` or `[1]` (for `shared_threshold=True`), inside (0, 1): a GRU has none to
            give. Default 1e-4.

    Returns:
        `[kernel, recurrent_kernel, (bias,) threshold]`, for `EGRU.set_weights`.

    Raises:
        ValueError: the weights are not a GRU's, or `threshold` has a wrong shape or leaves (0, 1).
    """
    weights = _weights_of(gru, "gru")
    if len(weights) not in (2, 3):
        raise ValueError(f"`gru` must have 2 weights, or 3 with a bias, received {len(weights)}.")
    units = _checked_units(*weights)
    return [*_with_update_gate_flipped(weights), _as_threshold(threshold, units, weights[0].dtype)]


def egru_to_gru_weights(egru) -> list[np.ndarray]:
    """Weights for a `keras.layers.GRU` from those of an `EGRU`: the thresholds are dropped.

    Args:
        egru: A built `EGRU`, or its weights: kernel, recurrent kernel, bias if it has one, threshold.

    Returns:
        `[kernel, recurrent_kernel, (bias)]`, for `keras.layers.GRU.set_weights`.

    Raises:
        ValueError: the weights are not an EGRU's.
    """
    return _with_update_gate_flipped(_egru_weights(egru)[:-1])


def from_evnn(kernel, recurrent_kernel, bias, recurrent_bias, threshold) -> list[np.ndarray]:
    """Weights for an `EGRU` from the layout of the authors' code: gates (z, r, g), `z = 1 - u`.

    The authors' form is that of `EGRU(units, reset="threshold", reset_after=True)`. Their `pseudo_derivative_support`
    k is `keras_egru.surrogates.Triangular(width=1 / k)`.

    Args:
        kernel: `[features, 3 units]`.
        recurrent_kernel: `[units, 3 units]`.
        bias: `[3 units]`.
        recurrent_bias: `[3 units]`.
        threshold: `[units]`, inside (0, 1).

    Returns:
        `[kernel, recurrent_kernel, bias, threshold]`, for `EGRU.set_weights`, with `bias` `[2, 3 units]`.

    Raises:
        ValueError: a shape is wrong, or `threshold` leaves (0, 1).
    """
    kernel, recurrent_kernel = np.asarray(kernel), np.asarray(recurrent_kernel)
    units = _checked_units(kernel, recurrent_kernel)
    biases = {"bias": np.asarray(bias), "recurrent_bias": np.asarray(recurrent_bias)}
    for name, value in biases.items():
        if value.shape != (3 * units,):
            raise ValueError(f"`{name}` must have the shape ({3 * units},), received {value.shape}.")
    weights = [kernel, recurrent_kernel, np.stack(list(biases.values()))]
    return [*_with_update_gate_flipped(weights), _as_threshold(threshold, units, kernel.dtype)]


def to_evnn(egru) -> list[np.ndarray]:
    """Weights in the layout of the authors' code, from those of an `EGRU` with `reset_after=True` and a bias.

    Args:
        egru: A built `EGRU`, or its weights. A shared threshold is repeated for every unit.

    Returns:
        `[kernel, recurrent_kernel, bias, recurrent_bias, threshold]`, as `from_evnn` takes them.

    Raises:
        ValueError: the EGRU has no bias, or one without a recurrent row (`reset_after=False`), which that layout wants.
    """
    weights = _egru_weights(egru)
    if len(weights) != 4 or weights[2].ndim != 2:
        raise ValueError(
            "`egru` must have a bias of the shape [2, 3 units] (reset_after=True) for the authors' layout."
        )
    kernel, recurrent_kernel, bias = _with_update_gate_flipped(weights[:-1])
    units = recurrent_kernel.shape[0]
    return [kernel, recurrent_kernel, bias[0], bias[1], np.broadcast_to(weights[-1], (units,)).copy()]


def _weights_of(layer_or_weights, argument):
    if getattr(layer_or_weights, "quantization_mode", None) is not None:
        raise ValueError(f"`{argument}` is quantized: convert its weights before that.")
    weights = layer_or_weights.get_weights() if hasattr(layer_or_weights, "get_weights") else layer_or_weights
    weights = [np.asarray(weight) for weight in weights]
    if not weights:
        raise ValueError(f"`{argument}` has no weights: build the layer first.")
    return weights


def _egru_weights(egru):
    weights = _weights_of(egru, "egru")
    if len(weights) not in (3, 4):
        raise ValueError(f"`egru` must have 3 weights, or 4 with a bias, received {len(weights)}.")
    units = _checked_units(*weights[:-1])
    if weights[-1].shape not in ((units,), (1,)):
        raise ValueError(f"The threshold must have the shape ({units},) or (1,), received {weights[-1].shape}.")
    return weights


def _checked_units(kernel, recurrent_kernel, bias=None):
    units = recurrent_kernel.shape[0]
    expected = {"kernel": (kernel, [(kernel.shape[0], 3 * units)])}
    expected["recurrent kernel"] = (recurrent_kernel, [(units, 3 * units)])
    if bias is not None:
        expected["bias"] = (bias, [(3 * units,), (2, 3 * units)])
    for name, (weight, shapes) in expected.items():
        if weight.shape not in shapes:
            raise ValueError(
                f"The {name} must have the shape {' or '.join(map(str, shapes))}, received {weight.shape}."
            )
    return units


def _with_update_gate_flipped(weights):
    """Copies of kernels and biases with the sign of the first third of the last axis changed; its own inverse."""
    units = weights[1].shape[0]
    flipped = [weight.copy() for weight in weights]
    for weight in flipped:
        weight[..., :units] *= -1.0
    return flipped


def _as_threshold(threshold, units, dtype):
    threshold = np.asarray(threshold, dtype)
    if threshold.ndim == 0:
        threshold = np.full((units,), threshold, dtype)
    if threshold.shape not in ((units,), (1,)):
        raise ValueError(f"`threshold` must have the shape ({units},) or (1,), received {threshold.shape}.")
    if not np.all((threshold > 0.0) & (threshold < 1.0)):
        raise ValueError(
            f"`threshold` must lie inside (0, 1), received values from {threshold.min()} to {threshold.max()}."
        )
    return threshold
