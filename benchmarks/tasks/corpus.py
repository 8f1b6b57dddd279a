"""What a language task hands to the training loop: three texts as numbers of words."""

from collections import Counter
from typing import NamedTuple

import numpy as np

END, UNKNOWN = "<eos>", "<unk>"


class Corpus(NamedTuple):
    """The three texts, int32 `[words]`. The validation text selects, the test text is looked at once, at the end.

    name: of the data, for the record.
    path: the folder as the user typed it.
    complete: whether every word of the published data set is used.
    verified: whether its files are known to be the published ones; None where nobody can tell.
    vocabulary: the words by their numbers, the most frequent first.
    unknown_words: of validation and test text, how many words the training text has not.
    """

    name: str
    path: str | None
    complete: bool
    verified: bool | None
    vocabulary: tuple[str, ...]
    unknown_words: dict[str, int]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def describe(self) -> dict:
        """The record's `dataset` entry; sizes are words."""
        return {
            "name": self.name,
            "path": self.path,
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "complete": self.complete,
            "verified": self.verified,
            "vocabulary": len(self.vocabulary),
            "unknown_words": self.unknown_words,
        }


def split(text) -> list:
    """The words of a text of one sentence a line; every line ends with the word `<eos>`."""
    return text.replace("\n", f" {END} ").split()


def vocabulary_of(words) -> tuple:
    """The different words, the most frequent first and equally frequent ones by their letters; `<unk>` is one."""
    counts = Counter(words)
    counts.setdefault(UNKNOWN, 0)
    return tuple(sorted(counts, key=lambda word: (-counts[word], word)))


def foreign_words(words, vocabulary) -> list:
    """Those of the words, in order, that the vocabulary has not."""
    known = frozenset(vocabulary)
    return [word for word in words if word not in known]


def encode(words, vocabulary) -> np.ndarray:
    """The numbers of the words, int32; a word that the vocabulary has not is `<unk>`."""
    numbers = {word: number for number, word in enumerate(vocabulary)}
    return np.array([numbers.get(word, numbers[UNKNOWN]) for word in words], "int32")
