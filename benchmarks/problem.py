"""What a run needs of a kind of problem: a network, batches to train it on, and figures that say how good it is."""

from typing import Any, Protocol

from benchmarks.config import OnlineConfig


class Problem(Protocol):
    """One network on one data set. `Problem(config, model, dataset, seed)` builds the network and compiles it.

    network: What is trained, with wrappers where it is pruned.
    pruning: The `Pruning` of the run.
    batches: The training data, a `keras.utils.PyDataset` whose attribute `epoch` decides what comes.
    """

    network: Any
    pruning: Any
    batches: Any

    def fit_options(self) -> dict:
        """Further keyword arguments of `fit`, validation data and callbacks among them."""

    def figures(self) -> dict:
        """Figures of the validation split after an epoch that `fit` does not log; None where one does not apply.

        Numbers, and `layers`, those of each event-based layer.
        """

    def example(self) -> Any:
        """A batch of one, the beginning of the validation split, whose events a record keeps."""

    def score(self, figures) -> float:
        """How good an epoch with these figures is, to choose among epochs; more is better."""

    def test(self) -> dict:
        """Fields of the record that come from the test split, with the weights that `network` has now."""

    def deployed(self) -> Any:
        """The network to be saved, always the same one: no wrappers, the weights that `network` has now."""


def problem_class(kind, model, config):
    """The class behind a task's `kind`, a model and a configuration; Keras is imported here and not to list the tasks.

    The kind "classification" with a `gradient` is one of read-outs at every step; with `answer_steps` too, the
    last ones alone are asked.
    """
    if model == "lif":
        from benchmarks.spiking import SpikingClassification

        return SpikingClassification
    if kind == "classification" and isinstance(config, OnlineConfig) and config.gradient is not None:
        if hasattr(config, "answer_steps"):
            from benchmarks.delayed_answers import DelayedAnswers

            return DelayedAnswers
        from benchmarks.online import OnlineClassification

        return OnlineClassification
    if kind == "classification" and hasattr(config, "front_end"):
        from benchmarks.frame_classification import FrameClassification

        return FrameClassification
    if kind == "classification":
        from benchmarks.classification import Classification

        return Classification
    from benchmarks.language_model import LanguageModel

    return LanguageModel
