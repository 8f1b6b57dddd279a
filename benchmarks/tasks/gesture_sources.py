"""Where recordings of gestures come from, and which part of which recording trains, validates and tests.

In the order in which they are looked for: the published data set as tonic has it, whose training part is split by
persons; a file of ten of its recordings, each of them split by time; one's own recordings, split as whole files.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.errors import DataMissing
from benchmarks.tasks.camera_files import EVENT, Recording, checked, read_events
from benchmarks.tasks.checksums import verify
from benchmarks.tasks.tonic_data import from_tonic

DVS128 = (128, 128)
CLASSES = 11  # ten gestures and "other"
SUBSET, SUBSET_CLASSES = "dvs_gesture_subset", 10
OWN = "recordings"
PARTS = ("train", "validation", "test")


class Piece(NamedTuple):
    """A recording, or the share of its time from `begin` to `end`, with its class."""

    name: str
    read: Callable[[], Recording]
    label: int
    begin: float = 0.0
    end: float = 1.0


class Source(NamedTuple):
    """`parts`: a list of `Piece` for each of `PARTS`; `published`: whether it is the whole published data set;
    `verified`: what a record says of its file."""

    name: str
    classes: int
    published: bool
    parts: dict
    verified: bool | None = None


def source(folder, config) -> Source:
    """What a data folder holds, else what tonic can download into it.

    Raises:
        DataMissing: there is nothing and nothing can be downloaded, or what is there cannot be read or split.
    """
    if not (folder / "DVSGesture").is_dir():
        subset = next(iter(sorted(folder.glob(f"{SUBSET}/*.npz"))), None)
        if subset is not None:
            return within_recordings(subset, config)
        if (folder / OWN).is_dir():
            return own_recordings(folder / OWN, config)
    return published(folder, config)


def published(folder, config) -> Source:
    """DVS128 Gesture; the last of its training part's persons, sorted by number, validate."""
    train, test = (from_tonic("DVSGesture", folder, train=part == "train") for part in ("train", "test"))
    persons = sorted(set(train.users))
    held_out = persons[-max(1, round(config.validation_share * len(persons))) :]
    if len(held_out) == len(persons):
        raise DataMissing(f"{folder / 'DVSGesture'} must hold training recordings of two persons at least.")
    parts = {part: [] for part in PARTS}
    for data, part in ((train, "train"), (test, "test")):
        for index, (file, label, person) in enumerate(zip(data.data, data.targets, data.users, strict=True)):
            piece = Piece(str(file), _reader_of_tonic(data, index, str(file)), label)
            parts["validation" if part == "train" and person in held_out else part].append(piece)
    if not parts["test"]:
        raise DataMissing(f"{folder / 'DVSGesture'} holds no test recordings.")
    return Source("DVS128 Gesture", CLASSES, True, parts)


def within_recordings(path, config) -> Source:
    """Recordings in arrays `x`, `y`, `p`, `t`, cut by `offsets`, with `label_inferred`; of each the first part of its
    time trains, the next validates and the last tests."""
    verified = verify([path], config)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x", "y", "p", "t", "offsets", "label_inferred")}
    except Exception as error:  # a damaged zip raises many types
        raise DataMissing(f"{path} cannot be read as recordings of gestures ({error}).") from None
    offsets, labels = arrays.pop("offsets"), arrays.pop("label_inferred")
    sound = len(offsets) == len(labels) + 1 > 1 and (np.diff(offsets) >= 0).all()
    if not sound or {len(array) for array in arrays.values()} != {int(offsets[-1])}:
        raise DataMissing(f"{path} must hold x, y, p and t of as many events as offsets says, and a label for each.")
    cuts = (0.0, 1.0 - config.validation_share - config.test_share, 1.0 - config.test_share, 1.0)
    parts = {part: [] for part in PARTS}
    for index, label in enumerate(labels):
        name = f"recording {index} of {path}"
        events = {axis: array[slice(*offsets[index : index + 2])] for axis, array in arrays.items()}
        for part, begin, end in zip(PARTS, cuts[:-1], cuts[1:], strict=True):
            parts[part].append(Piece(name, _reader(events, name), int(label), begin, end))
    title = f"DVS128 Gesture, {len(labels)} recordings, split within recordings"
    return Source(title, SUBSET_CLASSES, False, parts, verified)


def own_recordings(folder, config) -> Source:
    """Files `CLASS/*`, of each class some for each part; the classes are the folders in alphabetical order."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise DataMissing(f"{folder} must hold a folder of recordings for each of two classes at least.")
    parts = {part: [] for part in PARTS}
    for label, one in enumerate(classes):
        files = sorted(path for path in one.iterdir() if path.is_file() and not path.name.startswith("."))
        if len(files) < len(PARTS):
            raise DataMissing(
                f"{one} must hold {len(PARTS)} recordings at least, to train, to validate and to test, and holds "
                f"{len(files)}."
            )
        files = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
        tested = max(1, round(config.test_share * len(files)))
        validated = max(1, round(config.validation_share * len(files)))
        tested, validated = min(tested, len(files) - 2), min(validated, len(files) - 1 - tested)
        for number, file in enumerate(files):
            part = PARTS[2 if number < tested else 1 if number < tested + validated else 0]
            parts[part].append(Piece(str(file), _reader_of_file(file), label))
    return Source(f"own recordings of {len(classes)} classes", len(classes), False, parts)


def _reader_of_file(path):
    return lambda: read_events(path)


def _reader(events, name):
    return lambda: checked(events, DVS128, DVS128, name)


def _reader_of_tonic(data, index, name):
    def read():
        try:
            events, _ = data[index]
            events = np.asarray(events, EVENT)
        except Exception as error:  # a damaged file raises many types
            raise DataMissing(f"{name} cannot be read as a recording of DVS128 Gesture ({error}).") from None
        return checked(events, DVS128, DVS128, name)

    return read
