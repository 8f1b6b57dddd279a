import errno
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks import export_command, export_forms, exporting
from benchmarks.config import recorded
from benchmarks.exporting import OF_RUN
from benchmarks.tasks import TASKS, config_class
from keras_egru import EGRU, EventLIF, LeakyReadout
from keras_egru.export import litert_op
from keras_egru.export.tflite_runner import run_sequences, run_steps
from keras_egru.ops import fused_egru
from tests.benchmarks.device_needs import needs_ops

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


ROW = {"form", "kind", "op", "quantize", "file", "bytes", "kept_batch", "measured_batch", "ops", "share_of_dense"}
ROW |= {"max_difference", "flipped_events", "accuracy"}
FORMS = [form.name for form in export_forms.FORMS]
ROUNDED = ["sequence-sparse-int8", "streaming-float16"]  # of a small network too
SOME = ["saved_model-custom", "sequence-float32", "streaming-float32", "streaming-int8", "streaming-sparse", *ROUNDED]


@pytest.fixture(scope="module")
def exported(spiral_run, call, tmp_path_factory):
    """`(run, folder, record, representative data that forms were written with)` of one export."""
    run, given = spiral_run[0], []
    folder = tmp_path_factory.mktemp("exports") / "files"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_forms, "FORMS", [form for form in export_forms.FORMS if form.name in SOME])
        write = export_forms.write
        patch.setattr(export_forms, "write", lambda *arguments: given.append(arguments[3]) or write(*arguments))
        patch.setattr(exporting, "AT_ONCE", 150)  # of the 200 sequences
        patch.setattr(exporting, "REPRESENTATIVE", 12)
        patch.setattr(export_forms, "TOGETHER", 12)
        result = call("export", run, "--out", folder, "--samples", 0, "--json")
    assert result.exit_code == 0, result.stderr
    assert "compared on 150 of 200 sequences" in result.stderr
    return run, folder, json.loads(result.stdout), given


@pytest.fixture(scope="module")
def spiral(spiral_run):
    record = spiral_run[1]
    return TASKS["spiral"].load(config_class("spiral", "egru")(**record["config"]), None)


@needs_ops
def test_forms_are_written_and_in_the_record(exported, spiral_run):
    _, folder, record, _ = exported
    assert json.loads((folder / "export.json").read_text()) == record
    assert record["kind"] == "export"
    assert "ai-edge-litert" in record["versions"]
    assert record["run"] == {name: spiral_run[1][name] for name in OF_RUN}
    assert (record["samples"], record["dataset"]["test"], record["representative"]) == (200, 200, 12)
    assert [row["form"] for row in record["forms"]] == [name for name in FORMS if name in SOME]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [row["file"] for row in record["forms"]] + ["export.json"]
    )
    for row in record["forms"]:
        assert row.keys() == ROW
        files = [folder / row["file"], *(folder / row["file"]).rglob("*")]
        assert row["bytes"] == sum(file.stat().st_size for file in files if file.is_file())
        assert row["share_of_dense"] == row["bytes"] / record["dense_bytes"]
    found = {row["form"]: row for row in record["forms"]}
    assert found["streaming-float32"]["share_of_dense"] == 1.0  # nothing is pruned
    assert "KerasEgru>EgruSequence" in found["streaming-sparse"]["ops"]
    assert "KerasEgru>EgruSequenceInt8" in found["sequence-sparse-int8"]["ops"]
    assert not any(name.startswith("KerasEgru") for name in found["streaming-float32"]["ops"])


@needs_ops
def test_accuracies_are_of_the_whole_test_set_as_that_of_the_run(exported):
    record = exported[2]
    assert record["keras_accuracy"] == pytest.approx(record["run"]["test_accuracy"])
    for row in record["forms"]:
        exact = row["form"] not in ROUNDED
        assert row["accuracy"] == pytest.approx(record["keras_accuracy"], abs=0.01 if exact else 0.2)
        assert row["max_difference"] < (1e-4 if exact else 3.0)
        assert 0.0 <= row["flipped_events"] <= (0.0 if exact else 0.1)
        assert exact or row["max_difference"] > 1e-4


@needs_ops
@pytest.mark.parametrize("form", ["sequence-float32", "sequence-sparse-int8", "streaming-sparse", "streaming-float16"])
def test_kept_files_are_right_as_often_as_was_measured(exported, spiral, form):
    _, folder, record, _ = exported
    row = next(row for row in record["forms"] if row["form"] == form)
    content, sparse, x = (folder / row["file"]).read_bytes(), row["op"] == "sparse", np.asarray(spiral.test.x)
    run = run_sequences(content, x, 1, sparse) if row["kind"] == "sequence" else run_steps(
        content, x, 1, sparse, [False], []
    )  # fmt: skip
    assert np.mean(np.argmax(run.outputs[0], -1) == spiral.test.y) == pytest.approx(row["accuracy"], abs=0.006)


@needs_ops
def test_ranges_come_from_the_training_set(exported, spiral):
    given = exported[3]
    assert len(given) == len(SOME)
    for representative in given:
        np.testing.assert_array_equal(representative, spiral.train.x[:12])


@needs_ops
def test_the_table_shows_sizes_and_accuracies(exported, capsys):
    record = exported[2]
    export_command._show(record)
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[0]: line.split() for line in lines if line.split()}
    for row in record["forms"]:
        cells = shown[row["form"]]
        assert float(cells[1]) == pytest.approx(row["bytes"] / 1024, rel=0.01)
        assert cells[2] == f"{row['share_of_dense']:.0%}"
        assert cells[-1] == f"{row['accuracy']:.2%}"
    assert any(f"Keras: {record['keras_accuracy']:.2%}" in line for line in lines)


@needs_ops
def test_a_form_that_a_network_has_not_is_told_and_left_out(call, tmp_path, monkeypatch):
    """The dropout of spikes has no step. The earliest spike, and not the latest, is the answer."""
    from benchmarks import spiking

    config = config_class("yinyang", "lif")(
        trial_ms=30, dt=1, train_size=100, evaluation_size=60, units=16, gradient="eventprop", tau_syn=5,
        input_mean=1.5, input_std=0.8, output_mean=0.9, output_std=0.3, readout="first_spike", input_dropout=0.1,
    )  # fmt: skip
    dataset = TASKS["yinyang"].load(config, None)
    network = spiking.build(config, dataset, 0)
    network.compile(loss=spiking.loss(config), metrics=[spiking.accuracy(config)])
    right = network.evaluate(np.asarray(dataset.test.x), dataset.test.y, verbose=0, return_dict=True)["accuracy"]
    run = tmp_path / "run"
    _made_up(run, "yinyang", "lif", recorded(config, "lif"), right)
    network.save(run / "model.keras")
    chosen = ("saved_model-portable", "sequence-sparse", "streaming-float32")
    monkeypatch.setattr(export_forms, "FORMS", [form for form in export_forms.FORMS if form.name in chosen])
    result = call("export", run)
    assert result.exit_code == 0, result.stderr
    record = json.loads((run / "export" / "export.json").read_text())
    assert record["samples"] == 60
    assert record["keras_accuracy"] == pytest.approx(right)
    *written, refused = record["forms"]
    assert [row["form"] for row in written] == ["saved_model-portable", "sequence-sparse"]
    assert all(row["accuracy"] == pytest.approx(right) for row in written)
    assert refused.keys() == {"form", "kind", "op", "quantize", "refused"}
    assert "SpikeDropout" in refused["refused"]
    assert not (run / "export" / "streaming-float32.tflite").exists()
    assert "streaming-float32: Layer" in result.stdout
    # Without a stream the dense size is that of whole sequences.
    assert record["dense_bytes"] > 1000


def _made_up(run, task, model, config, accuracy=0.5):
    run.mkdir()
    record = {"name": "a-run", "task": task, "model": model, "config": config, "test_accuracy": accuracy}
    (run / "record.json").write_text(json.dumps(record))


@needs_ops
def test_bad_input_is_one_sentence_and_nothing_is_written(call, tmp_path, spiral_run):
    empty, words, unknown, bare, digits = (tmp_path / name for name in ("empty", "words", "unknown", "bare", "digits"))
    empty.mkdir()
    _made_up(words, "ptb", "egru", {})
    _made_up(unknown, "spiral", "egru", {"units": 8, "colour": "red"})
    _made_up(bare, "spiral", "egru", {"units": 8})
    _made_up(digits, "smnist", "egru", {"image_size": 14})
    shutil.copy(spiral_run[0] / "model.keras", digits)
    for arguments, code, words_ in (
        ((empty,), 2, "holds no finished run"),
        ((tmp_path / "nowhere",), 2, "holds no finished run"),
        ((words,), 2, "must hold a run with class labels, and ptb is a language model"),
        ((unknown,), 2, "is of another version: colour"),
        ((bare,), 2, "cannot be loaded"),
        ((digits, "--data-dir", tmp_path / "no data"), 3, "no data"),
        ((digits, "--samples", -1), 2, "--samples"),
    ):
        result = call("export", *arguments)
        assert result.exit_code == code, arguments
        assert words_ in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        ["empty", "words", "unknown", "bare", "digits", *["record.json"] * 4, "model.keras"]
    )


def test_a_file_that_is_no_record_is_refused(call, tmp_path):
    for content in ("[1]", "no json", '{"kind": "speed"}'):
        (tmp_path / "record.json").write_text(content)
        result = call("export", tmp_path)
        assert result.exit_code == 2
        assert "is not the record of a run" in result.stderr


@needs_ops
def test_what_is_there_is_left_alone(call, spiral_run, tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    result = call("export", spiral_run[0], "--out", tmp_path)
    assert result.exit_code == 2
    assert "is there already: remove it or choose another --out" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@needs_ops
def test_a_full_disk_leaves_nothing_behind(call, spiral_run, tmp_path, monkeypatch):
    def full(form, model, path, representative):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export_forms, "write", full)
    result = call("export", spiral_run[0], "--out", tmp_path / "files")
    assert result.exit_code == 5
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(fused_egru.why_not() is not None, reason="the op cannot run")
def test_without_litert_nothing_is_exported(call, spiral_run, tmp_path, monkeypatch):
    def missing():
        raise RuntimeError("its library is missing")

    monkeypatch.setattr(litert_op, "library", missing)
    result = call("export", spiral_run[0], "--out", tmp_path / "files")
    assert result.exit_code == 4
    assert "its library is missing" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_dense_networks_have_no_sparse_forms_and_spiking_ones_none_of_8_bits():
    def names(*layers):
        return [form.name for form in export_forms.forms_of(keras.Sequential([keras.Input((None, 3)), *layers]))]

    assert names(EGRU(4), keras.layers.Dense(2)) == FORMS
    assert names(EventLIF(4, return_sequences=True), LeakyReadout(2)) == [
        name for name in FORMS if not name.endswith("sparse-int8")
    ]
    assert names(keras.layers.GRU(4)) == [name for name in FORMS if "sparse" not in name and "custom" not in name]


def test_the_answer_is_the_largest_output_of_the_last_step():
    config = config_class("spiral", "egru")()
    outputs = np.asarray([[[0.0, 1.0], [3.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]])
    assert exporting.classes(outputs, config).tolist() == [0, 1]
    assert exporting.classes(outputs[:, 0], config).tolist() == [1, 0]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("export-*.json")), ids=lambda path: path.stem)
def test_committed_exports_are_of_all_digits_by_committed_runs_and_name_no_machine(path):
    record = json.loads(path.read_text())
    run = record["command"].removeprefix("python -m benchmarks export benchmarks/results/").split()[0]
    assert json.loads((RESULTS / run / "record.json").read_text())["test_accuracy"] == record["run"]["test_accuracy"]
    assert record["samples"] == record["dataset"]["test"] == 10_000
    assert record["keras_accuracy"] == pytest.approx(record["run"]["test_accuracy"])
    assert [row["form"] for row in record["forms"]] == FORMS
    for row in record["forms"]:
        assert row.keys() == ROW
    for place in ("/work", "/tmp", "/home", "/root"):
        assert place not in path.read_text()
