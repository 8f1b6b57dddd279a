"""What can stop a command, each with the exit code that a script can act on."""


class BenchmarkError(Exception):
    """A command cannot go on; the message is one sentence for the person at the terminal."""

    exit_code = 1


class ConfigError(BenchmarkError):
    """An argument, an option or a `--set` value is wrong."""

    exit_code = 2


class DataMissing(BenchmarkError):
    """The data set of a task is not there and cannot be had."""

    exit_code = 3


class CannotRun(BenchmarkError):
    """A library is missing or does not support what is asked."""

    exit_code = 4


class CannotWrite(BenchmarkError):
    """The output folder cannot be written to, or its disk is full."""

    exit_code = 5


class Diverged(BenchmarkError):
    """Training went to infinity or to no number."""

    exit_code = 6


class NothingFinished(BenchmarkError):
    """Every run of a sweep failed."""

    exit_code = 7


EXIT_CODES = """Exit codes: 0 done; 2 a wrong option, configuration or run folder; 3 the data is missing; 4 a library is
missing or cannot run this; 5 the output cannot be written; 6 training diverged; 7 no run of a sweep came to its end;
130 interrupted (continue with --resume)."""
