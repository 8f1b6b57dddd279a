"""A trained model one time step at a time: what an event camera or a microphone loop calls at every step."""

import re
from typing import Any, NamedTuple

import keras
from keras import tree

from keras_egru.export.layer_steps import check_unmasked, layer_step


class StreamingModel:
    """The layers of a model, run on one time step a call, with the states between steps in the caller's hands.

    At every step the output is what the model would return for the sequence up to there: the step of the outputs where
    the model returns sequences, and else its result as if the sequence ended there. The weights are the model's own:
    what is trained or assigned later is seen here too.

    Example:

    >>> model = keras.Sequential([keras.Input((None, 8)), keras_egru.EGRU(4), keras.layers.Dense(2)])
    >>> stream = keras_egru.export.StreamingModel(model)
    >>> state = stream.initial_state(batch_size=1)
    >>> for x in np.random.random((10, 1, 8)).astype("float32"):
    ...     y, state = stream.step(x, state)
    >>> y.shape
    (1, 2)
    >>> list(state)
    ['egru_y', 'egru_c']

    On TensorFlow a step runs as a `tf.function`, traced once a batch size; with `EGRU` and `EventLIF` on the custom op
    it multiplies only what is active.

    Args:
        model: A built `keras.Sequential` or Functional model. Its inputs `[batch, time, ...]` are streams, those of an
            `Embedding` `[batch, time]` too; another input, `[batch, features]`, is given anew at every step. Layers
            that see sequences must be among `EGRU`, `EventLIF`, `keras.layers.RNN` with any cell and Keras's own
            recurrent layers, `ExponentialTrace`, `LeakyReadout`, `GlobalAveragePooling1D`, `GlobalMaxPooling1D`, and
            layers that see each step for itself, such as `Dense`, normalisation along the last axis,
            `TimeDistributed`, or `Dropout`.

    Raises:
        TypeError: `model` is not a Sequential or Functional model.
        ValueError: it is not built, or a layer has no step; the sentence names the layer.
    """

    def __init__(self, model):
        self.model = model
        self._graph = _Graph(model, [_is_stream(x) for x in _graph_of(model).inputs], prefix="")
        self._compiled = None

    @property
    def input_is_stream(self) -> list[bool]:
        """Of each input of the model, whether a step takes it without its time axis."""
        return list(self._graph.input_streams)

    @property
    def output_is_stream(self) -> list[bool]:
        """Of each output of the model, whether it has a time axis there."""
        return list(self._graph.streams)

    @property
    def event_names(self) -> list[str]:
        """Names of the states that are the events of `EGRU` and `EventLIF` layers, zero where a unit is silent."""
        return list(self._graph.events)

    @property
    def state_names(self) -> list[str]:
        """Names of the states, `<layer>_<state>`, in the order of the layers."""
        return list(self._graph.names)

    def initial_state(self, batch_size: int = 1) -> dict[str, Any]:
        """The states before the first step by name, each `[batch, ...]`."""
        values = [value for node in self._graph.nodes for value in node.initial(batch_size)]
        return dict(zip(self._graph.names, values, strict=True))

    def step(self, inputs, state):
        """Advances the stream by one step.

        Args:
            inputs: `[batch, features]`, the model's input without its time axis; of several inputs the structure that
                the model takes.
            state: What `initial_state` or the step before returned.

        Returns:
            `(outputs, state)`, outputs without a time axis.

        Raises:
            ValueError: `state` has not the names that `initial_state` gives.
        """
        if set(state) != set(self._graph.names):
            raise ValueError(
                f"`state` must hold {self._graph.names}, as `initial_state` gives them, received {sorted(state)}."
            )
        if keras.backend.backend() != "tensorflow" or any(_is_symbolic(x) for x in state.values()):
            return self._step(inputs, state)
        if self._compiled is None:
            import tensorflow as tf

            self._compiled = tf.function(self._step, reduce_retracing=True, autograph=False)
        return self._compiled(tree.map_structure(keras.ops.convert_to_tensor, inputs), state)

    def _step(self, inputs, state):
        flat = [
            x[:, None] if stream else x
            for x, stream in zip(tree.flatten(inputs), self._graph.input_streams, strict=True)
        ]
        states = iter([state[name] for name in self._graph.names])
        outputs, following = self._graph.step(flat, states)
        outputs = [
            keras.ops.squeeze(x, axis=1) if stream else x
            for x, stream in zip(outputs, self._graph.streams, strict=True)
        ]
        structure = self._graph.structure
        return tree.pack_sequence_as(structure, outputs), dict(zip(self._graph.names, following, strict=True))


class _Node(NamedTuple):
    """A call of a layer in a model's graph; `step` and `streams` are None where no input of it is a stream."""

    call: Any  # Keras's node
    names: tuple[str, ...]
    initial: Any
    step: Any


class _Graph:
    """The calls of a model in order, with what each does at a step."""

    def __init__(self, model, input_streams, prefix, taken=None):
        graph = _graph_of(model)
        self.inputs, self.outputs, self.structure = graph.inputs, graph.outputs, graph._outputs_struct
        self.input_streams = input_streams
        self.nodes, self.names, self.events = [], [], []
        taken = set() if taken is None else taken
        streams = {id(x) for x, stream in zip(graph.inputs, input_streams, strict=True) if stream}
        for operation in graph.operations:
            check_unmasked(operation)
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for call in graph._nodes_by_depth[depth]:
                if call.operation and not call.is_input:
                    self._add(call, streams, prefix, taken)
        self.streams = [id(x) in streams for x in graph.outputs]

    def _add(self, call, streams, prefix, taken):
        layer, given = call.operation, [id(x) in streams for x in call.input_tensors]
        if not any(given):
            self.nodes.append(_Node(call, (), lambda batch_size: [], None))
            return
        if isinstance(layer, keras.Model):
            inner = _Graph(layer, given, f"{prefix}{_identifier(layer.name)}_", taken)
            names, flags = tuple(inner.names), inner.streams
            self.events.extend(inner.events)

            def initial(batch_size):
                return [value for node in inner.nodes for value in node.initial(batch_size)]

            self.nodes.append(_Node(call, names, initial, inner))
        else:
            if not isinstance(layer, keras.layers.Layer):
                raise ValueError(
                    f"Operation '{layer.name}' ({type(layer).__name__}) is given a stream, and only layers have a step "
                    "for streaming: use the layer that does the same, such as `keras.layers.Add`."
                )
            step = layer_step(layer, call.input_tensors[0].shape)
            if not all(given):
                raise ValueError(
                    f"Layer '{layer.name}' ({type(layer).__name__}) is given a stream beside something that is none, "
                    "such as an initial state: streaming wants streams alone."
                )
            names = tuple(_unused(f"{prefix}{_identifier(layer.name)}_{name}", taken) for name in step.names)
            flags = step.streams
            if step.events:
                self.events.append(names[0])
            self.nodes.append(_Node(call, names, step.initial, step.step))
        self.names.extend(names)
        streams.update(id(x) for x, stream in zip(call.outputs, flags, strict=True) if stream)

    def step(self, inputs, states):
        """`(outputs, states)`, flat, of flat inputs and an iterator of the states."""
        values = {id(x): value for x, value in zip(self.inputs, inputs, strict=True)}
        following: list[Any] = []
        for node in self.nodes:
            before = [next(states) for _ in node.names]
            arguments, options = node.call.arguments.fill_in(values)
            if node.step is None:
                results = tree.flatten(node.call.operation(*arguments, **options))
            elif isinstance(node.step, _Graph):
                results, after = node.step.step(tree.flatten(arguments), iter(before))
                following.extend(after)
            elif node.names:
                results, after = node.step(arguments[0], before)
                following.extend(after)
            else:
                results = tree.flatten(node.call.operation(*arguments, **options))
            values.update((id(x), value) for x, value in zip(node.call.outputs, results, strict=True))
        return [values[id(x)] for x in self.outputs], following


def _graph_of(model):
    graph = getattr(model, "_functional", model)
    if isinstance(model, keras.Sequential) and graph is None:
        raise ValueError(
            f"Model '{model.name}' must be built before it can stream: give it an `Input`, or call it once."
        )
    if not isinstance(model, keras.Model) or not hasattr(graph, "_nodes_by_depth"):
        raise TypeError(f"`model` must be a Sequential or Functional Keras model, received {type(model).__name__}.")
    return graph


def _is_stream(x):
    if len(x.shape) > 2:
        return True
    return any(isinstance(node.operation, keras.layers.Embedding) for node in _readers(x))


def _readers(x):
    history = getattr(x, "_keras_history", None)
    return history.operation._outbound_nodes if history is not None else ()


def _identifier(name):
    return re.sub(r"\W", "_", name)


def _unused(name, taken):
    number, unused = 1, name
    while unused in taken:
        unused, number = f"{name}_{number}", number + 1
    taken.add(unused)
    return unused


def _is_symbolic(x):
    return keras.ops.is_tensor(x) and not hasattr(x, "numpy")
