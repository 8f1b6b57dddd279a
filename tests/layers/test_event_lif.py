import keras
import numpy as np
import pytest
from keras.src.testing import TestCase
from numpy.testing import assert_allclose, assert_array_equal

import keras_egru
from keras_egru import EventLIF, EventLIFCell
from keras_egru.initializers import GammaTimeConstants
from keras_egru.layers.recording import record_states
from keras_egru.sparsity import SpikeCounts, SpikeRate

TIGHT = {"rtol": 1e-10, "atol": 1e-12}  # Float64, at most a few hundred roundings.


def _rnn_twin(layer):
    """`keras.layers.RNN(EventLIFCell)` with the weights of `layer`."""
    twin = keras.layers.RNN(
        EventLIFCell.from_config(layer.cell.get_config()),
        return_sequences=layer.return_sequences,
        return_state=layer.return_state,
        go_backwards=layer.go_backwards,
        dtype=layer.dtype_policy,
    )
    twin.build((4, 12, 6))
    twin.set_weights([weight.numpy() for weight in layer.cell.weights])
    return twin


class TestKerasLayerChecks(TestCase):
    """Keras's own check of a layer: shapes, weights, serialisation, training, dtype policies, masking."""

    def check(self, init_kwargs, **expected):
        expected = {
            "expected_num_trainable_weights": 1,
            "expected_num_non_trainable_weights": 0,
            "expected_num_seed_generators": 0,
            "supports_masking": True,
            **expected,
        }
        self.run_layer_test(EventLIF, init_kwargs, input_shape=(3, 2, 4), **expected)

    def test_defaults(self):
        self.check({"units": 3}, expected_output_shape=(3, 3))

    def test_eventprop_with_losses(self):
        self.check(
            {
                "units": 3,
                "tau_syn": 5.0,
                "gradient": "eventprop",
                "recurrent": True,
                "return_sequences": True,
                "kernel_regularizer": "l2",
                "recurrent_regularizer": "l2",
                "activity_regularizer": SpikeCounts(),
                "rate_regularizer": SpikeRate(),
            },
            expected_num_trainable_weights=2,
            expected_output_shape=(3, 2, 3),
            expected_num_losses=4,  # the rate is one, whose value is zero
        )

    def test_reference_with_trained_time_constants(self):
        self.check(
            {"units": 3, "tau_syn": 5.0, "train_time_constants": True, "implementation": "reference"},
            expected_num_trainable_weights=3,
            expected_output_shape=(3, 3),
        )

    def test_drawn_time_constants(self):
        self.check(
            {
                "units": 3,
                "tau_mem": GammaTimeConstants(20.0, 3.0, seed=1),
                "tau_syn": GammaTimeConstants(5.0, 1.0, seed=2),
            },
            expected_num_non_trainable_weights=2,
            expected_output_shape=(3, 3),
        )


@pytest.mark.parametrize(
    ("synapse", "gradient", "recurrent", "refractory", "reset", "go_backwards"),
    [
        (None, "surrogate", False, 0.0, "subtract", False),
        (None, "surrogate", True, 2.0, "zero", True),
        (5.0, "surrogate", False, 2.0, "zero", False),
        (5.0, "surrogate", True, 0.0, "subtract", True),
        (5.0, "eventprop", True, 2.0, "subtract", False),
    ],
)
def test_equals_rnn_over_the_cell(
    implementation, make_lif, spikes, synapse, gradient, recurrent, refractory, reset, go_backwards
):
    layer = make_lif(
        recurrent=recurrent,
        refractory=refractory,
        reset=reset,
        go_backwards=go_backwards,
        v_reset=-0.2,
        v_rest=0.1,
        return_sequences=True,
        return_state=True,
        implementation=implementation,
        tau_syn=synapse,
        gradient=gradient,
    )
    results = layer(spikes)
    assert 0.02 < np.mean(results[0]) < 0.9
    assert len(results) == 3 + (synapse is not None) + (refractory > 0)
    for ours, theirs in zip(results, _rnn_twin(layer)(spikes), strict=True):
        assert_allclose(ours, theirs, **TIGHT)


def test_masked_steps_are_skipped_and_silent(implementation, kind, make_lif, spikes, spike_mask):
    layer = make_lif(
        recurrent=True, refractory=2.0, return_sequences=True, return_state=True, implementation=implementation, **kind
    )
    outputs, *states = (np.asarray(result) for result in layer(spikes, mask=spike_mask))
    assert_array_equal(outputs[~spike_mask], 0.0)
    shortened, *last = layer(spikes[:1][:, spike_mask[0]])
    assert_allclose(outputs[:1][:, spike_mask[0]], shortened, **TIGHT)
    for ours, theirs in zip(states, last, strict=True):
        assert_allclose(ours[:1], theirs, **TIGHT)
        assert_array_equal(ours[3], np.zeros_like(ours[3]))  # no valid step
    for ours, theirs in zip(states, _rnn_twin(layer)(spikes, mask=spike_mask)[1:], strict=True):
        assert_allclose(ours, theirs, **TIGHT)


def test_the_last_output_is_that_of_the_last_valid_step(implementation, kind, make_lif, spikes, spike_mask):
    spike_mask[0, 9:] = False
    whole = make_lif(units=30, return_sequences=True, implementation=implementation, **kind)
    layer = make_lif(units=30, return_state=True, implementation=implementation, **kind)
    layer.set_weights(whole.get_weights())
    state = [np.ones((4, 30)), *(np.zeros((4, 30)) for _ in layer.cell.state_size[1:])]
    for mask, last in ((spike_mask, [8, 7, 11]), (spike_mask[:, ::-1], [9, 11, 11])):
        outputs, y, *_ = layer(spikes, mask=mask, initial_state=state)
        expected = whole(spikes, mask=mask, initial_state=state)
        assert_array_equal(outputs[:3], [expected[sample][step] for sample, step in enumerate(last)])
        assert_array_equal(outputs[:3], y[:3])
        assert np.any(np.asarray(outputs[:2]) != 0)
        assert_array_equal(outputs[3], np.zeros(30))  # no valid step: no spikes, and the state as it was
        assert_array_equal(y[3], np.ones(30))


def test_the_mask_of_embedding_and_masking_layers_is_used(implementation, kind):
    tokens = np.array([[3, 1, 2, 4, 0, 0], [2, 0, 4, 1, 3, 0], [1, 0, 0, 0, 0, 0], [4, 3, 2, 1, 2, 3]])
    embedding = keras.layers.Embedding(
        5, 3, keras.initializers.RandomUniform(0.5, 2.0), mask_zero=True, dtype="float64"
    )
    masking = keras.layers.Masking(0.0, dtype="float64")
    spread = keras.initializers.RandomUniform(0.0, 2.0)
    layer = EventLIF(
        5, dtype="float64", kernel_initializer=spread, return_sequences=True, implementation=implementation, **kind
    )
    embedded = embedding(tokens)
    plain = np.asarray(embedded) * (tokens != 0)[:, :, None]
    layer.build(plain.shape)
    rest = layer.get_initial_state(4)
    expected = np.asarray(layer(plain, mask=tokens != 0))
    assert np.any(expected != 0)
    for call in ({}, {"initial_state": rest}):
        assert_array_equal(layer(embedded, **call), expected)
        assert_array_equal(layer(masking(plain), **call), expected)
    assert_array_equal(keras.src.backend.get_keras_mask(layer(embedded)), tokens != 0)  # it goes on
    for options in ({"return_sequences": True, "return_state": True, "return_membrane": True}, {"return_state": True}):
        several = EventLIF(5, dtype="float64", implementation=implementation, **options, **kind)
        given = [keras.src.backend.get_keras_mask(output) for output in several(embedded)]
        handed_on = 2 if options.get("return_sequences") else 0
        assert [mask is not None for mask in given] == [i < handed_on for i in range(len(given))]


def test_return_state_gives_the_last_spikes_and_membranes(implementation, kind, make_lif, spikes):
    options = {"refractory": 3.0, "implementation": implementation, **kind}
    layer = make_lif(return_sequences=True, return_state=True, return_membrane=True, **options)
    outputs, membranes, y, v, *_, wait = layer(spikes)
    assert_array_equal(outputs[:, -1], y)
    assert_array_equal(membranes[:, -1], v)
    last = make_lif(return_membrane=True, **options)
    last.set_weights(layer.get_weights())
    with record_states():  # which keeps the membranes of every step
        recorded = last(spikes)
    for result in (last(spikes), recorded):
        for ours, theirs in zip(result, (y, v), strict=True):
            assert_array_equal(ours, theirs)
    # A unit waits for the three steps that follow its spike.
    steps = np.arange(12)[None, :, None]
    since = 11 - np.max(np.where(np.asarray(outputs) != 0, steps, -99), axis=1)
    assert_array_equal(wait, np.maximum(3 - since, 0))
    assert np.any(np.asarray(wait) > 0)


def test_spikes_are_where_the_membranes_are_above_the_threshold(implementation, kind, make_lif, spikes):
    layer = make_lif(return_sequences=True, return_membrane=True, threshold=0.8, implementation=implementation, **kind)
    outputs, membranes = layer(spikes)
    assert_array_equal(outputs, np.asarray(membranes) > 0.8)
    assert np.any(np.asarray(outputs) != 0)


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("return_state", [False, True])
def test_shapes_of_symbolic_calls(kind, return_sequences, return_state):
    options = {"return_sequences": return_sequences, "return_state": return_state, "return_membrane": True}
    inputs = keras.Input((None, 6))
    outputs = EventLIF(5, **options, **kind)(inputs)
    seen = (None, None, 5) if return_sequences else (None, 5)
    states = [(None, 5)] * (2 + ("tau_syn" in kind)) if return_state else []
    assert [output.shape for output in outputs] == [seen, seen, *states]
    values = keras.Model(inputs, outputs)(np.ones((2, 7, 6), "float32"))
    assert [value.shape for value in values] == [
        tuple({0: 2, 1: 7}[i] if n is None else n for i, n in enumerate(shape)) for shape in (seen, seen, *states)
    ]


def test_a_sequence_in_three_parts_equals_the_whole(implementation, kind, make_lif, spikes):
    layer = make_lif(
        recurrent=True,
        refractory=2.0,
        return_sequences=True,
        return_state=True,
        return_membrane=True,
        implementation=implementation,
        **kind,
    )
    whole = [np.asarray(result) for result in layer(spikes)]
    parts, state = [], None
    for start, stop in ((0, 4), (4, 5), (5, 12)):
        y, v, *state = layer(spikes[:, start:stop], initial_state=state)
        parts.append((y, v))
    assert np.any(whole[-1] != 0)  # some unit waits
    joined = [np.concatenate(part, axis=1) for part in zip(*parts, strict=True)]
    for ours, theirs in zip([*joined, *state], whole, strict=True):
        assert_allclose(ours, theirs, **TIGHT)


def test_stateful_carries_every_state_and_resets_to_rest(implementation, kind, make_lif, spikes):
    options = {"recurrent": True, "refractory": 3.0, "v_rest": 0.3, "implementation": implementation, **kind}
    stateful = make_lif(stateful=True, return_sequences=True, **options)
    plain = make_lif(return_sequences=True, **options)
    plain.set_weights([weight.numpy() for weight in stateful.cell.weights])
    whole = plain(spikes)
    for _ in range(2):
        parts = [stateful(spikes[:, :5]), stateful(spikes[:, 5:])]
        assert_allclose(np.concatenate(parts, axis=1), whole, **TIGHT)
        assert not np.allclose(stateful(spikes[:, :5]), parts[0])
        stateful.reset_state()
        for state, rest in zip(stateful.states, stateful.get_initial_state(4), strict=True):
            assert_array_equal(state, rest)


def test_stateful_models_predict_as_they_are_called(implementation, make_lif, spikes):
    model = keras.Sequential(
        [keras.Input(batch_shape=(4, 12, 6)), EventLIF(5, stateful=True, v_rest=0.9, implementation=implementation)]
    )
    first, second = model.predict(spikes, batch_size=4, verbose=0), model.predict(spikes, batch_size=4, verbose=0)
    assert not np.array_equal(first, second)
    model.layers[0].reset_state()
    assert_array_equal(model.predict(spikes, batch_size=4, verbose=0), first)


def test_go_backwards_is_the_reversed_sequence_in_processing_order(
    implementation, kind, make_lif, spikes, spike_mask, spike_gradients
):
    forward = make_lif(return_sequences=True, implementation=implementation, **kind)
    backward = make_lif(return_sequences=True, go_backwards=True, implementation=implementation, **kind)
    backward.set_weights(forward.get_weights())
    assert_allclose(backward(spikes), forward(spikes[:, ::-1]), **TIGHT)
    assert_allclose(backward(spikes, mask=spike_mask), forward(spikes[:, ::-1], mask=spike_mask[:, ::-1]), **TIGHT)
    ours, theirs = spike_gradients(backward, spikes), spike_gradients(forward, spikes[:, ::-1].copy())
    assert np.any(theirs["kernel"] != 0)
    assert_allclose(ours["kernel"], theirs["kernel"], **TIGHT)


@pytest.mark.parametrize("return_sequences", [False, True])
def test_bidirectional(implementation, kind, make_lif, spikes, spike_mask, return_sequences):
    layer = keras.layers.Bidirectional(
        make_lif(return_sequences=return_sequences, implementation=implementation, **kind), dtype="float64"
    )
    merged = layer(spikes, mask=spike_mask)
    forward = np.asarray(layer.forward_layer(spikes, mask=spike_mask))
    backward = np.asarray(layer.backward_layer(spikes, mask=spike_mask))
    backward = backward[:, ::-1] if return_sequences else backward
    assert np.any(forward != 0)
    assert np.any(backward != 0)
    assert_array_equal(merged, np.concatenate([forward, backward], axis=-1))


def test_mixed_precision_keeps_weights_and_the_recursion_in_float32(implementation, kind, make_lif, spikes):
    x = spikes.astype("float16")
    options = {"return_sequences": True, "return_membrane": True, "implementation": implementation, **kind}
    half, single = make_lif(dtype="mixed_float16", **options), make_lif(dtype="float32", **options)
    single.set_weights(half.get_weights())
    outputs, membranes = half(x)
    assert {str(weight.dtype) for weight in half.weights} == {"float32"}
    assert outputs.dtype == membranes.dtype == "float16"
    expected, expected_membranes = single(x.astype("float32"))
    assert np.any(np.asarray(expected) != 0)
    # Only the outputs are rounded to half precision.
    assert_array_equal(outputs, np.asarray(expected).astype("float16"))
    assert_array_equal(membranes, np.asarray(expected_membranes).astype("float16"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_bfloat16", "float64"])
def test_every_float_policy_gives_its_compute_type(implementation, make_lif, spikes, dtype):
    layer = make_lif(
        refractory=2.0, return_state=True, return_membrane=True, dtype=dtype, implementation=implementation, tau_syn=5.0
    )
    for output in layer(spikes):
        assert keras.backend.standardize_dtype(output.dtype) == dtype.removeprefix("mixed_")
        assert np.all(np.isfinite(np.asarray(keras.ops.cast(output, "float64"))))


def test_the_reference_may_be_compiled_by_xla_and_the_fused_op_may_not(implementation):
    assert EventLIF(3, implementation=implementation).supports_jit is (implementation == "reference")


def test_inference_gives_the_same_numbers_as_training(implementation, kind, make_lif, spikes):
    layer = make_lif(recurrent=True, return_sequences=True, return_membrane=True, implementation=implementation, **kind)
    for ours, theirs in zip(layer(spikes, training=True), layer(spikes), strict=True):
        assert_array_equal(ours, theirs)


def test_any_numbers_may_come_in(implementation, kind, make_lif):
    x = np.random.default_rng(3).normal(size=(4, 12, 6))
    layer = make_lif(return_sequences=True, implementation=implementation, **kind)
    assert np.any(np.asarray(layer(x)) != 0)
    assert_allclose(layer(x), _rnn_twin(layer)(x), **TIGHT)


def test_docstring_examples_run():
    spikes = (np.random.default_rng(0).random((32, 10, 8)) < 0.1).astype("float32")
    assert keras_egru.EventLIF(4, return_sequences=True)(spikes).shape == (32, 10, 4)
    model = keras.Sequential(
        [
            keras_egru.EventLIF(128, tau_syn=5.0, gradient="eventprop", return_sequences=True),
            keras_egru.LeakyReadout(10, tau_syn=5.0, readout="sum_exp"),
        ]
    )
    assert model(spikes).shape == (32, 10)
