"""The tasks, one a file. Each has a name, a summary, a kind, `load(config, data_dir)` and classes of its configuration.

Tasks of the kind "classification" load a `Dataset`, those of the kind "language model" a `Corpus`. `config_class` is
for EGRU, GRU and LSTM; tasks of spike trains have a `lif_config_class` for spiking networks too.
"""

from benchmarks.config import MODELS
from benchmarks.errors import ConfigError
from benchmarks.tasks.delayed_recall import DelayedRecall
from benchmarks.tasks.dvs_gesture import DVSGesture
from benchmarks.tasks.latency_mnist import LatencyFashionMNIST, LatencyMNIST
from benchmarks.tasks.nmnist import NMNIST
from benchmarks.tasks.penn_treebank import PennTreebank
from benchmarks.tasks.sequential_mnist import PermutedSequentialMNIST, SequentialMNIST
from benchmarks.tasks.spiking_speech import SHD, SSC
from benchmarks.tasks.spiral import Spiral
from benchmarks.tasks.wikitext2 import WikiText2
from benchmarks.tasks.yin_yang import YinYang

_ALL = (  # in the order of lists and reports: the EGRU paper's tasks, those of online learning, spike trains
    *(DVSGesture(), SequentialMNIST(), PermutedSequentialMNIST(), PennTreebank(), WikiText2()),
    *(Spiral(), DelayedRecall()),
    *(NMNIST(), YinYang(), LatencyMNIST(), LatencyFashionMNIST(), SHD(), SSC()),
)
TASKS = {task.name: task for task in _ALL}


def models_of(task) -> tuple:
    """The models that can be trained on a task."""
    return tuple(model for model in MODELS if model != "lif" or hasattr(task, "lif_config_class"))


def config_class(name, model):
    """The configuration class of the task `name` for a model.

    Raises:
        ConfigError: there is no such task, or it is not for the model.
    """
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; the tasks are {', '.join(TASKS)}.")
    task = TASKS[name]
    if model in models_of(task):
        return task.lif_config_class if model == "lif" else task.config_class
    able = [other.name for other in TASKS.values() if model in models_of(other)]
    raise ConfigError(f"the model {model} needs a task of spike trains ({', '.join(able)}), received {name}.")
