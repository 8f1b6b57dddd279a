"""All that a speed comparison of online learning runs, the rows of Table 1 of Subramoney 2023.

Ours is the op `KerasEgru>Influence` on networks that differ in what is zero alone. Plain TensorFlow is dense RTRL as
one writes it without this package, per step one product of a whole matrix with the whole influence. Back-propagation is
that of the layer itself, with its default weights, nothing pruned. Inputs are arguments of the compiled functions, so
that nothing can be computed beforehand.
"""

import keras
import numpy as np

from benchmarks.errors import CannotRun
from keras_egru import EGRU, ThresholdedRNNCell
from keras_egru.initializers import Beta
from keras_egru.ops import influence_sequence
from keras_egru.ops.influence_sequence import InfluenceTerms
from keras_egru.surrogates import Triangular

TOLERANCE = 1e-4  # of the largest entry: float32 sums of some hundred terms, in another order


class Online:
    """A contender that carries an influence from call to call.

    Args:
        run: Callable from influence, terms by name and credit to `(influence, gradient, multiply-adds)`.
        shape: Of the influence, as a graph knows it.
        zeros: Callable without arguments that gives the influence before the first step.
        problem: `Problem`.
    """

    def __init__(self, run, shape, zeros, problem):
        import tensorflow as tf

        terms = {name: tf.constant(term) for name, term in problem.terms._asdict().items() if term is not None}
        self._chunk = terms, tf.constant(problem.credit)
        self._singles = [_step(*self._chunk, t) for t in range(problem.credit.shape[1])]
        of_steps = tf.function(run, jit_compile=False, autograph=False)
        self._run_chunk, self._run_single = (
            of_steps.get_concrete_function(
                tf.TensorSpec(shape, problem.credit.dtype), *tf.nest.map_structure(tf.TensorSpec.from_tensor, given)
            )
            for given in (self._chunk, self._singles[0])
        )
        self._zeros, self.influence, self.multiply_adds = zeros, None, None

    def chunk(self):
        """All steps in one call; returns the gradient."""
        return self._advance(self._run_chunk, self._chunk)

    def single(self):
        """One call a step, as a stream is learned; returns the gradient of the last step."""
        for given in self._singles:
            gradient = self._advance(self._run_single, given)
        return gradient

    @property
    def influence_bytes(self) -> int:
        """Of the influence between two calls."""
        return int(np.asarray(self.influence).nbytes)

    def forget(self):
        """Starts again from no influence."""
        self.influence = None

    def _advance(self, run, given):
        influence = self._zeros() if self.influence is None else self.influence
        self.influence, gradient, self.multiply_adds = run(influence, *given)
        return gradient


class ThroughTime:
    """Back-propagation, which has no influence and cannot learn step by step."""

    single = influence_bytes = multiply_adds = None

    def __init__(self, run):
        self.chunk = run

    def forget(self):
        """There is nothing to forget."""


def ours(imposed) -> Online:
    """With both sparsities."""
    return _ours(imposed.problem(pruned=True, silent=True))


def ours_parameter(imposed) -> Online:
    """With pruned weights, and derivatives of which none is zero."""
    return _ours(imposed.problem(pruned=True, silent=False))


def ours_activity(imposed) -> Online:
    """With zeros among the derivatives, and nothing pruned."""
    return _ours(imposed.problem(pruned=False, silent=True))


def ours_dense(imposed) -> Online:
    """With nothing to leave out."""
    return _ours(imposed.problem(pruned=False, silent=False))


def snap1(imposed) -> Online:
    """SnAp-1 of pruned weights."""
    return _ours(imposed.problem(pruned=True, silent=False, order=1))


def snap2(imposed) -> Online:
    """SnAp-2 of pruned weights."""
    return _ours(imposed.problem(pruned=True, silent=False, order=2))


def tensorflow(imposed) -> Online:
    """Dense RTRL of the network with both sparsities, whose zeros it multiplies by."""
    return dense_rtrl(imposed.problem(pruned=True, silent=True))


def bptt(imposed) -> ThroughTime:
    """The gradients of a layer's weights for an upstream gradient of all its outputs."""
    import tensorflow as tf

    case = imposed.case
    if case.network == "egru":
        layer = EGRU(
            case.units,
            threshold_initializer=Beta(0.3),
            threshold_trainable=True,
            surrogate=Triangular(),
            return_sequences=True,
            implementation="fused",
            seed=0,
        )
    else:
        layer = keras.layers.RNN(ThresholdedRNNCell(case.units), return_sequences=True)
    inputs = tf.constant(np.random.default_rng(0).standard_normal((1, case.steps, case.features), "float32"))
    layer.build(inputs.shape)
    weights = [variable.value for variable in layer.trainable_variables]
    credit = tf.constant(imposed.problem(pruned=False, silent=False).credit)

    @tf.function(jit_compile=False, autograph=False)
    def run(inputs, credit):
        with tf.GradientTape() as tape:
            y = layer(inputs, training=True)
        return tape.gradient(y, weights, output_gradients=credit)

    return ThroughTime(lambda: run(inputs, credit))


ROWS = {
    "bptt": bptt,
    "ours_dense": ours_dense,
    "tensorflow": tensorflow,
    "ours_parameter": ours_parameter,
    "ours_activity": ours_activity,
    "ours": ours,
    "snap1": snap1,
    "snap2": snap2,
}
"""In the order of the table."""


def _ours(problem):
    import tensorflow as tf

    def run(influence, terms, credit):
        given = InfluenceTerms(**{name: terms.get(name) for name in InfluenceTerms._fields})
        found = influence_sequence(influence, given, credit, problem.layout, implementation="fused")
        return found.influence, found.gradient, found.counters[0]

    return Online(run, [None], lambda: tf.zeros([0]), problem)


def dense_rtrl(problem) -> Online:
    """Plain TensorFlow: `N_t = (J_t diag(passes_{t-1}) + diag(leak_t)) N_{t-1} + D_t`, with N `[units, parameters]`.

    D has one entry a column, which is added in its place. Multiply-adds are those of the shapes.
    """
    import tensorflow as tf

    layout = problem.layout
    n, p = layout.units, layout.parameters
    at = np.stack([layout.unit, np.arange(p, dtype="int32")], axis=1)
    coefficient = layout.kind * n + layout.unit

    def run(influence, terms, credit):
        steps, passes = credit.shape[1], terms["passes"][0]
        matrices = tf.einsum("tgk,lgk->tkl", terms["gain"][0], tf.reshape(terms["kernel"], [n, -1, n]))
        matrices *= passes[:-1, None]
        if "leak" in terms:
            matrices = tf.linalg.set_diag(matrices, tf.linalg.diag_part(matrices) + terms["leak"][0])
        direct, credited = tf.reshape(terms["direct"][0], [steps, -1]), (credit[0] * passes[1:])[:, None]

        def step(t, influence, gradient):
            entering = tf.gather(direct[t], coefficient) * tf.gather(terms["source"][0, t], layout.source)
            influence = tf.tensor_scatter_nd_add(tf.matmul(matrices[t], influence), at, entering)
            return t + 1, influence, gradient + tf.matmul(credited[t], influence)[0]

        begun = [0, influence, tf.zeros([p])]
        if steps == 1:
            _, influence, gradient = step(*begun)
        else:
            _, influence, gradient = tf.while_loop(lambda t, *_: t < steps, step, begun, maximum_iterations=steps)
        return influence, gradient, tf.constant(steps * (n * n * p + n * p + p), tf.int64)

    return Online(run, [n, p], lambda: tf.zeros([n, p]), problem)


def check_alike(imposed, found, dense):
    """Compares ours with plain TensorFlow after two chunks of each: gradients and influences of trained parameters.

    Args:
        imposed: The `Imposed` of both.
        found: `Online`, of `ours`.
        dense: `Online`, of `tensorflow`.

    Raises:
        CannotRun: they differ.
    """
    problem = imposed.problem(pruned=True, silent=True)
    layout, passes = problem.layout, problem.terms.passes[:, -1]
    results = []
    for contender in (found, dense):
        contender.forget()
        contender.chunk()
        results.append(np.asarray(contender.chunk())[layout.trained])
    _compare("gradients", *results)
    influence = layout.dense(found.influence, passes)[0][:, layout.trained] * passes[0][:, None]
    _compare("influences", influence, np.asarray(dense.influence)[:, layout.trained] * passes[0][:, None])


def _compare(what, found, wanted):
    error = np.max(np.abs(found - wanted)) / np.max(np.abs(wanted))
    if not error < TOLERANCE:
        raise CannotRun(f"the {what} of ours and of plain TensorFlow differ by {error:.1e} of the largest entry.")


def _step(terms, credit, t):
    """`(terms, credit)` of one step of the chunk."""
    stepped = {name: term if name == "kernel" else term[:, t : t + 1] for name, term in terms.items()}
    return {**stepped, "passes": terms["passes"][:, t : t + 2]}, credit[:, t : t + 1]
