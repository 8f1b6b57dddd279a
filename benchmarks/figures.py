"""How figures are written in tables and plots; a dash stands for one that is not known or does not apply."""


def share(value) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def decimal(value) -> str:
    return "-" if value is None else f"{value:.1f}"


def number(value) -> str:
    """Three significant digits: 866, 49.5k, 1.05M."""
    if value is None:
        return "-"
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.0f}"


def three_digits(value) -> str:
    """Three digits, all before the point where there are as many: 0.12, 1.23, 12.3, 1234."""
    if value is None:
        return "-"
    return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"


def with_deviation(pair, write) -> str:
    """`98.1 ± 0.2%` of `[mean, standard deviation]`, the mean alone without a deviation.

    `write` is one of the functions above.
    """
    if pair is None:
        return "-"
    mean, deviation = pair
    return write(mean) if deviation is None else f"{write(mean).removesuffix('%')} ± {write(deviation)}"


def units(value) -> str:
    """`128`; of several layers `3x256`, or `512-256` where they differ."""
    if not isinstance(value, list | tuple):
        return "-" if value is None else str(value)
    if len(set(value)) == 1:
        return str(value[0]) if len(value) == 1 else f"{len(value)}x{value[0]}"
    return "-".join(map(str, value))
