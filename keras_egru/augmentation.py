"""Augmentations of spike trains for `tf.data`.

Sections 2.3 and 4.4 of Nowotny, Turner & Knight 2022, "Loss shaping enhances exact gradient learning with Eventprop in
spiking neural networks".

Each but `blend` returns a function for `dataset.map`, before `.batch`, which takes one example of spikes
`[time, channels]`, floats or integers, 0 where there is no spike, and hands labels through:

```python
train = dataset.shuffle(1000).map(channel_shift(40)).map(delay_line(), num_parallel_calls=tf.data.AUTOTUNE).batch(32)
```

Each function draws from a generator of its own, so that no two epochs are alike. With a `seed`, or after
`keras.utils.set_random_seed`, a dataset is the same again in another process, as long as `map` is not given
`num_parallel_calls`, with which examples draw in no certain order.
"""

import math
import random

import tensorflow as tf


def delay_line(copies: int = 10, delay: int = 30):
    """Copies of all channels side by side, copy n delayed by `n * delay` steps; copy 0 is the input itself.

    `[time, channels]` becomes `[time, copies * channels]`, with channel c of copy n at `n * channels + c`. The number
    of steps stays, and spikes that are delayed beyond the last are lost: pad the input by `(copies - 1) * delay` steps
    to keep them. The paper has ten delayed copies of 30 ms each beside the input, `copies=11` here.

    Args:
        copies: Integer >= 1. Default 10.
        delay: Integer >= 1, steps. Default 30: 30 ms at one step a millisecond.

    Raises:
        ValueError: an argument is less than 1 or no integer, or, when mapped, spikes are not `[time, channels]`.
    """
    _check_count("copies", copies)
    _check_count("delay", delay)

    def transform(spikes):
        steps, channels = tf.unstack(tf.shape(spikes))
        padded = tf.pad(spikes, [[(copies - 1) * delay, 0], [0, 0]])
        sources = tf.range(steps)[:, None] + delay * tf.range(copies - 1, -1, -1)[None, :]
        delayed = tf.reshape(tf.gather(padded, sources), [steps, copies * channels])
        static = spikes.shape[1]
        return tf.ensure_shape(delayed, [spikes.shape[0], None if static is None else copies * static])

    return _on_spikes(transform)


def channel_shift(maximum: float, seed: int | None = None):
    """Shifts all spikes of an example across channels by one distance, uniform in [-maximum, maximum] and rounded.

    Spikes that leave the range of channels are dropped; they do not come in again at the other end. The paper shifts
    the 700 channels of the Spiking Heidelberg Digits by up to 40.

    Args:
        maximum: Float >= 0, channels.
        seed: Integer, or `None` (default).

    Raises:
        ValueError: `maximum` is negative or not finite, or, when mapped, spikes are not `[time, channels]`.
    """
    _check_at_least_zero("maximum", maximum)

    def transform(spikes, seeds):
        distance = tf.random.stateless_uniform([], seeds, -maximum, maximum)
        return _shifted(spikes, tf.cast(tf.round(distance), tf.int32), axis=1)

    return _on_spikes(transform, _generator(seed))


def id_jitter(sigma: float, seed: int | None = None):
    """Moves each spike to another channel, by a distance of its own from `N(0, sigma)`, rounded.

    Spikes that leave the range of channels are dropped. Where several meet there is one, the largest of them.

    Args:
        sigma: Float >= 0, channels.
        seed: Integer, or `None` (default).

    Raises:
        ValueError: `sigma` is negative or not finite, or, when mapped, spikes are not `[time, channels]`.
    """
    _check_at_least_zero("sigma", sigma)

    def transform(spikes, seeds):
        places = tf.where(spikes != 0)
        distances = tf.round(tf.random.stateless_normal([tf.shape(places)[0]], seeds, 0.0, sigma))
        channels = places[:, 1] + tf.cast(distances, tf.int64)
        return _placed(spikes, places, tf.stack([places[:, 0], channels], axis=1))

    return _on_spikes(transform, _generator(seed))


def dilation(minimum: float, maximum: float, seed: int | None = None):
    """Multiplies the times of all spikes of an example by one factor, uniform in [minimum, maximum).

    A spike of step k is taken to happen in the middle of it and goes to step `floor(factor (k + 1/2))`; those beyond
    the last step are dropped. Where several of a channel meet there is one, the largest of them.

    Args:
        minimum: Float > 0.
        maximum: Float >= minimum.
        seed: Integer, or `None` (default).

    Raises:
        ValueError: the arguments are not `0 < minimum <= maximum < inf`, or, when mapped, spikes are not
            `[time, channels]`.
    """
    if not 0.0 < minimum <= maximum < math.inf:
        raise ValueError(
            f"`minimum` and `maximum` must be finite with 0 < minimum <= maximum, received {minimum!r} and {maximum!r}."
        )

    def transform(spikes, seeds):
        factor = tf.random.stateless_uniform([], seeds, minimum, maximum)
        places = tf.where(spikes != 0)
        steps = tf.floor((tf.cast(places[:, 0], tf.float32) + 0.5) * factor)
        return _placed(spikes, places, tf.stack([tf.cast(steps, tf.int64), places[:, 1]], axis=1))

    return _on_spikes(transform, _generator(seed))


def blend(dataset, probability: float = 0.5, seed: int | None = None):
    """New examples of two of the same class: both are aligned in time, and each spike stays with `probability`.

    Both are shifted to the mean of their centres of mass along the time axis, by whole steps; spikes that leave the
    trial are dropped, and where both have a spike there is one, the larger. The paper adds as many as there were:

    ```python
    train = dataset.concatenate(blend(dataset)).shuffle(1000)
    ```

    Partners are the next two examples of a class in the order of the dataset, which is gone through twice. It should
    therefore be shuffled, anew each epoch; better its indices or file names than dense spikes, which take memory. One
    example a class waits in memory for its partner.

    Args:
        dataset: `tf.data.Dataset` of `(spikes, label)`, not batched: `[time, channels]`, one shape for all, and an
            integer.
        probability: Float in (0, 1]. Default 0.5.
        seed: Integer, or `None` (default).

    Returns:
        A dataset of the same kind, with as many examples of each class.

    Raises:
        ValueError: `probability` is outside of (0, 1], or elements of the dataset are others.
    """
    if not 0.0 < probability <= 1.0:
        raise ValueError(f"`probability` must be in (0, 1], received {probability!r}.")
    _check_labelled(dataset)
    generator = _generator(seed)

    def blended(pair, labels):
        aligned = _aligned(pair)
        stays = tf.random.stateless_uniform(tf.shape(aligned), _draw(generator)) < probability
        return tf.reduce_max(tf.where(stays, aligned, tf.zeros_like(aligned)), axis=0), labels[0]

    pairs = dataset.repeat(2).group_by_window(
        key_func=lambda spikes, label: tf.cast(label, tf.int64),
        reduce_func=lambda key, examples: examples.batch(2, drop_remainder=True),
        window_size=2,
    )
    examples = dataset.cardinality()
    if examples < 0:  # infinite or unknown
        return pairs.map(blended)
    # Twice n examples of a class are n pairs. TensorFlow cannot tell, and Keras warns where it does not know.
    return pairs.map(blended).apply(tf.data.experimental.assert_cardinality(examples))


def _aligned(pair):
    """Both examples, `[2, time, channels]`, shifted to the mean of their centres of mass in time."""
    mass = tf.reduce_sum(tf.abs(tf.cast(pair, tf.float32)), axis=2)
    times = tf.range(tf.shape(pair)[1], dtype=tf.float32)
    centres = tf.reduce_sum(mass * times, axis=1) / tf.reduce_sum(mass, axis=1)
    distances = tf.round(tf.reduce_mean(centres) - centres)
    # An example without a spike has no centre: nothing is to be aligned.
    distances = tf.where(tf.reduce_all(tf.math.is_finite(centres)), distances, tf.zeros_like(distances))
    distances = tf.cast(distances, tf.int32)
    return tf.stack([_shifted(pair[i], distances[i], axis=0) for i in range(2)])


def _shifted(spikes, distance, axis):
    """`spikes` moved by `distance` along `axis`, zeros behind."""
    length = tf.shape(spikes)[axis]
    sources = tf.range(length) - distance
    inside = (sources >= 0) & (sources < length)
    moved = tf.gather(spikes, tf.clip_by_value(sources, 0, length - 1), axis=axis)
    inside = inside[:, None] if axis == 0 else inside[None, :]
    return tf.ensure_shape(tf.where(inside, moved, tf.zeros_like(moved)), spikes.shape)


def _placed(spikes, sources, targets):
    """The spikes at `sources` put at `targets`, both `[spikes, 2]`; the largest where they meet, none outside."""
    inside = tf.reduce_all((targets >= 0) & (targets < tf.shape(spikes, tf.int64)), axis=1)
    values = tf.boolean_mask(tf.gather_nd(spikes, sources), inside)
    placed = tf.tensor_scatter_nd_max(tf.zeros_like(spikes), tf.boolean_mask(targets, inside), values)
    return tf.ensure_shape(placed, spikes.shape)


def _on_spikes(transform, generator=None):
    """A function for `dataset.map`: `transform` for the spikes, whatever follows them as it is."""

    def augment(spikes, *others):
        spikes = tf.convert_to_tensor(spikes)
        _check_spikes(spikes.shape, spikes.dtype)
        augmented = transform(spikes) if generator is None else transform(spikes, _draw(generator))
        return (augmented, *others) if others else augmented

    return augment


def _generator(seed):
    # Python's generator, for it follows keras.utils.set_random_seed.
    return tf.random.Generator.from_seed(random.randrange(2**31) if seed is None else seed, alg="philox")


def _draw(generator):
    """A seed for one stateless operation."""
    return generator.make_seeds(1)[:, 0]


def _check_spikes(shape, dtype):
    if shape.rank != 2 or not (dtype.is_floating or dtype.is_integer):
        raise ValueError(
            "`spikes` must be one example, floats or integers [time, channels], before `.batch`, "
            f"received {dtype.name} of the shape {shape}."
        )


def _check_labelled(dataset):
    spec = dataset.element_spec
    if not (isinstance(spec, tuple) and len(spec) == 2 and spec[1].shape.rank == 0 and spec[1].dtype.is_integer):
        raise ValueError(f"`dataset` must have elements (spikes, integer label), received {spec}.")
    _check_spikes(spec[0].shape, spec[0].dtype)


def _check_count(name, value):
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1, received {value!r}.")


def _check_at_least_zero(name, value):
    if not 0.0 <= value < math.inf:
        raise ValueError(f"`{name}` must be a finite number of at least 0, received {value!r}.")
