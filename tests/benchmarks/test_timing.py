import time

import pytest

from benchmarks import timing


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes only when a call says so: `clock(seconds)`."""
    now = [100.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing, "come_to_rest", lambda: None)

    def advance(seconds):
        now[0] += seconds

    return advance


def test_every_round_begins_with_another_call_and_makes_one_untimed(clock, monkeypatch):
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b"), "c": None}
    medians = timing.interleaved_medians(calls, rounds=3)
    measured = "".join(order)[2 * (timing.WARM_UPS + 1) :]
    assert measured == "aabb" + "bbaa" + "aabb"
    assert medians["c"] is None


def test_the_figure_is_the_median_of_the_timed_calls_in_milliseconds(clock, monkeypatch):
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    # Two to warm up, one to count the loops; then a round is an untimed call and a timed one.
    seconds = iter([9.0, 9.0, 9.0, 9.0, 0.5, 9.0, 0.1, 9.0, 0.3])
    medians = timing.interleaved_medians({"a": lambda: clock(next(seconds))}, rounds=3)
    assert medians["a"] == pytest.approx(300.0)


def test_short_calls_are_repeated_and_their_mean_is_taken(clock):
    calls = []

    def call():
        calls.append(len(calls))
        clock(0.01 if len(calls) % 2 else 0.03)

    # The call that counts the loops takes 0.01, so ten calls make up 0.1 s.
    assert timing.interleaved_medians({"a": call}, rounds=1)["a"] == pytest.approx(20.0)
    assert len(calls) == timing.WARM_UPS + 1 + 1 + 10


def test_rest_is_waited_for_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(timing, "PATIENCE", 0.2)
    busy = [0.0]

    def process_time():
        busy[0] += 1.0
        return busy[0]

    monkeypatch.setattr(timing.time, "process_time", process_time)
    start = time.perf_counter()
    timing.come_to_rest()
    assert 0.2 <= time.perf_counter() - start < 2.0
    monkeypatch.setattr(timing.time, "process_time", lambda: 5.0)
    readings = busy[0]
    timing.come_to_rest()
    assert busy[0] == readings


def test_what_comes_before_a_call_is_not_timed(clock):
    given = []

    def before():
        clock(7.0)
        return "kept"

    def timed(result):
        given.append(result)
        clock(0.04)

    medians = timing.interleaved_medians({"a": timing.After(before, timed)}, rounds=1)
    assert medians["a"] == pytest.approx(40.0)
    # Each call has a preparation of its own: two to warm up, one to count the loops, one untimed, and 0.1 / 0.04 timed.
    assert given == ["kept"] * (timing.WARM_UPS + 2 + 2)
