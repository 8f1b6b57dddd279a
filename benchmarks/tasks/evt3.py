"""EVT 3.0, the format of Prophesee's cameras in words of 16 bits: four bits say what a word is, twelve are its value.

`expelliarmus` 1.1.12 decodes the places and not the times: it adds 4,096 us whenever the lower bits of the time start
anew, although the upper bits have counted that, and makes 54 ms of the 8.8 ms of a sample.
"""

import numpy as np

ROW, PIXEL, FIRST_PIXEL, PIXELS_12, PIXELS_8, TIME_LOW, TIME_HIGH = 0, 2, 3, 4, 5, 6, 8
KINDS = (ROW, PIXEL, FIRST_PIXEL, PIXELS_12, PIXELS_8, TIME_LOW, 7, TIME_HIGH, 10, 14, 15)  # the others are no pixels'
VALUES = 1 << 12


def decode(words) -> dict:
    """Arrays `x`, `y`, `p` and `t` of the events in uint16 `words`, in order; t in microseconds.

    Raises:
        ValueError: a word is none of the format.
    """
    kind, value = words >> 12, (words & (VALUES - 1)).astype("int64")
    unknown = kind[~np.isin(kind, KINDS)]
    if unknown.size:
        raise ValueError(f"a word of the kind {unknown[0]}, which EVT 3.0 has not")
    number = np.arange(len(words))
    high, low, row, first = (_latest(number, kind == one) for one in (TIME_HIGH, TIME_LOW, ROW, FIRST_PIXEL))
    # The upper bits start anew after 16.8 s. A word of lower bits belongs to the upper ones before it.
    is_high = kind == TIME_HIGH
    rounds = np.zeros(len(words), "int64")
    rounds[np.flatnonzero(is_high)[1:]] = np.diff(value[is_high]) < 0
    time = (np.cumsum(rounds) * VALUES + value[high]) * VALUES + np.where(low > high, value[low], 0)

    # Words of 12 and 8 pixels go on to the right from the first pixel that was named last.
    width = np.select([kind == PIXELS_12, kind == PIXELS_8], [12, 8], 0)
    before = np.cumsum(width) - width
    alone = np.flatnonzero((kind == PIXEL) & (high >= 0))
    together = np.flatnonzero((width > 0) & (high >= 0) & (first >= 0))
    which, bit = np.nonzero(value[together, None] >> np.arange(12) & (np.arange(12) < width[together, None]))
    word = np.concatenate([alone, together[which]])
    named = np.concatenate([alone, first[together][which]])
    right = np.concatenate([np.zeros(len(alone), "int64"), (before - before[first])[together][which] + bit])
    order = np.argsort(word, kind="stable")
    word, named, right = word[order], named[order], right[order]
    return {"x": (value[named] & 2047) + right, "y": value[row[word]] & 2047, "p": value[named] >> 11, "t": time[word]}


def _latest(number, there):
    """For each word the number of the last one that is `there`, itself among them; -1 before the first."""
    return np.maximum.accumulate(np.where(there, number, -1))
