import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.config import resolve
from benchmarks.errors import ConfigError, DataMissing
from benchmarks.tasks import TASKS
from benchmarks.tasks.corpus import encode, split, vocabulary_of


def test_a_line_ends_with_a_word_of_its_own():
    assert split(" a b \n c \n") == ["a", "b", "<eos>", "c", "<eos>"]


def test_the_vocabulary_begins_with_the_most_frequent_words_and_has_a_word_for_what_it_lacks():
    vocabulary = vocabulary_of(split(" b a \n b c \n b \n"))
    assert vocabulary == ("<eos>", "b", "a", "c", "<unk>")
    numbers = encode(["c", "never seen", "b"], vocabulary)
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [3, 4, 1]


def test_the_texts_are_found_in_the_folder_or_in_ptb_in_it(text_folder):
    outer, inner = _load(text_folder), _load(text_folder / "ptb")
    np.testing.assert_array_equal(outer.train, inner.train)
    assert outer.describe() == {
        "name": "Penn Treebank",
        "path": str(text_folder),
        "train": 1800,
        "validation": 360,
        "test": 420,
        "complete": False,
        "vocabulary": 8,
    }
    assert " ".join(outer.vocabulary[number] for number in outer.test[1:6]) in (
        f"{verb} <unk> N {animal} <eos>" for verb in ("see", "hear") for animal in ("cats", "dogs", "birds")
    )


def test_sizes_take_the_first_words_and_leave_the_vocabulary_whole(text_folder):
    part = _load(text_folder, "train_size=3", "validation_size=5", "test_size=4")
    whole = _load(text_folder)
    assert part.vocabulary == whole.vocabulary
    np.testing.assert_array_equal(part.train, whole.train[:3])
    assert (len(part.validation), len(part.test)) == (5, 4)
    with pytest.raises(ConfigError, match="validation_size must be at most 360, received 361"):
        _load(text_folder, "validation_size=361")


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "ptb.train.txt").write_text(" a b \n")
    with pytest.raises(DataMissing, match=r"ptb.valid.txt, ptb.test.txt missing.*--data-dir or KERAS_EGRU_DATA"):
        _load(tmp_path)
    (tmp_path / "ptb.valid.txt").write_text("")
    (tmp_path / "ptb.test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataMissing, match=r"ptb.valid.txt must hold at least two words, received 0"):
        _load(tmp_path)
    (tmp_path / "ptb.valid.txt").write_text(" a b \n")
    with pytest.raises(DataMissing, match=r"ptb.test.txt cannot be read as text"):
        _load(tmp_path)
    monkeypatch.delenv("KERAS_EGRU_DATA", raising=False)
    with pytest.raises(DataMissing, match="cannot be downloaded"):
        TASKS["ptb"].load(_config(), None)


def test_the_treebank_has_its_published_sizes():
    folder = os.environ.get("KERAS_EGRU_DATA")
    if not folder or not (Path(folder) / "ptb").is_dir():
        pytest.skip("KERAS_EGRU_DATA names no folder with Penn Treebank in it")
    corpus = TASKS["ptb"].load(resolve(TASKS["ptb"].config_class, "ptb", "cpu", "egru"), None)
    assert corpus.complete
    assert corpus.path == "$KERAS_EGRU_DATA"
    assert len(corpus.vocabulary) == 10_000
    unknown = corpus.vocabulary.index("<unk>")
    # Mikolov's files have a word for what is rare: no word of theirs is foreign to the training text.
    assert int(np.sum(corpus.test == unknown)) == 4794


def _config(*assignments):
    return resolve(
        TASKS["ptb"].config_class, "ptb", "smoke", "egru", ["validation_size=null", "test_size=null", *assignments]
    )


def _load(folder, *assignments):
    return TASKS["ptb"].load(_config(*assignments), str(folder))
