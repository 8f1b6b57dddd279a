"""PEP 517 backend: scikit-build-core, with TensorFlow asked for only where it is not there already.

The op needs TensorFlow's headers at build time. As a plain build requirement, TensorFlow (2 GB) would be unpacked into
the build environment even where the environment that is installed into has it. This backend looks there first and tells
CMake where the headers are.
"""

import importlib.metadata
import os
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path

from scikit_build_core import build as scikit_build

COMPILERS = ("c++", "g++", "clang++")


def get_requires_for_build_sdist(config_settings=None):
    return scikit_build.get_requires_for_build_sdist(config_settings)


def get_requires_for_build_wheel(config_settings=None):
    _require_compiler()
    return scikit_build.get_requires_for_build_wheel(config_settings) + _missing_tensorflow()


def get_requires_for_build_editable(config_settings=None):
    _require_compiler()
    return scikit_build.get_requires_for_build_editable(config_settings) + _missing_tensorflow()


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    return scikit_build.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    return scikit_build.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_sdist(sdist_directory, config_settings=None):
    return scikit_build.build_sdist(sdist_directory, config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return scikit_build.build_wheel(wheel_directory, _with_tensorflow(config_settings), metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return scikit_build.build_editable(wheel_directory, _with_tensorflow(config_settings), metadata_directory)


def tensorflow_requirement():
    """The project's own requirement of TensorFlow, such as `tensorflow==2.21.*`."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    return next(entry for entry in project["dependencies"] if entry.startswith("tensorflow=="))


def find_tensorflow():
    """Folder of a TensorFlow package of the required version, or None.

    The build environment comes first, then the environment that pip installs into: its Python runs this backend, with
    its packages hidden.
    """
    wanted = tensorflow_requirement().removeprefix("tensorflow==").removesuffix("*")
    places = [*sys.path, sysconfig.get_path("platlib"), sysconfig.get_path("purelib")]
    for distribution in importlib.metadata.distributions(path=places):
        name = (distribution.name or "").lower().replace("_", "-")
        if name in ("tensorflow", "tensorflow-cpu") and distribution.version.startswith(wanted):
            folder = Path(distribution.locate_file("tensorflow"))
            if (folder / "include").is_dir():
                return folder
    return None


def _missing_tensorflow():
    return [] if find_tensorflow() else [tensorflow_requirement()]


def _with_tensorflow(config_settings):
    folder = find_tensorflow()
    if folder is None:
        raise SystemExit(
            f'keras-egru: building the op needs "{tensorflow_requirement()}", which is not installed: '
            "install it, or leave out --no-build-isolation."
        )
    return {"cmake.define.KERAS_EGRU_TENSORFLOW_DIR": str(folder), **(config_settings or {})}


def _require_compiler():
    """Says so at once where there is no compiler: fetching TensorFlow first would take minutes."""
    named = os.environ.get("CXX", "").split()[:1]
    if not any(shutil.which(compiler) for compiler in named or COMPILERS):
        found = f"`CXX` names {named[0]!r}, which is not there" if named else "none was found"
        raise SystemExit(f"keras-egru: building the op needs a C++17 compiler, and {found}: install g++.")
