"""Video action classifiers of one or more streams: train, judge and ship them.

Start at `stpa.stages` for the pipeline, at `stpa.models` for the networks.

In programs of your own, `stpa.load("models:/NAME@champion").predict(paths)` classifies videos.
What `__all__` names is imported when it is first used, so that `import stpa` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stpa.serving.classifier import Classifier
    from stpa.serving.load import load
    from stpa.serving.result import Result

__all__ = ["Classifier", "Result", "load"]

_MODULES = {
    "Classifier": "stpa.serving.classifier",
    "Result": "stpa.serving.result",
    "load": "stpa.serving.load",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
