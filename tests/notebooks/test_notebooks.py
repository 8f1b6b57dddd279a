"""Every notebook runs from top to bottom with small sizes, and is committed as it ran with its own.

The notebooks of a test process share a kernel, cleared in between, so that TensorFlow is imported once.
"""

import ast
import importlib.util
import os
import re
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
LARGEST = 1_000_000  # bytes

# Sizes at which a notebook takes seconds.
SMALL = {
    "gesture": {"image_size": 8, "denoise_ms": 0, "train_size": 60, "units": 16, "epochs": 1},
    "online_learning": {
        "units": 8,
        "training_batches": 1,
        "parameter_sparsities": (0.8,),
        "stream_steps": 20,
        "recall_steps": 40,
        "recall_sequences": 64,
    },
    "quick_start": {
        "data_dir": str(FOLDER),  # no MNIST: spirals
        "train_size": 400,
        "units": 16,
        "epochs": 1,
        "fine_tuning": 1,
        "exported_samples": 10,
    },
    "two_sparsities": {
        "units": 64,
        "steps": 20,
        "features": 8,
        "activities": (0.0, 0.8),
        "pruned": (0.0, 0.5),
        "repeats": 1,
        "large_batch": 4,
        "large_batch_activities": (0.8,),
        "large_batch_pruned": (0.0,),
    },
    "whats_inside": {"spirals": 200, "steps": 20, "units": 32, "epochs": 1},
}
PATHS = sorted(FOLDER.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(FOLDER))
    client.stop_channels()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def execute_module():
    spec = importlib.util.spec_from_file_location("execute_notebooks", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameter_cell(notebook):
    """Place of the one cell that papermill would take for that of the parameters."""
    (place,) = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    return place


def run(path, parameters, kernel):
    """The notebook with its outputs; as papermill does, other values stand in a cell behind that of the parameters."""
    notebook = nbformat.read(path, as_version=4)
    values = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(parameter_cell(notebook) + 1, nbformat.v4.new_code_cell(values))
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    return NotebookClient(notebook, timeout=120, km=kernel).execute()


def has_recordings():
    return "KERAS_EGRU_DATA" in os.environ and any(Path(os.environ["KERAS_EGRU_DATA"]).glob("dvs_gesture_subset/*.npz"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def texts(cell):
    """What a cell wrote, and its results as text."""
    for output in cell.outputs:
        yield output.get("text") or output.get("data", {}).get("text/plain", "")


def test_every_notebook_has_small_sizes():
    assert [path.stem for path in PATHS] == sorted(SMALL)


@every_notebook
def test_small_sizes_are_parameters_of_the_notebook(path):
    notebook = nbformat.read(path, as_version=4)
    assignments = ast.parse(notebook.cells[parameter_cell(notebook)].source).body
    assert SMALL[path.stem].keys() <= {statement.targets[0].id for statement in assignments}


@every_notebook
def test_notebook_runs_and_says_nothing_odd(path, kernel, execute_module):
    if path.stem == "gesture" and not has_recordings():
        pytest.skip("KERAS_EGRU_DATA names no folder with dvs_gesture_subset")
    for cell in code_cells(run(path, SMALL[path.stem], kernel)):
        assert not [o for o in execute_module.without_logs(cell.outputs) if o.get("name") == "stderr"], cell.source
        assert not re.search(r"\bnan\b|Warning|Traceback", " ".join(texts(cell))), cell.source


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_committed_notebook_ran_in_order_without_errors(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


@every_notebook
def test_committed_notebook_holds_nothing_of_the_machine(path, execute_module):
    notebook, content = nbformat.read(path, as_version=4), path.read_text("utf-8")
    assert len(content) < LARGEST
    assert notebook.metadata == execute_module.METADATA
    assert all(cell.metadata.keys() <= {"tags"} for cell in notebook.cells)
    written = "\n".join(text for cell in code_cells(notebook) for text in (cell.source, *texts(cell)))
    assert not re.search(r"(^|[\s\"'(=])(/[a-z]\w*/\w|[A-Z]:\\)", written)
    assert str(Path.home()) not in written
