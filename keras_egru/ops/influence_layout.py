"""Which entries an influence matrix has: one column a trained parameter, the rows that it can reach, cut into tiles.

A parameter acts upon one unit (or, by way of a reset gate, upon those that read from it). Where a step later the events
of that unit are read, there the influence goes on. So exact learning needs, of a column, the rows within reach; SnAp-1
keeps those that the parameter acts upon at once, SnAp-2 those one step further (Menick et al. 2020). Pruned and frozen
parameters have no column.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

LANES = 16  # tiles hold whole vectors of every instruction set
WIDEST = 128  # columns of a tile: its rows stay in the cache


@dataclass(frozen=True, eq=False)
class InfluenceLayout:
    """The structure of an influence matrix `[units, parameters]`; built by `egru_layout` and `thresholded_layout`.

    units: Number of units, the rows.
    unit: `[parameters]` int32, the unit that a parameter acts upon, or whose reset gate it feeds.
    kind: `[parameters]` int32, which coefficient of `InfluenceTerms.direct` it takes.
    source: `[parameters]` int32, which of `InfluenceTerms.source` it multiplies.
    through: `[parameters]` bool, whether it acts by way of a reset gate that multiplies before a product.
    trained: `[parameters]` bool, False where it is pruned or frozen.
    neighbours: `[units, units]` bool, at `[k, l]` whether the event of l enters the state of k.
    candidates: `[units, units]` bool, at `[k, m]` whether the gated event of m enters the candidate of k; all False
        where no reset gate multiplies before a product.
    leaks: Whether a unit's state goes on in its own, so that every row is kept.
    order: None for all that is within reach, 1 or 2 for SnAp.
    kinds: Number of coefficients.
    sources: Number of sources.
    """

    units: int
    unit: np.ndarray
    kind: np.ndarray
    source: np.ndarray
    through: np.ndarray
    trained: np.ndarray
    neighbours: np.ndarray
    candidates: np.ndarray
    leaks: bool
    order: int | None
    kinds: int
    sources: int

    @property
    def parameters(self) -> int:
        """Number of parameters, pruned and frozen ones too: the length of a gradient."""
        return len(self.unit)

    @property
    def columns(self) -> int:
        """Number of trained parameters."""
        return int(np.count_nonzero(self.trained))

    @property
    def entries(self) -> int:
        """Numbers of one sample's influence at most, without those that fill tiles up; found before any is cut."""
        own, by_gate = (rows.sum(axis=1, dtype="int64") for rows in self._reached)
        return int(np.sum(np.where(self.through, by_gate[self.unit], own[self.unit]), where=self.trained))

    @property
    def size(self) -> int:
        """Numbers that the influence of one sample takes at most, those that fill tiles up included."""
        tiles = self.tiles
        return int(np.sum(np.diff(tiles["row_begin"]).astype("int64") * np.diff(tiles["column_begin"])))

    @cached_property
    def _reached(self):
        """`(rows of a unit's parameters, rows of those of its reset gate)`, each `[units, units]` bool: `[u, k]`."""
        own, by_gate = np.eye(self.units, dtype=bool), self.candidates.T
        step = self.neighbours | np.eye(self.units, dtype=bool) if self.leaks else self.neighbours
        reached = []
        for first in (own, by_gate):
            rows = first
            for _ in range(self.units if self.order is None else self.order - 1):
                further = first | (rows.astype("float32") @ step.T.astype("float32") > 0)
                if np.array_equal(further, rows):
                    break
                rows = further
            reached.append(rows)
        return reached

    @cached_property
    def pattern(self):
        """`[units, parameters]` bool: the entries that are kept."""
        own, by_gate = self._reached
        rows = np.where(self.through[:, None], by_gate[self.unit], own[self.unit])
        return (rows & self.trained[:, None]).T

    @cached_property
    def tiles(self) -> dict[str, np.ndarray]:
        """Columns unit by unit, cut into tiles: the int32 arrays that the op `KerasEgru>Influence` takes, by name."""
        own, by_gate = self._reached
        column_begin, row_begin, tile_unit, tile_through, row = [0], [0], [], [], []
        parameter = []
        live = np.flatnonzero(self.trained)
        group = 2 * self.unit[live] + self.through[live]
        order = live[np.lexsort((live, self.kind[live], group))]
        groups = 2 * self.unit[order] + self.through[order]
        for number in np.unique(groups):
            members = order[groups == number]
            unit, through = divmod(int(number), 2)
            rows = np.flatnonzero((by_gate if through else own)[unit])
            if rows.size == 0:  # the reset gate of a unit that no candidate reads
                continue
            parts = -(-len(members) // WIDEST)
            vectors = -(-len(members) // (LANES * parts))
            for start in range(0, len(members), vectors * LANES):
                part = members[start : start + vectors * LANES]
                parameter += [part, np.full(-len(part) % LANES, -1)]
                column_begin.append(column_begin[-1] + len(part) + -len(part) % LANES)
                row_begin.append(row_begin[-1] + rows.size)
                row.append(rows)
                tile_unit.append(unit)
                tile_through.append(through)
        parameter = _joined(parameter)
        neighbour = [np.flatnonzero(line) for line in self.neighbours]
        arrays = {
            "column_begin": column_begin,
            "tile_unit": tile_unit,
            "tile_through": tile_through,
            "row_begin": row_begin,
            "row": _joined(row),
            "column_parameter": parameter,
            "column_kind": np.where(parameter < 0, 0, self.kind[parameter]) if parameter.size else parameter,
            "column_source": np.where(parameter < 0, 0, self.source[parameter]) if parameter.size else parameter,
            "neighbour_begin": np.cumsum([0] + [len(line) for line in neighbour]),
            "neighbour": _joined(neighbour),
        }
        return {name: np.asarray(array, "int32") for name, array in arrays.items()}

    def dense(self, influence, passes):
        """The influence that the op keeps, `[numbers]`, as `[batch, units, parameters]`; what is not kept is zero.

        Args:
            influence: What the op returned.
            passes: `[batch, units]`, `InfluenceTerms.passes` after the last step.
        """
        tiles, passes = self.tiles, np.asarray(passes)
        influence, at = np.asarray(influence), 0
        dense = np.zeros((len(passes), self.units, self.parameters), influence.dtype)
        if influence.size == 0:
            return dense
        for sample, live in zip(dense, passes != 0, strict=True):
            for tile in range(len(tiles["tile_unit"])):
                rows = tiles["row"][slice(*tiles["row_begin"][tile : tile + 2])]
                rows = rows if self.leaks else rows[live[rows]]
                parameter = tiles["column_parameter"][slice(*tiles["column_begin"][tile : tile + 2])]
                block = influence[at : at + rows.size * parameter.size].reshape(rows.size, parameter.size)
                at += block.size
                sample[np.ix_(rows, parameter[parameter >= 0])] = block[:, parameter >= 0]
        return dense


def egru_layout(
    features, units, *, reset, reset_after, use_bias, use_threshold=True, order=None, trained=None, masks=(None, None)
):
    """The `InfluenceLayout` of an EGRU; parameters are counted through kernel, recurrent kernel, bias, threshold.

    Args:
        features: Number of inputs.
        units: Number of units.
        reset: As of `EGRU`: `"subtract"` and `"zero"` let a unit's event enter its own state.
        reset_after: As of `EGRU`.
        use_bias: As of `EGRU`.
        use_threshold: Whether there are thresholds; a GRU has none. Default True.
        order: None (exact), 1 or 2 (SnAp).
        trained: None for all, or four booleans for the weights named above.
        masks: Of kernel and recurrent kernel: arrays that are zero where a weight is pruned, or None.
    """
    shape = (units, 3)
    masks = [
        np.ones((rows, 3 * units), bool) if mask is None else np.asarray(mask) != 0
        for rows, mask in zip((features, units), masks, strict=True)
    ]
    trained = (True,) * 4 if trained is None else trained
    unit_of = np.tile(np.arange(units), 3)
    gate_of = np.repeat(np.arange(3), units)
    # Kinds: u, r, z of inputs, z of events, threshold. Sources: inputs, events, gated events, one.
    events, one = features, features + (1 if reset_after else 2) * units
    input_kind, recurrent_kind = gate_of, np.where((gate_of == 2) & reset_after, 3, gate_of)
    recurrent_from = np.where((gate_of == 2) & (not reset_after), events + units, events)
    parts = [
        (masks[0] & trained[0], input_kind, np.repeat(np.arange(features), 3 * units)),
        (masks[1] & trained[1], recurrent_kind, (np.arange(units)[:, None] + recurrent_from).ravel()),
    ]
    if use_bias:
        kinds = np.concatenate([input_kind, recurrent_kind]) if reset_after else input_kind
        parts.append((np.full(kinds.size, trained[2]), kinds, np.full(kinds.size, one)))
    threshold_kind = 4 if reset_after else 3
    unit, kind, source, live = [], [], [], []
    for mask, kinds, sources in parts:
        repeats = mask.size // kinds.size
        unit.append(np.tile(unit_of, mask.size // unit_of.size))
        kind.append(np.tile(kinds, repeats))
        source.append(sources)
        live.append(mask.ravel())
    if use_threshold:
        unit.append(np.arange(units))
        kind.append(np.full(units, threshold_kind))
        source.append(np.full(units, one))
        live.append(np.full(units, trained[3]))
    unit, kind, source = (np.concatenate(part).astype("int32") for part in (unit, kind, source))

    to_u, to_r, to_z = (masks[1].reshape(units, *shape[::-1])[:, gate].T for gate in range(3))
    candidates = np.zeros((units, units), bool)
    neighbours = to_u | to_r | to_z
    if not reset_after:
        candidates = to_z
        neighbours = to_u | to_z | (to_z.astype("float32") @ to_r.astype("float32") > 0)
    if reset != "threshold":
        neighbours = neighbours | np.eye(units, dtype=bool)
    return InfluenceLayout(
        units=units, unit=unit, kind=kind, source=source, through=(kind == 1) & (not reset_after),
        trained=np.concatenate(live), neighbours=neighbours, candidates=candidates, leaks=True, order=order,
        kinds=threshold_kind + 1, sources=one + 1,
    )  # fmt: skip


def thresholded_layout(features, units, *, order=None, trained=None, masks=(None, None)):
    """The `InfluenceLayout` of a thresholded RNN; parameters are counted through kernel, recurrent kernel, threshold.

    Args:
        features: Number of inputs.
        units: Number of units.
        order: None (exact), 1 or 2 (SnAp).
        trained: None for all, or three booleans for the weights named above.
        masks: Of kernel and recurrent kernel: arrays that are zero where a weight is pruned, or None.
    """
    kernel, recurrent = (
        np.ones((rows, units), bool) if mask is None else np.asarray(mask) != 0
        for rows, mask in zip((features, units), masks, strict=True)
    )
    trained = (True,) * 3 if trained is None else trained
    sources = features + units
    live = [(kernel & trained[0]).ravel(), (recurrent & trained[1]).ravel(), np.full(units, trained[2])]
    source = np.concatenate([np.repeat(np.arange(sources), units), np.full(units, sources)]).astype("int32")
    return InfluenceLayout(
        units=units, unit=np.tile(np.arange(units, dtype="int32"), sources + 1),
        kind=(source == sources).astype("int32"), source=source, through=np.zeros(source.size, bool),
        trained=np.concatenate(live), neighbours=recurrent.T, candidates=np.zeros((units, units), bool), leaks=False,
        order=order, kinds=2, sources=sources + 1,
    )  # fmt: skip


def _joined(parts):
    return np.concatenate(parts) if parts else np.zeros(0, "int64")
