"""Penn Treebank (Marcus et al. 1993) as Mikolov et al. (2010) prepared it: 10,000 words, one sentence a line.

The EGRU paper's setting (section 5.3) has three layers of 1350, 1350 and 750 units and the regularisation of
AWD-LSTM (Merity et al. 2018). The text is not free: it is read from the user's folder and never downloaded.
"""

from benchmarks.errors import ConfigError, DataMissing
from benchmarks.language_config import LanguageModelConfig
from benchmarks.tasks import data_folder
from benchmarks.tasks.corpus import Corpus, encode, split, vocabulary_of

FILES = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
WORDS = (929_589, 73_760, 82_430)  # of the three files, <eos> among them


class PennTreebank:
    name = "ptb"
    kind = "language model"
    summary = "Penn Treebank, the next word of 10,000; files ptb.{train,valid,test}.txt (EGRU paper)"
    config_class = LanguageModelConfig

    def load(self, config, data_dir) -> Corpus:
        texts = read(data_folder.chosen(data_dir))
        limits = {name: getattr(config, f"{name}_size") for name in ("train", "validation", "test")}
        for (name, limit), words in zip(limits.items(), texts, strict=True):
            if limit is not None and limit > len(words):
                raise ConfigError(f"{name}_size must be at most {len(words)}, received {limit}.")
        vocabulary = vocabulary_of(texts[0])
        train, validation, test = (
            encode(words[:limit], vocabulary) for words, limit in zip(texts, limits.values(), strict=True)
        )
        return Corpus(
            name="Penn Treebank",
            path=data_folder.as_recorded(data_dir),
            complete=(len(train), len(validation), len(test)) == WORDS,
            vocabulary=vocabulary,
            train=train,
            validation=validation,
            test=test,
        )


def read(named) -> list:
    """The words of the three files, from the folder itself or the folder `ptb` in it.

    Raises:
        DataMissing: no folder is named, or a file is not there or is not such a text.
    """
    if named is None:
        raise DataMissing("Penn Treebank cannot be downloaded: name a folder with it by --data-dir or KERAS_EGRU_DATA.")
    folder = data_folder.existing(named)
    if (folder / "ptb").is_dir():
        folder = folder / "ptb"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataMissing(
            f"Penn Treebank is not in {named} nor in a folder ptb in it, {', '.join(missing)} missing: name a folder "
            "that holds it with --data-dir or KERAS_EGRU_DATA."
        )
    return [_words(folder / name) for name in FILES]


def _words(path):
    try:
        words = split(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataMissing(f"{path.name} cannot be read as text ({error}).") from None
    if len(words) < 2:
        raise DataMissing(f"{path.name} must hold at least two words, received {len(words)}.")
    return words
