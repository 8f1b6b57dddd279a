"""The EGRU over a whole sequence: one function, two implementations.

`reference` is `egru_step` in a scan, on any Keras backend. `fused` is the custom TensorFlow op
`KerasEgru>EgruSequence`, whose forward and backward products touch only what is active; its values and gradients equal
the reference's to rounding.
"""

from typing import NamedTuple

import keras
from keras import ops

from keras_egru import surrogates
from keras_egru.ops import fused_egru
from keras_egru.ops.egru_step import RESETS, egru_step

IMPLEMENTATIONS = ("auto", "fused", "reference")


class Counters(NamedTuple):
    """Integer counts over the valid (unmasked) steps of a call.

    steps: valid (sample, step) pairs.
    input_events: nonzero entries of the input.
    events: nonzero entries of y.
    backward_entries: entries with `e = dy/dc != 0`, where a gradient passes.
    surrogate_entries: entries with `H'(c - threshold) != 0`.
    """

    steps: object
    input_events: object
    events: object
    backward_entries: object
    surrogate_entries: object


class EGRUSequence(NamedTuple):
    """What `egru_sequence` returns: `y` and `c`, each `[batch, time, units]`, and the `Counters`."""

    y: object
    c: object
    counters: Counters


def egru_sequence(
    inputs,
    initial_y,
    initial_c,
    kernel,
    recurrent_kernel,
    bias,
    threshold,
    *,
    reset="threshold",
    reset_after=True,
    surrogate=None,
    mask=None,
    zoneout=None,
    recurrent_dropout_mask=None,
    training=False,
    unroll=False,
    implementation="auto",
) -> EGRUSequence:
    """Runs the EGRU (Subramoney et al. 2023, Eq. 1-4) over a sequence; `egru_step` has the equations.

    Args:
        inputs: `[batch, time, features]`, float. Zeros cost nothing in the fused implementation.
        initial_y: `[batch, units]`, the events before the first step.
        initial_c: `[batch, units]`, the internal state before the first step.
        kernel: `[features, 3 units]`, gates in the order u, r, z.
        recurrent_kernel: `[units, 3 units]`.
        bias: `[3 units]`, or `[2, 3 units]` (input, recurrent) with `reset_after`; None for no bias.
        threshold: `[units]`, or `[1]` for one shared threshold, inside (0, 1).
        reset: `"threshold"` (default), `"subtract"` (the paper's Eq. 2) or `"zero"`.
        reset_after: Whether the gate r multiplies after the recurrent product. Default True, as in Keras's GRU.
        surrogate: A `keras_egru.surrogates.Surrogate`; default `Triangular(height=0.7, width=1.0)`.
        mask: Bool `[batch, time]`, or None. Where False, the step is skipped: state and outputs are carried over.
        zoneout: None, a float, or `[batch, time, units]`: the share of `c_{t-1}` kept at each entry, a constant.
        recurrent_dropout_mask: None or `[batch, units]`, multiplies `y_{t-1}` in the products (reference only).
        training: Whether a gradient is likely to be asked for. Without it the fused implementation keeps nothing for
            the backward pass; a gradient is still exact then, at the price of a second forward pass.
        unroll: Whether the reference unrolls its loop. Default False.
        implementation: `"auto"` takes the custom op where it can run, else the reference; `"fused"` insists on it.

    Returns:
        `EGRUSequence(y, c, counters)`.

    Raises:
        ValueError: a shape, an option or a value of an argument is wrong.
        TypeError: a tensor is not of a floating-point type.
        RuntimeError: `implementation="fused"` cannot run here; the sentence says why.
    """
    surrogate = surrogates.get(surrogate)
    inputs, initial_y, initial_c, kernel, recurrent_kernel, threshold = (
        ops.convert_to_tensor(x) for x in (inputs, initial_y, initial_c, kernel, recurrent_kernel, threshold)
    )
    _validate(
        inputs,
        initial_y,
        initial_c,
        kernel,
        recurrent_kernel,
        bias,
        threshold,
        mask,
        reset,
        reset_after,
        implementation,
    )
    if bias is None:
        shape = (2, kernel.shape[1]) if reset_after else (kernel.shape[1],)
        bias = ops.zeros(shape, kernel.dtype)
    if mask is not None:
        mask = ops.cast(mask, "bool")

    use_fused = False
    if implementation != "reference":
        reason = fused_egru.why_not(inputs.dtype, surrogate, recurrent_dropout_mask)
        if reason is not None and implementation == "fused":
            raise RuntimeError(f'implementation="fused" cannot run: {reason}')
        use_fused = reason is None
    if use_fused:
        y, c, counters = fused_egru.run(
            inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold,
            mask=mask, zoneout=zoneout, reset=reset, reset_after=reset_after, surrogate=surrogate, training=training,
        )  # fmt: skip
        return EGRUSequence(y, c, Counters(*counters))
    y, c = _reference(
        inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold,
        mask=mask, zoneout=zoneout, recurrent_dropout_mask=recurrent_dropout_mask,
        reset=reset, reset_after=reset_after, surrogate=surrogate, unroll=unroll,
    )  # fmt: skip
    return EGRUSequence(y, c, _count(inputs, y, c, threshold, mask, surrogate))


def _reference(
    inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold,
    *, mask, zoneout, recurrent_dropout_mask, reset, reset_after, surrogate, unroll,
):  # fmt: skip
    recurrent_bias = bias[1] if reset_after else None
    projection = ops.matmul(inputs, kernel) + (bias[0] if reset_after else bias)
    sequences = [ops.swapaxes(projection, 0, 1)]
    if mask is not None:
        sequences.append(ops.swapaxes(mask, 0, 1)[:, :, None])
    zoneout_varies = zoneout is not None and len(getattr(zoneout, "shape", ())) == 3
    if zoneout_varies:
        sequences.append(ops.swapaxes(ops.convert_to_tensor(zoneout, inputs.dtype), 0, 1))

    def step(state, current):
        y, c = state
        kept = current[-1] if zoneout_varies else zoneout
        next_y, next_c = egru_step(
            current[0], y, c, recurrent_kernel, recurrent_bias, threshold,
            reset=reset, reset_after=reset_after, surrogate=surrogate, zoneout=kept,
            recurrent_dropout_mask=recurrent_dropout_mask,
        )  # fmt: skip
        if mask is not None:
            next_y, next_c = ops.where(current[1], next_y, y), ops.where(current[1], next_c, c)
        return [next_y, next_c], [next_y, next_c]

    state = [initial_y, initial_c]
    if unroll or keras.backend.backend() == "torch":
        states = []
        for t in range(inputs.shape[1]):
            state, _ = step(state, [sequence[t] for sequence in sequences])
            states.append(state)
        return tuple(ops.stack(steps, axis=1) for steps in zip(*states, strict=True))
    _, (y, c) = ops.scan(step, state, sequences)
    return ops.swapaxes(y, 0, 1), ops.swapaxes(c, 0, 1)


def _count(inputs, y, c, threshold, mask, surrogate):
    slope = surrogate.derivative(c - threshold)
    passes = ops.cast(y != 0, c.dtype) + c * slope
    if mask is None:
        valid = ops.ones(ops.shape(y)[:2], dtype="bool")
    else:
        valid = mask

    def count(entries):
        return ops.count_nonzero(ops.logical_and(entries, valid[:, :, None]))

    return Counters(ops.count_nonzero(valid), count(inputs != 0), count(y != 0), count(passes != 0), count(slope != 0))


def _validate(
    inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold, mask, reset, reset_after, implementation
):
    """Checks what is static; dynamic sizes are the op's to check."""
    if reset not in RESETS:
        raise ValueError(f"`reset` must be one of {RESETS}, received {reset!r}.")
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"`implementation` must be one of {IMPLEMENTATIONS}, received {implementation!r}.")
    if not keras.backend.is_float_dtype(inputs.dtype):
        raise TypeError(f"`inputs` must be of a floating-point type, received {inputs.dtype}.")
    if len(inputs.shape) != 3:
        raise ValueError(f"`inputs` must have the shape [batch, time, features], received {tuple(inputs.shape)}.")
    batch, time, features = inputs.shape
    if batch == 0:
        raise ValueError(f"`inputs` holds an empty batch, received the shape {tuple(inputs.shape)}.")
    if time == 0:
        raise ValueError(f"`inputs` holds sequences of length zero, received the shape {tuple(inputs.shape)}.")
    units = recurrent_kernel.shape[0]
    expected = {
        "kernel": (kernel, (features, 3 * units)),
        "recurrent_kernel": (recurrent_kernel, (units, 3 * units)),
        "initial_y": (initial_y, (batch, units)),
        "initial_c": (initial_c, (batch, units)),
    }
    if bias is not None:
        expected["bias"] = (bias, (2, 3 * units) if reset_after else (3 * units,))
    if mask is not None:
        expected["mask"] = (mask, (batch, time))
    for name, (tensor, shape) in expected.items():
        if not _compatible(tensor.shape, shape):
            raise ValueError(f"`{name}` must have the shape {shape}, received {tuple(tensor.shape)}.")
    if tuple(threshold.shape) not in ((units,), (1,)):
        raise ValueError(f"`threshold` must have the shape ({units},) or (1,), received {tuple(threshold.shape)}.")


def _compatible(shape, expected):
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )
