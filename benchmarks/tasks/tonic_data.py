"""Data sets of events that `tonic` knows: where their files are, and how they come to be there."""

from benchmarks.errors import CannotRun, DataMissing
from benchmarks.tasks import data_folder


def tonic_folder(data_dir, name):
    """The folder in which tonic looks for the data set `name`: `data_dir` itself or the `tonic` folder in it.

    Raises:
        DataMissing: no folder is named, or it does not exist.
    """
    if data_dir is None:
        raise DataMissing(
            f"{name} needs a folder: name one that holds it, or that it may be downloaded into, with "
            "--data-dir or KERAS_EGRU_DATA."
        )
    folder = data_folder.existing(data_dir)
    return folder / "tonic" if not (folder / name).is_dir() and (folder / "tonic").is_dir() else folder


def from_tonic(name, folder, **options):
    """tonic's data set `name` with its files under `folder`, downloaded into it where they are not there.

    Raises:
        CannotRun: tonic is not installed.
        DataMissing: the data is not there and cannot be downloaded.
    """
    try:
        import tonic.datasets
    except ImportError as error:
        raise CannotRun(f'{name} needs tonic, `pip install "keras-egru[benchmarks]"` ({error}).') from None
    try:
        return getattr(tonic.datasets, name)(save_to=str(folder), **options)
    except Exception as error:  # tonic raises whatever its download or its reader met
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise DataMissing(
            f"{name} is not in {folder / name} and cannot be downloaded ({type(error).__name__}: {reason}): name a "
            "folder that holds it with --data-dir or KERAS_EGRU_DATA."
        ) from None
