"""Loading what was trained: a `.keras` file, or a folder that holds one, with a sentence where that cannot be."""

import json
import re
import zipfile
from pathlib import Path

import keras

FILE = "model.keras"
# What Keras says of an argument or a class that it does not know.
UNKNOWN = (
    r"unexpected keyword argument '(\w+)'",
    r"Unrecognized keyword arguments passed to \w+: {'(\w+)'",
    r"Could not locate (?:class|function) '(\w+)'",
)


def load_checkpoint(path) -> keras.Model:
    """The model of a `.keras` file, or of the `model.keras` in a folder such as that of a benchmark run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no Keras model, or a newer Keras or keras-egru wrote it.
    """
    import keras_egru  # its layers are found by name

    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"`checkpoint` must be a .keras file or a folder with {FILE}, and there is no {path}.")
    version = _keras_version(path)
    if version is None:
        raise ValueError(f"`checkpoint` must be a Keras model (.keras), and {path} is none or is damaged.")
    if _numbers(version) > _numbers(keras.__version__):
        raise ValueError(
            f"`checkpoint` {path} was saved by Keras {version}, and this is {keras.__version__}: update Keras."
        )
    try:
        return keras.saving.load_model(path, compile=False)
    except (TypeError, ValueError) as error:
        found = next((match for match in (re.search(pattern, str(error)) for pattern in UNKNOWN) if match), None)
        if found is None:
            raise ValueError(f"`checkpoint` {path} cannot be loaded: {_first_line(error)}") from error
        raise ValueError(
            f"`checkpoint` {path} holds {found[1]!r}, which keras-egru {keras_egru.__version__} and Keras "
            f"{keras.__version__} do not know: it was saved by a newer version, or with layers of another package."
        ) from error


def _keras_version(path):
    try:
        with zipfile.ZipFile(path) as file:
            return json.loads(file.read("metadata.json"))["keras_version"]
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError, OSError):
        return None


def _numbers(version):
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _first_line(error):
    return str(error).strip().splitlines()[0]
