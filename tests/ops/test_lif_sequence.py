"""The fused implementation against the reference, values and gradients, with every option."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_egru import surrogates
from keras_egru.ops import LIFState, decays, library, lif_sequence
from tests.ops.lif_cases import arguments, largest_error, values_and_gradients

op = pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))
pytestmark = op

ROUNDING = 1e-10  # the bound that the project promises in float64
KINDS = [("surrogate", False), ("surrogate", True), ("eventprop", True)]  # gradient, whether there is a current


def assert_equal(actual, expected, bound=ROUNDING):
    assert actual.keys() == expected.keys()
    for name in expected:
        assert largest_error(actual[name], expected[name]) < bound, name


def compare(given, bound=ROUNDING, **options):
    expected = values_and_gradients(given, implementation="reference", **options)
    assert_equal(values_and_gradients(given, implementation="fused", **options), expected, bound)
    return expected


@pytest.mark.parametrize(("gradient", "current"), KINDS)
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("refractory", [0, 1, 3, 50])
@pytest.mark.parametrize(("masked", "reset"), [(False, "zero"), (True, "subtract")])
def test_fused_equals_the_reference(gradient, current, recurrent, refractory, masked, reset):
    given = arguments((3, 20, 7, 9), current=current, recurrent=recurrent, refractory=refractory, masked=masked)
    found = compare(
        given, gradient=gradient, reset=reset, refractory=refractory, v_reset=-0.1, v_rest=0.05,
        surrogate=surrogates.Triangular(0.5, 0.4),
    )  # fmt: skip
    assert np.count_nonzero(np.asarray(found["last v"])) > 0
    assert refractory == 50 or np.asarray(found["y"]).mean() > 0.02  # there is something to differentiate


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (5, 1, 3, 17), (2, 33, 70, 65), (9, 4, 16, 16), (70, 6, 5, 130)])
@pytest.mark.parametrize(("gradient", "current"), KINDS)
def test_sizes(shape, gradient, current):
    compare(arguments(shape, current=current, density=0.2), gradient=gradient)


@pytest.mark.parametrize("shape", [(3, 40, 2100, 65), (2, 200, 5, 700)])
@pytest.mark.parametrize(("gradient", "current"), KINDS)
def test_weights_of_more_rows_than_a_core_keeps_at_hand(shape, gradient, current):
    """What meets a row waits then: for more events, in the first shape, or for more steps than may wait."""
    compare(arguments(shape, current=current, density=0.3), gradient=gradient)


@pytest.mark.parametrize(
    "surrogate",
    [surrogates.Triangular(0.7, 1.0), surrogates.FastSigmoid(50.0, 0.3), surrogates.Boxcar(0.3, 0.6)],
)
def test_surrogates(surrogate):
    compare(arguments((3, 12, 6, 20)), surrogate=surrogate)


@pytest.mark.parametrize(("gradient", "current"), KINDS)
@pytest.mark.parametrize("scale", [0.0, 50.0])
def test_all_silent_and_all_active(gradient, current, scale):
    given = arguments((2, 9, 4, 10), current=current, recurrent=False)
    given |= {"kernel": scale * tf.abs(given["kernel"]), "inputs": tf.ones_like(given["inputs"])}
    given |= {"v": given["v"] * 0.1, "y": given["y"] * 0.0}
    if current:
        given["i"] = given["i"] * 0.0
    found = compare(given, gradient=gradient)
    activity = np.asarray(found["y"])[:, 2:].mean()
    assert activity == 0.0 if scale == 0.0 else activity > 0.9


@pytest.mark.parametrize(("gradient", "current"), KINDS)
def test_float32(gradient, current):
    compare(arguments((3, 12, 6, 20), current=current, dtype="float32"), bound=2e-4, gradient=gradient)


@pytest.mark.parametrize(("gradient", "current"), KINDS)
def test_inference_keeps_nothing_and_differentiates_all_the_same(gradient, current):
    given = arguments((3, 12, 6, 20), current=current)
    expected = values_and_gradients(given, gradient=gradient, implementation="fused")
    assert_equal(values_and_gradients(given, gradient=gradient, implementation="fused", training=False), expected)


def test_the_last_membrane_alone():
    given = arguments((3, 12, 6, 20), masked=True)
    compare(given, all_v=False)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("current", [False, True])
def test_leaky_integrators_that_never_spike(current, masked):
    given = arguments((3, 12, 6, 20), current=current, recurrent=False, masked=masked)
    given["y"] = given["y"] * 0.0
    found = compare(given, spiking=False)
    assert "y" not in found


def test_rates_of_eventprop():
    given = arguments((3, 20, 7, 9))
    without = compare(given, gradient="eventprop")
    with_rates = compare(given, gradient="eventprop", rate_strength=0.3, rate_target=2.0)
    assert largest_error(with_rates["gradient of kernel"], without["gradient of kernel"]) > 0.01


@pytest.mark.parametrize("implementation", ["fused", "reference"])
def test_rates_follow_the_scale_of_the_loss(implementation):
    """As a loss scale of half precision or a distribution strategy needs."""
    given = arguments((3, 20, 7, 9))
    state = LIFState(given["v"], given["i"], given["y"], None)
    found = []
    for scale in (1.0, 1024.0):
        with tf.GradientTape() as tape:
            tape.watch(given["kernel"])
            penalty = scale * lif_sequence(
                given["inputs"], state, given["kernel"], given["recurrent_kernel"],
                decays(given["tau_mem"], given["tau_syn"], 1.0), gradient="eventprop", rate_strength=0.3,
                rate_target=2.0, training=True, implementation=implementation,
            ).penalty  # fmt: skip
        found.append(tape.gradient(penalty, given["kernel"]))
        assert float(penalty) == 0.0
    assert np.any(found[0])
    np.testing.assert_allclose(found[1], 1024.0 * found[0], rtol=1e-12)


@pytest.mark.parametrize(("gradient", "current"), KINDS)
def test_gradients_of_linked_layers(gradient, current):
    """A layer that gets the link of another one hands lists of gradients back: for surrogates the same as without."""
    given = arguments((3, 25, 7, 12), current=current)
    rng = np.random.default_rng(1)
    second = tf.constant(rng.normal(0.3, 0.5, (12, 8)))
    tau = [tf.constant(np.full(8, time)) for time in (9.0, 4.0)]
    weights = tf.constant(rng.normal(size=(3, 25, 8)))

    def run(linked, implementation, spiking):
        watched = [given["kernel"], given["recurrent_kernel"], second]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            options = {"gradient": gradient, "training": True, "implementation": implementation}
            decay = decays(given["tau_mem"], given["tau_syn"], 1.0)
            state = LIFState(given["v"], given["i"], given["y"], None)
            first = lif_sequence(given["inputs"], state, watched[0], watched[1], decay, **options)
            zeros = tf.zeros((3, 8), tf.float64)
            result = lif_sequence(
                first.y, LIFState(zeros, zeros if current else None, zeros, None), second, None,
                decays(tau[0], tau[1] if current else None, 1.0), spiking=spiking, all_v=True,
                link=first.link if linked else None, **options,
            )  # fmt: skip
            loss = tf.reduce_sum(result.v * weights)
            if spiking:
                loss += tf.reduce_sum(result.y * weights)
        return dict(zip(("first", "recurrent", "second"), tape.gradient(loss, watched), strict=True))

    for spiking in (False, True):
        reference = run(True, "reference", spiking)
        fused = run(True, "fused", spiking)
        assert_equal(fused, reference)
        if gradient == "surrogate":
            assert_equal(run(False, "fused", spiking), reference)
        else:
            assert_equal(run(False, "fused", spiking), run(False, "reference", spiking))


def test_counters():
    given = arguments((3, 20, 7, 9), masked=True)
    result = lif_sequence(
        given["inputs"], LIFState(given["v"], given["i"], given["y"], None), given["kernel"], None,
        decays(given["tau_mem"], given["tau_syn"], 1.0), mask=given["mask"], all_v=True,
        surrogate=surrogates.Boxcar(1.0, 0.4), implementation="fused",
    )  # fmt: skip
    mask = np.asarray(given["mask"])
    near = np.abs(np.asarray(result.v) - 1.0) < 0.4
    spikes = np.asarray(result.y)
    assert [int(count) for count in result.counters] == [
        mask.sum(),
        np.count_nonzero(np.asarray(given["inputs"])[mask]),
        np.count_nonzero(spikes),
        np.count_nonzero(np.logical_or(near, spikes > 0)[mask]),
    ]


def test_equal_time_constants_are_a_limit():
    """gamma -> dt / tau exp(-dt / tau), and its gradient stays finite."""
    tau = tf.constant([10.0, 10.0, 10.0], tf.float64)
    for difference in itertools.chain([0.0], 10.0 ** np.arange(-12, 1)):
        other = tau * (1.0 + difference)
        with tf.GradientTape() as tape:
            tape.watch(other)
            gamma = decays(tau, other, 1.0).gamma
        alpha, beta = np.exp(-1.0 / 10.0), np.exp(-1.0 / (10.0 * (1.0 + difference)))
        if difference > 1e-3:
            expected = (1.0 + difference) / -difference * (alpha - beta)
            np.testing.assert_allclose(gamma, expected, rtol=1e-11)
        else:
            np.testing.assert_allclose(gamma, 0.1 * np.exp(-0.1), rtol=2e-3)
        assert np.all(np.isfinite(tape.gradient(gamma, other)))


@pytest.mark.parametrize("implementation", ["fused", "reference"])
class TestBadInput:
    def call(self, implementation, **changes):
        given = arguments((2, 3, 4, 5)) | changes.pop("given", {})
        state = LIFState(given["v"], given["i"], given["y"], given["wait"])
        decay = changes.pop("decay", decays(given["tau_mem"], given["tau_syn"], 1.0))
        return lif_sequence(
            given["inputs"], state, given["kernel"], given["recurrent_kernel"], decay,
            mask=given["mask"], implementation=implementation, **changes,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"gradient": "exact"}, "`gradient` must be one of"),
            ({"reset": "hard"}, "`reset` must be one of"),
            ({"threshold": 0.0}, "`threshold` must lie above `v_reset`"),
            ({"refractory": 2}, "`state.wait` must have the shape"),
            ({"given": {"kernel": tf.zeros((3, 5), tf.float64)}}, "`kernel` must have the shape"),
            ({"given": {"recurrent_kernel": tf.zeros((4, 5), tf.float64)}}, "`recurrent_kernel` must have"),
            ({"given": {"v": tf.zeros((2, 4), tf.float64)}}, "`state.v` must have the shape"),
            ({"given": {"i": None}}, "`state.i` must have the shape"),
            ({"given": {"inputs": tf.zeros((2, 4), tf.float64)}}, r"\[batch, time, features\]"),
            ({"given": {"inputs": tf.zeros((0, 3, 4), tf.float64)}}, "at least one sequence"),
            ({"given": {"mask": tf.ones((2, 2), tf.bool)}}, "`mask` must have the shape"),
        ],
    )
    def test_one_sentence_names_the_argument(self, implementation, changes, words):
        with pytest.raises(ValueError, match=words):
            self.call(implementation, **changes)

    def test_integers(self, implementation):
        with pytest.raises(TypeError, match="`inputs` must be of a floating-point type"):
            self.call(implementation, given={"inputs": tf.zeros((2, 3, 4), tf.int32)})

    def test_eventprop_without_a_current(self, implementation):
        given = arguments((2, 3, 4, 5), current=False)
        with pytest.raises(ValueError, match="needs a synapse"):
            self.call(implementation, given=given, gradient="eventprop")


def test_fused_refuses_what_it_cannot_do():
    class Own(surrogates.Surrogate):
        def derivative(self, v):
            return ops.exp(-ops.abs(v))

    given = arguments((2, 6, 4, 5))
    with pytest.raises(RuntimeError, match="knows the surrogates Triangular, FastSigmoid, Boxcar"):
        values_and_gradients(given, implementation="fused", surrogate=Own())
    auto = values_and_gradients(given, implementation="auto", surrogate=Own())
    assert_equal(auto, values_and_gradients(given, implementation="reference", surrogate=Own()))


def test_the_op_itself_checks_lists():
    """Lists come from a layer before; broken ones end in an error and not in memory of others."""
    given = arguments((2, 3, 4, 5))
    result = lif_sequence(
        given["inputs"], LIFState(given["v"], given["i"], given["y"], None), given["kernel"], None,
        decays(given["tau_mem"], given["tau_syn"], 1.0), training=True, implementation="fused",
    )  # fmt: skip
    zeros = tf.zeros((2, 3), tf.float64)
    second = tf.ones((5, 3), tf.float64)
    for link in (
        result.link._replace(counts=result.link.counts + 1),
        result.link._replace(counts=result.link.counts[:, :2]),
        result.link._replace(codes=result.link.codes + 100),
        result.link._replace(codes=result.link.codes - 100),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match="link_counts"):
            lif_sequence(
                result.y, LIFState(zeros, zeros, zeros, None), second, None,
                decays(given["tau_mem"][:3], given["tau_syn"][:3], 1.0), link=link, implementation="fused",
            )  # fmt: skip
