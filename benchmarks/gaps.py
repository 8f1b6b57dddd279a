"""How far EGRUs are from dense models of the same size, pruned alike, on the same data: differences of test figures."""

from statistics import fmean

from benchmarks.figures import units
from benchmarks.seeds import pruning

DENSE = ("gru", "lstm")


def gaps(setting) -> list[dict]:
    """A gap for each EGRU group and each dense group that can be compared, over the seeds that both have."""
    figure = f"test_{setting.measure}"
    found = []
    for ours in setting.groups:
        for peer in setting.groups:
            if ours.model != "egru" or peer.model not in DENSE or _size(ours) != _size(peer):
                continue
            seeds = sorted(set(ours.seeds) & set(peer.seeds))
            theirs, own = ([r for r in group.records if r["seed"] in seeds] for group in (peer, ours))
            if seeds and all(record[figure] is not None for record in own + theirs):
                difference = fmean(r[figure] for r in own) - fmean(r[figure] for r in theirs)
                found.append(_gap(setting, ours, peer, seeds, figure, difference))
    return found


def describe(gap) -> str:
    if gap["figure"] == "test_accuracy":
        difference = f"{100 * gap['difference']:+.2f} points of test accuracy"
    else:
        difference = f"{gap['difference']:+.2f} of test perplexity"
    seeds = f"seed {gap['seeds'][0]}" if len(gap["seeds"]) == 1 else f"means over {len(gap['seeds'])} seeds"
    return f"{gap['task']} ({gap['preset']}, {seeds}): {gap['label']} less {gap['peer_label']}: {difference}"


def _size(group):
    config = group.first["config"]
    return units(config.get("units")), pruning(config)


def _gap(setting, ours, peer, seeds, figure, difference):
    return {
        "task": setting.task,
        "preset": setting.preset,
        "label": ours.label,
        "peer": peer.model,
        "peer_label": peer.label,
        "seeds": seeds,
        "figure": figure,
        "difference": difference,
    }
