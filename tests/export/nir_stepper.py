"""Integrates the differential equations of a NIR file in small steps, with `nir` and NumPy alone.

It knows NIR's definitions and nothing of the layers that were exported: `python nir_stepper.py GRAPH INPUTS OUTPUTS`
reads impulses `[batch, time, features]` and writes the values of every node at every step.
"""

import sys

import nir
import numpy as np

SUBSTEPS = 20


def derivative(node, v, current):
    """`(dv/dt, dI/dt)` between impulses."""
    if isinstance(node, (nir.LI, nir.LIF)):
        return (node.v_leak - v) / node.tau, 0.0 * current
    return (node.v_leak - v + node.r * current) / node.tau_mem, -current / node.tau_syn


def integrate(node, v, current, duration):
    """Runge-Kutta of fourth order."""
    h = duration / SUBSTEPS
    for _ in range(SUBSTEPS):
        k1 = derivative(node, v, current)
        k2 = derivative(node, v + h / 2 * k1[0], current + h / 2 * k1[1])
        k3 = derivative(node, v + h / 2 * k2[0], current + h / 2 * k2[1])
        k4 = derivative(node, v + h * k3[0], current + h * k3[1])
        v = v + h / 6 * (k1[0] + 2 * k2[0] + 2 * k3[0] + k4[0])
        current = current + h / 6 * (k1[1] + 2 * k2[1] + 2 * k3[1] + k4[1])
    return v, current


def impulse(node, v, current, area):
    """What a Dirac impulse of that area does: the right-hand side, integrated over it."""
    if isinstance(node, (nir.LI, nir.LIF)):
        return v + node.r * area / node.tau, current
    return v, current + node.w_in * area / node.tau_syn


def run(graph, inputs):
    """The values of all nodes, `{name: [batch, time, ...]}`; comparisons with thresholds at impulses alone."""
    dt = graph.metadata["dt"] * graph.metadata["time_unit"]
    states = {
        name: [np.broadcast_to(node.v_leak.astype("float64"), (len(inputs), node.v_leak.size))] * 2
        for name, node in graph.nodes.items()
        if hasattr(node, "v_leak")
    }
    for state in states.values():
        state[1] = 0.0 * state[1]
    values = {name: [] for name in graph.nodes}
    for step in range(inputs.shape[1]):
        now = {}

        def of(name, step=step, now=now):
            """The value of a node at this step; that of a neuron with a membrane that jumps needs its inputs first."""
            if name not in now:
                now[name] = value(name, step)
            return now[name]

        def area(name):
            return sum(of(source) for source, target in graph.edges if target == name)

        def value(name, step):
            node = graph.nodes[name]
            if isinstance(node, nir.Input):
                return inputs[:, step]
            if isinstance(node, nir.Delay):
                steps = round(float(node.delay[0]) / dt)
                (source,) = (source for source, target in graph.edges if target == name)
                return values[source][step - steps] if step >= steps else 0.0 * states[source][0]
            if isinstance(node, nir.Linear):
                return area(name) @ node.weight.T
            if isinstance(node, nir.Affine):
                return area(name) @ node.weight.T + node.bias
            if isinstance(node, nir.Output):
                return area(name)
            state = states[name]
            if isinstance(node, (nir.LI, nir.LIF)):
                state[:] = impulse(node, *state, area(name))
            if isinstance(node, (nir.LI, nir.CubaLI)):
                return state[0]
            fired = state[0] > node.v_threshold
            state[0] = np.where(fired, node.v_reset, state[0])
            return fired.astype("float64")

        for name, state in states.items():
            state[:] = integrate(graph.nodes[name], *state, dt) if step else state
        for name in graph.nodes:
            values[name].append(of(name))
        for name, state in states.items():
            if isinstance(graph.nodes[name], (nir.CubaLI, nir.CubaLIF)):
                state[:] = impulse(graph.nodes[name], *state, area(name))
    return {name: np.stack(rows, axis=1) for name, rows in values.items()}


if __name__ == "__main__":
    np.savez(sys.argv[3], **run(nir.read(sys.argv[1]), np.load(sys.argv[2])))
    loaded = {"keras", "tensorflow", "keras_egru"} & set(sys.modules)
    assert not loaded, loaded
