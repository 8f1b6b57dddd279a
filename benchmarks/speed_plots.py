"""PNG plots of speed, scaling and growth records."""

import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import lif_growth, rtrl_scaling, rtrl_table, scaling
from benchmarks.peers import PEERS

# Of the contenders: name in the legend and colour.
LINES = {
    "ours": ("EGRU", "C0"),
    "ours_int8": ("EGRU, 8-bit weights", "C1"),
    "ours_dense": ("EGRU, dense", "C2"),
    "keras_gru": ("Keras GRU", "C3"),
    "torch_gru": ("torch GRU", "C4"),
    "onnxruntime_gru": ("ONNX Runtime GRU", "C5"),
}


def time_against_sparsity(results) -> bytes:
    """Milliseconds against activity sparsity, of one case and mode; a peer, which has none, is a level line."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    silent = [100 * result["activity_sparsity"] for result in results]
    for name, (label, color) in LINES.items():
        times = [result["milliseconds"].get(name) for result in results]
        if None in times:
            continue
        if name in PEERS:
            axes.axhline(np.median(times), color=color, linestyle="--", label=label)
        else:
            axes.plot(silent, times, "o-", color=color, label=label)
    axes.set(xlabel="silent entries [%]", ylabel="milliseconds", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_title(f"{results[0]['case']}, {results[0]['mode']}", fontsize="medium")
    return _png(figure, axes)


def time_against_events(results) -> bytes:
    """Milliseconds against events with the line through them, one for each mode and number of threads."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    groups = [group for (series, _, _), group in scaling.grouped(results).items() if series == "events"]
    for number, group in enumerate(groups):
        fit, events = scaling.line(group), np.array([result["events"] for result in group])
        label = f"{group[0]['mode']}, {group[0]['threads']} threads"
        axes.plot(events / 1e3, [result["milliseconds"] for result in group], "o", color=f"C{number}", label=label)
        axes.plot(events / 1e3, fit.intercept + fit.slope * events, "-", color=f"C{number}", alpha=0.5)
    axes.set(xlabel="events, thousands", ylabel="milliseconds", xlim=(0, None), ylim=(0, None))
    return _png(figure, axes)


def growth_of_eventprop(results) -> bytes:
    """Kept MiB against spikes, and milliseconds against steps a millisecond, each with the line or power law."""
    figure, (memory, time) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    groups, fits = lif_growth.grouped(results), {(fit.series, fit.what): fit for fit in lif_growth.fits(results)}
    for number, series in enumerate(series for series in ("spikes", "inputs") if series in groups):
        group = groups[series]
        events = np.array([lif_growth.ABSCISSAE[series](result) for result in group])
        of = {"spikes": "spikes of the layer", "inputs": "spikes of its inputs"}[series]
        kept = np.array([lif_growth.total_kept(result) for result in group])
        memory.plot(events / 1e3, kept / 2**20, "o", color=f"C{number}", label=of)
        if (series, "bytes kept") in fits:
            line = fits[series, "bytes kept"].line
            memory.plot(
                events / 1e3, (line.intercept + line.slope * events) / 2**20, "-", color=f"C{number}", alpha=0.5
            )
    memory.set(xlabel="spikes, thousands", ylabel="MiB kept", xlim=(0, None), ylim=(0, None))
    group = groups.get("dt", [])
    rates = [1.0 / result["dt"] for result in group]
    names = [(pass_, name) for pass_ in lif_growth.TIMED for name in (group[0]["milliseconds"][pass_] if group else ())]
    for number, (pass_, name) in enumerate(names):
        times = [result["milliseconds"][pass_][name] for result in group]
        if None not in times:
            fit = fits.get(("dt", f"{pass_}, {name}"))
            label = f"{pass_}, {name}" + ("" if fit is None else f": exponent {fit.exponent:.2f}")
            time.plot(rates, times, "o-", color=f"C{number}", label=label)
    time.set(xlabel="1 / dt [1/ms]", ylabel="milliseconds", xscale="log", yscale="log")
    time.set_xticks(rates, [f"{rate:g}" for rate in rates])
    time.minorticks_off()
    time.yaxis.set_major_formatter("{x:g}")
    return _png(figure, memory, time)


def growth_of_rtrl(results) -> bytes:
    """Milliseconds a step and MiB of influence against units, both logarithmic, a row of panels for each case."""
    groups = rtrl_scaling.grouped(results)
    exponents = {(fit.case, fit.name, fit.what): fit.exponent for fit in rtrl_scaling.fits(results)}
    figure, panels = plt.subplots(len(groups), 2, figsize=(13, 4.5 * len(groups)), layout="constrained", squeeze=False)
    for (time, memory), (case, group) in zip(panels, groups.items(), strict=True):
        units = [result["units"] for result in group]
        for axes, what, label, unit in (
            (time, "ms a step", "milliseconds a step", 1.0),
            (memory, "bytes of influence", "MiB of influence", 2**20),
        ):
            for number, (name, shown) in enumerate(rtrl_table.NAMES.items()):
                figures = [rtrl_scaling.FIGURES[what](result)[name] for result in group]
                if None not in figures:
                    exponent = exponents.get((case, name, what))
                    shown += "" if exponent is None else f": exponent {exponent:.2f}"
                    axes.plot(units, np.array(figures) / unit, "o-", color=f"C{number}", label=shown)
            axes.set(xlabel="units", ylabel=label, xscale="log", yscale="log")
            axes.set_title(case, fontsize="medium")
            axes.set_xticks(units, [str(n) for n in units])
            axes.minorticks_off()
            axes.yaxis.set_major_formatter("{x:g}")
    return _png(figure, *panels.flat)


def _png(figure, *panels):
    for axes in panels:
        axes.grid(alpha=0.3, which="both")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    return buffer.getvalue()
