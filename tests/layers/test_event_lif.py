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


def _gradients(layer, x, **call):
    """Gradients of a loss of spikes that differs from step to step, by the name of the weight."""
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        y = layer(x, training=True, **call)
        # What Eventprop sees of amplitudes is how their gradient changes in time.
        loss = tf.reduce_sum(y * np.sin(np.arange(np.prod(y.shape[1:]))).reshape(y.shape[1:]))
        loss += sum(layer.losses)
    names = [weight.name for weight in layer.trainable_weights]
    values = [weight.value for weight in layer.trainable_weights]
    return {name: np.asarray(g) for name, g in zip(names, tape.gradient(loss, values), strict=True)}


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


def test_go_backwards_is_the_reversed_sequence_in_processing_order(implementation, kind, make_lif, spikes, spike_mask):
    forward = make_lif(return_sequences=True, implementation=implementation, **kind)
    backward = make_lif(return_sequences=True, go_backwards=True, implementation=implementation, **kind)
    backward.set_weights(forward.get_weights())
    assert_allclose(backward(spikes), forward(spikes[:, ::-1]), **TIGHT)
    assert_allclose(backward(spikes, mask=spike_mask), forward(spikes[:, ::-1], mask=spike_mask[:, ::-1]), **TIGHT)
    ours, theirs = _gradients(backward, spikes), _gradients(forward, spikes[:, ::-1].copy())
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


def test_models_survive_saving(kind, spikes, tmp_path):
    options = {"refractory": 1.0, "recurrent": True, **kind}
    loud = keras.initializers.RandomUniform(0.0, 2.0, seed=3)
    gamma = {"tau_mem": GammaTimeConstants(9.0, 3.0), "train_time_constants": True}
    rate = SpikeRate(3.0, 1e-3) if kind.get("gradient") == "eventprop" else None
    inputs = keras.Input((None, 6))
    y, *state = EventLIF(
        7, return_sequences=True, return_state=True, kernel_initializer=loud, rate_regularizer=rate, **options
    )(inputs)
    outputs = EventLIF(7, kernel_initializer=loud, return_sequences=True, **gamma, **options)(y, initial_state=state)
    model = keras.Model(inputs, keras_egru.LeakyReadout(2, tau_syn=kind.get("tau_syn"))(outputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.any(model.predict(spikes, verbose=0) != 0)
    assert_array_equal(loaded.predict(spikes, verbose=0), model.predict(spikes, verbose=0))
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        assert (ours.name, ours.trainable) == (theirs.name, theirs.trainable)
        assert_array_equal(ours, theirs)
    model.save_weights(tmp_path / "model.weights.h5")
    for weight in loaded.weights:
        weight.assign(np.ones(weight.shape))
    loaded.load_weights(tmp_path / "model.weights.h5")
    assert_array_equal(loaded.predict(spikes, verbose=0), model.predict(spikes, verbose=0))


def test_weights_come_in_the_documented_order_and_shapes():
    def shapes(**options):
        layer = EventLIF(5, **options)
        layer.build((None, None, 3))
        return [(weight.name, tuple(weight.shape), weight.trainable) for weight in layer.weights]

    kernel, recurrent = ("kernel", (3, 5), True), ("recurrent_kernel", (5, 5), True)
    assert shapes() == [kernel]
    assert shapes(tau_syn=5.0, recurrent=True) == [kernel, recurrent]
    assert shapes(tau_syn=5.0, train_time_constants=True) == [kernel, ("tau_mem", (5,), True), ("tau_syn", (5,), True)]
    gamma = GammaTimeConstants(20.0, 3.0)
    assert shapes(tau_mem=gamma, tau_syn=5.0) == [kernel, ("tau_mem", (5,), False)]
    assert shapes(tau_mem=gamma, train_time_constants=True) == [kernel, ("tau_mem", (5,), True)]


def test_config_round_trip_keeps_every_option():
    options = {
        "tau_mem": GammaTimeConstants(30.0, 4.0, seed=2),
        "tau_syn": 7.0,
        "dt": 0.5,
        "threshold": 0.9,
        "v_reset": -0.1,
        "v_rest": 0.2,
        "reset": "zero",
        "refractory": 3.0,
        "recurrent": True,
        "train_time_constants": True,
        "kernel_initializer": "he_normal",
        "recurrent_initializer": "glorot_normal",
        "kernel_regularizer": "l1",
        "recurrent_regularizer": "l2",
        "kernel_constraint": "max_norm",
        "recurrent_constraint": "unit_norm",
        "activity_regularizer": SpikeCounts(),
        "validate_inputs": True,
        "implementation": "reference",
        "return_sequences": True,
        "return_state": True,
        "return_membrane": True,
        "go_backwards": True,
        "stateful": True,
        "name": "named",
        "dtype": "mixed_float16",
        "trainable": False,
    }
    defaults = EventLIF(4).get_config()
    changed = set()
    for own in (
        {"surrogate": keras_egru.surrogates.Boxcar(0.3, 0.4)},
        {"gradient": "eventprop", "rate_regularizer": SpikeRate(3.0, 0.5)},
    ):
        layer = EventLIF(4, **options, **own)
        config = layer.get_config()
        assert set(options) | set(own) <= set(config) == set(defaults)
        changed |= {name for name in config if config[name] != defaults[name]}
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert copy.get_config() == config
        assert copy.cell.trainable is False
    assert changed == set(defaults) - {"units"}


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


class TestTimeConstants:
    def test_units_have_the_time_constants_that_were_drawn(self, implementation, kind, make_lif, spikes):
        options = {"return_sequences": True, "return_membrane": True, "implementation": implementation}
        drawn = {"tau_mem": GammaTimeConstants(12.0, 3.0, seed=4), "refractory": 1.0}
        if "tau_syn" in kind:
            drawn["tau_syn"] = GammaTimeConstants(6.0, 1.0, seed=5)
        layer = make_lif(**{**options, **kind, **drawn})
        kernel, *constants = layer.get_weights()
        assert [len(set(values)) for values in constants] == [5] * len(constants)
        assert np.all(constants[0] >= 3.0)
        assert not layer.trainable_weights[1:]
        y, v = layer(spikes)
        for unit in range(5):
            tau = dict(zip(("tau_mem", "tau_syn"), (float(values[unit]) for values in constants), strict=False))
            single = make_lif(1, **{**options, **kind, **tau, "refractory": 1.0})
            single.set_weights([kernel[:, unit : unit + 1]])
            for ours, theirs in zip((y, v), single(spikes), strict=True):
                assert_allclose(ours[:, :, unit : unit + 1], theirs, **TIGHT)

    def test_trained_ones_start_at_the_float_and_change_nothing(self, implementation, kind, make_lif, spikes):
        options = {"return_sequences": True, "return_membrane": True, "implementation": implementation, **kind}
        trained, plain = make_lif(train_time_constants=True, **options), make_lif(**options)
        plain.set_weights(trained.get_weights()[:1])
        assert_array_equal(trained.get_weights()[1], np.full(5, 8.0))
        for ours, theirs in zip(trained(spikes), plain(spikes), strict=True):
            assert_allclose(ours, theirs, **TIGHT)

    def test_gradients_arrive(self, implementation, kind, make_lif, spikes):
        layer = make_lif(
            recurrent=True, train_time_constants=True, return_sequences=True, implementation=implementation, **kind
        )
        gradients = _gradients(layer, spikes)
        assert set(gradients) == {"kernel", "recurrent_kernel", "tau_mem"} | ({"tau_syn"} & set(kind))
        assert all(np.any(gradient != 0) and np.all(np.isfinite(gradient)) for gradient in gradients.values())
        reference = make_lif(
            recurrent=True, train_time_constants=True, return_sequences=True, implementation="reference", **kind
        )
        reference.set_weights(layer.get_weights())
        for name, expected in _gradients(reference, spikes).items():
            assert_allclose(gradients[name], expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max(), err_msg=name)

    @pytest.mark.parametrize("dt", [1.0, 0.5])
    def test_they_stay_above_three_and_one_steps_after_an_update(self, make_lif, spikes, dt):
        layer = make_lif(dt=dt, tau_syn=5.0, train_time_constants=True)
        rise = [np.where(np.arange(5) < 2, -1.0, 100.0)] * 2
        variables = [layer.cell.tau_mem_of_units, layer.cell.tau_syn_of_units]
        keras.optimizers.SGD(1.0).apply([keras.ops.convert_to_tensor(gradient) for gradient in rise], variables)
        _, tau_mem, tau_syn = layer.get_weights()
        assert_array_equal(tau_mem, [9.0, 9.0, *[3.0 * dt] * 3])
        assert_array_equal(tau_syn, [6.0, 6.0, *[1.0 * dt] * 3])
        assert np.all(np.isfinite(layer(spikes)))


@pytest.mark.parametrize(("refractory", "dt", "steps"), [(2.0, 0.5, 4), (1.3, 0.5, 3)])
def test_the_refractory_period_is_a_time(implementation, kind, refractory, dt, steps):
    """A unit that is driven hard fires at the first step after each period."""
    layer = EventLIF(
        1, tau_mem=20.0, dt=dt, refractory=refractory, kernel_initializer=keras.initializers.Constant(1e3),
        return_sequences=True, return_membrane=True, v_reset=-0.5, reset="zero", implementation=implementation, **kind,
    )  # fmt: skip
    y, v = (np.asarray(output)[0, :, 0] for output in layer(np.ones((1, 40, 1), "float32")))
    fired = np.flatnonzero(y)
    assert len(fired) >= 8
    assert_array_equal(np.diff(fired), steps + 1)
    waiting = [t for spike in fired[:-1] for t in range(spike + 1, spike + 1 + steps)]
    assert_array_equal(v[waiting], -0.5)
    assert layer.get_config()["refractory"] == refractory


def test_recurrent_spikes_act_one_step_later_with_a_synapse_and_at_once_without(implementation, make_lif):
    """One input spike makes unit 0 fire, whose weight makes unit 1 fire."""
    x = np.zeros((1, 8, 2))
    x[0, 1, 0] = 1.0
    for options, first, second in (({}, 1, 2), ({"tau_syn": 5.0}, 2, 3)):
        layer = keras_egru.EventLIF(
            2, tau_mem=8.0, recurrent=True, return_sequences=True, dtype="float64", implementation=implementation,
            **options,
        )  # fmt: skip
        layer.build(x.shape)
        layer.set_weights([np.array([[20.0, 0.0], [0.0, 0.0]]), np.array([[-500.0, 20.0], [0.0, 0.0]])])
        y = np.asarray(layer(x))[0]
        assert np.flatnonzero(y[:, 0])[0] == first
        assert np.flatnonzero(y[:, 1])[0] == second


class TestRateRegularizer:
    OPTIONS = {"tau_syn": 5.0, "gradient": "eventprop", "return_sequences": True, "recurrent": True}

    def test_it_changes_the_gradient_and_not_the_outputs(self, implementation, make_lif, spikes):
        plain = make_lif(implementation=implementation, **self.OPTIONS)
        rate = {"rate_regularizer": SpikeRate(1.0, 0.1)}
        regularized = make_lif(implementation=implementation, **rate, **self.OPTIONS)
        reference = make_lif(implementation="reference", **rate, **self.OPTIONS)
        for layer in (regularized, reference):
            layer.set_weights(plain.get_weights())
        assert_array_equal(regularized(spikes), plain(spikes))
        assert sum(float(loss) for loss in regularized.losses) == 0.0
        without, found, expected = (_gradients(layer, spikes) for layer in (plain, regularized, reference))
        for name, gradient in without.items():
            scale = np.abs(gradient).max()
            assert np.abs(found[name] - gradient).max() > 0.01 * scale
            assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-10 * scale)

    def test_it_brings_counts_towards_the_target(self, make_lif, spikes):
        """Units that fire less than the target are driven more, and the other way round; no other loss is there."""
        tf = pytest.importorskip("tensorflow")
        for target, sign in ((0.5, -1.0), (8.0, 1.0)):
            layer = make_lif(20, rate_regularizer=SpikeRate(target, 1e-2), **self.OPTIONS)
            before = np.sum(layer(spikes)) / 80
            assert 1.0 < before < 7.0
            for _ in range(10):
                with tf.GradientTape() as tape:
                    loss = 0.0 * tf.reduce_sum(layer(spikes, training=True)) + sum(layer.losses)
                layer.kernel.assign_sub(0.3 * tape.gradient(loss, layer.kernel.value))
            assert sign * (np.sum(layer(spikes)) / 80 - before) > 0.3

    def test_without_a_strength_nothing_changes(self, implementation, make_lif, spikes):
        options = {"implementation": implementation, **self.OPTIONS}
        plain, idle = make_lif(**options), make_lif(rate_regularizer=SpikeRate(1.0, 0.0), **options)
        idle.set_weights(plain.get_weights())
        assert_array_equal(_gradients(idle, spikes)["kernel"], _gradients(plain, spikes)["kernel"])


def test_inference_gives_the_same_numbers_as_training(implementation, kind, make_lif, spikes):
    layer = make_lif(recurrent=True, return_sequences=True, return_membrane=True, implementation=implementation, **kind)
    for ours, theirs in zip(layer(spikes, training=True), layer(spikes), strict=True):
        assert_array_equal(ours, theirs)


def test_any_numbers_may_come_in(implementation, kind, make_lif):
    x = np.random.default_rng(3).normal(size=(4, 12, 6))
    layer = make_lif(return_sequences=True, implementation=implementation, **kind)
    assert np.any(np.asarray(layer(x)) != 0)
    assert_allclose(layer(x), _rnn_twin(layer)(x), **TIGHT)


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
