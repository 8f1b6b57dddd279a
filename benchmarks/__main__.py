"""Entry point of `python -m benchmarks`."""

import os

# TensorFlow reads this once, at import; its start-up notes would bury a table or a JSON document.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.cli import app

if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
