"""The EGRU over a whole sequence: one function, two implementations.

`reference` is `egru_step` in a scan, on any Keras backend. `fused` is the custom TensorFlow op
`KerasEgru>EgruSequence`, whose forward and backward products touch only what is active; its values and gradients equal
the reference's to rounding.
"""

from typing import NamedTuple

import keras
from keras import ops

from keras_egru import surrogates
from keras_egru.ops import checkpointed, fused_egru, int8_kernel, replicas
from keras_egru.ops.egru_step import RESETS, egru_step

IMPLEMENTATIONS = ("auto", "fused", "dense", "reference")


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
    """What `egru_sequence` returns: `y` and `c`, each `[batch, time, units]` (see `keep`), and the `Counters`."""

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
    recurrent_scale=None,
    kernel_mask=None,
    recurrent_mask=None,
    reset="threshold",
    reset_after=True,
    surrogate=None,
    mask=None,
    zoneout=None,
    recurrent_dropout_mask=None,
    training=False,
    unroll=False,
    checkpoint_steps=None,
    keep=checkpointed.STATES,
    implementation="auto",
) -> EGRUSequence:
    """Runs the EGRU (Subramoney et al. 2023, Eq. 1-4) over a sequence; `egru_step` has the equations.

    Args:
        inputs: `[batch, time, features]`, float. Zeros cost nothing in the fused implementation.
        initial_y: `[batch, units]`, the events before the first step.
        initial_c: `[batch, units]`, the internal state before the first step.
        kernel: `[features, 3 units]`, gates in the order u, r, z.
        recurrent_kernel: `[units, 3 units]`; int8 with a `recurrent_scale`.
        bias: `[3 units]`, or `[2, 3 units]` (input, recurrent) with `reset_after`; None for no bias.
        threshold: `[units]`, or `[1]` for one shared threshold, inside (0, 1).
        recurrent_scale: None, or `[3 units]`: column j of an int8 recurrent kernel stands for `recurrent_scale[j]`
            times its integers. For inference: there is no gradient then.
        kernel_mask: None, or zeros and ones of the shape of `kernel`: where it is zero the weight is pruned. The weight
            must be zero there; it gets no gradient.
        recurrent_mask: The same for `recurrent_kernel`.
        reset: `"threshold"` (default), `"subtract"` (the paper's Eq. 2) or `"zero"`.
        reset_after: Whether the gate r multiplies after the recurrent product. Default True, as in Keras's GRU.
        surrogate: A `keras_egru.surrogates.Surrogate`; default `Triangular(height=0.7, width=1.0)`.
        mask: Bool `[batch, time]`, or None. Where False, the step is skipped: state and outputs are carried over.
        zoneout: None, a float, or `[batch, time, units]`: the share of `c_{t-1}` kept at each entry, a constant.
        recurrent_dropout_mask: None or `[batch, units]`, multiplies `y_{t-1}` in the products (reference only).
        training: Whether a gradient is likely to be asked for. Without it the fused implementation keeps nothing for
            the backward pass; a gradient is still exact then, at the price of a second forward pass.
        unroll: Whether the reference unrolls its loop. Default False.
        checkpoint_steps: None, or K >= 1: with `training`, only the state before every K-th step is kept for the
            backward pass, which computes the steps in between again. TensorFlow only; nothing is unrolled then.
        keep: Those of `"y"` and `"c"` that are returned at every step; of another one only the last step is returned,
            `[batch, 1, units]`. Default `("y", "c")`.
        implementation: `"auto"` (default) takes the custom op where it can run, else the reference. The op multiplies
            sparsely, and densely where the density that it counts makes that faster. `"fused"` insists on the op,
            `"dense"` on the op with dense products alone, to measure against, `"reference"` on plain `keras.ops`.

    Returns:
        `EGRUSequence(y, c, counters)`.

    Raises:
        ValueError: a shape, an option or a value of an argument is wrong.
        TypeError: the inputs are not of a floating-point type, or an int8 recurrent kernel comes without a scale or a
            scale without one.
        RuntimeError: `implementation="fused"` or `"dense"`, or `checkpoint_steps`, cannot run here, or `training` or a
            gradient was asked for with an int8 recurrent kernel; the sentence says why.
    """
    checkpoint_steps = checkpointed.checked_steps(checkpoint_steps)
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
        kernel_mask,
        recurrent_mask,
        reset,
        reset_after,
        implementation,
    )
    recurrent_scale = _checked_scale(recurrent_kernel, recurrent_scale, inputs.dtype, training)
    if bias is None:
        shape = (2, kernel.shape[1]) if reset_after else (kernel.shape[1],)
        bias = ops.zeros(shape, kernel.dtype)
    if mask is not None:
        mask = ops.cast(mask, "bool")

    use_fused = False
    if implementation != "reference":
        reason = fused_egru.why_not(inputs.dtype, surrogate, recurrent_dropout_mask)
        if reason is not None and implementation != "auto":
            raise RuntimeError(f'implementation="{implementation}" cannot run: {reason}')
        use_fused = reason is None
    recompute = checkpoint_steps is not None and training
    options = {"reset": reset, "reset_after": reset_after, "surrogate": surrogate}
    products = "dense" if implementation == "dense" else "auto"
    if not use_fused:
        if recurrent_scale is not None:
            recurrent_kernel = int8_kernel.widen(recurrent_kernel, recurrent_scale)
        kernel, recurrent_kernel = _masked(kernel, kernel_mask), _masked(recurrent_kernel, recurrent_mask)

    def sequence(inputs, initial_y, initial_c, *weights, mask, zoneout, training):
        if use_fused and recurrent_scale is not None:
            return fused_egru.run_int8(
                inputs, initial_y, initial_c, *weights, recurrent_scale=recurrent_scale, mask=mask, zoneout=zoneout,
                keep=keep, products=products, **options,
            )  # fmt: skip
        if use_fused:
            return fused_egru.run(
                inputs, initial_y, initial_c, *weights, mask=mask, zoneout=zoneout, training=training,
                kernel_mask=kernel_mask, recurrent_mask=recurrent_mask, keep=keep, products=products, **options,
            )  # fmt: skip
        y, c = _reference(
            inputs, initial_y, initial_c, *weights, mask=mask, zoneout=zoneout,
            recurrent_dropout_mask=recurrent_dropout_mask, unroll=unroll and not recompute, **options,
        )  # fmt: skip
        return y, c, _count(inputs, y, c, weights[-1], mask, surrogate)

    given = (inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold)
    if recompute:
        y, c, counters = checkpointed.run(
            sequence, *given, mask=mask, zoneout=zoneout, steps=checkpoint_steps, keep=keep
        )
    else:
        y, c, counters = sequence(*given, mask=mask, zoneout=zoneout, training=training)
        y, c = (states if name in keep else states[:, -1:] for name, states in (("y", y), ("c", c)))
    if recurrent_scale is not None:
        y, c = int8_kernel.without_gradient(y), int8_kernel.without_gradient(c)
    return EGRUSequence(y, c, Counters(*counters))


def _masked(weights, mask):
    return weights if mask is None else weights * ops.cast(mask, weights.dtype)


def _reference(
    inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold,
    *, mask, zoneout, recurrent_dropout_mask, reset, reset_after, surrogate, unroll,
):  # fmt: skip
    recurrent_bias = bias[1] if reset_after else None
    projection = ops.matmul(inputs, kernel) + (bias[0] if reset_after else bias)
    parts = [projection]
    if mask is not None:
        parts.append(ops.cast(mask, projection.dtype)[:, :, None])
    zoneout_varies = zoneout is not None and len(getattr(zoneout, "shape", ())) == 3
    if zoneout_varies:
        parts.append(ops.convert_to_tensor(zoneout, inputs.dtype))
    # One tensor, since Keras 3.15 cannot scan several over an unknown number of steps.
    sequence = ops.swapaxes(ops.concatenate(parts, axis=-1), 0, 1)
    units = initial_c.shape[-1]

    def step(state, current):
        y, c = state
        next_y, next_c = egru_step(
            current[:, : 3 * units], y, c, recurrent_kernel, recurrent_bias, threshold,
            reset=reset, reset_after=reset_after, surrogate=surrogate,
            zoneout=current[:, -units:] if zoneout_varies else zoneout, recurrent_dropout_mask=recurrent_dropout_mask,
        )  # fmt: skip
        if mask is not None:
            valid = current[:, 3 * units : 3 * units + 1] != 0
            next_y, next_c = ops.where(valid, next_y, y), ops.where(valid, next_c, c)
        return [next_y, next_c], [next_y, next_c]

    state = [initial_y, initial_c]
    if unroll or keras.backend.backend() == "torch":
        states = []
        for t in range(inputs.shape[1]):
            state, _ = step(state, sequence[t])
            states.append(state)
        return tuple(ops.stack(steps, axis=1) for steps in zip(*states, strict=True))
    _, (y, c) = ops.scan(step, state, sequence)
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
    inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold, mask, kernel_mask, recurrent_mask,
    reset, reset_after, implementation,
):  # fmt: skip
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
    if batch == 0 and not replicas.may_be_left_empty():
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
    for name, weights_mask, weights in (
        ("kernel_mask", kernel_mask, kernel),
        ("recurrent_mask", recurrent_mask, recurrent_kernel),
    ):
        if weights_mask is not None:
            expected[name] = (weights_mask, tuple(weights.shape))
    for name, (tensor, shape) in expected.items():
        if not _compatible(tensor.shape, shape):
            raise ValueError(f"`{name}` must have the shape {shape}, received {tuple(tensor.shape)}.")
    if tuple(threshold.shape) not in ((units,), (1,)):
        raise ValueError(f"`threshold` must have the shape ({units},) or (1,), received {tuple(threshold.shape)}.")


def _checked_scale(recurrent_kernel, scale, dtype, training):
    """`scale` as a tensor, or None: it belongs to an int8 kernel, as does that there is no training."""
    kernel_dtype = keras.backend.standardize_dtype(recurrent_kernel.dtype)
    if (scale is None) == (kernel_dtype == "int8"):
        raise TypeError(
            "`recurrent_scale` must be given with an int8 `recurrent_kernel` and with no other, "
            f"received {scale!r} with {kernel_dtype}."
        )
    if scale is None:
        return None
    scale = ops.convert_to_tensor(scale, dtype)
    if tuple(scale.shape) != (recurrent_kernel.shape[1],):
        raise ValueError(
            f"`recurrent_scale` must have the shape ({recurrent_kernel.shape[1]},), received {tuple(scale.shape)}."
        )
    if training:
        raise RuntimeError(f"`recurrent_kernel` is int8: {int8_kernel.WHY_NO_TRAINING}")
    return scale


def _compatible(shape, expected):
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )
