import json

import pytest

from benchmarks import record_files, records
from benchmarks.errors import ConfigError


@pytest.fixture
def record():
    """As little as a record of the first schema may have."""
    return {
        "task": "smnist",
        "preset": "cpu",
        "model": "egru",
        "seed": 0,
        "config": {"units": 8},
        "dataset": {"name": "MNIST", "train": 10, "validation": 5, "test": 5, "complete": True},
        "epochs": [{"epoch": 1, "val_accuracy": 0.5}],
        "best_epoch": 1,
        "test_accuracy": 0.5,
    }


def test_an_older_record_is_read_and_what_it_lacks_is_none(record, tmp_path):
    _write(tmp_path / "old" / "record.json", record)
    ((_, read),), refused = record_files.read(tmp_path)
    assert refused == []
    assert set(read) >= set(records.FIELDS)
    assert read["schema"] is read["events"] is read["effective_macs"] is None
    assert read["epochs"] == record["epochs"]


def test_a_record_of_a_newer_schema_is_named_with_both_schemas(record, tmp_path):
    sentence = _refused(tmp_path, record, schema=records.SCHEMA + 1)
    assert f"has the schema {records.SCHEMA + 1}, and this version reads schemas up to {records.SCHEMA}" in sentence


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dataset": None}, "dataset: Input should be"),
        ({"dataset": {"name": "MNIST", "train": 1, "validation": 1, "test": 1}}, "dataset.complete: Field required"),
        ({"test_accuracy": "0.5"}, "test_accuracy: Input should be a valid number"),
        ({"epochs": []}, "epochs: List should have at least 1 item"),
        ({"epochs": [{"epoch": 1, "val_accuracy": [0.5]}]}, "epochs.0.val_accuracy: Input should be a valid number"),
        ({"best_epoch": 2}, "best_epoch is 2, and there are 1 epochs"),
        ({"seed": None}, "seed: Input should be a valid integer"),
        ({"seconds": float("nan")}, "seconds: Input should be a finite number"),
    ],
)
def test_what_looks_like_a_record_and_is_none_is_named_with_what_is_wrong(record, tmp_path, changed, said):
    assert f"is not a whole record: {said}" in _refused(tmp_path, record, **changed)


def test_a_record_that_was_cut_off_is_named_and_the_others_are_read(record, tmp_path):
    _write(tmp_path / "whole" / "record.json", record)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "record.json").write_text(json.dumps(record)[:100])
    found, (sentence,) = record_files.read(tmp_path)
    assert [path.parent.name for path, _ in found] == ["whole"]
    assert sentence.startswith(f"{tmp_path / 'cut' / 'record.json'} is not JSON, it may have been cut off: ")


def test_a_file_of_another_name_is_a_record_by_its_fields_and_other_documents_are_passed_over(record, tmp_path):
    _write(tmp_path / "digits.json", record)
    for name, document in {
        "config": {"task": "smnist", "model": "egru"},
        "speed": {"kind": "speed"},
        "list": [],
    }.items():
        _write(tmp_path / f"{name}.json", document)
    found, refused = record_files.read(tmp_path)
    assert [path.name for path, _ in found] == ["digits.json"]
    assert refused == []


def test_a_document_that_is_no_object_under_the_name_of_a_record_is_named(record, tmp_path):
    _write(tmp_path / "whole.json", record)
    _write(tmp_path / "record.json", [1, 2])
    _, (sentence,) = record_files.read(tmp_path)
    assert "record.json is not a whole record: Input should be" in sentence


def test_a_folder_of_broken_records_alone_is_an_error_that_names_them(tmp_path):
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(ConfigError, match="holds no run record that can be read. .*record.json is not JSON"):
        record_files.read(tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        record_files.read(tmp_path / "nowhere")


def test_numbers_are_kept_on_one_line_and_everything_else_reads_back_as_it_was():
    document = {
        "step": [1, 20, 300],
        "rates": [1e-05, -2.5],
        "names": ["[\n1,\n2\n]", "b"],
        "none": [],
        "deep": [[1], []],
    }
    written = records.to_json(document).decode()
    assert '"step": [1,20,300]' in written
    assert json.loads(written) == document


def _write(path, document):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))


def _refused(folder, record, **changed):
    """The sentence about a record with these changes, beside one that is whole."""
    _write(folder / "a.json", record)
    _write(folder / "b.json", {**record, **changed})
    found, (sentence,) = record_files.read(folder)
    assert [path.name for path, _ in found] == ["a.json"]
    assert str(folder / "b.json") in sentence
    return sentence
