"""Cut a CNN in two: the feature maps up to some layer, and everything behind it."""

from collections.abc import Sequence

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
    top = outputs[-1]
    nodes = list(graph.nodes)
    end = nodes.index(top) + 1

    pyramid, copies = fx.Graph(), {}
    for node in nodes[:end]:
        copies[node] = pyramid.node_copy(node, lambda source: copies[source])
    pyramid.output([copies[node] for node in outputs])

    tail = fx.Graph()
    copies = {top: tail.placeholder("maps")}
    for node in nodes[end:]:
        crossing = [source.name for source in node.all_input_nodes if source not in copies]
        if crossing:
            raise ModelError(
                f"{type(cnn).__name__} cannot be cut at {taps[-1]}: {node.name} behind it "
                f"needs {crossing[0]} before it; take another model.top_layer"
            )
        copies[node] = tail.node_copy(node, lambda source: copies[source])
    return _module(cnn, pyramid), _module(cnn, tail)


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
