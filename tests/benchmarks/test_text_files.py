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
        "verified": False,
        "vocabulary": 8,
        "unknown_words": {"validation": 0, "test": 0},
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
    with pytest.raises(DataMissing, match=r"ptb.test.txt must be a text in UTF-8, .* \(invalid start byte at 0\)"):
        _load(tmp_path)
    (tmp_path / "ptb.test.txt").write_bytes(" a b a \u00e9".encode()[:-1])
    with pytest.raises(DataMissing, match=r"ptb.test.txt must be a text in UTF-8, .* \(unexpected end of data at 7\)"):
        _load(tmp_path)
    monkeypatch.delenv("KERAS_EGRU_DATA", raising=False)
    with pytest.raises(DataMissing, match="Penn Treebank is not downloaded"):
        TASKS["ptb"].load(_config(), None)


def test_words_that_the_training_text_has_not_are_counted_and_the_first_of_them_named(tmp_path, capsys):
    (tmp_path / "ptb.train.txt").write_text(" a b c \n" * 5)
    (tmp_path / "ptb.valid.txt").write_text(" a b \n" * 5)
    (tmp_path / "ptb.test.txt").write_text(" a z b y \n z c \n x w v u \n")
    corpus = _load(tmp_path)
    assert corpus.describe()["unknown_words"] == {"validation": 0, "test": 7}
    assert [corpus.vocabulary[word] for word in corpus.test[:5]] == ["a", "<unk>", "b", "<unk>", "<eos>"]
    said = capsys.readouterr().err
    assert said == (
        "Warning: ptb.test.txt has 7 words that ptb.train.txt has not, which are read as <unk>; the first of them: "
        "'z', 'y', 'x', 'w', 'v'.\n"
    )
    part = _load(tmp_path, "test_size=5")
    assert part.unknown_words["test"] == 2
    assert "has 2 words" in capsys.readouterr().err


def test_texts_of_a_published_name_must_be_the_published_ones(text_folder):
    with pytest.raises(DataMissing, match=r"ptb.train.txt"):
        _load(text_folder, "verify_data=true")
    assert _load(text_folder).verified is False


@pytest.mark.parametrize(
    ("task", "folder", "sizes", "vocabulary", "unknown"),
    [
        ("ptb", "ptb", (929_589, 73_760, 82_430), 10_000, 4794),
        ("wikitext2", "wikitext-2", (2_088_628, 217_646, 245_569), 33_278, 15_218),
    ],
)
def test_published_texts_have_their_published_sizes(task, folder, sizes, vocabulary, unknown, capsys):
    named = os.environ.get("KERAS_EGRU_DATA")
    if not named or not (Path(named) / folder).is_dir():
        pytest.skip(f"KERAS_EGRU_DATA names no folder with {folder} in it")
    corpus = TASKS[task].load(resolve(TASKS[task].config_class, task, "cpu", "egru"), None)
    assert corpus.complete
    assert corpus.verified
    assert corpus.path == "$KERAS_EGRU_DATA"
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == sizes
    assert len(corpus.vocabulary) == vocabulary
    # The files have a word for what is rare: no word of theirs is foreign to the training text.
    assert int(np.sum(corpus.test == corpus.vocabulary.index("<unk>"))) == unknown
    assert corpus.unknown_words == {"validation": 0, "test": 0}
    assert capsys.readouterr().err == ""


def _config(*assignments):
    whole = ("validation_size=null", "test_size=null", "verify_data=false")
    return resolve(TASKS["ptb"].config_class, "ptb", "smoke", "egru", [*whole, *assignments])


def _load(folder, *assignments):
    return TASKS["ptb"].load(_config(*assignments), str(folder))
