"""The blocks of a masked weight: what is drawn, dropped and grown together, and counted by the gate.

A weight is a matrix, or several of equal size side by side (the gates of a recurrent layer), each cut into blocks. With
blocks of one weight, a weight of any rank is a matrix: what comes before the last axis is its rows.
"""

import math
import numbers

import numpy as np


class Blocks:
    """How one masked weight is cut into blocks; arrays of blocks are `[gates, blocks of a gate]`.

    Args:
        masked_weight: A `MaskedWeight`.
        gates: Of how many matrices it consists.
        block_size: (height, width).

    Raises:
        ValueError: the blocks do not fit. The sentence names the weight.
    """

    def __init__(self, masked_weight, gates: int, block_size: tuple[int, int] = (1, 1)):
        self.shape = tuple(masked_weight.mask.shape)
        height, width = block_size
        rows, columns = math.prod(self.shape[:-1]), self.shape[-1] // gates
        if block_size != (1, 1) and (len(self.shape) != 2 or rows % height or columns % width):
            raise ValueError(
                f"`block_size` {block_size} must divide the matrices that are masked: `{masked_weight.name}` "
                f"({masked_weight.weight.path}) has the shape {list(self.shape)}, in {gates} of [{rows}, {columns}]."
            )
        self.number = (gates, rows * columns // (height * width))
        self.single = block_size == (1, 1)
        self._split = (rows // height, height, gates, columns // width, width)

    def pooled(self, values) -> np.ndarray:
        """The sum of `values`, of the weight's shape, over each block."""
        if self.single:  # The same, in a third of the time.
            rows, _, gates, columns, _ = self._split
            return np.reshape(values, (rows, gates, columns)).transpose(1, 0, 2).reshape(self.number)
        return np.reshape(values, self._split).sum(axis=(1, 4)).transpose(1, 0, 2).reshape(self.number)

    def spread(self, blocks) -> np.ndarray:
        """An array of the weight's shape that holds, everywhere in a block, the block's entry of `blocks`."""
        rows, height, gates, columns, width = self._split
        spread = np.reshape(blocks, (gates, rows, columns)).transpose(1, 0, 2)[:, None, :, :, None]
        return np.broadcast_to(spread, (rows, height, gates, columns, width)).reshape(self.shape)

    def live(self, mask) -> np.ndarray:
        """The blocks that `mask` keeps, booleans.

        Raises:
            ValueError: `mask` keeps a block in part.
        """
        live = self.pooled(mask) > 0
        if not self.single and not np.array_equal(self.spread(live), np.asarray(mask) != 0):
            raise ValueError("The masks must keep whole blocks or nothing of them: they have been set by other means.")
        return live


def checked_block_size(block_size) -> tuple[int, int]:
    """`block_size` as a tuple of two positive integers.

    Raises:
        ValueError: it is something else.
    """
    sizes = tuple(block_size) if isinstance(block_size, (tuple, list)) else ()
    if len(sizes) != 2 or not all(isinstance(size, numbers.Integral) and int(size) > 0 for size in sizes):
        raise ValueError(f"`block_size` must be two positive integers, (height, width), received {block_size!r}.")
    return int(sizes[0]), int(sizes[1])


def gates_of(masked_weight, masked_weights) -> int:
    """Of how many matrices a weight consists; the input kernel of a recurrent cell has as many as its recurrent one."""
    sibling = masked_weight.name.removesuffix("kernel") + "recurrent_kernel"
    gates = next((other.gates for other in masked_weights if other.name == sibling), masked_weight.gates)
    return gates if masked_weight.mask.shape[-1] % gates == 0 else masked_weight.gates
