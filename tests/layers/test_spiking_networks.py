"""Layers that spike behind one another, and what surrounds them: links, training, losses, pruning, sparsity."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EventLIF, LeakyReadout, losses, pruning, readouts
from keras_egru.layers import spike_links
from keras_egru.ops import library
from keras_egru.sparsity import SparsityMonitor, measure
from keras_egru.surrogates import Boxcar

tf = pytest.importorskip("tensorflow")

READOUTS = [None, *readouts.READOUTS]


def _network(
    kind, implementation, readout="sum_exp", between=None, dtype="float64", wrap=lambda layer: layer, drive=1.0
):
    """Two spiking layers and a read-out of three classes, always of the same weights.

    `between` makes a layer to stand between them, and `wrap` one around each; `drive` scales what makes units fire.
    """
    keras.utils.set_random_seed(5)
    shared = {"tau_mem": 8.0, "dtype": dtype, "implementation": implementation}
    scale = drive * (3.0 if kind.get("tau_syn") else 1.0)
    loud = keras.initializers.RandomUniform(-0.1 * scale, 0.5 * scale, seed=4)
    spiking = {"kernel_initializer": loud, "recurrent": True, "return_sequences": True, **shared, **kind}
    readout = LeakyReadout(3, readout, tau_syn=kind.get("tau_syn"), threshold=0.2, **shared)
    layers = [wrap(EventLIF(10, refractory=1.0, **spiking)), wrap(EventLIF(8, reset="zero", **spiking)), wrap(readout)]
    if between is not None:
        layers = [layers[0], between(), layers[1], between(), layers[2]]
    return keras.Sequential([keras.Input((12, 6), dtype=dtype), *layers])


def _value_and_gradients(model, x, loss=None):
    """Of a loss, by default a sum whose weights differ from entry to entry."""
    with tf.GradientTape() as tape:
        outputs = model(x, training=True)
        weights = np.sin(np.arange(np.prod(outputs.shape))).reshape(outputs.shape)
        value = tf.reduce_sum(outputs * weights) if loss is None else loss(outputs)
    gradients = tape.gradient(value, [weight.value for weight in model.trainable_weights])
    return outputs, [np.asarray(gradient) for gradient in gradients]


def _assert_same(actual, expected, rounding=1e-10):
    for ours, theirs in zip(actual, expected, strict=True):
        assert np.any(theirs != 0)
        assert_allclose(ours, theirs, rtol=10 * rounding, atol=rounding * np.abs(theirs).max())


def _largest_errors(actual, expected):
    return [np.abs(a - e).max() / np.abs(e).max() for a, e in zip(actual, expected, strict=True)]


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))
def test_both_implementations_are_the_same_network(kind, spikes, readout):
    expected = _network(kind, "reference", readout)
    model = _network(kind, "fused", readout)
    values, gradients = _value_and_gradients(model, spikes)
    expected_values, expected_gradients = _value_and_gradients(expected, spikes)
    assert 0.02 < np.mean(model.layers[1](model.layers[0](spikes))) < 0.9
    assert_allclose(values, expected_values, rtol=1e-10, atol=1e-12)
    _assert_same(gradients, expected_gradients)


class TestLinks:
    def test_spikes_carry_their_link_where_a_gradient_wants_it(self, implementation, kind, make_lif, spikes):
        gradient = kind.get("gradient", "surrogate")
        layer = make_lif(return_sequences=True, implementation=implementation, **kind)
        link = spike_links.of(layer(spikes, training=True))
        if implementation == "fused":
            assert link.gradient == gradient
            assert link.counts is not None
            assert spike_links.of(layer(spikes)) is None
        elif gradient == "eventprop":
            assert link.shift.shape == (4, 12, 5)
            assert not np.any(link.shift)
        else:
            assert link is None
        assert spike_links.of(layer(spikes, training=True) * 1.0) is None
        assert spike_links.of(make_lif(implementation=implementation, **kind)(spikes, training=True)) is None

    BETWEEN = {
        "nothing": (None, [False, True, True]),
        # What returns the very tensor that it was given returns its link.
        "idle": (lambda: keras.layers.Dropout(0.0), [False, True, True]),
        "scaling": (lambda: keras.layers.Rescaling(1.0), [False, False, False]),
    }

    @pytest.fixture
    def found(self, monkeypatch):
        """Whether each layer found a link, as it grows."""
        found, find = [], spike_links.of
        monkeypatch.setattr(spike_links, "of", lambda x: found.append(find(x) is not None) or find(x))
        return found

    @pytest.mark.parametrize("name", BETWEEN)
    def test_models_hand_them_on(self, implementation, spikes, found, name):
        between, expected = self.BETWEEN[name]
        model = _network({"tau_syn": 5.0, "gradient": "eventprop"}, implementation, between=between, dtype="float32")
        found.clear()
        _value_and_gradients(model, spikes.astype("float32"))
        assert found == expected

    @pytest.mark.parametrize("name", ["nothing", "scaling"])
    def test_models_hand_them_on_in_fit(self, kind, spikes, found, name):
        between, expected = self.BETWEEN[name]
        model = _network(kind, "auto", between=between, dtype="float32")
        model.compile("sgd", "mse")
        found.clear()
        model.fit(spikes, np.zeros((4, 3)), verbose=0)
        assert found[-3:] == expected

    @pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))
    def test_a_linked_layer_keeps_no_spikes(self, kind, spikes):
        """It reads them from the list."""
        model = _network(kind, "fused")
        graph = tf.function(lambda x: model(x, training=True)).get_concrete_function(tf.constant(spikes)).graph
        sequences = [op for op in graph.get_operations() if op.type == "KerasEgru>LifSequence"]
        assert [op.inputs[0].shape[-1] for op in sequences] == [6, 0, 0]

    def test_without_a_link_surrogate_gradients_are_the_same(self, implementation, spikes):
        model = _network({}, implementation)
        other = _network({}, implementation, between=lambda: keras.layers.Rescaling(1.0, dtype="float64"))
        _assert_same(_value_and_gradients(other, spikes)[1], _value_and_gradients(model, spikes)[1])

    def test_without_a_link_eventprop_s_gradient_converges_to_the_one_with_it(self, implementation):
        """The same input spikes in milliseconds, in ever shorter steps; the error is of the order of the step."""
        rng = np.random.default_rng(0)
        times, channels = rng.choice(np.arange(1, 41), 20), rng.integers(0, 5, 20)
        kernels = [rng.normal(1.1, 0.6, (5, 6)), rng.normal(0.0, 1.0, (6, 3))]
        errors = []
        for dt in (0.5, 0.25, 0.125) if implementation == "fused" else (0.5, 0.25):
            x = np.zeros((1, round(48 / dt), 5))
            np.add.at(x, (0, np.round(times / dt).astype(int), channels), 1.0)
            found = []
            for between in ([], [keras.layers.Rescaling(1.0, dtype="float64")]):
                options = {"tau_mem": 20.0, "tau_syn": 5.0, "dt": dt, "dtype": "float64"}
                first = EventLIF(
                    6, gradient="eventprop", reset="zero", return_sequences=True, implementation=implementation,
                    **options,
                )  # fmt: skip
                readout = LeakyReadout(3, "sum_exp", implementation=implementation, **options)
                model = keras.Sequential([keras.Input(x.shape[1:], dtype="float64"), first, *between, readout])
                model.set_weights(kernels)
                found.append(_value_and_gradients(model, x)[1])
            assert np.sum(first(x)) > 10
            errors.append(_largest_errors(found[1], found[0]))
            assert errors[-1][1] < 1e-12  # of the read-out's own kernel, which spikes do not pass
        assert 0.01 < errors[0][0] < 0.5  # two ways indeed
        for coarse, fine in zip(errors, errors[1:], strict=False):
            assert fine[0] < 0.7 * coarse[0]

    def test_without_links_eventprop_s_gradient_points_the_same_way(self, implementation, spikes):
        kind = {"tau_syn": 5.0, "gradient": "eventprop"}
        model = _network(kind, implementation)
        other = _network(kind, implementation, between=lambda: keras.layers.Rescaling(1.0, dtype="float64"))
        expected = np.concatenate([g.ravel() for g in _value_and_gradients(model, spikes)[1]])
        found = np.concatenate([g.ravel() for g in _value_and_gradients(other, spikes)[1]])
        cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
        assert cosine > 0.8
        assert 0.5 < np.linalg.norm(found) / np.linalg.norm(expected) < 2.0

    def test_a_layer_that_goes_backwards_takes_none(self, implementation, kind, spikes):
        """The link lists what was active in the order in which it came."""
        found = []
        for name in (implementation, "reference"):
            keras.utils.set_random_seed(6)
            options = {"tau_mem": 8.0, "dtype": "float64", "implementation": name, "return_sequences": True, **kind}
            loud = keras.initializers.RandomUniform(-0.1, 1.5 if "tau_syn" in kind else 0.4, seed=4)
            layers = [EventLIF(10, kernel_initializer=loud, go_backwards=back, **options) for back in (False, True)]
            found.append(_value_and_gradients(keras.Sequential(layers), spikes))
        assert_array_equal(found[0][0], found[1][0])
        assert np.any(np.asarray(found[0][0]) != 0)
        _assert_same(found[0][1], found[1][1])

    def test_several_readers_of_the_same_spikes_add_up(self, implementation, kind, spikes):
        """A reader behind the link, another one, and one that has none: each adds what it adds alone."""
        shared = {"tau_mem": 8.0, "dtype": "float64", "implementation": implementation}
        loud = keras.initializers.RandomUniform(0.0, 1.5, seed=4)
        inputs = keras.Input((12, 6), dtype="float64")
        hidden = EventLIF(10, return_sequences=True, kernel_initializer=loud, **shared, **kind)(inputs)
        readers = [
            LeakyReadout(3, "sum_exp", tau_syn=kind.get("tau_syn"), **shared)(hidden),
            LeakyReadout(3, "max", tau_syn=kind.get("tau_syn"), **shared)(hidden),
            keras.layers.GlobalAveragePooling1D(dtype="float64")(
                keras.layers.Dense(3, dtype="float64")(hidden) * np.arange(12.0)[:, None] ** 2
            ),
        ]
        model = keras.Model(inputs, readers)
        kernel = model.layers[1].kernel.value
        with tf.GradientTape(persistent=True) as tape:
            parts = [tf.reduce_sum(output * [1.0, -2.0, 0.5]) for output in model(spikes, training=True)]
            total = sum(parts)
        each = [np.asarray(tape.gradient(part, kernel)) for part in parts]
        assert all(np.any(gradient != 0) for gradient in each)
        assert_allclose(tape.gradient(total, kernel), sum(each), rtol=1e-9, atol=1e-10)

    def test_layers_of_other_types_go_without(self, implementation, kind, spikes):
        model = keras.Sequential(
            [
                EventLIF(10, return_sequences=True, implementation=implementation, **kind),
                LeakyReadout(3, tau_syn=kind.get("tau_syn"), dtype="float64", implementation=implementation),
            ]
        )
        outputs, gradients = _value_and_gradients(model, spikes)
        assert outputs.dtype == "float64"
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


class TestTraining:
    def test_steps_per_execution_and_single_steps_learn_the_same(self, kind, spikes):
        x = np.tile(spikes, (4, 1, 1)).astype("float32")
        y = np.arange(16) % 3
        results = {}
        for steps in (1, 2):
            model = _network(kind, "auto", dtype="float32")
            model.compile(
                keras.optimizers.SGD(0.05),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                steps_per_execution=steps,
            )
            before = model.get_weights()
            history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
            results[steps] = history, model.get_weights()
            assert np.all(np.isfinite(history))
            assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
        for ours, theirs in zip(results[1][1], results[2][1], strict=True):
            # The same updates in another graph; float32 sums in another order.
            assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("loss", ["sum_exp", "max", "first_spike"])
    def test_classes_are_learnt(self, kind, loss):
        """Three classes that differ in when channels spike."""
        rng = np.random.default_rng(3)
        y = np.arange(60) % 3
        rates = np.zeros((3, 12, 6))
        for label in range(3):
            rates[label, 4 * label : 4 * label + 4, 2 * label : 2 * label + 3] = 0.8
        x = (rng.random((60, 12, 6)) < rates[y]).astype("float32")
        kind, drive = {**kind, "recurrent": False}, 2.0 if "gradient" in kind else 1.0
        if loss == "first_spike":
            model, chosen = _network(kind, "auto", loss, dtype="float32", drive=drive), losses.FirstSpikeLoss(tau_0=2.0)
        else:
            model = _network(kind, "auto", None, dtype="float32", drive=drive)
            chosen = losses.MembraneCrossentropy(loss, dt=1 / 12)
        model.compile(keras.optimizers.Adam(0.05), chosen)
        history = model.fit(x, y, batch_size=20, epochs=15, verbose=0).history["loss"]
        assert np.all(np.isfinite(history))
        assert history[-1] < 0.85 * history[0]

    def test_a_loss_of_potentials_is_that_of_the_read_out(self, kind, spikes):
        labels = np.array([0, 2, 1, 1])
        potentials = _network(kind, "auto", None)
        for readout in ("sum", "sum_exp", "max", "last"):
            model = _network(kind, "auto", readout)
            logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            membrane = losses.MembraneCrossentropy(readout)
            expected = _value_and_gradients(model, spikes, lambda y, loss=logits: loss(labels, y))[1]
            found = _value_and_gradients(potentials, spikes, lambda v, loss=membrane: loss(labels, v))[1]
            _assert_same(found, expected, rounding=1e-6)  # Keras computes losses in float32.

    def test_average_crossentropy_of_potentials(self, kind, spikes):
        model = _network(kind, "auto", None)
        loss = losses.AverageCrossentropy()
        gradients = _value_and_gradients(model, spikes, lambda v: loss(np.array([0, 2, 1, 1]), v))[1]
        assert all(np.any(gradient != 0) and np.all(np.isfinite(gradient)) for gradient in gradients)

    def test_where_nothing_spikes_the_first_spike_loss_still_teaches_the_read_out(self, implementation, kind, spikes):
        """No potential meets the threshold, but hidden units fire."""
        model = _network(kind, implementation, "first_spike")
        model.layers[2].kernel.assign(np.abs(model.layers[2].kernel) * 1e-3)
        labels = np.array([0, 2, 1, 1])
        loss = losses.FirstSpikeLoss()
        times, gradients = _value_and_gradients(model, spikes, lambda t: loss(labels, t))
        assert_array_equal(times, np.full((4, 3), 12.0))
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
        assert np.any(gradients[-1] != 0)
        if "gradient" not in kind:
            assert np.any(gradients[0] != 0)
        # A step along it lets the labels' potentials rise above those of the others.
        potentials = LeakyReadout.from_config({**model.layers[2].get_config(), "readout": "last"})
        potentials.build((4, 12, 8))
        hidden = model.layers[1](model.layers[0](spikes))
        kernel = np.asarray(model.layers[2].kernel)
        rises = []
        for step in (0.0, -1e-3):
            potentials.set_weights([kernel + step * gradients[-1]])
            v = np.asarray(potentials(hidden))
            rises.append(2.0 * v[np.arange(4), labels].sum() - v.sum())
        assert rises[1] > rises[0]

    def test_a_silent_network_has_a_finite_gradient(self, implementation, kind):
        model = _network(kind, implementation, "first_spike")
        loss = losses.FirstSpikeLoss()
        x = np.zeros((4, 12, 6))
        times, gradients = _value_and_gradients(model, x, lambda t: loss(np.zeros(4, int), t))
        assert_array_equal(times, np.full((4, 3), 12.0))
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients)

    def test_masked_sequences_go_through_a_network(self, implementation, kind, spikes, spike_mask):
        """What is padded changes neither outputs nor gradients."""
        spike_mask[:] = np.arange(12) < np.array([12, 9, 7, 4])[:, None]
        padded = np.where(spike_mask[:, :, None], spikes, -1.0)
        other = np.where(spike_mask[:, :, None], spikes, 7.0)
        found = []
        for x, value in ((padded, -1.0), (other, 7.0)):
            model = _network(kind, implementation, "max")
            masking = keras.layers.Masking(value, dtype="float64")
            outputs, gradients = _value_and_gradients(keras.Sequential([masking, *model.layers]), x)
            found.append([np.asarray(outputs), *gradients])
        _assert_same(found[0], found[1])


class TestPruning:
    def test_kernels_are_pruned_as_it_trains(self, kind, spikes, tmp_path):
        model = _network(kind, "auto", dtype="float32", drive=2.0)
        schedule = pruning.ConstantSparsity(0.5, begin_step=1, frequency=1)
        pruned = pruning.prune_low_magnitude(model, schedule)
        pruned.compile(keras.optimizers.SGD(1e-3), "mse")
        x, y = np.tile(spikes, (4, 1, 1)).astype("float32"), np.ones((16, 3))
        pruned.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[pruning.UpdatePruningStep()])
        masks = {
            (wrapper.layer.name, pair.name): (pair.mask.numpy(), pair.weight.numpy())
            for wrapper in pruning.masked_layers(pruned)
            for pair in wrapper.masks
        }
        first, second, readout = (layer.layer.name for layer in pruned.layers)
        assert set(masks) == {
            (first, "kernel"), (first, "recurrent_kernel"), (second, "kernel"), (second, "recurrent_kernel"),
            (readout, "kernel"),
        }  # fmt: skip
        for mask, weight in masks.values():
            assert np.mean(mask == 0) == pytest.approx(0.5, abs=0.03)  # of 18 weights and more
            assert_array_equal(weight == 0, mask == 0)
        cell = pruned.layers[0].layer.cell
        assert cell.kernel_mask is pruned.layers[0].masks[0].mask
        assert cell.recurrent_mask is pruned.layers[0].masks[1].mask
        outputs = pruned.predict(x, verbose=0)
        assert np.any(outputs != 0)

        stripped = pruning.strip_pruning(pruned)
        assert [type(layer) for layer in stripped.layers] == [EventLIF, EventLIF, LeakyReadout]
        assert stripped.layers[0].cell.recurrent_mask is None
        assert_array_equal(stripped.predict(x, verbose=0), outputs)
        stripped.save(tmp_path / "model.keras")
        assert_array_equal(keras.models.load_model(tmp_path / "model.keras").predict(x, verbose=0), outputs)

    def test_masked_weights_have_no_gradient_and_links_pass_the_wrapper(self, implementation, kind, spikes):
        expected = _network(kind, "reference", drive=2.0)
        model = _network(kind, implementation, wrap=pruning.Masked, drive=2.0)
        rng = np.random.default_rng(2)
        keep = []
        for layer in model.layers:
            for pair in layer.masks:
                keep.append(rng.integers(0, 2, pair.mask.shape))
                layer.set_mask(pair.name, keep[-1])
        expected.set_weights([weight.numpy() for weight in model.trainable_weights])
        values, gradients = _value_and_gradients(model, spikes)
        expected_values, expected_gradients = _value_and_gradients(expected, spikes)
        assert_allclose(values, expected_values, rtol=1e-10, atol=1e-12)
        for gradient, other, mask in zip(gradients, expected_gradients, keep, strict=True):
            assert np.any(other[mask == 0] != 0)
            assert_array_equal(gradient[mask == 0], 0.0)
            assert_allclose(gradient[mask == 1], other[mask == 1], rtol=1e-9, atol=1e-10 * np.abs(other).max())


class TestSparsity:
    @pytest.fixture
    def model(self, kind):
        own = {} if "gradient" in kind else {"surrogate": Boxcar(0.5, 0.2)}
        return _network({**kind, **own}, "auto", dtype="float32")

    def test_figures_are_those_of_the_layers_outputs(self, model, kind, spikes):
        x = spikes.astype("float32")
        first, second, readout = model.layers
        first.kernel.assign(np.where(np.arange(60).reshape(6, 10) % 3 == 0, 0.0, first.kernel))
        y1 = np.asarray(first(x))
        y2 = np.asarray(second(y1))
        figures = measure(model, x)
        assert 0.0 < figures["activity_sparsity"] < 1.0
        assert figures["activity_sparsity"] == (np.sum(y1 == 0) + np.sum(y2 == 0)) / (y1.size + y2.size)
        by_hand = {
            # Nonzero inputs and events, times columns, times live weights; by steps.
            first.name: (x.sum() * 10 * 40 / 60 + y1.sum() * 10) / 48,
            second.name: (y1.sum() * 8 + y2.sum() * 8) / 48,
            readout.name: y2.sum() * 3 / 48,
        }
        assert {name: layer["effective_macs"] for name, layer in figures["layers"].items()} == pytest.approx(by_hand)
        assert figures["effective_macs"] == pytest.approx(sum(by_hand.values()))
        assert figures["dense_macs"] == (6 + 10) * 10 + (10 + 8) * 8 + 8 * 3
        assert figures["layers"][first.name]["activity_sparsity"] == np.mean(y1 == 0)
        assert figures["layers"][readout.name]["activity_sparsity"] is None
        if "gradient" in kind:
            assert figures["surrogate_sparsity"] is None
            assert figures["backward_sparsity"] == figures["activity_sparsity"]
        else:
            flat = []
            for layer, given in ((first, x), (second, y1)):
                shown = EventLIF.from_config({**layer.get_config(), "return_membrane": True})
                shown.build(given.shape)
                shown.set_weights(layer.get_weights())
                flat.append(np.abs(np.asarray(shown(given)[1]) - np.float32(1.0)) >= np.float32(0.2))
            expected = (flat[0].sum() + flat[1].sum()) / (flat[0].size + flat[1].size)
            assert 0.0 < expected < 1.0
            assert figures["surrogate_sparsity"] == figures["backward_sparsity"] == expected

    def test_masked_steps_are_left_out(self, model, spikes, spike_mask):
        x = np.where(spike_mask[:, :, None], spikes, -1.0).astype("float32")
        masked = keras.Sequential([keras.layers.Masking(-1.0), *model.layers])
        y1 = np.asarray(model.layers[0](x, mask=spike_mask))
        figures = measure(masked, x)["layers"][model.layers[0].name]
        assert figures["activity_sparsity"] == np.mean(y1[spike_mask] == 0)

    @pytest.mark.parametrize("verbose", [1, 2])
    def test_the_monitor_reports_as_it_trains(self, model, kind, spikes, verbose, tmp_path):
        x = spikes.astype("float32")
        model.compile(keras.optimizers.SGD(0.01), "mse")
        callbacks = [SparsityMonitor(x), keras.callbacks.CSVLogger(tmp_path / "log.csv")]
        history = model.fit(x, np.zeros((4, 3)), epochs=2, verbose=verbose, callbacks=callbacks).history
        figures = measure(model, x)
        for name in ("activity_sparsity", "backward_sparsity"):
            assert history[name][-1] == figures[name]
        if "gradient" in kind:
            assert "surrogate_sparsity" not in history
        else:
            assert history["surrogate_sparsity"][-1] == figures["surrogate_sparsity"]
