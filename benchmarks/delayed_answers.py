"""Sequences with one label each that is asked for at the last steps alone, learnt online, or through time."""

import keras
import numpy as np
from keras import ops

from benchmarks.online import OnlineClassification

NOT_ASKED = -1  # the target of a step whose output does not count


class DelayedAnswers(OnlineClassification):
    """`OnlineClassification` of a configuration with `answer_steps`: no other step has a part in the loss."""

    def with_targets(self, split):
        split = super().with_targets(split)
        targets = np.full_like(split.y, NOT_ASKED)
        targets[:, -self.config.answer_steps :] = split.y[:, -self.config.answer_steps :]
        return split._replace(y=targets)

    def loss(self):
        return AnsweredCrossentropy(self.config.answer_steps / self.config.steps)


@keras.saving.register_keras_serializable(package="keras_egru_benchmarks")
class AnsweredCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits and labels, averaged over the steps that have a label, `asked` of all.

    It is a mean over all steps, with zeros: so the losses of windows, of which most have no label, have the mean of the
    whole sequence.
    """

    def __init__(self, asked, name="answered_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.asked = asked

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, "int32")
        losses = ops.sparse_categorical_crossentropy(ops.maximum(labels, 0), y_pred, from_logits=True)
        return ops.where(labels == NOT_ASKED, ops.zeros_like(losses), losses) / self.asked

    def get_config(self):
        return {**super().get_config(), "asked": self.asked}
