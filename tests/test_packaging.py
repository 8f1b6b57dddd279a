"""The installed package: version, types, the op library, and a clear sentence where it cannot be built or loaded."""

import importlib.metadata
import importlib.resources
import importlib.util
import re
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_egru
from keras_egru.ops import egru_sequence, library

ROOT = Path(__file__).parent.parent
needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="The op is TensorFlow's.")
needs_library = pytest.mark.skipif(
    not (importlib.resources.files("keras_egru") / "ops" / library.LIBRARY).is_file(), reason="The op is not built."
)


@pytest.fixture
def fresh_library():
    """The loader without what it remembers, before and after."""
    library.why_not.cache_clear()
    yield library
    library.why_not.cache_clear()


@pytest.fixture
def backend():
    pytest.importorskip("scikit_build_core")
    spec = importlib.util.spec_from_file_location("keras_egru_build", ROOT / "build_backend" / "keras_egru_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_a_sequence(implementation):
    x, state = np.zeros((1, 2, 3), "float32"), np.zeros((1, 4), "float32")
    kernel, recurrent_kernel = np.zeros((3, 12), "float32"), np.zeros((4, 12), "float32")
    threshold = np.full(4, 0.5, "float32")
    return egru_sequence(x, state, state, kernel, recurrent_kernel, None, threshold, implementation=implementation)


def test_the_version_is_that_of_the_installed_package():
    try:
        installed = importlib.metadata.version("keras-egru")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("keras-egru is not installed: it runs from the clone.")
    assert keras_egru.__version__ == installed


def test_the_package_says_that_it_is_typed():
    assert (importlib.resources.files("keras_egru") / "py.typed").is_file()


def test_one_tensorflow_version_is_named_everywhere():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"tensorflow=={library.TENSORFLOW}.*" in dependencies
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert re.search(r"KERAS_EGRU_TENSORFLOW_VERSION (\S+)\)", cmake).group(1) == library.TENSORFLOW


@needs_tensorflow
@needs_library
def test_the_op_library_loads_where_it_was_built(fresh_library):
    assert fresh_library.why_not() is None
    assert fresh_library.load() is not None


@needs_tensorflow
def test_a_library_that_is_not_there_is_a_sentence_and_auto_takes_the_reference(fresh_library, monkeypatch):
    monkeypatch.setattr(fresh_library, "LIBRARY", "libabsent.so")
    sentence = (
        "the custom op library libabsent.so is not there: install keras-egru with pip where g\\+\\+ and cmake are"
    )
    assert re.match(sentence, fresh_library.why_not())
    with pytest.raises(RuntimeError, match=sentence):
        fresh_library.load()
    with pytest.raises(RuntimeError, match=sentence):
        run_a_sequence("fused")
    assert run_a_sequence("auto").y.shape == (1, 2, 4)


@needs_tensorflow
def test_a_damaged_library_is_a_sentence(fresh_library, monkeypatch, tmp_path):
    damaged = tmp_path / "libdamaged.so"
    damaged.write_bytes(b"no ELF")
    # An absolute name takes the place of the folder that it is joined to.
    monkeypatch.setattr(fresh_library, "LIBRARY", str(damaged))
    assert "libdamaged.so does not load: " in fresh_library.why_not()


@needs_tensorflow
def test_another_tensorflow_version_is_a_sentence(fresh_library, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf, "__version__", "2.20.1")
    assert (
        fresh_library.why_not() == "the custom op is built for TensorFlow 2.21.*, and TensorFlow 2.20.1 is installed."
    )


def test_the_build_uses_the_tensorflow_that_is_installed(backend):
    folder = backend.find_tensorflow()
    assert (folder / "include" / "tensorflow").is_dir()
    assert backend.tensorflow_requirement() not in backend.get_requires_for_build_wheel()
    assert backend.tensorflow_requirement() not in backend.get_requires_for_build_editable()


def test_the_build_asks_for_tensorflow_where_there_is_none(backend, monkeypatch):
    monkeypatch.setattr(backend, "find_tensorflow", lambda: None)
    assert f"tensorflow=={library.TENSORFLOW}.*" in backend.get_requires_for_build_wheel()
    with pytest.raises(SystemExit, match='building the op needs "tensorflow==.*", which is not installed'):
        backend.build_wheel("nowhere")


def test_a_tensorflow_of_another_version_does_not_count(backend, monkeypatch):
    monkeypatch.setattr(backend, "tensorflow_requirement", lambda: "tensorflow==2.99.*")
    assert backend.find_tensorflow() is None


def test_a_missing_compiler_is_a_sentence_before_anything_is_fetched(backend, monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"needs a C\+\+17 compiler, and none was found: install g\+\+\."):
        backend.get_requires_for_build_wheel()
    monkeypatch.setenv("CXX", "absent-g++ -m64")
    with pytest.raises(SystemExit, match=r"`CXX` names 'absent-g\+\+', which is not there"):
        backend.get_requires_for_build_editable()
