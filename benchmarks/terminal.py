"""What all commands have in common: errors as sentences, `--json`, and the command line as a record keeps it."""

import shlex
import sys
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.errors import BenchmarkError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class stops_clearly:
    """Turns a `BenchmarkError` into its sentence on standard error and its exit code."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, BenchmarkError):
            Console(stderr=True, highlight=False).print(f"Error: {error}", markup=False, soft_wrap=True)
            raise typer.Exit(error.exit_code) from None


def warn(sentence):
    """Says on standard error what the person at the terminal should know of a run that goes on."""
    Console(stderr=True, highlight=False).print(f"Warning: {sentence}", markup=False, soft_wrap=True)


def command() -> str:
    """As it was typed, to be run again."""
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
