"""Real-time recurrent learning over a sequence: the influence of parameters on the state, forward in time.

    N_t[k, :] = leak_t[k] N_{t-1}[k, :] + sum over l: J_t[k, l] passes_{t-1}[l] N_{t-1}[l, :] + D_t[k, :]
    gradient  = sum over t and k: credit_t[k] passes_t[k] N_t[k, :]               credit_t = dL_t/dy_t

`passes = dy/dv` is what the event function passes on, zero for most units where activity is sparse, and
`passes_t[k] N_t[k, :]` is the paper's influence matrix M of the activity (Subramoney 2023, Eq. 4 and 10). D is the
direct influence of this step's use of the parameters. The modules `egru_influence` and `thresholded_influence` say
what `leak`, J and D are.

`reference` keeps N dense, on any Keras backend. `fused` is the op `KerasEgru>Influence`, which has no columns of pruned
parameters, reads no row whose `passes` is zero, and without a leak stores none.
"""

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_egru.ops import library

IMPLEMENTATIONS = ("auto", "fused", "reference")


class InfluenceTerms(NamedTuple):
    """What the influence of a chunk of steps is made of, at given states.

    With `v_g = kernel[l, g units + k]`, the weights from l to k, `J[k, l] = sum over gates: gain[g, k] v_g` and
    `own[k]` where `k = l`. Where `candidate` is given (gates u, r, z, of which r multiplies before the product)
    `J[k, l] = gain[0, k] v_u + candidate[k] (v_z opened[l] + sum over m: kernel_z[m, k] turned[m] kernel_r[l, m])`, and
    the same.

    kernel: `[units, gates units]`, recurrent weights, zero where pruned.
    leak: `[batch, time, units]`, or None.
    passes: `[batch, time + 1, units]`, before the first step and after each.
    gain: `[batch, time, gates, units]`; of the gate u alone with a candidate.
    own: `[batch, time, units]`, or None.
    candidate: `[batch, time, units]`, or None.
    opened: The same, the reset gate.
    turned: The same, how `r y_{t-1}` changes with what enters r.
    direct: `[batch, time, kinds, units]`, coefficients of the direct influence.
    source: `[batch, time, sources]`, what they are multiplied with.
    mask: Bool `[batch, time]`, or None. Where False, the step is left out; `passes` must be carried over there.
    """

    kernel: object
    leak: object
    passes: object
    gain: object
    own: object
    candidate: object
    opened: object
    turned: object
    direct: object
    source: object
    mask: object


class Influence(NamedTuple):
    """What `influence_sequence` returns.

    influence: Of the last step, for the next call: `[batch, units, parameters]`, of the op `[numbers]`.
    gradient: `[parameters]`, summed over samples and steps.
    counters: `[3]` int64: multiply-adds that the op did on the influence, nonzero entries of `passes N` over all steps
        (where asked for), and entries that all rows and trained columns would have. Zeros of the reference.
    """

    influence: object
    gradient: object
    counters: object


def influence_sequence(influence, terms, credit, layout, *, count_nonzero=False, implementation="auto") -> Influence:
    """Takes the influence of the parameters through a chunk of steps, and sums up the gradient of a loss.

    Args:
        influence: What the call before returned, of the same implementation, or None before the first step.
        terms: `InfluenceTerms`.
        credit: `[batch, time, units]`, the gradient of the loss by the events of each step.
        layout: `InfluenceLayout`.
        count_nonzero: Whether the op counts entries that are not zero, which takes a pass over the influence.
        implementation: `"auto"` (default), `"fused"` or `"reference"`.

    Returns:
        `Influence(influence, gradient, counters)`.

    Raises:
        ValueError: `implementation` is none of those named.
        RuntimeError: `implementation="fused"` cannot run here; the sentence says why.
    """
    if use_fused(implementation, terms.kernel.dtype):
        return _fused(influence, terms, credit, layout, count_nonzero)
    return _reference(influence, terms, credit, layout)


def use_fused(implementation, dtype) -> bool:
    """Whether `implementation` means the op here.

    Raises:
        ValueError: it is none of those that are known.
        RuntimeError: it is `"fused"` and the op cannot run.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"`implementation` must be one of {IMPLEMENTATIONS}, received {implementation!r}.")
    if implementation == "reference":
        return False
    reason = library.why_not()
    if reason is not None and implementation == "fused":
        raise RuntimeError(f'implementation="fused" cannot run: {reason}')
    return reason is None


def _fused(influence, terms, credit, layout, count_nonzero):
    import tensorflow as tf

    dtype = terms.kernel.dtype

    def given(tensor):
        return tf.zeros([0], dtype) if tensor is None else tensor

    out = library.load().keras_egru_influence(
        given(influence), terms.kernel, given(terms.leak), terms.passes, terms.gain, given(terms.own),
        given(terms.candidate), given(terms.opened), given(terms.turned), terms.direct, terms.source, credit,
        tf.zeros([0, 0], tf.bool) if terms.mask is None else terms.mask, **layout.tiles,
        parameters=layout.parameters, count_nonzero=count_nonzero,
    )  # fmt: skip
    return Influence(out.next_influence, out.gradient, out.counters)


def _reference(influence, terms, credit, layout):
    batch, time, units = credit.shape
    dtype = terms.kernel.dtype
    pattern = ops.cast(layout.pattern, dtype)
    own_rows = ops.cast(np.equal.outer(np.arange(units), layout.unit) & ~layout.through, dtype)
    through = ops.cast(layout.through, dtype)
    to_candidates = None
    if terms.candidate is not None:  # `[units, parameters]`: the weight from the unit of a parameter to each candidate
        to_candidates = ops.transpose(ops.take(terms.kernel[:, 2 * units :], layout.unit, axis=0)) * through
    influence = ops.zeros((batch, units, layout.parameters), dtype) if influence is None else influence
    gradient = ops.zeros((layout.parameters,), dtype)
    for t in range(time):
        direct = ops.take(ops.reshape(terms.direct[:, t], (batch, -1)), layout.kind * units + layout.unit, axis=1)
        direct = (direct * ops.take(terms.source[:, t], layout.source, axis=1))[:, None]
        entering = own_rows * direct
        if to_candidates is not None:
            entering = entering + terms.candidate[:, t, :, None] * to_candidates * direct
        past = ops.matmul(_jacobian(terms, t, units), terms.passes[:, t, :, None] * influence)
        if terms.leak is not None:
            past = past + terms.leak[:, t, :, None] * influence
        following = pattern * (past + entering)
        if terms.mask is not None:
            following = ops.where(terms.mask[:, t, None, None], following, influence)
        influence = following
        gradient = gradient + ops.einsum("bk,bkp->p", credit[:, t] * terms.passes[:, t + 1], influence)
    return Influence(influence, gradient, ops.zeros((3,), "int64"))


def _jacobian(terms, t, units):
    """`[batch, units, units]`: J of step t."""
    weights = ops.reshape(terms.kernel, (units, -1, units))  # from l by way of a gate to k
    if terms.candidate is None:
        jacobian = ops.einsum("bgk,lgk->bkl", terms.gain[:, t], weights)
    else:
        z = ops.transpose(weights[:, 2])
        through = ops.matmul(z * terms.turned[:, t, None], ops.transpose(weights[:, 1]))
        jacobian = terms.candidate[:, t, :, None] * (z * terms.opened[:, t, None] + through)
        jacobian = jacobian + terms.gain[:, t, 0, :, None] * ops.transpose(weights[:, 0])
    if terms.own is not None:
        jacobian = jacobian + terms.own[:, t, :, None] * ops.eye(units, dtype=terms.kernel.dtype)
    return jacobian
