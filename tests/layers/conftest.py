"""What the layer tests share: both implementations, and sequences and layers in which units speak and fall silent."""

import gc

import keras
import numpy as np
import pytest

from keras_egru import EGRU, EventLIF
from keras_egru.initializers import Beta
from keras_egru.ops import fused_egru
from keras_egru.surrogates import Triangular

BATCH, TIME, FEATURES, UNITS = 4, 7, 3, 5
SPIKE_TIME, SPIKE_FEATURES = 12, 6  # Currents and refractory periods want a few steps more.
KINDS = {
    "surrogate": {},
    "eventprop": {"tau_syn": 5.0, "gradient": "eventprop"},
}


@pytest.fixture(params=["reference", "fused"])
def implementation(request):
    if request.param == "fused":
        reason = fused_egru.why_not("float32", Triangular(), None)
        if reason is not None:
            pytest.skip(f"the fused op is not available: {reason}")
    return request.param


@pytest.fixture(scope="session", autouse=True)
def imported_objects_stay():
    """Clearing Keras's session collects garbage, which need not look at all of TensorFlow before every test."""
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_session():
    keras.utils.set_random_seed(7)
    keras.backend.clear_session()


@pytest.fixture
def sequences():
    """Float64 `[4, 7, 3]`."""
    return 2.0 * np.random.default_rng(1).normal(size=(BATCH, TIME, FEATURES))


@pytest.fixture
def mask():
    """Gaps at the start, in the middle and at the end; one sequence is whole, one has no valid step."""
    mask = np.ones((BATCH, TIME), "bool")
    mask[0, :2] = mask[0, 4] = mask[1, 3] = mask[1, 5:] = False
    mask[3] = False
    return mask


@pytest.fixture
def initial_state():
    """`[y, c]`, float64, with some events: y is c where c is above 0.3, else 0."""
    c = np.random.default_rng(2).uniform(-1.0, 1.0, size=(BATCH, UNITS))
    return [np.where(c > 0.3, c, 0.0), c]


@pytest.fixture
def make_egru():
    """A float64 EGRU of 5 units, built: all weights are trained, gradients pass through most states, and thresholds and
    biases give a lively mix of events and silence."""

    def make(units=UNITS, **options):
        lively = {
            "dtype": "float64",
            "bias_initializer": keras.initializers.RandomNormal(stddev=0.5),
            "threshold_initializer": Beta(0.3),
            "threshold_trainable": True,
            "surrogate": Triangular(),
        }
        layer = EGRU(units, **{**lively, **options})
        layer.build((None, TIME, FEATURES))
        return layer

    return make


@pytest.fixture(params=KINDS)
def kind(request):
    """Options of an `EventLIF`: a surrogate gradient without a synapse, or Eventprop with one."""
    return KINDS[request.param]


@pytest.fixture
def spikes():
    """Float64 `[4, 12, 6]`, zeros and ones."""
    return (np.random.default_rng(1).random((BATCH, SPIKE_TIME, SPIKE_FEATURES)) < 0.4).astype("float64")


@pytest.fixture
def spike_mask():
    """As `mask`, for `spikes`."""
    mask = np.ones((BATCH, SPIKE_TIME), "bool")
    mask[0, :2] = mask[0, 5] = mask[1, 3] = mask[1, 8:] = False
    mask[3] = False
    return mask


@pytest.fixture
def make_lif():
    """A float64 EventLIF of 5 units, built, whose weights make units fire now and then."""

    def make(units=UNITS, **options):
        scale = 3.0 if options.get("tau_syn") else 1.0
        options = {
            "dtype": "float64",
            "tau_mem": 8.0,
            "kernel_initializer": keras.initializers.RandomUniform(-0.1 * scale, 0.6 * scale),
            **options,
        }
        layer = EventLIF(units, **options)
        layer.build((BATCH if options.get("stateful") else None, SPIKE_TIME, SPIKE_FEATURES))
        return layer

    return make


@pytest.fixture
def spike_gradients():
    """A function of a layer and its input: gradients of a loss of spikes that differs from step to step, by weight."""
    tf = pytest.importorskip("tensorflow")

    def gradients(layer, x):
        with tf.GradientTape() as tape:
            y = layer(x, training=True)
            # What Eventprop sees of amplitudes is how their gradient changes in time.
            loss = tf.reduce_sum(y * np.sin(np.arange(np.prod(y.shape[1:]))).reshape(y.shape[1:]))
            loss += sum(layer.losses)
        names = [weight.name for weight in layer.trainable_weights]
        values = [weight.value for weight in layer.trainable_weights]
        return {name: np.asarray(g) for name, g in zip(names, tape.gradient(loss, values), strict=True)}

    return gradients
