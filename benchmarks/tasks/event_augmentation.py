"""Random crop, translation and rotation of a camera's events, the "data augmentation" of the EGRU paper (section 5.1).

The paper names the three, after Innocenti et al. 2021, and prints no sizes: those below are ours. Events are moved and
not frames, so that a window is moved as a whole and nothing is interpolated. An event may have come from anywhere in
its pixel, which fills the gaps between pixels that move apart.
"""

import numpy as np

SMALLEST_CROP = 0.8  # share of the sensor's sides that is looked at, and then fills it
LARGEST_ANGLE = np.deg2rad(15.0)
LARGEST_SHIFT = 0.1  # of the sensor's sides


def augmented(windows, generators):
    """Dense frames of `EventWindows`, each window moved by draws from its own generator."""

    def move(number, x, y):
        return moved(x, y, windows.sensor, generators[number])

    return windows.moved(move)


def moved(x, y, sensor, rng):
    """Where events at pixels `x`, `y` go, integers, some of them off the sensor of `(width, height)` pixels."""
    sensor = np.asarray(sensor, "float64")[:, None]
    crop = rng.uniform(SMALLEST_CROP, 1.0)
    corner = rng.uniform(0.0, 1.0, (2, 1)) * (1.0 - crop) * sensor
    angle = rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE)
    shift = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, (2, 1)) * sensor
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = np.stack([x, y]) + rng.random((2, len(x)))
    places = (places - corner) / crop
    places = rotation @ (places - sensor / 2) + sensor / 2 + shift
    return np.floor(places).astype("int64")
