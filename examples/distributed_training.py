"""Trains an EGRU on spirals with several worker processes at once; docs/distributed.md explains it.

    python examples/distributed_training.py --workers 2            two workers on this machine
    TF_CONFIG='{"cluster": ...}' python examples/distributed_training.py     one worker of a cluster

`Model.fit` of Keras 3 does not run under `MultiWorkerMirroredStrategy`: `fit` below is a loop around the same step.
"""

import argparse
import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

STEPS = 17


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, help="worker processes to start here, without TF_CONFIG")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64, help="samples of an update, over all workers")
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--prune", type=float, metavar="SPARSITY", help="prune the weights to this sparsity")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-service", metavar="ADDRESS", help="read from a tf.data service, such as localhost:5050")
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="the chief writes a model here after each epoch; go on from the last",
    )
    return parser.parse_args(arguments)


def start_workers(count):
    """Runs this very command once for each worker; where one fails, the others are ended. Returns an exit code."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{listening.getsockname()[1]}" for listening in sockets]
    for listening in sockets:
        listening.close()
    workers = []
    # So that `finally` is reached. A worker takes the signal for a notice of preemption and goes on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for index in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
            workers.append(subprocess.Popen([sys.executable, *sys.argv], env=environment))
        while None in (codes := [worker.poll() for worker in workers]) and not any(codes):
            time.sleep(0.1)
    finally:
        for worker in workers:
            worker.kill()
    failed = [index for index, code in enumerate(codes) if code]
    if failed:
        print(f"worker {failed[0]} failed; the others were ended.", file=sys.stderr)
    return len(failed)


def train(options):
    import tensorflow as tf

    # Before any other work of TensorFlow: it connects to the other workers.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    import keras

    from keras_egru.pruning import UpdatePruningStep
    from keras_egru.sparsity import SparsityMonitor

    keras.utils.set_random_seed(options.seed)
    saved = sorted(options.save.glob("epoch-*.keras")) if options.save is not None else []
    if agreed(strategy, len(saved)) != len(saved):
        sys.exit(f"`--save` must be a folder that all workers share; {options.save} is not the chief's.")
    with strategy.scope():
        model = keras.models.load_model(saved[-1]) if saved else build_model(options)
        model.optimizer.build(model.trainable_variables)

    samples = tf.data.Dataset.range(options.samples).map(lambda index: spiral(options.seed, index))
    probe, _ = next(iter(samples.batch(64)))
    fit(
        strategy,
        model,
        lambda epoch: distributed(strategy, samples, options, epoch),
        epochs=range(len(saved), options.epochs),
        callbacks=[UpdatePruningStep(), SparsityMonitor(probe), epoch_end(strategy, model, options.save)],
    )


def build_model(options):
    """The compiled model, to be called in the strategy's scope, where all variables must be made."""
    import keras

    from keras_egru import EGRU, ExponentialTrace

    layers = [EGRU(options.units, return_sequences=True), ExponentialTrace(time_constant=5.0), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((STEPS, 2)), *layers])
    if options.prune is not None:
        from keras_egru.pruning import PolynomialDecay, prune_low_magnitude

        end_step = options.samples // options.batch  # of the first epoch
        model = prune_low_magnitude(model, PolynomialDecay(0.0, options.prune, 0, end_step, frequency=2))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
    return model


def fit(strategy, model, batches, epochs, callbacks):
    """What `model.fit` does, under any strategy.

    `train_step` is the step of `fit`: forward, backward, gradients summed over all replicas, update, metrics. `batches`
    takes the number of the epoch and returns its distributed dataset.
    """
    import keras
    import tensorflow as tf

    @tf.function
    def update(iterator):
        strategy.run(model.train_step, args=(next(iterator),))

    callbacks = keras.callbacks.CallbackList(callbacks, model=model)
    callbacks.on_train_begin()
    for epoch in epochs:
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        iterator, batch = iter(batches(epoch)), 0
        while True:
            callbacks.on_train_batch_begin(batch)
            try:
                update(iterator)
            except tf.errors.OutOfRangeError:  # in all workers at the same step
                break
            callbacks.on_train_batch_end(batch)
            batch += 1
        callbacks.on_epoch_end(epoch, {name: float(value) for name, value in model.get_metrics_result().items()})
    callbacks.on_train_end()


def distributed(strategy, samples, options, epoch):
    """`samples` in batches for one epoch, each worker's share of them."""
    import tensorflow as tf

    if options.data_service is not None:
        # A job gives each batch once, to whichever worker asks first; without a name in common each worker has its own.
        service = tf.data.experimental.service.distribute(
            "distributed_epoch",
            f"grpc://{options.data_service}",
            job_name=f"spirals {agreed(strategy, secrets.randbits(62))}",
            max_outstanding_requests=2,
        )
        share = samples.batch(options.batch // strategy.num_replicas_in_sync).apply(service)
        return strategy.distribute_datasets_from_function(lambda context: share)
    # Drawn from the epoch's number, so that training which is resumed sees what it would have seen.
    shuffled = samples.shuffle(options.samples, seed=options.seed + epoch)
    # Each worker makes all batches and keeps its part of each, so that an update is that of one worker alone.
    sharding = tf.data.Options()
    sharding.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(shuffled.batch(options.batch).with_options(sharding))


def spiral(seed, index):
    """`(x, y)`: `[STEPS, 2]` points of spiral number `index`, and whether it turns anticlockwise."""
    import tensorflow as tf

    start, turns, label = tf.unstack(tf.random.stateless_uniform([3], seed=tf.stack([seed, index])))
    anticlockwise = tf.cast(label < 0.5, tf.int32)
    progress = tf.linspace(0.0, 1.0, STEPS)
    sense = 2.0 * tf.cast(anticlockwise, tf.float32) - 1.0
    angle = 6.2832 * (start + sense * (0.5 + 1.5 * turns) * progress)
    points = tf.stack([tf.cos(angle), tf.sin(angle)], axis=-1) * (0.1 + 0.9 * progress[:, None])
    return points, anticlockwise


def is_chief(strategy):
    """Whether this process is the one that writes files."""
    resolver = strategy.cluster_resolver
    if resolver.task_type == "worker":
        return resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    return True


def agreed(strategy, number):
    """The chief's `number`, in all workers: what a variable is initialised with."""
    import tensorflow as tf

    with strategy.scope():
        return int(tf.Variable(number, dtype=tf.int64, trainable=False).numpy())


def epoch_end(strategy, model, save):
    """A callback that saves the model in the chief, and prints a line of JSON."""
    import keras

    def report(epoch, logs):
        if save is not None and is_chief(strategy):
            save.mkdir(parents=True, exist_ok=True)
            model.save(save / "unfinished.keras")
            (save / "unfinished.keras").replace(save / f"epoch-{epoch + 1:04d}.keras")
        # The same in all workers, since their weights are.
        weights = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()
        line = {"worker": strategy.cluster_resolver.task_id or 0, "epoch": epoch + 1, **logs, "weights": weights[:12]}
        print(json.dumps(line), flush=True)

    return keras.callbacks.LambdaCallback(on_epoch_end=report)


if __name__ == "__main__":
    options = parse_options()
    if options.workers > 1 and "TF_CONFIG" not in os.environ:
        sys.exit(start_workers(options.workers))
    train(options)
