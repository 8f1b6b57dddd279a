"""Random masks that are drawn once, at the start: sparse from the first update to the last.

Subramoney 2023 (Efficient real time recurrent learning, Sec. 6) trains EGRUs under such a fixed mask; deep rewiring and
RigL start from one and move it.
"""

import numbers
import random
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_egru.pruning.blocks import Blocks, checked_block_size, gates_of
from keras_egru.pruning.cloning import check_inner_layers, check_model, cloned
from keras_egru.pruning.masked import Masked, MaskedWeight
from keras_egru.pruning.prunable import PrunableWeight, prunable_weights


def random_mask(layer_or_model, sparsity: float, block_size=(1, 1), seed: int | None = None, signed: bool = False):
    """Wraps a layer, or the layers of a model, in `RandomMask`: a fixed random share of the weights is kept.

    ```python
    sparse = keras_egru.pruning.random_mask(model, 0.9, seed=1)
    sparse.compile("adam", "mse")
    sparse.fit(x, y)
    stripped = keras_egru.pruning.strip_pruning(sparse)
    ```

    Args:
        layer_or_model: A Keras layer, built or not, which then belongs to the wrapper; or a built Sequential or
            Functional model, which is left as it is.
        sparsity: Float in [0, 1), the share of blocks that are zero; see `RandomMask`.
        block_size: (height, width) of the blocks that are kept together. Default `(1, 1)`.
        seed: Integer or None, of the draw. In a model layer i gets `seed + i`. Default `None`: drawn from Python's
            `random`, as Keras's are.
        signed: Whether the wrappers keep the sign of every connection, which `DeepRewiring` needs. Default `False`.

    Returns:
        The `RandomMask` wrapper of the layer, or a new model with the weights of the old one, every layer with prunable
        weights wrapped, not compiled.

    Raises:
        TypeError: `layer_or_model` is neither, or `seed` is not an integer.
        ValueError: `sparsity` or `block_size` is wrong or does not fit a weight; or the model is subclassed, not built,
            masked already or has no weight that can be masked.
    """
    options = {"sparsity": sparsity, "block_size": block_size, "signed": signed}
    if isinstance(layer_or_model, keras.layers.Layer) and not isinstance(layer_or_model, keras.Model):
        return RandomMask(layer_or_model, seed=seed, **options)
    check_model(layer_or_model, "random_mask")
    if not layer_or_model.built:
        raise ValueError(f"Model '{layer_or_model.name}' must be built to be masked: give it an Input, or call it.")
    seed = _checked_seed(seed)
    wrappers: list[RandomMask] = []

    def wrap(layer, copy):
        if isinstance(layer, Masked):
            raise ValueError(f"Layer '{layer.name}' is masked already; a layer can be masked once only.")
        if not prunable_weights(layer):
            check_inner_layers(layer)
            return copy
        wrappers.append(RandomMask(copy, seed=seed + len(wrappers), **options))
        return wrappers[-1]

    sparse = cloned(layer_or_model, lambda layer: layer, wrap)
    if not wrappers:
        raise ValueError(
            f"Model '{sparse.name}' has no weight that can be masked: no layer has a kernel or embeddings."
        )
    for wrapper in wrappers:
        # The weights of the old model were copied after the masks were drawn.
        wrapper.start()
    return sparse


@dataclass(frozen=True, eq=False, kw_only=True)
class SignedWeight(MaskedWeight):
    """A masked weight whose connections have signs.

    latent: Non-trainable Keras variable of the weight's shape, never zero: its sign is the connection's, and at dormant
        connections its magnitude is their distance from life, -theta of Bellec et al. 2018.
    """

    latent: Any


@keras.saving.register_keras_serializable(package="keras_egru")
class RandomMask(Masked):
    """Keeps a random share of a layer's weights, drawn when the wrapper is built.

    Of `n` blocks `n - round(sparsity n)` are live, at least one, exactly so in each weight and, in the kernels of
    recurrent layers, in each gate. The initial weights that are kept stay as they are: they are not scaled up for those
    that are missing, of which the paper says nothing. Biases and thresholds are not masked.

    With an optimizer's `use_ema=True` call `apply_masks()` after `fit`, which puts averages into the weights.

    Args:
        layer: A Keras layer with weights that can be pruned, built or not; it belongs to this wrapper from then on.
        sparsity: Float in [0, 1), the share of blocks that are zero.
        block_size: (height, width) of the blocks that are kept together; it must divide each matrix, the gates of a
            recurrent layer being one each. Default `(1, 1)`, for weights of any rank.
        seed: Integer or None, of the draw; each weight has a stream of its own. Default `None`: drawn from Python's
            `random`, as Keras's are.
        signed: Whether to keep the sign of every connection, that of its weight when the wrapper is built (drawn where
            that is zero): `DeepRewiring` needs it. One more variable of each weight's shape. Default `False`.
        **kwargs: `name` (default `"random_mask_" + layer.name`), `dtype` and `trainable` (default: the layer's).

    Raises:
        TypeError: `layer` is not a layer, or is a model, or `seed` is not an integer.
        ValueError: `sparsity` or `block_size` is wrong, or, once built, does not fit a weight; or the layer is masked
            already or has no weight that can be masked.
        RuntimeError: it is built by the first batch of `fit`, in a graph.
    """

    prefix = "random_mask"
    signed: bool

    def __init__(self, layer, sparsity: float, block_size=(1, 1), seed=None, signed: bool = False, **kwargs):
        super().__init__(layer, **kwargs)
        if isinstance(sparsity, bool) or not isinstance(sparsity, numbers.Real) or not 0.0 <= sparsity < 1.0:
            raise ValueError(f"`sparsity` must lie in [0, 1), received {sparsity!r}.")
        self.sparsity = float(sparsity)
        self.block_size = checked_block_size(block_size)
        self.seed = _checked_seed(seed)
        self.signed = bool(signed)

    def build(self, *args, **kwargs):
        if in_stateless_scope() or not tf.executing_eagerly():
            # Variables have no values there yet.
            raise RuntimeError(
                f"'{self.name}' cannot draw its masks while a graph is traced: build the model before it is trained, "
                "with an Input or by calling it on a batch."
            )
        super().build(*args, **kwargs)
        self.start()

    def start(self):
        """Draws the masks, and the signs, from the weights as they are; the same masks each time."""
        for number, pair in enumerate(self.masks):
            generator = np.random.default_rng([self.seed, number])
            blocks = Blocks(pair, gates_of(pair, self.masks), self.block_size)
            gates, total = blocks.number
            live = max(1, total - round(self.sparsity * total))
            kept = np.zeros(blocks.number, "bool")
            for gate in kept:
                gate[generator.choice(total, live, replace=False)] = True
            if isinstance(pair, SignedWeight):
                signs = np.sign(keras.ops.convert_to_numpy(pair.weight))
                drawn = generator.choice([-1.0, 1.0], size=signs.shape)
                pair.latent.assign(np.where(signs == 0, drawn, signs))
            self.set_mask(pair.name, blocks.spread(kept))

    def _masked_weight(self, weight: PrunableWeight) -> MaskedWeight:
        pair = super()._masked_weight(weight)
        if not self.signed:
            return pair
        latent = self.add_state(f"{weight.name}_latent", weight.variable.shape, "ones", weight.variable.dtype)
        return SignedWeight(name=pair.name, weight=pair.weight, mask=pair.mask, gates=pair.gates, latent=latent)

    def get_config(self):
        return {
            **super().get_config(),
            "sparsity": self.sparsity,
            "block_size": self.block_size,
            "seed": self.seed,
            "signed": self.signed,
        }


def _checked_seed(seed):
    if seed is None:
        return random.randint(1, 10**9)
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"`seed` must be an integer or None, received {seed!r}.")
    if seed < 0:
        raise ValueError(f"`seed` must not be negative, received {seed}.")
    return int(seed)
