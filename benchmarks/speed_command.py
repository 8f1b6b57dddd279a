"""The command `speed`: which options go together, and what they measure."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.device_cases import DEVICE_CASES
from benchmarks.errors import ConfigError
from benchmarks.lif_cases import LIF_CASES
from benchmarks.rtrl_cases import RTRL_CASES
from benchmarks.speed_cases import CASES, custom_case, points_of
from benchmarks.speed_families import (
    DEVICE_ALL,
    LIF_ALL,
    RTRL_ALL,
    members,
    on_device,
    online,
    refuse,
    spiking,
    streaming,
    tell,
)
from benchmarks.terminal import AsJson, command, stops_clearly

Mode = StrEnum("Mode", ("inference", "training", "both"))
SpeedCase = StrEnum(
    "SpeedCase",
    (*CASES, "all", *LIF_CASES, LIF_ALL, *RTRL_CASES, RTRL_ALL, *DEVICE_CASES, DEVICE_ALL),
)


def speed(
    case: Annotated[
        list[SpeedCase],
        typer.Option(
            help="A named case, repeatable; `list --speed` tells what they are. Those with lif- are of spiking layers, "
            "those with rtrl- of online learning, those with device- of streaming with LiteRT. Without one, the case "
            "that the sizes make."
        ),
    ] = [],  # noqa: B006
    units: Annotated[int | None, typer.Option(min=1, help="Default 1024; of online learning 128.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Default 64.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Default 50.")] = None,
    features: Annotated[int | None, typer.Option(min=1, help="Default 64.")] = None,
    activity_sparsity: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Shares in [0, 1), separated by spaces or commas. Default: the case's."),
    ] = None,
    backward_sparsity: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Through the surrogate's width. Default: what the case pairs it with; of online learning 0.5.",
        ),
    ] = None,
    parameter_sparsity: Annotated[
        str | None,
        typer.Option(
            metavar="SHARES",
            help="Shares of the recurrent kernel to prune, beside itself with none pruned; of online learning those of "
            "both kernels, default 0.8.",
        ),
    ] = None,
    block: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of the blocks that are pruned together. Default 1x16.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 7,
    mode: Annotated[Mode, typer.Option(help="Forward, or forward and backward.")] = "both",
    reference: Annotated[bool, typer.Option("--reference", help="Time the reference cell too (slow).")] = False,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="Measure memory too (some minutes); of EGRU, at one sparsity a case."),
    ] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Ours alone, over events, units, steps, batch and threads.")
    ] = False,
    activity: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Of spiking layers: shares of spikes. Default 0.01."),
    ] = None,
    lif_growth: Annotated[
        bool, typer.Option("--lif-growth", help="Of Eventprop: memory over spikes, and time over steps.")
    ] = False,
    rtrl_scaling: Annotated[
        bool, typer.Option("--rtrl-scaling", help="Of online learning: time and memory over units.")
    ] = False,
    rtrl_stream: Annotated[
        bool, typer.Option("--rtrl-stream", help="Of online learning: steps a second of a learner of 64 --units.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of every library. Default: their own.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the JSON record; continued where it was begun.")] = None,
    as_json: AsJson = False,
):
    """Times EGRU at imposed sparsities beside dense GRUs of the same size, in one process, interleaved; or spiking
    layers beside dense autodiff of the same network; or online learning beside dense online learning; or steps of a
    stream as TF-Lite files, with the sparse op and without."""
    with stops_clearly():
        names = list(dict.fromkeys(map(str, case)))
        others = {
            "batch": batch, "steps": steps, "features": features, "activity-sparsity": activity_sparsity,
            "block": block, "mode": mode != "both", "reference": reference, "scaling": scaling,
        }  # fmt: skip
        sparsities = {
            "units": units, "backward-sparsity": backward_sparsity, "parameter-sparsity": parameter_sparsity,
        }  # fmt: skip
        if rtrl_stream:
            imposed = {name: value for name, value in sparsities.items() if name != "units"}
            studies = {"case": bool(names), "lif-growth": lif_growth, "rtrl-scaling": rtrl_scaling}
            refuse({**studies, **imposed, **others, "activity": activity, "memory": memory}, "--rtrl-stream")
            return streaming(units, repeats, threads, command(), out, as_json)
        lif = members(names, LIF_CASES, LIF_ALL)
        if lif or lif_growth:
            strangers = {"case": len(lif) < len(names) or (lif_growth and len(names) > 0), **sparsities, **others}
            growth = {"activity": activity, "memory": memory} if lif_growth else {}
            study = "--lif-growth" if lif_growth else lif[0]
            refuse({**strangers, **growth, "rtrl-scaling": rtrl_scaling}, study)
            activities = _shares("--activity", activity)
            return spiking(lif, activities, repeats, memory, threads, command(), out, as_json)
        if activity is not None:
            raise ConfigError("--activity is of spiking layers; name one of their cases, as lif-fashion.")
        rtrl = members(names, RTRL_CASES, RTRL_ALL)
        if rtrl or rtrl_scaling:
            strangers = {"case": len(rtrl) < len(names) or (rtrl_scaling and len(names) > 0), **others}
            growth = {**sparsities, "memory": memory} if rtrl_scaling else {}
            refuse({**strangers, **growth}, "--rtrl-scaling" if rtrl_scaling else rtrl[0])
            parameters = _shares("--parameter-sparsity", parameter_sparsity)
            return online(rtrl, units, parameters, backward_sparsity, repeats, memory, threads, command(), out, as_json)
        activities = _shares("--activity-sparsity", activity_sparsity)
        parameters = _shares("--parameter-sparsity", parameter_sparsity)
        if block is not None and parameters is None:
            raise ConfigError("--block needs --parameter-sparsity.")
        blocks = _block(block or "1x16")
        device = members(names, DEVICE_CASES, DEVICE_ALL)
        if device:
            taken = {"activity-sparsity": None, "block": None}
            strangers = {"case": len(device) < len(names), **sparsities, "parameter-sparsity": None, **others, **taken}
            refuse({**strangers, "memory": memory}, device[0])
            return on_device(device, activities, parameters, blocks, repeats, threads, command(), out, as_json)
        sizes = {"units": units, "batch": batch, "steps": steps, "features": features}
        points = {
            "activities": activities, "backward": backward_sparsity, "parameters": parameters or (0.0,),
            "block": blocks,
        }  # fmt: skip
        cases = tuple(chosen._replace(points=points_of(chosen, **points)) for chosen in _chosen_cases(names, sizes))
        from benchmarks import scaling as growth
        from benchmarks import speed as comparison
        from benchmarks import speed_table

        if scaling:
            record = growth.compare(repeats, command(), threads, out, tell)
            return print(json.dumps(record, indent=2)) if as_json else speed_table.show_scaling(record)
        plan = comparison.Plan(
            cases, comparison.MODES if mode == "both" else (str(mode),), repeats, reference, memory, threads
        )
        record = comparison.compare(plan, command(), out, tell)
        return print(json.dumps(record, indent=2)) if as_json else speed_table.show(record)


def _chosen_cases(names, sizes):
    given = {name: size for name, size in sizes.items() if size is not None}
    if not names:
        return [custom_case(**given)]
    if given:
        raise ConfigError(f"--{next(iter(given))} makes a case of its own and cannot change a named one.")
    return list(CASES.values()) if "all" in names else [CASES[name] for name in dict.fromkeys(names)]


def _block(text):
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ConfigError(f"--block wants two whole numbers, as 1x16, received {text!r}.")
    return int(height), int(width)


def _shares(option, text):
    if text is None:
        return None
    try:
        shares = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ConfigError(f"{option} wants numbers in [0, 1), received {text!r}.") from None
    if not shares or not all(0.0 <= share < 1.0 for share in shares):
        raise ConfigError(f"{option} wants numbers in [0, 1), received {text!r}.")
    return list(dict.fromkeys(shares))
