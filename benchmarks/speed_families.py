"""What the command `speed` runs beside the EGRU's comparison with dense GRUs: spiking layers, online learning, devices.

Each is named cases or a study of growth, and has options of its own; the others are refused.
"""

import json

from rich.console import Console

from benchmarks import device_cases
from benchmarks.device_cases import DEVICE_CASES
from benchmarks.errors import ConfigError
from benchmarks.lif_cases import ACTIVITIES, LIF_CASES
from benchmarks.rtrl_cases import RTRL_CASES, chosen_cases

LIF_ALL, RTRL_ALL, DEVICE_ALL = "lif-all", "rtrl-all", "device-all"


def tell(text):
    """A line on standard error for a person who waits."""
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


def refuse(options, study):
    """Options by name, each None or False where it is not given.

    Raises:
        ConfigError: one of them is given, which does not go with `study`.
    """
    for option, value in options.items():
        if value is not None and value is not False:
            raise ConfigError(f"--{option} does not go with {study}.")


def members(names, cases, everything) -> list[str]:
    """Those of the names that are of a family of cases."""
    return [name for name in names if name in (*cases, everything)]


def spiking(names, activities, repeats, memory, threads, command, out, as_json):
    """The named cases of spiking layers, or without one the growth of Eventprop."""
    shares = activities or list(ACTIVITIES)
    if 0.0 in shares:
        raise ConfigError("--activity wants shares above 0: without spikes there is nothing to measure.")
    from benchmarks import lif_growth, lif_speed, lif_table

    if not names:
        record, show = lif_growth.compare(repeats, command, threads, out, tell), lif_table.show_growth
    else:
        cases = _cases(names, LIF_CASES, LIF_ALL)
        plan = lif_speed.Plan(tuple(LIF_CASES[name] for name in cases), tuple(shares), repeats, memory, threads)
        record, show = lif_speed.compare(plan, command, out, tell), lif_table.show
    return print(json.dumps(record, indent=2)) if as_json else show(record)


def online(names, units, parameters, backward, repeats, memory, threads, command, out, as_json):
    """The named cases of online learning, or without one the growth with the number of units."""
    cases = chosen_cases(_cases(names, RTRL_CASES, RTRL_ALL), units, parameters, backward)
    from benchmarks import rtrl_scaling, rtrl_speed, rtrl_table

    if not names:
        record, show = rtrl_scaling.compare(repeats, command, threads, out, tell), rtrl_table.show_scaling
    else:
        plan = rtrl_speed.Plan(cases, repeats, memory, threads)
        record, show = rtrl_speed.compare(plan, command, out, tell), rtrl_table.show
    return print(json.dumps(record, indent=2)) if as_json else show(record)


def streaming(units, repeats, threads, command, out, as_json):
    """Steps a second of learners of a stream."""
    from benchmarks import rtrl_stream

    record = rtrl_stream.compare(units or rtrl_stream.UNITS, repeats, command, threads, out, tell)
    if as_json:
        return print(json.dumps(record, indent=2))
    for result in record["cases"]:
        Console(highlight=False).print(rtrl_stream.describe(result), soft_wrap=True)


def on_device(names, activities, parameters, block, repeats, threads, command, out, as_json):
    """The named cases of streaming on a device."""
    cases = device_cases.chosen_cases(_cases(names, DEVICE_CASES, DEVICE_ALL), activities, parameters, block)
    from benchmarks import device_speed, device_table

    record = device_speed.compare(device_speed.Plan(cases, repeats, threads), command, out, tell)
    return print(json.dumps(record, indent=2)) if as_json else device_table.show(record)


def _cases(names, cases, everything):
    return list(cases) if everything in names else names
