"""What the speed of the layer is meant to be, and what a record says of it."""

from typing import NamedTuple


class Target(NamedTuple):
    """How many times faster than the fastest dense peer a case is meant to be."""

    inference: float
    training: float


# By case and the activity sparsity that is asked for.
TARGETS = {
    ("stream", 0.8): Target(5, 4),
    ("stream", 0.95): Target(10, 6),
    ("batch64", 0.8): Target(3, 3),
    ("batch64", 0.9): Target(5, 4),
    ("ptb", 0.8): Target(3, 3),
    ("smnist128", 0.72): Target(2, 2),
}
# Of pruned recurrent kernels, by case, mode, parameter sparsity and block, at 80 % silence: how many times faster than
# the same layer unpruned, and than the fastest dense peer.
PRUNED_AT = 0.8
PRUNED_TARGETS = {
    ("stream", "inference", 0.8, (1, 16)): (3.0, 12.0),
    ("batch64", "training", 0.8, (1, 16)): (1.8, None),
    ("stream", "inference", 0.9, (1, 1)): (1.5, None),
}
NOT_SLOWER = (0.9, (1, 1))  # at this parameter sparsity pruning slows down nothing, at whatever silence
NOTHING_SILENT = {"ours_dense": 1.05, "keras_gru": 1.0}  # the time at an activity sparsity of 0, of theirs, at most
READING = ("stream", "inference", 0.8, 1.5)  # the time, of that to read the active rows of weights, at most
MEMORY = ("batch64", "training", "keras_gru", 0.6)  # the peak, of theirs, at most
# Of spiking layers with surrogate gradients, where at most this share of entries spikes: how many times faster than the
# fastest dense autodiff, and its memory at most, of the smallest. There is none for the step, which is both.
SPIKING_AT = 0.02
SPIKING_TARGETS = {"forward": 5, "backward": 20}
SPIKING_MEMORY = {"kept_mib": ("kept between the passes", 0.3), "peak_memory_mib": ("peak memory of a step", 0.3)}

# Of online learning at this size, parameter and backward sparsity: how many times faster than the faster dense RTRL by
# case, and the memory of the influence at most, of the smaller dense one's.
ONLINE_AT = {"units": 128, "parameter": 0.8, "backward": 0.5}
ONLINE_TARGETS = {"rtrl-thresholded": 15, "rtrl-egru": 8}
ONLINE_MEMORY = 0.25
STREAMING = (64, 100)  # units of an EGRU, and steps a second that it learns from on one thread, at least
# Of streaming on a device, nothing pruned, by case and activity sparsity: how many times faster the sparse op is than
# the same layer in builtin ops.
DEVICE_TARGETS = {("device-egru512", 0.8): 3}


class Verdict(NamedTuple):
    """One target beside what was measured, in words."""

    what: str
    wanted: str
    measured: str
    met: bool


def wanted_gain(result) -> float | None:
    """The target for the gain of a result over the fastest dense peer; None where there is none."""
    target = TARGETS.get((result["case"], result["asked"]["activity"]))
    return None if target is None else getattr(target, result["mode"])


def verdicts(results) -> list[Verdict]:
    """The verdicts that the results of a speed record allow, in the order of the results."""
    return [verdict for result in results for verdict in (*_gains(result), *_dense(result), *_others(result))]


def pruned_verdicts(results) -> list[Verdict]:
    """The verdicts that the results of a record with pruned weights allow, in the order of the results."""
    return [verdict for result in results for verdict in _pruned(result)]


def spiking_verdicts(results) -> list[Verdict]:
    """The verdicts that the results of a record of spiking layers allow, in the order of the results."""
    return [verdict for result in results for verdict in _spiking(result)]


def online_verdicts(results) -> list[Verdict]:
    """The verdicts that the results of a record of online learning allow, in the order of the results."""
    return [verdict for result in results for verdict in _online(result)]


def stream_verdicts(records) -> list[Verdict]:
    """The verdicts that records of learning from a stream on one thread allow."""
    units, wanted = STREAMING
    return [
        Verdict(f"rtrl-stream, {units} units, one thread: steps a second", f"{wanted}", f"{rate:.0f}", rate >= wanted)
        for record in records
        for result in record["cases"]
        for rate in [result["steps_per_second"]["rtrl"]]
        if record["threads"] == 1 and result["units"] == units
    ]


def wanted_device_gain(result) -> float | None:
    """The target for the gain of the sparse op over builtin ops; None where there is none."""
    asked = result["asked"]
    return None if asked["parameter"] else DEVICE_TARGETS.get((result["case"], asked["activity"]))


def device_verdicts(results) -> list[Verdict]:
    """The verdicts that the results of a record of streaming on a device allow, in the order of the results."""
    return [verdict for result in results for verdict in _device(result)]


def _device(result):
    from benchmarks.device_speed import gain

    wanted = wanted_device_gain(result)
    if wanted is not None:
        name = f"{result['case']}, {100 * result['asked']['activity']:g} % silent: gain over builtins"
        yield Verdict(name, f"{wanted:g}x", f"{gain(result):.1f}x", gain(result) >= wanted)


def _online(result):
    from benchmarks.rtrl_speed import gain, share_of_memory

    if result["case"] not in ONLINE_TARGETS or result["asked"] != ONLINE_AT:
        return
    wanted, faster, share = ONLINE_TARGETS[result["case"]], gain(result), share_of_memory(result)
    name = f"{result['case']}, 128 units, 80 % pruned, 50 % backward"
    yield Verdict(f"{name}: gain", f"{wanted:g}x", f"{faster:.1f}x", faster >= wanted)
    memory = f"at most {ONLINE_MEMORY:.0%}"
    yield Verdict(f"{name}: influence kept, of dense", memory, f"{share:.1%}", share <= ONLINE_MEMORY)


def _spiking(result):
    from benchmarks.lif_speed import gain, share_of_memory

    if result["gradient"] != "surrogate" or result["asked"]["activity"] > SPIKING_AT:
        return
    name = f"{result['case']}, {100 * result['asked']['activity']:g} % spikes"
    for pass_, wanted in SPIKING_TARGETS.items():
        faster = gain(result, pass_)
        if faster is not None:
            yield Verdict(f"{name}, {pass_}: gain", f"{wanted:g}x", f"{faster:.1f}x", faster >= wanted)
    for field, (what, most) in SPIKING_MEMORY.items():
        share = share_of_memory(result, field)
        if share is not None:
            yield Verdict(f"{name}: {what}, of dense", f"at most {most:.0%}", f"{share:.0%}", share <= most)


def _pruned(result):
    asked = result["asked"]
    parameter, block = asked["parameter"], tuple(asked["block"])
    times = result["milliseconds"]
    if times.get("ours_unpruned") is None:
        return
    gain = times["ours_unpruned"] / times["ours"]
    name = f"{_name(result)}, {100 * parameter:g} % pruned in {block[0]}x{block[1]}"
    over_unpruned, over_peers = None, None
    if asked["activity"] == PRUNED_AT:
        target = PRUNED_TARGETS.get((result["case"], result["mode"], parameter, block))
        over_unpruned, over_peers = target or (None, None)
    if over_unpruned is None and (parameter, block) == NOT_SLOWER:
        over_unpruned = 1.0
    if over_unpruned is not None:
        yield Verdict(f"{name}: over unpruned", f"{over_unpruned:g}x", f"{gain:.2f}x", gain >= over_unpruned)
    if over_peers is not None and result["ratio_to_fastest_peer"] is not None:
        faster = 1.0 / result["ratio_to_fastest_peer"]
        yield Verdict(f"{name}: over the fastest peer", f"{over_peers:g}x", f"{faster:.1f}x", faster >= over_peers)


def _gains(result):
    wanted = wanted_gain(result)
    if wanted is not None and result["ratio_to_fastest_peer"] is not None:
        measured = 1.0 / result["ratio_to_fastest_peer"]
        yield Verdict(f"{_name(result)}: gain", f"{wanted:g}x", f"{measured:.1f}x", measured >= wanted)


def _dense(result):
    if result["asked"]["activity"] != 0.0:
        return
    times = result["milliseconds"]
    for name, most in NOTHING_SILENT.items():
        if times[name] is not None:
            share = times["ours"] / times[name]
            other = {"ours_dense": "the dense EGRU's", "keras_gru": "Keras GRU's"}[name]
            yield Verdict(f"{_name(result)}: time, of {other}", f"at most {most:.0%}", f"{share:.0%}", share <= most)


def _others(result):
    case, mode, activity, most = READING
    if (result["case"], result["mode"], result["asked"]["activity"]) == (case, mode, activity):
        multiple = 1.0 / result["limit"]["share"]
        what = f"{_name(result)}: time, of that to read the active rows"
        yield Verdict(what, f"at most {most:.0%}", f"{multiple:.0%}", multiple <= most)
    case, mode, peer, most = MEMORY
    memory = result["peak_memory_mib"]
    if (result["case"], result["mode"]) == (case, mode) and None not in (memory["ours"], memory[peer]):
        share = memory["ours"] / memory[peer]
        yield Verdict(
            f"{_name(result)}: peak memory, of Keras GRU's", f"at most {most:.0%}", f"{share:.0%}", share <= most
        )


def _name(result):
    return f"{result['case']}, {result['mode']}, {100 * result['asked']['activity']:g} % silent"
