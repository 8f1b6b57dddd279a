"""The tasks, one a file. Each has a name, a summary, a configuration class, `load(config, data_dir)` and a kind.

Tasks of the kind "classification" load a `Dataset`, those of the kind "language model" a `Corpus`.
"""

from benchmarks.tasks.penn_treebank import PennTreebank
from benchmarks.tasks.sequential_mnist import PermutedSequentialMNIST, SequentialMNIST
from benchmarks.tasks.spiral import Spiral

TASKS = {task.name: task for task in (Spiral(), SequentialMNIST(), PermutedSequentialMNIST(), PennTreebank())}
