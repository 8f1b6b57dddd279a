"""Whether an influence fits in memory, told before any of it is allocated."""

import os


def check_memory(network, batch, limit=None):
    """Raises a ValueError if the influence of a batch would not fit.

    Args:
        network: `Network`.
        batch: Number of samples.
        limit: Bytes, or None for what is free on this machine.
    """
    if most_samples(network, limit) >= batch:
        return
    available = _available(limit)
    raise ValueError(
        f"The influence of a batch of {batch} would take {network.influence_bytes(batch) / 2**30:.3g} GiB, and "
        f"{available / 2**30:.3g} GiB {'are free' if limit is None else 'are allowed by `memory_limit`'}: take a "
        "smaller batch, fewer units, a higher parameter sparsity or SnAp."
    )


def most_samples(network, limit=None) -> int:
    """The largest batch whose influence fits; arguments as of `check_memory`."""
    bytes_of_one, available = network.influence_bytes(1), _available(limit)
    return 2**31 - 1 if available is None or bytes_of_one == 0 else min(2**31 - 1, int(available // bytes_of_one))


def _available(limit):
    if limit is not None:
        return limit
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None  # a system that does not tell
