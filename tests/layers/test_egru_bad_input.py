"""Every wrong argument is one clear exception, raised before anything is built or computed."""

import keras
import numpy as np
import pytest

from keras_egru import EGRU, EGRUCell
from keras_egru.ops import fused_egru
from keras_egru.surrogates import Surrogate

GOOD = np.zeros((2, 4, 3), "float32")
RATES = ["dropout", "recurrent_dropout", "output_dropout", "dropconnect", "zoneout"]


@pytest.mark.parametrize("layer", [EGRU, EGRUCell])
@pytest.mark.parametrize("units", [0, -3])
def test_units_must_be_positive(layer, units):
    with pytest.raises(ValueError, match=f"`units` must be a positive integer, received {units}"):
        layer(units)


@pytest.mark.parametrize("layer", [EGRU, EGRUCell])
@pytest.mark.parametrize("units", [2.0, "8", None, True, [4]])
def test_units_must_be_an_integer(layer, units):
    with pytest.raises(TypeError, match="`units` must be an integer"):
        layer(units)


def test_numpy_integers_are_integers():
    layer = EGRU(np.int64(3))
    assert layer(GOOD).shape == (2, 3)
    assert type(layer.get_config()["units"]) is int


@pytest.mark.parametrize("layer", [EGRU, EGRUCell])
@pytest.mark.parametrize("reset", ["hard", None, "Threshold"])
def test_unknown_reset(layer, reset):
    with pytest.raises(ValueError, match="`reset` must be one of"):
        layer(3, reset=reset)


@pytest.mark.parametrize("layer", [EGRU, EGRUCell])
@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan")])
def test_rates_outside_the_half_open_unit_interval(layer, name, value):
    with pytest.raises(ValueError, match=rf"`{name}` must lie in \[0, 1\), received {value}"):
        layer(3, **{name: value})


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)])
def test_checkpoint_steps_must_be_a_positive_integer(value, error):
    with pytest.raises(error, match="`checkpoint_steps` must be"):
        EGRU(3, checkpoint_steps=value)
    assert type(EGRU(3, checkpoint_steps=np.int64(4)).get_config()["checkpoint_steps"]) is int


def test_unknown_implementation_and_surrogate_and_regularizer():
    with pytest.raises(ValueError, match="`implementation` must be one of .* received 'gpu'"):
        EGRU(3, implementation="gpu")
    with pytest.raises(ValueError, match="`surrogate` must be"):
        EGRU(3, surrogate="sigmoid")
    with pytest.raises(TypeError, match="`state_regularizer` must be a callable"):
        EGRU(3, state_regularizer=0.1)


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3, 1), (3,)])
def test_wrong_rank(shape):
    with pytest.raises(ValueError, match="expected ndim=3"):
        EGRU(3)(np.zeros(shape, "float32"))


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, None)])
def test_build_wants_three_dimensions_and_known_features(shape):
    with pytest.raises(ValueError, match="must have the shape .* with a known number of features"):
        EGRU(3).build(shape)


def test_features_changed_after_build():
    layer = EGRU(3)
    layer(GOOD)
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
        layer(np.zeros((2, 4, 5), "float32"))


@pytest.mark.parametrize(
    "value",
    [GOOD.astype("int32"), GOOD.astype("uint8"), GOOD.astype(bool), GOOD.astype(str), GOOD.astype("complex64")],
    ids=["int32", "uint8", "bool", "string", "complex64"],
)
def test_inputs_that_are_not_float(value):
    """Keras would promote integers in the first product."""
    layer = EGRU(3, name="named")
    with pytest.raises(TypeError, match="`sequences` of layer 'named' must be of a floating-point type, received"):
        layer(value)
    assert not layer.built


def test_tensors_that_are_not_float():
    for value in (
        keras.ops.zeros((2, 4, 3), "int32"),
        keras.ops.zeros((2, 4, 3), "bool"),
        keras.Input((4, 3), dtype="int32"),
    ):
        with pytest.raises(TypeError, match="must be of a floating-point type, received (int32|bool)"):
            EGRU(3)(value)


@pytest.mark.parametrize("value", [[[[1.0, 2.0]]], "text", None, 3.0])
def test_inputs_that_are_no_tensor(value):
    with pytest.raises(TypeError, match="`sequences` .* must be a tensor or an array, received"):
        EGRU(3)(value)


@pytest.mark.parametrize(("shape", "words"), [((0, 4, 3), "an empty batch"), ((2, 0, 3), "no time step")])
def test_empty_batch_and_zero_length_sequence(shape, words):
    layer = EGRU(3, name="named")
    with pytest.raises(ValueError, match=f"`sequences` of layer 'named' .*{words}"):
        layer(np.zeros(shape, "float32"))
    assert not layer.built


def _state(*shapes, dtype="float32"):
    return [np.zeros(shape, dtype) for shape in shapes]


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (_state((2, 5)), ValueError, r"list of \[y, c\], received 1"),
        (_state((2, 5), (2, 5), (2, 5)), ValueError, r"received 3"),
        (np.zeros((2, 5), "float32"), ValueError, r"list of \[y, c\], received"),
        (_state((2, 4), (2, 5)), ValueError, r"state `y` .* must have the shape \(2, 5\), received \(2, 4\)"),
        (_state((2, 5), (3, 5)), ValueError, r"state `c` .* must have the shape \(2, 5\), received \(3, 5\)"),
        (_state((2, 5), (5,)), ValueError, r"state `c` .* received \(5,\)"),
        (_state((2, 5), (2, 5), dtype="int32"), TypeError, r"floating-point type, received int32"),
    ],
    ids=["one", "three", "bare", "units", "batch", "rank", "type"],
)
def test_states_of_wrong_number_shape_or_type(state, error, words):
    with pytest.raises(error, match=words):
        EGRU(5)(GOOD, initial_state=state)
    cell = EGRUCell(5)
    cell.build((None, 3))
    if isinstance(state, list):
        with pytest.raises(error, match=words):
            cell(GOOD[:, 0], state)


def test_mask_of_a_wrong_shape():
    with pytest.raises(ValueError, match=r"`mask` must have the shape \(2, 4\), received \(2, 3\)"):
        EGRU(5)(GOOD, mask=np.ones((2, 3), bool))


@pytest.mark.parametrize("layer", [EGRU, EGRUCell])
@pytest.mark.parametrize(
    "initializer", ["zeros", "ones", keras.initializers.Constant(-0.2), keras.initializers.Constant(1.5)]
)
def test_thresholds_drawn_outside_the_unit_interval(layer, initializer):
    with pytest.raises(
        ValueError, match=r"`threshold_initializer` must draw thresholds inside \(0, 1\), received values from"
    ):
        layer(3, threshold_initializer=initializer).build((2, 4, 3) if layer is EGRU else (2, 3))


def test_thresholds_drawn_outside_the_unit_interval_in_a_functional_model():
    with pytest.raises(ValueError, match="`threshold_initializer`"):
        EGRU(3, threshold_initializer="zeros")(keras.Input((4, 3)))


def test_the_cell_checks_its_input_too():
    cell = EGRUCell(5)
    cell.build((None, 3))
    state = _state((2, 5), (2, 5))
    with pytest.raises(TypeError, match="`sequence` .* floating-point type, received int32"):
        cell(np.zeros((2, 3), "int32"), state)
    with pytest.raises(ValueError, match="expected axis -1"):
        cell(np.zeros((2, 4), "float32"), state)
    with pytest.raises(ValueError, match="expected ndim=2"):
        cell(np.zeros((2, 2, 3), "float32"), state)


@pytest.mark.parametrize("implementation", ["fused", "dense"])
def test_fused_without_its_library(monkeypatch, implementation):
    monkeypatch.setattr(fused_egru, "why_not", lambda *_: "the library is missing.")
    sentence = f'implementation="{implementation}" of layer .* cannot run: the library is missing.'
    with pytest.raises(RuntimeError, match=sentence):
        EGRU(3, implementation=implementation)
    assert EGRU(3, implementation="auto").supports_jit


@pytest.mark.parametrize("implementation", ["fused", "dense"])
def test_fused_with_recurrent_dropout(implementation):
    sentence = f'`recurrent_dropout` must be 0 with implementation="{implementation}", received 0.1'
    with pytest.raises(ValueError, match=sentence):
        EGRU(3, implementation=implementation, recurrent_dropout=0.1)


def test_fused_with_a_surrogate_of_one_s_own():
    class Flat(Surrogate):
        def derivative(self, v):
            return keras.ops.ones_like(v)

    with pytest.raises(RuntimeError, match="cannot run"):
        EGRU(3, implementation="fused", surrogate=Flat())
    layer = EGRU(3, surrogate=Flat())
    assert layer.supports_jit
    assert layer(GOOD).shape == (2, 3)
