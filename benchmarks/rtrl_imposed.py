"""The terms of an influence that has the sparsity one asks for.

The time of online learning depends on which weights are pruned and on which derivatives are zero, and not on how they
came to be so. Both are drawn at random, exactly as many as asked for, zeros of the derivative anew at every step; the
other coefficients are random numbers of such sizes that the influence stays bounded. After the last step the
derivatives are those of before the first, so that a chunk of steps can go on from itself any number of times.
"""

from typing import NamedTuple

import numpy as np

from keras_egru.ops import egru_layout, thresholded_layout
from keras_egru.ops.influence_layout import InfluenceLayout
from keras_egru.ops.influence_sequence import InfluenceTerms

RESET, RESET_AFTER = "threshold", True  # the defaults of `EGRU`


class Problem(NamedTuple):
    """A chunk of steps.

    layout: `InfluenceLayout`, of the trained parameters.
    terms: `InfluenceTerms` of float32 arrays, batch 1.
    credit: float32 `[1, steps, units]`.
    """

    layout: InfluenceLayout
    terms: InfluenceTerms
    credit: np.ndarray


class Imposed:
    """The numbers of a case, from which problems are made that differ in what is zero alone.

    masks: Of kernel and recurrent kernel: bool, False where a weight is pruned.
    passing: Bool `[steps + 1, units]`, False where the derivative is zero.
    """

    def __init__(self, case, seed=0):
        self.case, rng = case, np.random.default_rng(seed)
        n, steps = case.units, case.steps
        self.masks = tuple(
            np.concatenate([_live(rng, (rows, n), case.parameter) for _ in range(case.gates)], axis=1)
            for rows in (case.features, n)
        )
        rows = [_live(rng, (n,), case.backward) for _ in range(steps)]
        self.passing = np.stack([rows[-1], *rows])
        self._terms = _drawn(case, rng, self.masks[1], self.passing)
        self._credit = rng.standard_normal((1, steps, n), "float32")

    @property
    def parameter_sparsity(self) -> float:
        """Share of both kernels that is pruned."""
        return 1.0 - sum(np.count_nonzero(mask) for mask in self.masks) / sum(mask.size for mask in self.masks)

    @property
    def backward_sparsity(self) -> float:
        """Share of the derivatives that are zero."""
        return float(1.0 - np.mean(self.passing[1:]))

    def problem(self, *, pruned, silent, order=None) -> Problem:
        """With the pruned weights left out or filled in, with the zeros of the derivative or none, exact or SnAp."""
        terms = self._terms
        if pruned:
            terms = terms._replace(kernel=terms.kernel * self.masks[1])
        if silent:
            terms = terms._replace(passes=terms.passes * self.passing)
        return Problem(self._layout(order, self.masks if pruned else (None, None)), terms, self._credit)

    def _layout(self, order, masks):
        features, units = self.case.features, self.case.units
        if self.case.network == "thresholded":
            return thresholded_layout(features, units, order=order, masks=masks)
        return egru_layout(
            features, units, reset=RESET, reset_after=RESET_AFTER, use_bias=True, order=order, masks=masks
        )


def _live(rng, shape, sparsity):
    """True but for the share `sparsity`, rounded to whole entries."""
    live = np.ones(shape, bool)
    live.flat[rng.permutation(live.size)[: round(sparsity * live.size)]] = False
    return live


def _drawn(case, rng, mask, passing):
    """With no zeros but in the events, which only units have that pass something on."""
    n, steps = case.units, case.steps

    def uniform(low, high, *shape):
        return rng.uniform(low, high, (1, *shape)).astype("float32")

    passes = uniform(0.35, 0.7, steps + 1, n)  # surrogates of height 0.7
    passes[:, 0] = passes[:, -1]
    events = (passing & (rng.random(passing.shape) < 0.5)).astype("float32")[None, :-1]
    inputs, one = rng.standard_normal((1, steps, case.features), "float32"), np.ones((1, steps, 1), "float32")
    # Of a row of J about one half, however many weights are pruned.
    kernel = rng.normal(0.0, 0.5 / np.sqrt(n * mask.mean()), (n, case.gates * n)).astype("float32")
    leak, gain, direct = None, np.ones((1, steps, 1, n), "float32"), np.ones((1, steps, 2, n), "float32")
    direct[:, :, 1] = -1.0
    if case.network == "egru":
        leak, gain = uniform(0.3, 0.9, steps, n), uniform(-0.3, 0.3, steps, 3, n)
        direct = uniform(-0.5, 0.5, steps, 5, n)
    return InfluenceTerms(
        kernel=kernel, leak=leak, passes=passes, gain=gain, own=None, candidate=None, opened=None, turned=None,
        direct=direct, source=np.concatenate([inputs, events, one], -1), mask=None,
    )  # fmt: skip
