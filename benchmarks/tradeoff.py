"""What backward sparsity costs: groups of a setting that differ in nothing but what it is won with."""

import json
from typing import NamedTuple

from benchmarks.seeds import Setting, canonical

# The surrogate's support and the regularisers of the state.
MEANS = (
    "surrogate_width", "surrogate_height", "surrogate_slope", "state_regularizer", "state_regularizer_weight",
    "internal_state_weight", "target_rate", "last_target_rate",
)  # fmt: skip


class Tradeoff(NamedTuple):
    """The points of one curve, by backward sparsity; the test figure as `[mean, standard deviation]`."""

    model: str
    measure: str
    labels: list
    backward: list
    test: list


def tradeoffs(setting: Setting) -> list[Tradeoff]:
    """The curves of a setting: two groups at least that differ in some of `MEANS` alone."""
    families: dict = {}
    figure = f"test_{setting.measure}"
    for group in setting.groups:
        if group.mean("backward_sparsity") is not None and group.mean(figure) is not None:
            rest = {key: value for key, value in canonical(group.first).items() if key not in MEANS}
            key = (group.model, group.first["method"], json.dumps(rest, sort_keys=True))
            families.setdefault(key, []).append(group)
    found = []
    for (model, *_), groups in families.items():
        if len(groups) > 1:
            groups.sort(key=lambda group: group.mean("backward_sparsity"))
            backward = [group.mean("backward_sparsity") for group in groups]
            test = [group.summary(figure) for group in groups]
            found.append(Tradeoff(model, setting.measure, _labels(groups), backward, test))
    return found


def _labels(groups):
    """What of `MEANS` differs within the family, such as `width=0.4`."""
    configs = [group.first["config"] for group in groups]
    differing = [name for name in MEANS if len({json.dumps(config.get(name)) for config in configs}) > 1]
    return [
        ", ".join(f"{_short(name)}={config[name]}" for name in differing if config.get(name) is not None)
        for config in configs
    ]


def _short(name):
    return name.removeprefix("surrogate_").removeprefix("state_").replace("_", " ")
