"""What becomes of damaged files of `tensorflow_datasets`, of which a few made-up images are enough."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.errors import DataMissing
from benchmarks.tasks import tfds_images
from benchmarks.tasks.tfds_images import load_images

TEST = "mnist-test.tfrecord-00000-of-00001"
PER_SPLIT = {"train": 4, "test": 3}


@pytest.fixture
def few(tmp_path, monkeypatch):
    """The folder of the records of a data set that has the format of MNIST and seven images."""
    import tensorflow as tf

    monkeypatch.setattr(tfds_images, "EXAMPLES", PER_SPLIT)
    folder = tmp_path / "tfds" / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    splits = []
    for split, count in PER_SPLIT.items():
        with tf.io.TFRecordWriter(str(folder / f"mnist-{split}.tfrecord-00000-of-00001")) as file:
            for number in range(count):
                file.write(_example(tf, number))
        splits.append(
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split,
                "numBytes": "1",
                "shardLengths": [str(count)],
            }
        )
    info = {"fileFormat": "tfrecord", "name": "mnist", "splits": splits, "version": "3.0.1"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return SimpleNamespace(root=str(tmp_path), records=folder)


def test_the_images_of_both_splits_are_read_in_their_order(few):
    for (images, labels), count in zip(load_images("mnist", few.root), PER_SPLIT.values(), strict=True):
        assert labels.tolist() == list(range(count))
        np.testing.assert_array_equal(images, np.arange(count)[:, None, None, None] * np.ones((28, 28, 1)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "truncated record"),
        (
            lambda path: path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3]),
            "expected to contain 3 elements",
        ),
        (lambda path: path.write_bytes(b""), "expected to contain 3 elements but contained only 0"),
        (lambda path: path.write_bytes(b"no record " * 9), "corrupted record at 0"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9] + b"?" + path.read_bytes()[-8:]), "corrupted record"),
    ],
)
def test_a_damaged_file_of_records_is_named(few, damage, words):
    damage(few.records / TEST)
    with pytest.raises(DataMissing, match=rf"^{TEST} of MNIST in .* cannot be read \(.*{words}.*\): copy it anew.$"):
        load_images("mnist", few.root)


def test_a_file_that_may_not_be_read_is_named(few, monkeypatch):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def refuse(self, **options):  # the superuser of a test machine may read all
        raise tf.errors.PermissionDeniedError(None, None, f"{TEST}; Permission denied")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_dataset", refuse)
    with pytest.raises(DataMissing, match=r"^mnist-train.tfrecord-00000-of-00001 of MNIST .*; Permission denied\)"):
        load_images("mnist", few.root)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "what dataset_info.json says of train of MNIST in .* cannot be read"),
        ("{", "MNIST in .* cannot be read"),
        ('{"name": "mnist", "version": "3.0.1"}', "what dataset_info.json says of train of MNIST in .* cannot be read"),
    ],
)
def test_a_description_that_is_missing_or_damaged_is_told(few, content, words):
    path = few.records / "dataset_info.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataMissing, match=words):
        load_images("mnist", few.root)


def test_another_number_of_images_is_refused(few, monkeypatch):
    monkeypatch.setattr(tfds_images, "EXAMPLES", PER_SPLIT | {"test": 10_000})
    with pytest.raises(DataMissing, match="must hold 10,000 images for test, received 3"):
        load_images("mnist", few.root)


def _example(tf, number):
    """A record in which every pixel is as bright as its label."""
    image = tf.io.encode_png(np.full((28, 28, 1), number, "uint8")).numpy()
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
