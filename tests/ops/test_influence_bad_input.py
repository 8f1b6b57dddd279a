"""What the op `KerasEgru>Influence` refuses: it must never read or write outside of its tensors."""

import numpy as np
import pytest

from keras_egru.ops import library, thresholded_layout

tf = pytest.importorskip("tensorflow")
if library.why_not() is not None:
    pytest.skip(f"the custom op cannot run: {library.why_not()}", allow_module_level=True)

BATCH, TIME, FEATURES, UNITS = 2, 3, 2, 4
LAYOUT = thresholded_layout(FEATURES, UNITS)


def _arguments(**changes):
    floats = {
        "influence": (0,),
        "kernel": (UNITS, UNITS),
        "leak": (0,),
        "passes": (BATCH, TIME + 1, UNITS),
        "gain": (BATCH, TIME, 1, UNITS),
        "own": (0,),
        "candidate": (0,),
        "opened": (0,),
        "turned": (0,),
        "direct": (BATCH, TIME, 2, UNITS),
        "source": (BATCH, TIME, FEATURES + UNITS + 1),
        "credit": (BATCH, TIME, UNITS),
    }
    arguments = {name: np.ones(shape, "float32") for name, shape in floats.items()}
    arguments |= {"mask": np.zeros((0, 0), bool), **LAYOUT.tiles}
    return {**arguments, **changes}


def _run(**changes):
    return library.load().keras_egru_influence(**_arguments(**changes), parameters=LAYOUT.parameters)


def _with(name, place, value):
    changed = LAYOUT.tiles[name].copy()
    changed[place] = value
    return {name: changed}


def _floats(*shape):
    return np.ones(shape, "float32")


def test_the_arguments_are_good_as_they_are():
    size = BATCH * UNITS * LAYOUT.tiles["column_begin"][-1]
    assert _run().next_influence.shape == (size,)
    assert _run(influence=_floats(size)).next_influence.shape == (size,)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"influence": _floats(7)}, "`influence` must have the shape"),
        ({"kernel": _floats(UNITS, UNITS + 1)}, r"`kernel` must have the shape \[units, gates units\]"),
        ({"kernel": _floats(UNITS)}, "`kernel` must have 2 dimensions"),
        ({"leak": _floats(BATCH, TIME, UNITS - 1)}, "`leak` must have the shape"),
        ({"passes": _floats(BATCH, TIME, UNITS)}, "`passes` must have the shape"),
        ({"gain": _floats(BATCH, TIME, 2, UNITS)}, "`gain` must have the shape"),
        ({"own": _floats(BATCH, TIME, UNITS)}, "`own` and `candidate` need a `leak`"),
        ({"candidate": _floats(BATCH, TIME, UNITS)}, "`candidate` needs a `kernel` of three gates"),
        ({"direct": _floats(BATCH, TIME, 2, UNITS + 1)}, "`direct` must have the shape"),
        ({"source": _floats(BATCH, TIME + 1, FEATURES + UNITS + 1)}, "`source` must have the shape"),
        ({"credit": _floats(BATCH, 0, UNITS), "passes": _floats(BATCH, 1, UNITS)}, "`gain` must have the shape"),
        ({"mask": np.ones((BATCH, TIME + 1), bool)}, "`mask` must have the shape"),
        ({"source": _floats(BATCH, TIME, 3)}, r"`column_source` must lie in \[0, 3\)"),
        ({"direct": _floats(BATCH, TIME, 1, UNITS)}, r"`column_kind` must lie in \[0, 1\)"),
        (_with("column_begin", 1, 15), "`column_begin` must rise from 0 to 64 in multiples of 16"),
        (_with("column_begin", -1, 80), "`column_begin` must rise"),
        (_with("tile_unit", 0, UNITS), r"`tile_unit` must lie in \[0, 4\)"),
        (_with("tile_through", 0, 1), r"`tile_through` must lie in \[0, 1\)"),
        (_with("row_begin", 1, 99), "`row_begin` must rise"),
        (_with("row", 0, -1), r"`row` must lie in \[0, 4\)"),
        (_with("row", 1, 0), "`row` must rise within a tile"),
        (_with("column_parameter", 0, LAYOUT.parameters), "`column_parameter` must lie in"),
        (_with("column_parameter", 0, -1), "must have its fillings, -1, at the end of a tile"),
        (_with("neighbour_begin", 0, 1), "`neighbour_begin` must rise"),
        (_with("neighbour", 3, 4), r"`neighbour` must lie in \[0, 4\)"),
        (_with("neighbour", 1, 0), "`neighbour` must rise within a unit's list"),
    ],
)
def test_what_does_not_fit_is_refused(changes, sentence):
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        _run(**changes)


def test_tiles_that_were_good_once_are_checked_again_with_other_sizes():
    tiles = {name: tf.constant(array) for name, array in LAYOUT.tiles.items()}
    _run(**tiles)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`column_kind` must lie in"):
        _run(**tiles, direct=_floats(BATCH, TIME, 1, UNITS))
    assert _run(**tiles).gradient.shape == (LAYOUT.parameters,)
