"""What the gradient functions of the custom ops ask of TensorFlow."""


def attribute(op, name):
    value = op.get_attr(name)
    return value.decode() if isinstance(value, bytes) else value


def is_filled_in(grad):
    """Whether nobody asked for `grad`. In a graph, TensorFlow gives zeros of the size of the output then."""
    import tensorflow as tf

    if grad is None or not tf.is_symbolic_tensor(grad):
        return grad is None
    return grad.op.type == "ZerosLike" or (grad.op.type == "Fill" and tf.get_static_value(grad.op.inputs[1]) == 0)
