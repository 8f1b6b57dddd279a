"""The tasks, one a file: each has a name, a summary, a configuration class and `load(config, data_dir) -> Dataset`."""

from benchmarks.tasks.sequential_mnist import PermutedSequentialMNIST, SequentialMNIST
from benchmarks.tasks.spiral import Spiral

TASKS = {task.name: task for task in (Spiral(), SequentialMNIST(), PermutedSequentialMNIST())}
