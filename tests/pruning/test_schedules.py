import keras
import pytest

from keras_egru import pruning
from keras_egru.pruning.engine import load_tfmot
from keras_egru.pruning.schedules import check_schedule, deserialize_schedule, serialize_schedule


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_sparsity_outside_of_its_range_is_refused(sparsity):
    with pytest.raises(ValueError, match="target_sparsity must be in range"):
        pruning.ConstantSparsity(sparsity, 0)  # tfmot's own check
    schedule = pruning.ConstantSparsity(0.5, 0)
    schedule.target_sparsity = sparsity
    with pytest.raises(ValueError, match=r"`target_sparsity` of the pruning schedule must be in \[0, 1\)"):
        check_schedule(schedule)


def test_end_before_the_beginning_is_refused():
    with pytest.raises(ValueError, match="begin_step should be <= end_step"):
        pruning.PolynomialDecay(0.1, 0.5, begin_step=10, end_step=5)  # tfmot's own check
    schedule = pruning.ConstantSparsity(0.5, 0, 100)
    schedule.begin_step = 200
    with pytest.raises(ValueError, match="begin_step=200 and end_step=100"):
        check_schedule(schedule)
    check_schedule(pruning.ConstantSparsity(0.5, 200))


def test_decay_without_steps_is_refused():
    with pytest.raises(ValueError, match="`end_step` of PolynomialDecay must be after `begin_step`"):
        check_schedule(pruning.PolynomialDecay(0.1, 0.5, begin_step=10, end_step=10))


@pytest.mark.parametrize("schedule", [0.5, None, {"class_name": "ConstantSparsity"}, lambda step: (True, 0.5)])
def test_other_things_are_refused(schedule):
    with pytest.raises(TypeError, match="`pruning_schedule` must be a tfmot PruningSchedule"):
        check_schedule(schedule)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ConstantSparsity", {"target_sparsity": 0.4, "begin_step": 3, "end_step": 9, "frequency": 2}),
        (
            "PolynomialDecay",
            {
                "initial_sparsity": 0.1,
                "final_sparsity": 0.9,
                "begin_step": 3,
                "end_step": 9,
                "power": 2,
                "frequency": 5,
            },
        ),
    ],
)
def test_schedules_are_saved_as_tfmot_saves_them(name, arguments):
    schedule = getattr(pruning, name)(**arguments)
    assert serialize_schedule(schedule) == schedule.get_config()
    again = deserialize_schedule(serialize_schedule(schedule))
    assert type(again) is type(schedule)
    assert vars(again) == vars(schedule)


def test_schedules_of_ones_own_are_saved_by_their_registered_name():
    class Sawtooth(load_tfmot().PruningSchedule):
        def __call__(self, step):
            return True, 0.5

        def get_config(self):
            return {}

    config = serialize_schedule(Sawtooth())
    with pytest.raises(ValueError, match="of class 'Sawtooth', which must be registered"):
        deserialize_schedule(config)
    with keras.saving.custom_object_scope({"Sawtooth": Sawtooth}):
        assert isinstance(deserialize_schedule(config), Sawtooth)
