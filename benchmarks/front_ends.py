"""Convolutions that see each frame of a camera for itself, before the recurrent layers.

`alexnet` is "adapted from AlexNet" as the EGRU paper's front end is (section 5.1), after Innocenti et al. 2021; the
paper prints no sizes of its layers. Ours is of its cost: the paper counts 80.6 M products a frame in all. `cnn` is one
for frames of 32 x 32 on a CPU.
"""

import math

import keras

NAME = "front_end"
# Filters, side of the kernel, stride, and whether a maximum over 3 x 3 pixels, every second of them, follows.
STACKS = {
    "alexnet": ((64, 11, 4, True), (96, 5, 1, True), (384, 3, 1, False), (48, 3, 1, True)),
    "cnn": ((8, 5, 2, False), (16, 3, 2, False), (16, 3, 2, False)),
}


def front_end(kind, image_size, polarities, seed) -> keras.layers.Layer:
    """A layer from flat frames `[batch, time, features]` to what convolutions make of each of them, flat too."""
    frame = [keras.Input((polarities * image_size**2,)), keras.layers.Reshape((image_size, image_size, polarities))]
    for number, (filters, side, stride, pooled) in enumerate(STACKS[kind]):
        initializer = keras.initializers.HeUniform(seed=seed + number)
        frame.append(
            keras.layers.Conv2D(
                filters, side, stride, padding="same", activation="relu", kernel_initializer=initializer
            )
        )
        if pooled:
            frame.append(keras.layers.MaxPooling2D(3, 2))
    return keras.layers.TimeDistributed(keras.Sequential([*frame, keras.layers.Flatten()]), name=NAME)


def front_end_macs(network) -> int:
    """Multiply-accumulates of the front end for one frame, every one of them: convolutions skip nothing here.

    0 where the network has none.
    """
    layers = [layer for layer in network.layers if layer.name == NAME]
    convolutions = [layer for one in layers for layer in one.layer.layers if isinstance(layer, keras.layers.Conv2D)]
    return sum(math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3]) for layer in convolutions)
