"""What a person sees while a run goes on: a bar over the batches and a line for every epoch, on standard error."""

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SHOWN = {
    "loss": "loss {:.3f}",
    "accuracy": "accuracy {:.2%}",
    "val_accuracy": "validation {:.2%}",
    "val_perplexity": "validation perplexity {:.1f}",
    "activity_sparsity": "silent {:.1%}",
    "backward_sparsity": "backward {:.1%}",
    "recurrent_parameter_sparsity": "pruned {:.1%}",
}


class ProgressBar(keras.callbacks.Callback):
    """A rich progress bar; where standard error is no terminal, the lines alone."""

    def __init__(self):
        super().__init__()
        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    def on_train_begin(self, logs=None):
        self.task = self.bar.add_task("", total=self.params["steps"], figures="")
        self.bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self.label = f"epoch {epoch + 1}/{self.params['epochs']}"
        self.bar.reset(self.task, total=self.params["steps"], description=self.label, figures="")

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(self.task, completed=batch + 1, figures=describe(logs or {}))

    def on_epoch_end(self, epoch, logs=None):
        self.console.print(f"{self.label}  {describe(logs or {})}", soft_wrap=True)

    def close(self):
        """Gives the terminal back, also after an interruption."""
        self.bar.stop()


def describe(logs):
    return "  ".join(form.format(float(logs[name])) for name, form in SHOWN.items() if name in logs)
