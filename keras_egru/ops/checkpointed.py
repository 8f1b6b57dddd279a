"""A sequence whose backward pass recomputes (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

The sequence is cut into segments of K steps. The forward pass keeps the state `[y, c]` at the start of each, and
nothing of the steps inside. The backward pass goes through the segments from the last to the first: it runs one again,
now saving what the gradient needs, takes its gradient, and hands that of its initial state to the segment before, where
it adds to the gradient of the last step. Weight gradients add up. The arithmetic is that of the whole sequence.

The y that a segment starts from is an initial state to it, whatever steps are masked, so its gradient is computed at
every entry; the segment before lets through what passes the event function.
"""

import numbers

import keras

STATES = ("y", "c")
COUNTERS = 5


def checked_steps(steps) -> int | None:
    """`steps`; raises a TypeError or ValueError unless it is None or an integer of at least 1."""
    if steps is None:
        return None
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral):
        raise TypeError(f"`checkpoint_steps` must be an integer or None, received {steps!r}.")
    if steps < 1:
        raise ValueError(f"`checkpoint_steps` must be at least 1, received {steps}.")
    return int(steps)


def run(sequence, inputs, initial_y, initial_c, *weights, mask, zoneout, steps, keep):
    """Runs `sequence` in segments.

    Args:
        sequence: Callable `(inputs, y, c, *weights, mask=, zoneout=, training=) -> (y, c, counters)`, differentiable.
        inputs: `[batch, time, features]`.
        initial_y: `[batch, units]`.
        initial_c: `[batch, units]`.
        *weights: Further tensors.
        mask: Bool `[batch, time]`, or None.
        zoneout: None, a float, or `[batch, time, units]`, a constant.
        steps: Integer >= 1, the length K of a segment; the last one may be shorter.
        keep: Those of `"y"` and `"c"` that are returned at every step.

    Returns:
        `(y, c, counters)`; `y` and `c` are `[batch, time, units]`, or `[batch, 1, units]` where they are not kept.

    Raises:
        RuntimeError: the backend is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "`checkpoint_steps` needs Keras's TensorFlow backend in training, and this process uses "
            f"{keras.backend.backend()!r}."
        )
    import tensorflow as tf

    steps = min(steps, 2**30)  # TensorFlow counts in int32
    if zoneout is not None:
        zoneout = tf.convert_to_tensor(zoneout, inputs.dtype)

    def segment(index, tensor):
        """Segment number `index` of a tensor `[batch, time, ...]`; what has no time axis is the same in all."""
        if tensor is None or tensor.shape.rank < 2:
            return tensor
        return tensor[:, index * steps : (index + 1) * steps]

    def run_segment(index, inputs, state, weights, training):
        constants = {"mask": segment(index, mask), "zoneout": segment(index, zoneout)}
        return sequence(inputs, *state, *weights, **constants, training=training)

    @tf.custom_gradient
    def run_all(inputs, initial_y, initial_c, *weights):
        # No tape may see what is inside: it would keep every result.
        inputs, initial_y, initial_c, *weights = (
            tf.stop_gradient(tensor) for tensor in (inputs, initial_y, initial_c, *weights)
        )
        starts, states, counters = _forward(segment, run_segment, inputs, [initial_y, initial_c], weights, steps, keep)

        def gradient(grad_y, grad_c, *_):
            grad_states = [tf.convert_to_tensor(grad) for grad in (grad_y, grad_c)]
            return _backward(segment, run_segment, inputs, starts, weights, grad_states, keep)

        return (*states, *counters), gradient

    y, c, *counters = run_all(inputs, initial_y, initial_c, *weights)
    return y, c, counters


def _forward(segment, run_segment, inputs, initial_state, weights, steps, keep):
    """`starts`, the states at the start of every segment, two `[segments, batch, units]`; `[y, c]`; the counters."""
    import tensorflow as tf

    segments = -(-tf.shape(inputs)[1] // steps)
    kept = [i for i, name in enumerate(STATES) if name in keep]

    def advance(index, state, starts, sequences, counters):
        starts = [array.write(index, tensor) for array, tensor in zip(starts, state, strict=True)]
        *states, counts = run_segment(index, segment(index, inputs), state, weights, training=False)
        sequences = [array.write(index, _swap(states[i])) for i, array in zip(kept, sequences, strict=True)]
        state = [tf.ensure_shape(after[:, -1], before.shape) for after, before in zip(states, state, strict=True)]
        counters = [total + tf.cast(count, "int64") for total, count in zip(counters, counts, strict=True)]
        return index + 1, state, starts, sequences, counters

    _, state, starts, sequences, counters = tf.while_loop(
        lambda index, *_: index < segments,
        advance,
        (
            0,
            initial_state,
            [_array(segments, tensor, tensor.shape) for tensor in initial_state],
            [_array(segments, initial_state[i], [None, *initial_state[i].shape]) for i in kept],
            [tf.zeros([], "int64")] * COUNTERS,
        ),
        parallel_iterations=1,
    )
    states = [last[:, None] for last in state]
    for i, array in zip(kept, sequences, strict=True):
        states[i] = _swap(array.concat())
    return [array.stack() for array in starts], states, counters


def _backward(segment, run_segment, inputs, starts, weights, grad_states, keep):
    """The gradients of the inputs, the initial y and c, and the weights; `grad_states` are those of the states."""
    import tensorflow as tf

    segments = tf.shape(starts[0])[0]

    def retreat(index, grad_state, grad_weights, grad_inputs):
        part, state = segment(index, inputs), [tensor[index] for tensor in starts]
        given = [part, *state, *weights]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(given)
            *states, _ = run_segment(index, part, state, weights, training=True)
        upstream = [at_the_end(grad, tf.shape(part)[1]) for grad in grad_state]
        for i, name in enumerate(STATES):
            if name in keep:
                upstream[i] += segment(index, grad_states[i])
        grad_part, grad_y, grad_c, *grads = tape.gradient(
            states, given, output_gradients=upstream, unconnected_gradients="zero"
        )
        grad_weights = [total + grad for total, grad in zip(grad_weights, grads, strict=True)]
        grad_state = [
            tf.ensure_shape(after, before.shape) for after, before in zip([grad_y, grad_c], grad_state, strict=True)
        ]
        return index - 1, grad_state, grad_weights, grad_inputs.write(index, _swap(grad_part))

    _, grad_state, grad_weights, grad_inputs = tf.while_loop(
        lambda index, *_: index >= 0,
        retreat,
        (
            segments - 1,
            [tf.zeros_like(starts[i][0]) if name in keep else grad_states[i][:, 0] for i, name in enumerate(STATES)],
            [tf.zeros_like(weight) for weight in weights],
            _array(segments, inputs, [None, inputs.shape[0], inputs.shape[2]]),
        ),
        parallel_iterations=1,
    )
    return [_swap(grad_inputs.concat()), *grad_state, *grad_weights]


def _array(segments, like, shape):
    """A TensorArray of `segments` tensors of the shape `shape`, where None may differ, and of the type of `like`."""
    import tensorflow as tf

    return tf.TensorArray(like.dtype, segments, element_shape=shape, infer_shape=False)


def at_the_end(tensor, time):
    """`[batch, time, units]`: `tensor` at the last step, zero before it."""
    import tensorflow as tf

    return tf.pad(tensor[:, None], [[0, 0], [time - 1, 0], [0, 0]])


def _swap(tensor):
    """Batch and time, swapped."""
    import tensorflow as tf

    return tf.transpose(tensor, [1, 0, 2])
