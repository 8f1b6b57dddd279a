"""`python -m keras_egru.export CHECKPOINT --to tflite ...`: exports from the command line."""

import argparse
import sys
from pathlib import Path

import numpy as np

SUFFIXES = {"saved_model": "_saved_model", "tflite": ".tflite", "nir": ".nir"}
EXIT_CODES = "exit codes: 0 written, 1 not written (the sentence says why), 2 wrong command line"


def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        report = _export(options)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(report.to_json() if options.json else report)
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m keras_egru.export",
        description="Exports a trained model as a SavedModel, a TF-Lite file or a NIR graph, and says how near it is.",
        epilog=EXIT_CODES,
    )
    add = parser.add_argument
    add("checkpoint", help="a .keras file, or a folder with model.keras, such as that of a benchmark run")
    add("--to", choices=SUFFIXES, required=True, help="what to write")
    add("--out", metavar="PATH", help="where; nothing must be there (default: beside the checkpoint, with its name)")
    add("--data", metavar="FILE.npz", help="sequences `x`, and classes `y` for the accuracy, to compare on")
    add("--json", action="store_true", help="print the report as JSON")
    saved = parser.add_argument_group("SavedModel and TF-Lite")
    saved.add_argument("--op", help="SavedModel: custom (default) or portable; TF-Lite: builtins (default) or sparse")
    lite = parser.add_argument_group("TF-Lite")
    lite.add_argument("--mode", choices=("sequence", "streaming"), help="whole sequences (default) or one step a call")
    lite.add_argument("--quantize", choices=("float16", "dynamic", "int8"), help="smaller precision (default: float32)")
    lite.add_argument(
        "--representative-data", metavar="FILE.npz", help="typical sequences `x`, which --quantize int8 needs"
    )
    lite.add_argument("--dense-weights", action="store_true", help="write zeros of pruned weights too")
    lite.add_argument("--batch-size", type=int, help="of the file (default 1)")
    nir = parser.add_argument_group("NIR")
    nir.add_argument("--time-unit", type=float, help="seconds in the unit of the layers' time constants (default 1e-3)")
    return parser


_TFLITE = {"mode", "quantize", "representative_data", "dense_weights", "batch_size"}
_TAKES = {"saved_model": {"op"}, "tflite": {"op", *_TFLITE}, "nir": {"time_unit"}}


def _check(options):
    for name in sorted(set.union(*_TAKES.values()) - _TAKES[options.to]):
        if getattr(options, name) not in (None, False):
            raise ValueError(f"`--{name.replace('_', '-')}` has no use with --to {options.to}.")


def _export(options):
    from keras_egru import export
    from keras_egru.export.checkpoint import load_checkpoint
    from keras_egru.export.destinations import check_new

    source = Path(options.checkpoint)
    out = options.out or str(source.with_name(source.stem + SUFFIXES[options.to]))
    check_new(out)
    data = None if options.data is None else _arrays(options.data, "--data")
    given = {name: getattr(options, name) for name in _TAKES[options.to]}
    given = {name: value for name, value in given.items() if value is not None}
    if given.pop("dense_weights", False):
        given["sparse_weights"] = False
    if "representative_data" in given:
        arrays = _arrays(given["representative_data"], "--representative-data")
        given["representative_data"] = arrays[0] if isinstance(arrays, tuple) else arrays
    model = load_checkpoint(source)
    return {"saved_model": export.to_saved_model, "tflite": export.to_tflite, "nir": export.to_nir}[options.to](
        model, out, data=data, **given
    )


def _arrays(path, option):
    """`x`, or `(x, y)` where there is a `y`, of an .npz file."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged zip raises many types
        raise ValueError(f"`{option}` must be an .npz file with sequences `x`, and {path} is not: {error}") from None
    if "x" not in arrays:
        raise ValueError(f"`{option}` must hold sequences `x`, and {path} holds {sorted(arrays)}.")
    return (arrays["x"], arrays["y"]) if "y" in arrays else arrays["x"]


if __name__ == "__main__":
    sys.exit(main())
