"""Made-up run records, of numbers that are easy to reckon with."""

from benchmarks import records

CONFIG = {"units": 8, "epochs": 3, "batch_size": 100, "steps_per_epoch": None, "learning_rate": 0.01}


def made_up(model="egru", seed=0, *, accuracies=(0.6, 0.9, 0.96), test=0.9, layers=True, **changed):
    """A record of sequential digits under the preset `cpu`; a name in `changed` replaces the field of that name.

    Args:
        accuracies: On validation after each epoch of ten updates.
        test: Test accuracy.
        layers: Whether epochs and events tell of layers, as a dense model's do not.
    """
    event_based = model in ("egru", "lif")
    shares = (0.8, 0.4, 0.5) if event_based else (None, None, None)
    sparsities = dict(zip(("activity_sparsity", "backward_sparsity", "surrogate_sparsity"), shares, strict=True))
    of_layers = {"first": sparsities, "second": sparsities} if event_based and layers else {}
    epochs = [
        {
            "epoch": number,
            "loss": 1.0 / number,
            "val_accuracy": accuracy,
            **sparsities,
            "seconds": 30.0,
            "updates": 10 * number,
            "layers": of_layers,
        }
        for number, accuracy in enumerate(accuracies, 1)
    ]
    best = max(range(len(accuracies)), key=accuracies.__getitem__)
    events = {"units": 4, "steps": 5, "unit": [0, 3, 1], "step": [0, 2, 4]}
    return dict.fromkeys(records.FIELDS) | {
        "schema": records.SCHEMA,
        "name": f"smnist-cpu-{model}-{seed}",
        "task": "smnist",
        "preset": "cpu",
        "model": model,
        "method": "bptt",
        "seed": seed,
        "command": f"python -m benchmarks run smnist --model {model} --seed {seed}",
        "config": CONFIG,
        "dataset": {
            "name": "MNIST", "path": "data", "train": 1000, "validation": 100, "test": 200, "complete": True,
            "verified": True, "steps": 49, "features": 1,
        },
        "versions": {"python": "3.11"},
        "machine": {"processor": "a processor", "cores": 2},
        "epochs": epochs,
        "best_epoch": best + 1,
        "validation_accuracy": accuracies[best],
        "test_accuracy": test,
        "test_loss": 0.3,
        **sparsities,
        "parameter_sparsity": 0.0,
        "recurrent_parameter_sparsity": 0.0,
        "effective_macs": 100.0 if event_based else 1000.0,
        "dense_macs": 1000.0,
        "parameters": 500,
        "events": dict.fromkeys(of_layers, events),
        "seconds": 90.0,
        **changed,
    }  # fmt: skip


def save(folder, **found):
    """Writes `record.json` into a subfolder of each name."""
    for name, record in found.items():
        (folder / name).mkdir(parents=True)
        (folder / name / records.FILE).write_bytes(records.to_json(record))
