"""Executes notebooks and writes their outputs into them: `python notebooks/execute.py [NAME ...]`, all without a name.

A notebook is written when its last cell has run, so that one that fails keeps the outputs that it had. What changes
from run to run and says nothing is left out: times of execution, versions of the kernel, what TensorFlow logs as it
loads.
"""

import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# A line of TensorFlow's or LiteRT's log.
LOGGED = re.compile(
    r"[IW]\d{4} .*|WARNING: All log messages before absl.*|INFO: Created TensorFlow Lite.*|fully_quantize: .*|\s*"
)


def without_logs(outputs):
    """The outputs of a cell less those that hold TensorFlow's log alone."""
    return [output for output in outputs if not _is_log(output)]


def _is_log(output):
    from_stderr = output.output_type == "stream" and output.name == "stderr"
    return from_stderr and all(LOGGED.fullmatch(line) for line in output.text.splitlines())


def execute(path: Path):
    """Runs the notebook in a kernel of its own and writes it back."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=None, record_timing=False, resources=resources).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = without_logs(cell.outputs)
    notebook.metadata = nbformat.from_dict(METADATA)
    nbformat.write(notebook, path)


def main(names):
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        start = time.perf_counter()
        execute(path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(sys.argv[1:])
