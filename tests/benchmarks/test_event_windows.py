import numpy as np
import pytest

from benchmarks.batches import Batches
from benchmarks.errors import DataMissing
from benchmarks.tasks.camera_files import EVENT
from benchmarks.tasks.dataset import Split
from benchmarks.tasks.event_augmentation import augmented, moved
from benchmarks.tasks.event_windows import EventWindows, counted, windows_of

TIMES = {"steps": 4, "dt_us": 1_000, "hop_us": 4_000, "denoise_us": 0, "name": "it"}


def test_counts_of_a_window_are_where_and_when_the_events_were():
    events = _events((2, 3, 1, 0), (2, 3, 1, 900), (2, 3, 0, 950), (0, 0, 1, 3_999), (1, 1, 1, 4_000))
    first, second = windows_of(events, begin=0, end=8_000, **TIMES)
    assert _listed(first) == {(0, 2, 3, 0): 1, (0, 2, 3, 1): 2, (3, 0, 0, 1): 1}
    assert _listed(second) == {(0, 1, 1, 1): 1}


def test_windows_stay_in_their_part_and_begin_where_it_does():
    events = _events(*((0, 0, 1, t) for t in range(0, 20_000, 500)))
    windows = windows_of(events, begin=5_000, end=14_900, **{**TIMES, "hop_us": 1_500})
    assert len(windows) == 4  # from 5, 6.5, 8 and 9.5 ms, the last until 13.5
    assert all(window.step.tolist() == [0, 1, 2, 3] and window.count.tolist() == [2] * 4 for window in windows)


def test_a_window_without_events_is_one_of_silent_frames():
    for events in (_events((1, 1, 1, 9_000)), _events()):
        windows = windows_of(events, begin=0, end=12_000, **TIMES)
        assert len(windows) == 3
        assert not len(windows[0].step)
        frames = np.asarray(EventWindows(windows, (2, 2), 4, 2, 1.0))
        assert frames.sum() == len(events)
        assert np.isfinite(frames).all()


def test_a_part_that_is_shorter_than_a_window_is_refused():
    with pytest.raises(DataMissing, match=r"it must have at least the 4 ms of a window \(trial_ms\) .* 3.999 ms there"):
        windows_of(_events((0, 0, 1, 0)), begin=0, end=3_999, **TIMES)


def test_lone_events_are_noise_and_what_is_outside_of_the_part_does_not_vouch_for_them():
    # tonic's filter lets pass what comes within the first 10 ms of all.
    events = _events((5, 5, 1, 50_000), (5, 6, 1, 51_000), (9, 9, 1, 53_000), (5, 6, 1, 81_000), (5, 5, 1, 82_000))
    times = TIMES | {"steps": 10, "dt_us": 10_000, "hop_us": 100_000, "denoise_us": 10_000}
    (window,) = windows_of(events, begin=0, end=100_000, **times)
    assert _listed(window) == {(5, 5, 6, 1): 1, (8, 5, 5, 1): 1}
    times |= {"steps": 1, "dt_us": 18_500, "hop_us": 18_500}
    (window,) = windows_of(events, begin=81_500, end=100_000, **times)
    assert not _listed(window)


def test_blocks_of_pixels_keep_their_largest_count():
    window = counted(
        *np.array([(1, x, y, p) for x, y, p, n in ((0, 0, 1, 3), (1, 1, 1, 2), (3, 2, 0, 9)) for _ in range(n)]).T
    )
    frames = np.asarray(EventWindows([window], (4, 4), 2, 2, 4.0))
    assert frames.shape == (1, 2, 8)
    expected = np.zeros((2, 2, 2, 2), "float32")  # step, row, column, polarity
    expected[1, 0, 0, 1] = 0.75
    expected[1, 1, 1, 0] = 1.0
    np.testing.assert_array_equal(frames.reshape(expected.shape), expected)
    spikes = np.asarray(EventWindows([window], (4, 4), 2, 2, None))
    np.testing.assert_array_equal(spikes.reshape(expected.shape), expected > 0)


def test_a_wide_sensor_becomes_a_square_of_blocks():
    window = counted([0, 0, 0], [0, 319, 640 - 1], [0, 100, 479], [0, 0, 0])
    frames = np.asarray(EventWindows([window], (640, 480), 1, 4, None)).reshape(4, 4, 2)
    assert np.argwhere(frames).tolist() == [[0, 0, 0], [0, 1, 0], [3, 3, 0]]


def test_examples_are_picked_as_from_an_array():
    windows = EventWindows([counted([0], [i], [0], [1]) for i in range(4)], (4, 1), 1, 4, None)
    dense = np.asarray(windows)
    assert (windows.shape, len(windows), windows.ndim) == ((4, 1, 32), 4, 3)
    np.testing.assert_array_equal(np.asarray(windows[1:3]), dense[1:3])
    np.testing.assert_array_equal(np.asarray(windows[np.array([3, 0])]), dense[[3, 0]])
    assert dense.dtype == "float32"


def test_augmentation_turns_shifts_and_enlarges_a_window_as_a_whole():
    x, y = (np.repeat(side, 50) for side in (np.array([40, 88, 64]), np.array([64, 64, 64])))
    angles, scales, centres, spread = [], [], [], []
    for seed in range(200):
        to_x, to_y = moved(x, y, (128, 128), np.random.default_rng(seed))
        left, right, middle = (np.array([to_x[i : i + 50].mean(), to_y[i : i + 50].mean()]) for i in (0, 50, 100))
        np.testing.assert_allclose(middle, (left + right) / 2, atol=0.6)  # dither of a mean of 50
        span = right - left
        spread.append(len(set(to_x[:50].tolist())))  # of one pixel's events, as pixels grow and turn
        angles.append(np.degrees(np.arctan2(span[1], span[0])))
        scales.append(np.hypot(*span) / 48)
        centres.append(middle - 64)
    assert np.mean(spread) > 1.5
    assert 12 < np.max(angles) < 16
    assert -16 < np.min(angles) < -12
    assert 0.97 < np.min(scales) < 1.05
    assert 1.2 < np.max(scales) < 1.28
    assert np.abs(np.mean(centres, axis=0)).max() < 3
    assert 8 < np.abs(centres).max() < 128 * (0.1 + 0.125) + 1


def test_what_is_moved_off_the_sensor_is_lost_and_what_meets_adds_up():
    windows = EventWindows([counted([0, 0, 0, 1], [0, 0, 1, 2], [0] * 4, [1] * 4)], (4, 1), 2, 4, 8.0)
    frames = windows.moved(lambda number, x, y: (np.where(x == 2, 4, 3), y)).reshape(2, 4, 4, 2)
    assert np.argwhere(frames).tolist() == [[0, 0, 3, 1]]
    assert frames[0, 0, 3, 1] == 3 / 8


def test_a_resumed_run_sees_the_same_augmented_batches_and_no_pass_sees_the_same_twice():
    window = counted(*np.random.default_rng(0).integers(0, (3, 128, 128, 2), (300, 4)).T)
    split = Split(EventWindows([window] * 6, (128, 128), 3, 16, None), np.arange(6))

    def epoch(number, seed=0):
        batches = Batches(split, 4, None, seed, augmented)
        batches.epoch = number
        images = {}
        for i in range(len(batches)):
            x, y = batches[i]
            images |= dict(zip(y.tolist(), x, strict=True))
        return np.stack([images[i] for i in range(6)])

    np.testing.assert_array_equal(epoch(1), epoch(1))
    for other in (epoch(0), epoch(1, seed=1)):
        assert (epoch(1) != other).any(axis=(1, 2)).all()
    assert len({image.tobytes() for image in epoch(1)}) == 6  # each example has draws of its own
    plain = Batches(split, 4, None, 0)
    np.testing.assert_array_equal(plain[0][0][0], np.asarray(split.x[:1])[0])


def _events(*rows):
    return np.array(list(rows), EVENT)


def _listed(window):
    return {(s, x, y, p): n for s, x, y, p, n in zip(*(array.tolist() for array in window), strict=True)}
