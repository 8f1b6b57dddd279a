"""A checkpoint is whole and of this version of the program, or it is refused and left as it was."""

import keras
import numpy as np
import pytest

from benchmarks import checkpoints
from benchmarks.errors import CannotWrite, ConfigError

STATE, ARRAYS = {"epochs": [1]}, {"model": [np.arange(300.0), np.ones((2, 3))], "optimizer": [np.zeros(1)]}


def test_a_checkpoint_is_refused_wherever_it_is_cut_or_changed(tmp_path):
    path = _saved(tmp_path)
    content = path.read_bytes()
    damaged = [content[:length] for length in range(0, len(content), 97)]
    damaged.append(content.replace(np.float64(7.0).tobytes(), np.float64(9.0).tobytes()))
    for changed in damaged:
        path.write_bytes(changed)
        with pytest.raises(
            ConfigError, match="checkpoint.npz is not a readable checkpoint .*: remove it to start anew"
        ):
            checkpoints.load(tmp_path)
        assert path.read_bytes() == changed


def test_a_checkpoint_of_another_schema_is_refused(tmp_path, monkeypatch):
    _saved(tmp_path)
    monkeypatch.setattr(checkpoints, "SCHEMA", checkpoints.SCHEMA + 1)
    wanted = f"schema {checkpoints.SCHEMA - 1} where {checkpoints.SCHEMA} is wanted: remove it to start anew"
    with pytest.raises(ConfigError, match=wanted):
        checkpoints.load(tmp_path)


def test_a_checkpoint_from_before_schemas_is_refused(tmp_path):
    with (tmp_path / checkpoints.FILE).open("wb") as file:
        np.savez(file, state=np.frombuffer(b"{}", "uint8"))
    with pytest.raises(ConfigError, match="schema 1 where"):
        checkpoints.load(tmp_path)


@pytest.mark.parametrize("shapes", [[(2,)], [(2,), (4,)], [(2,), (3,), (1,)]])
def test_variables_of_another_network_are_refused_and_none_is_changed(shapes):
    variables = [keras.Variable(np.zeros(shape)) for shape in ((2,), (3,))]
    with pytest.raises(ConfigError, match=rf"holds the variables of another network, {len(shapes)} of them where 2"):
        checkpoints.assign(variables, [np.ones(shape) for shape in shapes], "run")
    assert all(not np.any(np.asarray(variable)) for variable in variables)
    checkpoints.assign(variables, [np.ones(2), np.full(3, 2.0)], "run")
    assert [np.asarray(variable).tolist() for variable in variables] == [[1, 1], [2, 2, 2]]


@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch, step):
    path = _saved(tmp_path)
    before = path.read_bytes()

    def disk_full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.os, {"write": "fdopen", "rename": "replace"}[step], disk_full)
    with pytest.raises(CannotWrite, match="checkpoint.npz cannot be written: No space left on device"):
        checkpoints.save(tmp_path, {"epochs": [1, 2]}, ARRAYS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoints.load(tmp_path)[0] == STATE


def _saved(folder):
    checkpoints.save(folder, STATE, ARRAYS)
    return folder / checkpoints.FILE
