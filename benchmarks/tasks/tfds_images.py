"""Images of 28 x 28 pixels in ten classes, MNIST's and those made in its likeness, through `tensorflow_datasets`."""

import numpy as np
from pydantic import BaseModel, Field

from benchmarks.config import Count
from benchmarks.errors import CannotRun, ConfigError, DataMissing
from benchmarks.tasks import data_folder
from benchmarks.tasks.dataset import Dataset, Split

SIDE = 28
CLASSES = 10
TRAINING = 60_000
EXAMPLES = {"train": TRAINING, "test": 10_000}
VALIDATION = 5_000  # the last of the training images
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


class ImageSizes(BaseModel):
    """Fields of a task's configuration: how many images are held out."""

    validation_size: Count = Field(VALIDATION, le=VALIDATION)
    test_size: Count | None = Field(None, description="the first N test images; null for all")


def load_dataset(name, config, data_dir, encode) -> Dataset:
    """The images, split; `encode` makes of uint8 `[examples, 28, 28, 1]` what a `Split` holds."""
    available = TRAINING - VALIDATION
    size = config.train_size or available
    if size > available:
        raise ConfigError(f"train_size must be at most {available}, received {size}.")
    (x, y), (x_test, y_test) = load_images(name, data_folder.chosen(data_dir))
    held_out, tested = slice(available, available + config.validation_size), slice(config.test_size)
    whole = size == available and config.validation_size == VALIDATION
    return Dataset(
        name=TITLES[name],
        path=data_folder.as_recorded(data_dir),
        classes=CLASSES,
        complete=whole and (config.test_size or len(y_test)) >= len(y_test),
        train=Split(encode(x[:size]), y[:size]),
        validation=Split(encode(x[held_out]), y[held_out]),
        test=Split(encode(x_test[tested]), y_test[tested]),
    )


def load_images(name, data_dir):
    """`(images, labels)` of the training and of the test images, uint8 `[examples, 28, 28, 1]` and int32.

    A folder that already holds the data is used as it is; elsewhere `tensorflow_datasets` downloads into it.

    Args:
        name: Of the data set in `tensorflow_datasets`, a key of `TITLES`.
        data_dir: Folder, or None for that of `tensorflow_datasets`.

    Raises:
        CannotRun: `tensorflow_datasets` is not installed.
        DataMissing: the data is not there and cannot be downloaded, or its files are damaged.
    """
    title = TITLES[name]
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise CannotRun(
            f'{title} needs tensorflow_datasets, `pip install "keras-egru[benchmarks]"` ({error}).'
        ) from None
    folder = tfds_folder(data_dir, name)
    there = folder is not None and (folder / name).is_dir()
    tfds.disable_progress_bar()
    try:
        builder = tfds.builder(name, data_dir=None if folder is None else str(folder))
        if not there:
            builder.download_and_prepare()
    except Exception as error:  # tfds raises whatever its download met
        if there:
            raise DataMissing(f"{title} in {folder / name} cannot be read ({_reason(error)}): copy it anew.") from None
        where = f"in {data_dir}" if data_dir else "in tensorflow_datasets' own folder"
        raise DataMissing(
            f"{title} is not {where} and cannot be downloaded ({_reason(error)}): name a folder that "
            "holds it with --data-dir or KERAS_EGRU_DATA."
        ) from None
    return [_read(title, builder, split, examples) for split, examples in EXAMPLES.items()]


def _read(title, builder, split, examples):
    """The images and labels of a split; the records have checksums of their own."""
    try:
        images, labels = builder.as_dataset(split=split, batch_size=-1, as_supervised=True)
    except Exception as error:  # whatever TensorFlow or tfds met
        parts = builder.info.splits
        what = (
            ", ".join(sorted(parts[split].filenames)) if split in parts else f"what dataset_info.json says of {split}"
        )
        raise DataMissing(
            f"{what} of {title} in {builder.data_dir} cannot be read ({_reason(error)}): copy it anew."
        ) from None
    if len(labels) != examples:
        raise DataMissing(
            f"{title} in {builder.data_dir} must hold {examples:,} images for {split}, received {len(labels):,}."
        )
    return np.asarray(images), np.asarray(labels, "int32")


def _reason(error):
    text = str(error).strip()
    text = (text.partition("}} ")[2] or text).partition(" [Op:")[0]  # TensorFlow puts nodes of its graph around it
    return f"{type(error).__name__}: {(text.splitlines() or [''])[0][:200]}"


def tfds_folder(data_dir, name):
    """The folder for `tensorflow_datasets`: `data_dir` itself or the `tfds` folder in it; None for its default."""
    if data_dir is None:
        return None
    folder = data_folder.existing(data_dir)
    return folder / "tfds" if not (folder / name).is_dir() and (folder / "tfds").is_dir() else folder
