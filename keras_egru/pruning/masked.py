"""A wrapper that keeps weights of a layer masked at every moment, whatever writes to them.

It installs a constraint on each masked weight. Keras's optimizers apply constraints in the graph right after each
update, so that a checkpoint saved by any callback, in any order and in the middle of an epoch, holds masked weights.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_egru.pruning.prunable import PrunableWeight, parts, prunable_weights

# What `EGRUCell` and others call the masks of these weights; they then spend no gradient on masked weights.
MASK_ATTRIBUTES = {"kernel": "kernel_mask", "recurrent_kernel": "recurrent_mask"}


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskedWeight:
    """A weight of the wrapped layer and the variable that masks it, both of one shape.

    name: The weight's name within the layer, such as `"kernel"` or `"forward_recurrent_kernel"`.
    weight: The Keras variable.
    mask: Non-trainable Keras variable of ones (kept) and zeros (pruned), saved with the wrapper.
    gates: Of how many matrices of equal size the weight consists, side by side along the last axis.
    followers: Variables that are masked with the weight, such as the running average that an optimizer keeps of it.
    """

    name: str
    weight: Any
    mask: Any
    gates: int
    followers: list = field(default_factory=list)

    def apply(self):
        """Sets the weight outside of the mask to zero, and its followers."""
        for variable in (self.weight, *self.followers):
            variable.assign(masked(variable, self.mask))


class MaskConstraint(keras.constraints.Constraint):
    """Applies the constraint that the weight had before, then the mask."""

    def __init__(self, owner, masked_weight: MaskedWeight, constraint=None):
        self.owner = owner
        self.masked_weight = masked_weight
        self.constraint = constraint

    def __call__(self, weight):
        weight = ops.convert_to_tensor(weight)
        if self.constraint is not None:
            weight = ops.convert_to_tensor(self.constraint(weight))
        mask = self.owner.mask_after_update(self.masked_weight, weight)
        for follower in self.masked_weight.followers:
            follower.assign(masked(follower, mask))
        return masked(weight, mask)


@keras.saving.register_keras_serializable(package="keras_egru")
class Masked(keras.layers.Wrapper):
    """Wraps a layer and keeps its prunable weights multiplied by masks, which start as ones.

    It is called as the layer itself: the same call arguments (`initial_state`, `mask`, `training`), output, mask of the
    output and, of recurrent layers, `stateful` and `reset_state`. Frozen weights keep their masks too.

    A cell or layer that has the properties `kernel_mask` or `recurrent_mask` gets the mask variables there, by
    `object.__setattr__`, so that Keras does not track them twice.

    Subclasses that change masks during training override `mask_after_update`.

    Example:

    >>> layer = Masked(keras.layers.Dense(2))
    >>> layer.build((None, 3))
    >>> layer.set_mask("kernel", [[1, 0], [0, 1], [1, 1]])
    >>> [weight.name for weight in layer.masks]
    ['kernel']

    Args:
        layer: A Keras layer, not a model. It belongs to this wrapper from then on.
        **kwargs: `name` (default `"masked_" + layer.name`), `dtype` and `trainable` (default: the layer's).

    Raises:
        TypeError: `layer` is not a layer, or is a model.
        ValueError: `layer` is a `Masked` itself or, once built, its weights have masks of another wrapper or it has no
            weight that can be pruned.
    """

    prefix = "masked"

    def __init__(self, layer, **kwargs):
        _check_layer(layer)
        kwargs = {
            "name": f"{self.prefix}_{layer.name}",
            "dtype": layer.dtype_policy,
            "trainable": layer.trainable,
            **kwargs,
        }
        super().__init__(layer, **kwargs)
        self.supports_masking = layer.supports_masking
        self._masks = _Untracked([])
        self._take_signatures(layer)

    def _take_signatures(self, layer):
        """Makes Keras pass on to `call` and `build` what it would pass to the layer's."""
        signature = inspect.signature(layer.call)
        parameters = list(signature.parameters.values())
        if not layer._call_has_training_arg:
            # `call` wants to know, if only for subclasses.
            place = len(parameters) - (parameters[-1].kind is inspect.Parameter.VAR_KEYWORD)
            parameters.insert(place, inspect.Parameter("training", inspect.Parameter.KEYWORD_ONLY, default=None))
        self._call_signature = signature.replace(parameters=parameters)
        self.call_signature_parameters = [parameter.name for parameter in parameters]
        self._call_has_training_arg = True
        self._call_has_mask_arg = layer._call_has_mask_arg
        self._call_has_context_arg = {**layer._call_has_context_arg, "training": True}
        self._allow_non_tensor_positional_args = layer._allow_non_tensor_positional_args
        self.build.__signature__ = inspect.signature(layer.build)

    @property
    def masks(self) -> list[MaskedWeight]:
        """The masked weights, in an order that does not change; empty before the wrapper is built."""
        return list(self._masks.items)

    def build(self, *args, **kwargs):
        if not self.layer.built:
            self.layer.build(*args, **kwargs)
            self.layer.built = True
        weights = prunable_weights(self.layer)
        if not weights:
            raise ValueError(
                f"Layer '{self.layer.name}' ({type(self.layer).__name__}) has no weight that can be pruned."
            )
        for weight in weights:
            if isinstance(weight.variable.constraint, MaskConstraint):
                raise ValueError(
                    f"`{weight.name}` of layer '{self.layer.name}' is masked by "
                    f"'{weight.variable.constraint.owner.name}' already; a layer can be pruned once only."
                )
        self._masks.items[:] = [self._masked_weight(weight) for weight in weights]
        for pair in self.masks:
            pair.weight.constraint = MaskConstraint(self, pair, pair.weight.constraint)
        _show_masks(self.layer, self.masks)

    def _masked_weight(self, weight: PrunableWeight) -> MaskedWeight:
        mask = self.add_state(f"{weight.name}_mask", weight.variable.shape, "ones", weight.variable.dtype)
        return MaskedWeight(name=weight.name, weight=weight.variable, mask=mask, gates=weight.gates)

    def add_state(self, name: str, shape, initializer, dtype):
        """Adds a variable that `mask_after_update` may assign to, saved with the wrapper and not trained."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=False,
            autocast=False,
            # All replicas compute the same.
            aggregation="only_first_replica",
            name=name,
        )

    def call(self, *args, **kwargs):
        return self.layer(*args, **self._taken_by_layer(kwargs))

    def _taken_by_layer(self, kwargs):
        if self.layer._call_has_training_arg:
            return kwargs
        return {name: value for name, value in kwargs.items() if name != "training"}

    def mask_after_update(self, masked_weight: MaskedWeight, weight):
        """Returns the mask to apply, from each update of a weight by an optimizer to the next.

        It runs in the graph of the training step, once an update, also in each replica of a strategy and under XLA. It
        assigns the mask itself if it is to last. The default keeps the mask.

        Args:
            masked_weight: Whose weight has been updated.
            weight: Tensor, the weight after the update and its own constraint, not yet masked.

        Returns:
            Tensor of zeros and ones of the weight's shape.
        """
        return ops.convert_to_tensor(masked_weight.mask)

    def set_mask(self, name: str, mask):
        """Sets a mask, and the weights outside of it to zero.

        Args:
            name: The name of the weight, as in `masks`.
            mask: Zeros and ones of the weight's shape, of any type.

        Raises:
            ValueError: the wrapper is not built or has no such weight, or `mask` has another shape or other values.
        """
        masked_weight = next((weight for weight in self.masks if weight.name == name), None)
        if masked_weight is None:
            raise ValueError(
                f"`name` must be one of {[weight.name for weight in self.masks]}, the weights of '{self.name}', "
                f"received {name!r}."
            )
        mask = np.asarray(mask)
        shape = tuple(masked_weight.mask.shape)
        if mask.shape != shape:
            raise ValueError(f"`mask` of '{name}' must be of shape {shape}, received shape {mask.shape}.")
        if not np.isin(mask, (0, 1)).all():
            raise ValueError(f"`mask` of '{name}' must consist of zeros and ones, received {np.unique(mask)}.")
        masked_weight.mask.assign(mask)
        masked_weight.apply()

    def apply_masks(self):
        """Sets the weights outside of the masks to zero; needed only after code that assigned to a weight itself."""
        for masked_weight in self.masks:
            masked_weight.apply()

    def unmask(self):
        """Takes the masks away, for good; the weights stay as they are, masked, and are free from then on.

        Returns:
            The layer that was wrapped.
        """
        self.apply_masks()
        _show_masks(self.layer, [])
        for masked_weight in self.masks:
            masked_weight.weight.constraint = masked_weight.weight.constraint.constraint
        self._masks.items.clear()
        return self.layer

    def compute_mask(self, *args, **kwargs):
        return self.layer.compute_mask(*args, **kwargs)

    def compute_output_shape(self, *args, **kwargs):
        return self.layer.compute_output_shape(*args, **kwargs)

    def compute_output_spec(self, *args, **kwargs):
        return self.layer.compute_output_spec(*args, **self._taken_by_layer(kwargs))

    def get_build_config(self):
        return self.layer.get_build_config()

    @property
    def stateful(self) -> bool:
        """Whether the layer is recurrent and keeps its state from batch to batch."""
        return bool(getattr(self.layer, "stateful", False))

    def reset_state(self):
        """Resets the state of a stateful recurrent layer."""
        self.layer.reset_state()

    def reset_states(self):
        """Resets the state of a stateful recurrent layer."""
        self.layer.reset_states()


def masked(weight, mask):
    """The weight where the mask is not zero, and zero elsewhere, even where the weight is infinite or not a number."""
    return ops.where(ops.not_equal(mask, 0), weight, ops.zeros_like(weight))


def masked_layers(layer_or_model) -> Iterator[Masked]:
    """Yields each `Masked` wrapper in a layer or model once, however deeply nested, in the order of the layers."""
    seen = set()

    def walk(layer):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        if isinstance(layer, Masked):
            yield layer
        for inner in layer._layers:
            yield from walk(inner)

    yield from walk(layer_or_model)


class _Untracked:
    """Holds a list that Keras shall not track: the wrapped layer saves its weights itself."""

    def __init__(self, items):
        self.items = items


def _check_layer(layer):
    if not isinstance(layer, keras.layers.Layer) or isinstance(layer, keras.Model):
        raise TypeError(f"`layer` must be a Keras layer and not a model, received {layer!r}.")
    if next(masked_layers(layer), None) is not None:
        raise ValueError(f"`layer` '{layer.name}' is masked already; a layer can be pruned once only.")


def _show_masks(layer, masks):
    """Gives cells and layers that ask for them the masks of their weights, or None."""
    for _, part in parts(layer):
        for attribute, mask_attribute in MASK_ATTRIBUTES.items():
            if not hasattr(part, mask_attribute):
                continue
            weight = getattr(part, attribute, None)
            mask = next((pair.mask for pair in masks if pair.weight is weight), None)
            # `setattr` of a Keras layer would track the variable a second time.
            object.__setattr__(part, mask_attribute, mask)
