"""Magnitude pruning in a run: when it begins and ends, what is pruned, and under which name the run goes.

The schedule is tfmot's polynomial decay of the dense share (Zhu & Gupta 2017); `keras_egru.pruning` holds the masks.
"""

from contextlib import contextmanager

from benchmarks.errors import CannotRun, ConfigError
from benchmarks.sparsities import weight_sparsity

RENEWALS = 50  # of the masks, on the way from the first to the last update of the schedule


class Pruning:
    """What `config` asks of a run of `updates` updates; does nothing where `config.prune` is None.

    schedule: tfmot's, of what share is zero after how many updates; None without pruning.
    last_update: Number of the update after which masks change no more; 0 without pruning.

    Raises:
        ConfigError: no update lies between begin and end.
        CannotRun: tfmot is not installed.
    """

    def __init__(self, config, updates):
        self.config = config
        self.schedule, self.last_update = None, 0
        if config.prune is None:
            return
        begin, end = round(config.prune_begin * updates), round(config.prune_end * updates)
        if end <= begin:
            raise ConfigError(
                f"prune_begin and prune_end must leave an update between them, received {config.prune_begin} and "
                f"{config.prune_end} of {updates} updates."
            )
        frequency = max(1, (end - begin) // RENEWALS)
        # The last sparsity comes with a renewal at the end, so the end must be one.
        self.last_update = begin + (end - begin) // frequency * frequency
        self.schedule = _polynomial_decay(
            initial_sparsity=0.0,
            final_sparsity=config.prune,
            begin_step=begin,
            end_step=self.last_update,
            frequency=frequency,
        )

    def wrap(self, layer):
        """The layer, in tfmot's wrapper if it is to be pruned: a recurrent one, or any with prune_weights=all."""
        if self.config.prune is None:
            return layer
        cell = getattr(layer, "cell", None)
        if self.config.prune_weights == "recurrent":
            if cell is None:
                return layer
            layer.get_prunable_weights = lambda: [cell.recurrent_kernel]
        from keras_egru.pruning import prune_low_magnitude

        return prune_low_magnitude(layer, self.schedule, block_size=self.config.block)

    def callbacks(self) -> list:
        """What `fit` needs for masks to be made."""
        if self.config.prune is None:
            return []
        from keras_egru.pruning import UpdatePruningStep

        return [UpdatePruningStep()]

    def figures(self, network) -> dict:
        """What an epoch's figures say about the weights of the stripped network; nothing without pruning."""
        if self.config.prune is None:
            return {}
        return {"recurrent_parameter_sparsity": weight_sparsity(network)["recurrent_parameter_sparsity"]}

    def stripped(self, network):
        """The network without wrappers, pruned weights zero."""
        if self.config.prune is None:
            return network
        from keras_egru.pruning import strip_pruning

        return strip_pruning(network)


def label(config) -> str | None:
    """What tells a pruned run from others in its name, such as `prune0.8-1x16`; None without pruning."""
    if config.prune is None:
        return None
    everything = "-all" if config.prune_weights == "all" else ""
    return f"prune{config.prune:g}-{'x'.join(map(str, config.block))}{everything}"


@contextmanager
def blocks_must_fit(config):
    """Says as an error of the configuration that the blocks do not fit the layers that are built inside."""
    try:
        yield
    except ValueError as error:
        if config.prune is None:
            raise
        raise ConfigError(f"--block does not fit the network: {error}") from None


def _polynomial_decay(**arguments):
    try:
        from keras_egru.pruning import PolynomialDecay
    except ImportError as error:
        raise CannotRun(f"--prune cannot run: {error}") from None
    return PolynomialDecay(**arguments)
