"""Deep rewiring: connections that die where they would change their sign, and grow elsewhere at random.

Bellec, Kappel, Maass and Legenstein 2018, arXiv 1711.05136: learning as sampling from a posterior over sparse networks.
"""

import math

import numpy as np
from keras import ops

from keras_egru.pruning.mask_updates import MaskUpdates
from keras_egru.pruning.optimizer_slots import optimizer_of

VARIANTS = ("hard", "soft")


class DeepRewiring(MaskUpdates):
    """DEEP R (Bellec et al. 2018): weights of fixed sign that go dormant when they would change it.

    A connection k with sign s_k has theta_k; while it is live its weight is `w_k = s_k theta_k`, theta_k >= 0. After
    each update by the optimizer (which takes the step along the gradient), with the learning rate eta,

    ```
    theta_k <- theta_k - eta l1 + sqrt(2 eta temperature) nu_k,     nu_k drawn from N(0, 1), live connections
    theta_k < 0: the connection goes dormant, its weight is zero
    "hard" (Algorithm 1)      as many dormant connections, drawn at random, come to life with theta_k = 0
    "soft" (soft-DEEP R)      dormant ones wander, theta_k <- max(min_theta, theta_k + sqrt(2 eta temperature) nu_k),
                              and come to life where theta_k >= 0
    ```

    With `"hard"` the number of live connections is the same at every moment, in each weight and each gate. With
    `"soft"` it fluctuates; the default `min_theta` is the authors' rule, which keeps it near its start. The signs are
    those of the weights when the wrapper was built and never change.

    Exact: with `keras.optimizers.SGD` and `interval=1` this is the paper's update. Simplified: another optimizer scales
    the gradient alone, not drift and noise; with an `interval` of K the drift of K updates and the noise of their sum
    come at once, and in between a weight may have the wrong sign. A connection that comes to life starts without the
    optimizer's memory.

    Masks, signs and dormant theta are variables of the wrappers, so that a model can be saved and training resumed;
    for the same course give the same `seed`. List this before callbacks that save within an epoch. It costs some passes
    over the weights in NumPy; a longer `interval` saves most of that for large layers.

    ```python
    sparse = keras_egru.pruning.random_mask(model, 0.9, seed=1, signed=True)
    sparse.compile("sgd", "mse")
    sparse.fit(x, y, callbacks=[keras_egru.pruning.DeepRewiring(l1=1e-4, seed=1)])
    ```

    Args:
        l1: Float >= 0, alpha of the paper, the drift towards dormancy. Default 1e-5, as in the authors' code.
        temperature: Float >= 0, T of the paper. Default 2.5e-11, the noise of the authors' code at its learning rate
            (`eta g^2 / 2` with eta = 0.5, g = 1e-5).
        variant: `"hard"` (default) or `"soft"`.
        min_theta: Float < 0 or None, where dormant theta end (`"soft"` alone). Default `None`:
            `-(1 - p) / p * temperature / l1`, where p is the share of live weights that the wrapper was made with.
        interval: Positive integer, updates of the optimizer between two rewirings. Default 1.
        seed: Integer or None, of noise and growth. Default `None`: drawn from Python's `random`.

    Raises:
        TypeError: an argument is of another type.
        ValueError: an argument has a wrong value; or, when training begins, the model has no masked layer, one without
            signs or with blocks, `steps_per_execution` is not 1, or the optimizer has `use_ema=True`.
    """

    def __init__(
        self,
        l1: float = 1e-5,
        temperature: float = 2.5e-11,
        variant: str = "hard",
        min_theta: float | None = None,
        interval: int = 1,
        seed: int | None = None,
    ):
        super().__init__(interval, seed)
        for name, value in (("l1", l1), ("temperature", temperature)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"`{name}` must be a finite number of at least 0, received {value}.")
        if variant not in VARIANTS:
            raise ValueError(f"`variant` must be one of {VARIANTS}, received {variant!r}.")
        if min_theta is not None and (variant != "soft" or not min_theta < 0.0):
            raise ValueError(f'`min_theta` must be negative or None, and None unless "soft", received {min_theta}.')
        if variant == "soft" and (temperature == 0.0 or (l1 == 0.0 and min_theta is None)):
            raise ValueError(
                '`variant` "soft" needs a `temperature` above 0, and an `l1` above 0 or a `min_theta`, '
                f"received {temperature}, {l1} and {min_theta}."
            )
        self.l1 = float(l1)
        self.temperature = float(temperature)
        self.variant = variant
        self.min_theta = min_theta

    def check_wrapper(self, wrapper):
        super().check_wrapper(wrapper)
        if not getattr(wrapper, "signed", False):
            raise ValueError(
                f"Layer '{wrapper.name}' keeps no signs, which `DeepRewiring` needs: wrap it with "
                "`random_mask(..., signed=True)`."
            )
        if wrapper.block_size != (1, 1):
            raise ValueError(
                f"Layer '{wrapper.name}' is masked in blocks of {wrapper.block_size}: `DeepRewiring` needs (1, 1), "
                "since each connection has a sign of its own."
            )

    def update(self, targets, step):
        rewire = self._rewire_hard if self.variant == "hard" else self._rewire_soft
        for index, target in enumerate(targets):
            optimizer = optimizer_of(self.model.optimizer, target.pair.weight)
            rate = self.interval * float(ops.convert_to_numpy(optimizer.learning_rate))
            rewire(target, rate, self.generator(step, index))

    def _rewire_hard(self, target, rate, generator):
        live = target.live
        weights, latent = _values(target, target.pair.weight), _values(target, target.pair.latent)
        places = np.nonzero(live)
        signs = np.sign(latent[places])
        theta = signs * weights[places] + self._drift(rate) + self._noise(rate, signs.shape, generator)
        weights[places] = np.where(theta >= 0.0, signs * theta, 0.0)
        alive, born = live.copy(), np.zeros_like(live)
        alive[places] = theta >= 0.0
        for gate in range(len(live)):
            missing = np.count_nonzero(live[gate]) - np.count_nonzero(alive[gate])
            if missing:
                born[gate, generator.choice(np.flatnonzero(~alive[gate]), missing, replace=False)] = True
        target.move(target.blocks.spread(weights), alive | born, born)

    def _rewire_soft(self, target, rate, generator):
        live = target.live
        weights, latent = _values(target, target.pair.weight), _values(target, target.pair.latent)
        signs = np.sign(latent)
        theta = np.where(live, signs * weights, -np.abs(latent))
        least = self._least_theta(target)
        # Dormant thetas as the wrapper made them, or of another temperature; those at the floor are rounded.
        outside = ~live & (theta < 1.01 * least)
        theta[outside] = least * generator.uniform(size=np.count_nonzero(outside))
        theta += np.where(live, self._drift(rate), 0.0) + self._noise(rate, theta.shape, generator)
        theta = np.maximum(theta, least)
        alive = theta >= 0.0
        # Its sign is all that a live connection keeps here.
        distance = np.where(alive, 1.0, np.maximum(-theta, np.finfo("float32").tiny))
        target.pair.latent.assign(target.blocks.spread(signs * distance))
        target.move(target.blocks.spread(np.where(alive & live, signs * theta, 0.0)), alive, alive & ~live)
        target.pair.weight.assign(target.blocks.spread(np.where(alive, signs * theta, 0.0)))

    def _drift(self, rate):
        return -rate * self.l1

    def _noise(self, rate, size, generator):
        return math.sqrt(2.0 * rate * self.temperature) * generator.standard_normal(size)

    def _least_theta(self, target):
        if self.min_theta is not None:
            return self.min_theta
        dormant = target.wrapper.sparsity
        return -dormant / (1.0 - dormant) * self.temperature / self.l1


def _values(target, variable):
    """The value of a variable of the weight's shape, `[gates, connections]`, in single precision at least."""
    values = target.blocks.pooled(ops.convert_to_numpy(variable))
    return values.astype(np.promote_types(values.dtype, "float32"))
