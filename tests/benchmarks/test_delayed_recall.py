import json

import keras
import numpy as np
import pytest

from benchmarks.batches import EpochClock
from benchmarks.config import PRESETS, resolve
from benchmarks.delayed_answers import NOT_ASKED, AnsweredCrossentropy, DelayedAnswers
from benchmarks.errors import ConfigError
from benchmarks.problem import problem_class
from benchmarks.tasks import TASKS
from benchmarks.tasks.delayed_recall import delayed_recall

TASK = TASKS["delayed_recall"]


def test_the_label_is_the_flagged_symbol_and_the_go_signal_marks_the_answer():
    config = _config("steps=200", "symbols=3", "cue_steps=4", "answer_steps=5", "amplitude=2")
    x, y = delayed_recall(config, 50, seed=0)
    assert (x.shape, x.dtype, y.dtype) == ((50, 200, 5), "float32", "int32")
    assert set(np.unique(x)) == {0.0, 2.0}
    symbols, flag, go = x[..., :3] / 2, x[..., 3] / 2, x[..., 4] / 2
    np.testing.assert_array_equal(symbols[flag == 1], np.repeat(np.eye(3)[y], 4, axis=0))
    np.testing.assert_array_equal(flag, np.arange(200)[None] < np.full((50, 1), 4))
    np.testing.assert_array_equal(go, np.arange(200)[None] >= np.full((50, 1), 195))
    assert np.bincount(y).min() > 5


def test_symbols_between_cue_and_answer_tell_nothing_of_the_label():
    config = _config("steps=200", "symbols=2", "distractor_rate=0.25")
    x, y = delayed_recall(config, 400, seed=1)
    between = x[:, config.cue_steps : -config.answer_steps, :2] / config.amplitude
    assert between.sum(axis=-1).max() == 1
    # Of 76,800 draws the share has a standard deviation of 0.0016, and each of the 100 or more sequences of a label
    # one of 0.045 between the symbols.
    assert between.sum(axis=-1).mean() == pytest.approx(0.25, abs=0.008)
    shares = np.stack([between[y == label].mean(axis=(0, 1)) for label in (0, 1)])
    np.testing.assert_allclose(shares, 0.125, atol=0.008)
    assert not x[:, -config.answer_steps :, :2].any()


def test_the_splits_differ_and_are_decided_by_their_seed():
    first, again, other = (TASK.load(_config(f"data_seed={seed}"), None) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.test.x, again.test.x)
    assert not np.array_equal(first.test.x, other.test.x)
    assert [len(split.y) for split in (first.train, first.validation, first.test)] == [50, 20, 20]
    assert not np.array_equal(first.train.x[:20], first.validation.x)
    assert not np.array_equal(first.validation.x, first.test.x)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_window_of_a_preset_holds_both_cue_and_answer(preset):
    config = resolve(TASK.config_class, "delayed_recall", preset, "egru")
    first_of_the_last_window = (config.steps - 1) // config.update_every * config.update_every
    assert config.cue_steps <= first_of_the_last_window <= config.steps - config.answer_steps


def test_a_sequence_without_a_delay_is_refused():
    with pytest.raises(ConfigError, match="must be smaller than steps"):
        _config("steps=20", "cue_steps=10", "answer_steps=10")


def test_only_the_last_steps_have_a_target():
    assert problem_class("classification", "egru", _config()) is DelayedAnswers
    problem = _problem()
    x, y = problem.batches[0]
    asked = problem.config.answer_steps
    assert y.shape == x.shape[:2]
    assert (y[:, :-asked] == NOT_ASKED).all()
    shown = x[:, 0, :-2].argmax(axis=-1)
    np.testing.assert_array_equal(y[:, -asked:], np.repeat(shown[:, None], asked, axis=1))


def test_the_loss_is_the_mean_over_the_steps_asked_however_it_is_cut():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 12, 3)).astype("float32")
    labels = np.full((4, 12), NOT_ASKED)
    labels[:, -2:] = rng.integers(0, 3, (4, 2))
    loss = AnsweredCrossentropy(2 / 12)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = -np.log(np.take_along_axis(p[:, -2:], labels[:, -2:, None], axis=-1)).mean()
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-5)
    windows = [float(loss(labels[:, i : i + 4], logits[:, i : i + 4])) for i in (0, 4, 8)]
    assert windows[:2] == [0.0, 0.0]
    assert np.mean(windows) == pytest.approx(expected, rel=1e-5)
    assert AnsweredCrossentropy.from_config(loss.get_config()).asked == loss.asked


def test_truncated_back_propagation_never_learns_from_the_flag_and_online_learning_does():
    """The weights of the flag have no gradient from a window in which the flag is off."""
    moved = {}
    for gradient, every in (("bptt", "10"), ("rtrl", "10"), ("bptt", "none")):
        problem = _problem(f"gradient={gradient}", f"update_every={every}", "steps_per_epoch=2", "batch_size=20")
        kernel = problem.network.layers[0].cell.kernel
        before = kernel.numpy()
        problem.network.fit(problem.batches, shuffle=False, verbose=0, callbacks=[EpochClock(problem.batches)])
        moved[gradient, every] = np.abs(kernel.numpy() - before).max(axis=1)
    flag, go = -2, -1
    assert moved["bptt", "10"][flag] == 0.0
    assert moved["bptt", "10"][go] > 0.0
    assert moved["rtrl", "10"][flag] > 0.0
    assert moved["bptt", "none"][flag] > 0.0


def test_a_smoke_run_leaves_a_record_and_a_model_that_loads(call, tmp_path):
    result = call("run", "delayed_recall", "--preset", "smoke", "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["name"], record["method"]) == ("delayed_recall-smoke-egru-rtrl-every10-w0-0", "rtrl")
    assert record["epochs"][-1]["loss"] == pytest.approx(np.log(2), rel=0.5)  # not a mean over silent steps too
    model = keras.saving.load_model(tmp_path / "model.keras")
    test = TASK.load(_config(), None).test
    answers = model.predict(test.x, verbose=0)[:, -1].argmax(axis=-1)
    assert np.mean(answers == test.y) == pytest.approx(record["test_accuracy"])


def _config(*assignments):
    return resolve(TASK.config_class, "delayed_recall", "smoke", "egru", assignments)


def _problem(*assignments):
    config = _config(*assignments)
    return DelayedAnswers(config, "egru", TASK.load(config, None), seed=0)
