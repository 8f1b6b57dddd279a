"""All that a speed comparison of spiking layers runs: ours, its definition, and what one writes in TensorFlow.

Each contender builds its `Passes` from a `LIFWorkload`, or gives None where it has no such gradient. The forward pass
is that of training and the backward pass gives the gradients of all weights, not of the inputs, which come from data.
The two are the graph functions into which TensorFlow splits a `tf.function` that a gradient tape watches: the first one
hands over the tensors that the second one reads, in all contenders alike, and each can be timed alone. The whole step
is one function with the tape in it, as `fit` has it.
"""

import numpy as np

from benchmarks.errors import CannotRun
from benchmarks.lif_imposed import layer_for
from keras_egru.surrogates import FastSigmoid

ALIKE = 0.5  # least share of the samples whose spikes are the same in all contenders
TOLERANCE = 1e-3  # of the norm of a gradient: float32 membranes near the threshold, where the surrogate is steep


class Passes:
    """The passes of a contender, each compiled.

    Args:
        run: Callable from inputs to spikes `[batch, steps, units]`.
        weights: List of `tf.Variable`.
        workload: `LIFWorkload`.
    """

    def __init__(self, run, weights, workload):
        import tensorflow as tf

        inputs, self.grad = tf.convert_to_tensor(workload.inputs), tf.convert_to_tensor(workload.grad)
        self.run, self._weights = run, weights

        @tf.function(jit_compile=False)
        def forward():
            return run(tf.stop_gradient(inputs))

        @tf.function(jit_compile=False)
        def step():
            with tf.GradientTape() as tape:
                spikes = run(inputs)
            return tape.gradient(spikes, weights, output_gradients=self.grad)

        for function in (forward, step):
            function.get_concrete_function()
        self._inputs, self._forward, self.step = inputs, forward, step

    def forward(self):
        """`(spikes, tape)`: the spikes, and all that the backward pass needs."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            spikes = self._forward()
        return spikes, tape

    def backward(self, forward, grad=None):
        """The gradients of the weights, once for each result of `forward`."""
        spikes, tape = forward
        return tape.gradient(spikes, self._weights, output_gradients=self.grad if grad is None else grad)

    def noted_step(self, note):
        """A compiled step that calls `note` between the passes, when only what the backward pass reads is in use."""
        import tensorflow as tf

        @tf.function(jit_compile=False)
        def step():
            with tf.GradientTape() as tape:
                spikes = self.run(self._inputs)
            noted = tf.numpy_function(lambda _: note(), [spikes[0, 0, 0]], [])
            with tf.control_dependencies([noted]):
                grad = tf.identity(self.grad)
            return tape.gradient(spikes, self._weights, output_gradients=grad)

        step.get_concrete_function()
        return step


def ours(workload) -> Passes:
    """The custom op, on lists of what was active; between layers the lists go on as gradients."""
    return _of_layers(workload, "fused")


def reference(workload) -> Passes:
    """The definition: `keras.ops.scan`, differentiated by TensorFlow."""
    return _of_layers(workload, "reference")


def plain_tensorflow(workload) -> Passes | None:
    """As one writes it without this package: one product for the inputs of all steps, a loop over these, and a custom
    gradient for the spike. Not compiled by XLA, which took several times as long on CPUs."""
    case = workload.case
    if case.gradient != "surrogate" or case.tau_syn is not None or case.reset != "subtract":
        return None
    import tensorflow as tf

    weights = [tf.Variable(weight) for weight in workload.weights]
    layers = workload._replace(weights=weights).by_layer()

    def run(spikes):
        for kernel, recurrent_kernel in layers:
            spikes = _plain_layer(spikes, kernel, recurrent_kernel, float(np.exp(-case.dt / case.tau_mem)))
        return spikes

    return Passes(run, weights, workload)


def _plain_layer(inputs, kernel, recurrent_kernel, alpha):
    """v_t = alpha u + x_t W + s_{t-1} V, s_t = H(v_t - 1), u = v_t - s_t, whose reset passes no gradient."""
    import tensorflow as tf

    batch, steps, _ = inputs.shape
    drive = tf.transpose(tf.tensordot(inputs, kernel, 1), [1, 0, 2])
    drives = tf.TensorArray(drive.dtype, steps, element_shape=drive.shape[1:]).unstack(drive)
    trains = tf.TensorArray(drive.dtype, steps, element_shape=drive.shape[1:])
    zeros = tf.zeros([batch, kernel.shape[1]], drive.dtype)

    def body(t, u, spikes, trains):
        v = alpha * u + drives.read(t)
        if recurrent_kernel is not None:
            v += tf.matmul(spikes, recurrent_kernel)
        spikes = _spike(v - 1.0)
        return t + 1, v - tf.stop_gradient(spikes), spikes, trains.write(t, spikes)

    *_, trains = tf.while_loop(lambda t, *_: t < steps, body, [0, zeros, zeros, trains], maximum_iterations=steps)
    return tf.transpose(trains.stack(), [1, 0, 2])


def _spike(v):
    import tensorflow as tf

    surrogate = FastSigmoid()

    @tf.custom_gradient
    def spike(v):
        def gradient(upstream):
            size = tf.abs(v)
            slope = 1.0 / tf.square(surrogate.slope * size + 1.0)
            return tf.where(size < surrogate.width, upstream * slope, 0.0)

        return tf.cast(v > 0.0, v.dtype), gradient

    return spike(v)


def _of_layers(workload, implementation):
    layers, features = [], workload.inputs.shape[-1]
    for weights in workload.by_layer():
        layer = layer_for(workload.case, implementation)
        layer.build((*workload.inputs.shape[:2], features))
        for variable, weight in zip(layer.trainable_variables, weights, strict=False):
            variable.assign(weight)
        layers.append(layer)
        features = layer.units

    def run(spikes):
        for layer in layers:
            spikes = layer(spikes, training=True)
        return spikes

    return Passes(run, [variable.value for layer in layers for variable in layer.trainable_variables], workload)


DENSE = {"reference": reference, "plain_tensorflow": plain_tensorflow}
CONTENDERS = {"ours": ours, **DENSE}


def check_alike(passes, grad) -> float:
    """Compares the gradients of all contenders before anything is timed; returns the share of samples compared.

    A membrane within rounding of the threshold spikes in one contender and not in another, and with recurrence the rest
    of that sample differs. Samples whose spikes are not all the same are left out: their upstream gradient is zero.

    Args:
        passes: `Passes` by name; None is passed over.
        grad: float32 `[batch, steps, units]`, of the spikes.

    Raises:
        CannotRun: the spikes of more than half of the samples differ, or a gradient does.
    """
    present = {name: contender for name, contender in passes.items() if contender is not None}
    forwards = {name: contender.forward() for name, contender in present.items()}
    first, *others = [np.asarray(spikes) for spikes, _ in forwards.values()]
    alike = np.ones(len(first), bool)
    for spikes in others:
        alike &= np.all(spikes == first, axis=(1, 2))
    if alike.mean() < ALIKE:
        raise CannotRun(f"the contenders spike alike in {alike.mean():.0%} of the samples: they are not comparable.")
    masked = np.asarray(grad) * alike[:, None, None].astype("float32")
    gradients = {}
    for name, contender in present.items():
        gradients[name] = [np.asarray(g) for g in contender.backward(forwards.pop(name), masked)]
    expected, *rest = gradients.items()
    for name, found in rest:
        for gradient, wanted in zip(found, expected[1], strict=True):
            error = np.linalg.norm(gradient - wanted) / max(np.linalg.norm(wanted), 1e-30)
            if not error < TOLERANCE:
                raise CannotRun(f"the gradients of {expected[0]} and {name} differ by {error:.1e} of their norm.")
    return float(alike.mean())
