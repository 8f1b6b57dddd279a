"""Every wrong argument of the spiking layers is one clear exception, raised before anything is built or computed."""

import keras
import numpy as np
import pytest

from keras_egru import EventLIF, EventLIFCell, LeakyReadout
from keras_egru.ops import fused_lif
from keras_egru.sparsity import SpikeCounts, SpikeRate
from keras_egru.surrogates import Surrogate

GOOD = np.zeros((2, 4, 3), "float32")
SPIKING, ALL = [EventLIF, EventLIFCell], [EventLIF, EventLIFCell, LeakyReadout]
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("layer", ALL)
@pytest.mark.parametrize("units", [0, -3])
def test_units_must_be_positive(layer, units):
    with pytest.raises(ValueError, match=f"`units` must be a positive integer, received {units}"):
        layer(units)


@pytest.mark.parametrize("layer", ALL)
@pytest.mark.parametrize("units", [2.0, "8", None, True, [4]])
def test_units_must_be_an_integer(layer, units):
    with pytest.raises(TypeError, match="`units` must be an integer"):
        layer(units)


@pytest.mark.parametrize("layer", ALL)
def test_numpy_numbers_are_numbers(layer):
    config = layer(np.int64(3), tau_mem=np.float32(9.0), tau_syn=np.float64(4.0)).get_config()
    assert [type(config[name]) for name in ("units", "tau_mem", "tau_syn")] == [int, float, float]


@pytest.mark.parametrize("layer", ALL)
@pytest.mark.parametrize("name", ["tau_mem", "tau_syn"])
@pytest.mark.parametrize("value", [0.0, -5.0, NAN, INF])
def test_time_constants_must_be_positive(layer, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive finite time constant, received {value}"):
        layer(3, **{name: value})


@pytest.mark.parametrize("layer", ALL)
@pytest.mark.parametrize("value", [True, [20.0], None])
def test_time_constants_must_be_numbers_or_initializers(layer, value):
    with pytest.raises(
        ValueError, match="`tau_mem` must be a positive finite time constant or an initializer, received"
    ):
        layer(3, tau_mem=value)


@pytest.mark.parametrize("layer", ALL)
@pytest.mark.parametrize("name", ["tau_mem", "tau_syn"])
@pytest.mark.parametrize("value", [0.0, -2.0, NAN])
@pytest.mark.parametrize("train", [False, True])
def test_time_constants_drawn_outside_of_the_positive_numbers(layer, name, value, train):
    layer = layer(3, **{name: keras.initializers.Constant(value)}, train_time_constants=train)
    with pytest.raises(ValueError, match=f"`{name}` must draw positive finite time constants, received values from"):
        layer.build((2, 3) if isinstance(layer, EventLIFCell) else (2, 4, 3))


def test_time_constants_drawn_wrongly_in_a_functional_model():
    with pytest.raises(ValueError, match="`tau_mem` must draw positive finite time constants"):
        EventLIF(3, tau_mem="zeros")(keras.Input((4, 3)))


@pytest.mark.parametrize("layer", ALL)
@pytest.mark.parametrize("dt", [0.0, -1.0, NAN, INF])
def test_dt_must_be_positive(layer, dt):
    with pytest.raises(ValueError, match=f"`dt` must be a positive finite length of a step, received {dt}"):
        layer(3, dt=dt)


@pytest.mark.parametrize("layer", SPIKING)
@pytest.mark.parametrize(("threshold", "v_reset"), [(1.0, 1.0), (0.0, 0.0), (0.5, 0.7), (-1.0, -0.5)])
def test_the_threshold_lies_above_the_reset(layer, threshold, v_reset):
    with pytest.raises(ValueError, match=f"`threshold` must lie above `v_reset`, received {threshold} and {v_reset}"):
        layer(3, threshold=threshold, v_reset=v_reset)


@pytest.mark.parametrize("layer", SPIKING)
@pytest.mark.parametrize("name", ["threshold", "v_reset", "v_rest"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_potentials_must_be_finite(layer, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number, received {value}"):
        layer(3, **{name: value})


@pytest.mark.parametrize("layer", SPIKING)
@pytest.mark.parametrize("value", [-1.0, NAN, INF])
def test_the_refractory_period_must_not_be_negative(layer, value):
    with pytest.raises(ValueError, match=f"`refractory` must be a time of at least 0, received {value}"):
        layer(3, refractory=value)


@pytest.mark.parametrize("layer", SPIKING)
@pytest.mark.parametrize(("name", "value"), [("reset", "hard"), ("reset", None), ("gradient", "bptt")])
def test_unknown_reset_and_gradient(layer, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be one of .* received {value!r}"):
        layer(3, **{name: value})


@pytest.mark.parametrize("layer", SPIKING)
def test_eventprop_needs_a_synapse_and_no_surrogate(layer):
    with pytest.raises(ValueError, match='`tau_syn` must be given with gradient="eventprop", received None'):
        layer(3, gradient="eventprop")
    with pytest.raises(ValueError, match="`surrogate` has no use with gradient=\"eventprop\", received 'boxcar'"):
        layer(3, gradient="eventprop", tau_syn=5.0, surrogate="boxcar")


def test_regularizers_of_rates():
    sentence = (
        "`rate_regularizer` is for gradient=\"eventprop\", received .* with 'surrogate'; an `activity_regularizer`"
    )
    with pytest.raises(ValueError, match=sentence):
        EventLIF(3, rate_regularizer=SpikeRate())
    for value in (SpikeCounts(), "l2", 0.1):
        with pytest.raises(TypeError, match="`rate_regularizer` must be a `keras_egru.sparsity.SpikeRate`, received"):
            EventLIF(3, gradient="eventprop", tau_syn=5.0, rate_regularizer=value)
    with pytest.raises(ValueError, match=r"`spikes` must be \[batch, time, units\]"):
        EventLIF(3, activity_regularizer=SpikeCounts())(GOOD)


@pytest.mark.parametrize("layer", [EventLIF, LeakyReadout])
def test_unknown_implementation(layer):
    with pytest.raises(ValueError, match="`implementation` must be one of .* received 'gpu'"):
        layer(3, implementation="gpu")


@pytest.mark.parametrize("layer", SPIKING)
def test_unknown_surrogate(layer):
    with pytest.raises(ValueError, match="`surrogate` must be one of .* received 'sigmoid'"):
        layer(3, surrogate="sigmoid")


@pytest.mark.parametrize("readout", ["mean", "Sum", ""])
def test_unknown_readout(readout):
    with pytest.raises(ValueError, match=f"`readout` must be one of .* received {readout!r}"):
        LeakyReadout(3, readout)


@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF])
def test_the_time_constant_of_a_readout_must_be_positive(value):
    with pytest.raises(ValueError, match=f"`time_constant` must be a positive finite number, received {value}"):
        LeakyReadout(3, "sum_exp", time_constant=value)


@pytest.mark.parametrize("value", [NAN, INF])
def test_the_threshold_of_a_readout_must_be_finite(value):
    with pytest.raises(ValueError, match=f"`threshold` must be a finite number, received {value}"):
        LeakyReadout(3, "first_spike", threshold=value)


@pytest.mark.parametrize("value", [NAN, INF, -0.1])
def test_a_phantom_gradient_is_no_less_than_none(value):
    with pytest.raises(ValueError, match=f"`phantom` must be a finite number of at least 0, received {value}"):
        LeakyReadout(3, "first_spike", phantom=value)


@pytest.mark.parametrize("layer", [EventLIF, LeakyReadout])
class TestSequences:
    @pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3, 1), (3,)])
    def test_wrong_rank(self, layer, shape):
        with pytest.raises(ValueError, match="expected ndim=3"):
            layer(3)(np.zeros(shape, "float32"))

    @pytest.mark.parametrize("shape", [(2, 4), (2, 4, None)])
    def test_build_wants_three_dimensions_and_known_features(self, layer, shape):
        with pytest.raises(ValueError, match="`sequences` of layer .* must have the shape .* known number of features"):
            layer(3).build(shape)

    def test_features_changed_after_build(self, layer):
        layer = layer(3)
        layer(GOOD)
        with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
            layer(np.zeros((2, 4, 5), "float32"))

    @pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "str", "complex64"])
    def test_inputs_that_are_not_float(self, layer, dtype):
        layer = layer(3, name="named")
        with pytest.raises(TypeError, match="`sequences` of layer 'named' must be of a floating-point type, received"):
            layer(GOOD.astype(dtype))
        assert not layer.built

    def test_tensors_that_are_not_float(self, layer):
        for value in (keras.ops.zeros((2, 4, 3), "int32"), keras.Input((4, 3), dtype="int32")):
            with pytest.raises(TypeError, match="must be of a floating-point type, received int32"):
                layer(3)(value)

    @pytest.mark.parametrize("value", [[[[1.0, 2.0]]], "text", None, 3.0])
    def test_inputs_that_are_no_tensor(self, layer, value):
        with pytest.raises(TypeError, match="`sequences` .* must be a tensor or an array, received"):
            layer(3)(value)

    @pytest.mark.parametrize(("shape", "words"), [((0, 4, 3), "an empty batch"), ((2, 0, 3), "no time step")])
    def test_empty_batch_and_zero_length_sequence(self, layer, shape, words):
        layer = layer(3, name="named")
        with pytest.raises(ValueError, match=f"`sequences` of layer 'named' .*{words}"):
            layer(np.zeros(shape, "float32"))
        assert not layer.built

    def test_mask_of_a_wrong_shape(self, layer):
        with pytest.raises(ValueError, match=r"`mask` must have the shape \(2, 4\), received \(2, 3\)"):
            layer(5)(GOOD, mask=np.ones((2, 3), bool))

    def test_fused_without_its_library(self, layer, monkeypatch):
        monkeypatch.setattr(fused_lif, "why_not", lambda *_: "the library is missing.")
        sentence = "implementation=\"fused\" of layer 'named' cannot run: the library is missing."
        with pytest.raises(RuntimeError, match=sentence):
            layer(3, implementation="fused", name="named")
        assert layer(3, implementation="auto").supports_jit


def _state(*shapes, dtype="float32"):
    return [np.zeros(shape, dtype) for shape in shapes]


WRONG_STATES = {
    "one": (_state((2, 5)), ValueError, r"list of \[y, v, i, wait\], received 1"),
    "three": (_state(*[(2, 5)] * 3), ValueError, r"list of \[y, v, i, wait\], received 3"),
    "bare": (np.zeros((2, 5), "float32"), ValueError, r"list of \[y, v, i, wait\], received (EagerTensor|ndarray)"),
    "units": (_state((2, 5), (2, 4), (2, 5), (2, 5)), ValueError, r"state `v` .* shape \(2, 5\), received \(2, 4\)"),
    "batch": (_state((2, 5), (2, 5), (3, 5), (2, 5)), ValueError, r"state `i` .* shape \(2, 5\), received \(3, 5\)"),
    "rank": (_state((2, 5), (2, 5), (2, 5), (5,)), ValueError, r"state `wait` .* received \(5,\)"),
    "type": (_state(*[(2, 5)] * 4, dtype="int32"), TypeError, r"`state y` .* floating-point type, received int32"),
}


@pytest.mark.parametrize(("state", "error", "words"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_states_of_wrong_number_shape_or_type(state, error, words):
    options = {"tau_syn": 5.0, "refractory": 2.0}
    with pytest.raises(error, match=words):
        EventLIF(5, **options)(GOOD, initial_state=state)
    cell = EventLIFCell(5, **options)
    cell.build((None, 3))
    if isinstance(state, list):
        with pytest.raises(error, match=words):
            cell(GOOD[:, 0], state)


def test_the_sentence_names_the_states_that_there_are():
    for options, names in (({}, "y, v"), ({"tau_syn": 5.0}, "y, v, i"), ({"refractory": 1.0}, "y, v, wait")):
        with pytest.raises(ValueError, match=rf"must be a list of \[{names}\], received 1"):
            EventLIF(5, **options)(GOOD, initial_state=_state((2, 5)))


def test_the_cell_checks_its_input_too():
    cell = EventLIFCell(5)
    with pytest.raises(ValueError, match="The last dimension of the inputs of .* must be known"):
        cell.build((2, None))
    cell.build((None, 3))
    state = _state((2, 5), (2, 5))
    with pytest.raises(TypeError, match="`sequence` .* floating-point type, received int32"):
        cell(np.zeros((2, 3), "int32"), state)
    with pytest.raises(ValueError, match="expected axis -1"):
        cell(np.zeros((2, 4), "float32"), state)
    with pytest.raises(ValueError, match="expected ndim=2"):
        cell(np.zeros((2, 2, 3), "float32"), state)


def test_fused_with_a_surrogate_of_one_s_own():
    class Flat(Surrogate):
        def derivative(self, v):
            return keras.ops.ones_like(v)

    with pytest.raises(RuntimeError, match="cannot run: the custom op knows the surrogates"):
        EventLIF(3, implementation="fused", surrogate=Flat())
    layer = EventLIF(3, surrogate=Flat())
    assert layer.supports_jit
    assert layer(GOOD).shape == (2, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_validation_names_nan_and_inf_in_inputs_states_and_weights(implementation, kind, make_lif, spikes, bad):
    layer = make_lif(
        name="watched", recurrent=True, train_time_constants=True, validate_inputs=True, implementation=implementation,
        **kind,
    )  # fmt: skip
    rest = [np.array(state) for state in layer.get_initial_state(4)]
    assert np.all(np.isfinite(layer(spikes, initial_state=rest)))
    poisoned = spikes.copy()
    poisoned[2, 3, 1] = bad
    with pytest.raises(ValueError, match="`sequences` of layer 'watched' holds NaN or Inf in 1 of 288 entries"):
        layer(poisoned)
    rest[1][0, 0] = bad
    with pytest.raises(ValueError, match="`initial_state` of layer 'watched' holds NaN or Inf in 1 of 20 entries"):
        layer(spikes, initial_state=rest)
    for variable in layer.cell.weights:
        before = variable.numpy()
        variable.assign(np.where(np.arange(before.size).reshape(before.shape) == 3, bad, before))
        with pytest.raises(ValueError, match=f"`{variable.name}` of layer 'watched' holds NaN or Inf in 1 of"):
            layer(spikes)
        variable.assign(before)


def test_validation_in_a_graph_raises_when_the_graph_runs(implementation, spikes):
    tf = pytest.importorskip("tensorflow")
    layer = EventLIF(5, name="watched", validate_inputs=True, implementation=implementation)
    model = keras.Sequential([keras.Input((12, 6)), layer])
    assert np.all(np.isfinite(model.predict(spikes, verbose=0)))
    poisoned = spikes.copy()
    poisoned[0, 0, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="`sequences` of layer 'watched' holds NaN or Inf"):
        model.predict(poisoned, verbose=0)
    layer.kernel.assign(np.full((6, 5), np.nan))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`kernel` of layer 'watched' holds NaN or Inf"):
        model.predict(spikes, verbose=0)
