"""Online learning: gradients that go forward in time, exact (RTRL) or approximate (SnAp), with both sparsities.

TensorFlow only. `RTRL` and `SnAp` learn from streams; `Sequential` is Keras's, whose `compile` takes
`gradient="rtrl"`.
"""

from keras_egru.online.learner import RTRL, SnAp, Step
from keras_egru.online.sequential import Sequential

__all__ = ["RTRL", "Sequential", "SnAp", "Step"]
