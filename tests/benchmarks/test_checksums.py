import hashlib
from types import SimpleNamespace

import pytest

from benchmarks.config import resolve
from benchmarks.errors import DataMissing
from benchmarks.tasks import TASKS, checksums
from benchmarks.tasks.checksums import Published, verify

CONTENT = b" a known text \n"


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A file with `CONTENT`, whose size and sum are known."""
    published = Published(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(checksums, "KNOWN", {"known.txt": published})
    path = tmp_path / "known.txt"
    path.write_bytes(CONTENT)
    return path


def test_files_are_verified_where_all_their_names_are_known(known, tmp_path):
    own = tmp_path / "own.txt"
    assert verify([known], _asked(True)) is True
    assert verify([known, own], _asked(True)) is None
    assert verify([known], _asked(False)) is False


def test_a_file_that_was_cut_or_changed_is_refused_with_what_to_do(known):
    known.write_bytes(CONTENT[:-1])
    with pytest.raises(DataMissing, match=r"known.txt is not .* 14 bytes where 15 are wanted: copy it anew, or"):
        verify([known], _asked(True))
    changed = CONTENT.replace(b"a", b"b")
    known.write_bytes(changed)
    sums = f"sum {hashlib.sha256(changed).hexdigest()} where {hashlib.sha256(CONTENT).hexdigest()} is wanted"
    with pytest.raises(DataMissing, match=rf"{sums}.*--set verify_data=false"):
        verify([known], _asked(True))
    assert verify([known], _asked(False)) is False


def test_a_file_that_cannot_be_read_is_named(known):
    known.unlink()
    with pytest.raises(DataMissing, match="known.txt cannot be read"):
        verify([known], _asked(True))


def test_files_are_verified_unless_a_run_is_told_otherwise():
    task = TASKS["spiral"]
    assert resolve(task.config_class, "spiral", "smoke", "egru").verify_data is True
    assert resolve(task.config_class, "spiral", "smoke", "egru", ["verify_data=false"]).verify_data is False


def _asked(verify_data):
    return SimpleNamespace(verify_data=verify_data)
