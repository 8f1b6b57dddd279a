"""Language tasks whose three texts are files in the user's folder, which are never downloaded."""

from benchmarks.errors import ConfigError, DataMissing
from benchmarks.language_config import LanguageModelConfig
from benchmarks.tasks import data_folder
from benchmarks.tasks.checksums import verify
from benchmarks.tasks.corpus import Corpus, encode, foreign_words, split, vocabulary_of
from benchmarks.terminal import warn

SHOWN = 5  # foreign words in a warning


class TextFiles:
    """A task that is told by these attributes, `name` and `summary` beside them:

    title: Of the data, for records and errors.
    folder: That holds the files, inside of the folder that the user names; they may lie in that one itself too.
    files: For training, validation and test.
    words: Of the files as they are published, `<eos>` among them.
    """

    kind = "language model"
    config_class = LanguageModelConfig

    def load(self, config, data_dir) -> Corpus:
        """
        Raises:
            DataMissing: no folder is named, or a file is not there, not the published one or not a text.
            ConfigError: more words are asked for than there are.
        """
        paths = self._paths(data_folder.chosen(data_dir))
        verified = verify(paths, config)
        texts = [_words(path) for path in paths]
        vocabulary = vocabulary_of(texts[0])
        sizes = {name: getattr(config, f"{name}_size") for name in ("train", "validation", "test")}
        for (name, size), words in zip(sizes.items(), texts, strict=True):
            if size is not None and size > len(words):
                raise ConfigError(f"{name}_size must be at most {len(words)}, received {size}.")
        used = {name: words[:size] for (name, size), words in zip(sizes.items(), texts, strict=True)}
        foreign = {name: foreign_words(used[name], vocabulary) for name in ("validation", "test")}
        for path, words in zip(paths[1:], foreign.values(), strict=True):
            _warn_of(words, path, paths[0])
        return Corpus(
            name=self.title,
            path=data_folder.as_recorded(data_dir),
            complete=verified is True and tuple(map(len, used.values())) == self.words,
            verified=verified,
            vocabulary=vocabulary,
            unknown_words={name: len(words) for name, words in foreign.items()},
            **{name: encode(words, vocabulary) for name, words in used.items()},
        )

    def _paths(self, named):
        if named is None:
            raise DataMissing(
                f"{self.title} is not downloaded: name a folder with it by --data-dir or KERAS_EGRU_DATA."
            )
        folder = data_folder.existing(named)
        if (folder / self.folder).is_dir():
            folder = folder / self.folder
        missing = [name for name in self.files if not (folder / name).is_file()]
        if missing:
            raise DataMissing(
                f"{self.title} is not in {named} nor in a folder {self.folder} in it, {', '.join(missing)} missing: "
                "name a folder that holds it with --data-dir or KERAS_EGRU_DATA."
            )
        return [folder / name for name in self.files]


def _words(path):
    try:
        words = split(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise DataMissing(f"{path.name} cannot be read ({error}).") from None
    except UnicodeDecodeError as error:
        raise DataMissing(
            f"{path.name} must be a text in UTF-8, received bytes that are none ({error.reason} at {error.start:,})."
        ) from None
    if len(words) < 2:
        raise DataMissing(f"{path.name} must hold at least two words, received {len(words)}.")
    return words


def _warn_of(words, path, training):
    if not words:
        return
    first = ", ".join(repr(word) for word in list(dict.fromkeys(words))[:SHOWN])
    warn(
        f"{path.name} has {len(words):,} words that {training.name} has not, which are read as <unk>; "
        f"the first of them: {first}."
    )
