"""tfmot's pruning schedules: checked, saved in a layer's configuration and read from it again."""

import keras

from keras_egru.pruning.engine import load_tfmot


def check_schedule(schedule):
    """Raises where a schedule cannot be followed.

    tfmot checks its schedules when they are made; this finds what has changed since, and what tfmot lets pass.

    Raises:
        TypeError: `schedule` is not a tfmot `PruningSchedule`.
        ValueError: it has a sparsity outside [0, 1), it ends before it begins, or it is a `PolynomialDecay` that ends
            when it begins, for which tfmot computes sparsities that are not numbers.
    """
    tfmot = load_tfmot()
    if not isinstance(schedule, tfmot.PruningSchedule):
        raise TypeError(
            "`pruning_schedule` must be a tfmot PruningSchedule such as "
            f"keras_egru.pruning.PolynomialDecay(...), received {schedule!r}."
        )
    for name in ("target_sparsity", "initial_sparsity", "final_sparsity"):
        sparsity = getattr(schedule, name, 0.0)
        if not 0.0 <= sparsity < 1.0:
            raise ValueError(f"`{name}` of the pruning schedule must be in [0, 1), received {sparsity!r}.")
    begin, end = getattr(schedule, "begin_step", 0), getattr(schedule, "end_step", -1)
    if begin < 0 or (end != -1 and end < begin):
        raise ValueError(
            "`begin_step` of the pruning schedule must be at least 0 and not after `end_step`, "
            f"received begin_step={begin!r} and end_step={end!r}."
        )
    if isinstance(schedule, tfmot.PolynomialDecay) and end <= begin:
        raise ValueError(
            "`end_step` of PolynomialDecay must be after `begin_step`, "
            f"received begin_step={begin!r} and end_step={end!r}; ConstantSparsity prunes at once."
        )


def serialize_schedule(schedule) -> dict:
    """`{"class_name": ..., "config": ...}`, as tfmot's schedules give it; of others with the registered name."""
    config = schedule.get_config()
    if set(config) == {"class_name", "config"}:
        config = config["config"]
    return {"class_name": keras.saving.get_registered_name(type(schedule)), "config": config}


def deserialize_schedule(config: dict):
    """The schedule that `serialize_schedule` was given.

    Raises:
        ValueError: its class is neither tfmot's nor registered with Keras.
    """
    tfmot = load_tfmot()
    name = config["class_name"]
    known = {"ConstantSparsity": tfmot.ConstantSparsity, "PolynomialDecay": tfmot.PolynomialDecay}
    schedule_class = known.get(name) or keras.saving.get_registered_object(name)
    if schedule_class is None:
        raise ValueError(
            f"`pruning_schedule` of the saved layer is of class {name!r}, which must be registered with "
            "keras.saving.register_keras_serializable() or given in custom_objects."
        )
    return schedule_class.from_config(config["config"])
