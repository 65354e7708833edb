"""Cut a CNN in two: the feature maps up to some layer, and everything behind it."""

import math
from collections.abc import Sequence
from contextlib import suppress

import torch
from timm.models import get_notrace_functions, get_notrace_modules
from torch import fx, nn
from torch.fx.proxy import TraceError

from stpa.errors import ModelError


def trace(cnn: nn.Module) -> fx.Graph:
    """Write down what `cnn` computes, a node an operation, for inputs of any size."""
    was_training = cnn.training
    try:
        # Dropout that is written as a function would be kept as it is now: off.
        return _Tracer().trace(cnn.eval())
    except (TraceError, TypeError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"{type(cnn).__name__} decides on its input's values or shape ({error}), "
            "so it cannot be cut: take another model.backbone"
        ) from error
    finally:
        cnn.train(was_training)


def cut(
    cnn: nn.Module, graph: fx.Graph, taps: Sequence[str]
) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Return two modules that share nothing: frames to the outputs of `taps`, and the last of
    these outputs to the CNN's own.

    A tap is a submodule's path (`layer4`), or one and an operation in it (`repeat.9.add`).
    """
    outputs = [_output_of(cnn, graph, tap) for tap in taps]
    try:
        tail = _behind(graph, outputs[-1])
    except _CrossingError as error:
        raise ModelError(
            f"{type(cnn).__name__} cannot be cut at {taps[-1]}: {error.node} behind it "
            f"needs {error.source} before it; take another model.top_layer"
        ) from None
    return _module(cnn, _up_to(graph, outputs)), _module(cnn, tail)


@torch.no_grad()
def split(
    tail: fx.GraphModule, num_channels: int, size: tuple[int, int], *, channels_last: bool
) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Return a tail's first layers, which look at each position alone, and the others.

    Both share their weights with `tail`, whose layers are in evaluation. The first are as many as
    give maps of the `size` of those that they take, and do not depend on which position is where;
    they may be none.
    """
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(math.prod(size), generator=generator)
    channels = -1 if channels_last else 1

    def shuffled(maps: torch.Tensor) -> torch.Tensor:
        rows = maps.movedim(channels, 1).flatten(2)[..., order]
        return rows.unflatten(2, size).movedim(1, channels)

    maps = torch.rand(1, num_channels, *size, generator=generator).movedim(1, channels)
    in_order, in_disorder = _Values(tail).of(maps), _Values(tail).of(shuffled(maps))
    for node in reversed(tail.graph.nodes):
        found = in_order[node]
        if found.ndim != 4 or found.movedim(channels, 1).shape[2:] != size:
            continue
        if torch.allclose(shuffled(found), in_disorder[node], rtol=1e-3, atol=1e-5):
            with suppress(_CrossingError):
                rest = _behind(tail.graph, node)
                return _module(tail, _up_to(tail.graph, node)), _module(tail, rest)
    raise AssertionError("what a tail takes does not depend on an order")


class _Values(fx.Interpreter):
    """What every node of a graph computes; an empty tensor for what is none."""

    def of(self, maps: torch.Tensor) -> dict[fx.Node, torch.Tensor]:
        """Run the graph."""
        self._values: dict[fx.Node, torch.Tensor] = {}
        self.run(maps.clone())
        return self._values

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        # A copy: the next layer may work in place.
        self._values[n] = value.clone() if isinstance(value, torch.Tensor) else torch.empty(0)
        return value


class _CrossingError(Exception):
    """A node behind a cut needs one before it."""

    def __init__(self, node: fx.Node, source: fx.Node) -> None:
        super().__init__(node, source)
        self.node, self.source = node.name, source.name


def _up_to(graph: fx.Graph, outputs: fx.Node | Sequence[fx.Node]) -> fx.Graph:
    """Return the graph from the input to nodes, of which the last one comes last."""
    first, copies = fx.Graph(), {}
    nodes = list(graph.nodes)
    last = outputs if isinstance(outputs, fx.Node) else outputs[-1]
    for node in nodes[: nodes.index(last) + 1]:
        copies[node] = first.node_copy(node, lambda source: copies[source])
    first.output(fx.map_arg(outputs, lambda node: copies[node]))
    return first


def _behind(graph: fx.Graph, top: fx.Node) -> fx.Graph:
    """Return the graph from a node's value to the output. Raises _CrossingError."""
    rest = fx.Graph()
    copies = {top: rest.placeholder("maps")}
    nodes = list(graph.nodes)
    for node in nodes[nodes.index(top) + 1 :]:
        for source in node.all_input_nodes:
            if source not in copies:
                raise _CrossingError(node, source)
        copies[node] = rest.node_copy(node, lambda source: copies[source])
    return rest


class _Tracer(fx.Tracer):
    """Look into modules down to the layers, which alone may depend on being in training."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._whole = tuple(get_notrace_modules())

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(True for _ in m.children()) or isinstance(m, self._whole)


def _output_of(cnn: nn.Module, graph: fx.Graph, tap: str) -> fx.Node:
    found = [node for node in graph.nodes if f"{_path(node)}.".startswith(f"{tap}.")]
    if not found:
        raise ModelError(
            f"{type(cnn).__name__} computes no layer {tap!r}: take another model.backbone"
        )
    return found[-1]


def _path(node: fx.Node) -> str:
    """Return `repeat.9.add` for an addition in `repeat.9`, and a layer's own path for a layer."""
    modules = list(node.meta.get("nn_module_stack", ()))
    if node.op == "call_module":
        return str(node.target)
    operation = node.target if isinstance(node.target, str) else node.target.__name__
    return ".".join([*modules[-1:], operation])


def _module(cnn: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    module = fx.GraphModule(cnn, graph)
    graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module
