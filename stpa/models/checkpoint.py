"""A model folder: model.json says what the network is, weights.safetensors what it learnt."""

import json
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from stpa.errors import ModelError, first_line
from stpa.files import atomic_path
from stpa.models.network import ActionNetwork, NetworkSpec
from stpa.streams import STREAMS

SPEC_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"


def save_model(folder: Path, network: ActionNetwork) -> None:
    """Write `network` as the model folder `folder`, atomically."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_model(temporary, network)


def write_model(folder: Path, network: ActionNetwork) -> None:
    """Write `network`'s two files into an existing folder."""
    spec = json.dumps(network.spec.to_dict(), indent=2, ensure_ascii=False)
    (folder / SPEC_FILE).write_text(spec + "\n", encoding="utf-8")
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE)


def load_model(folder: Path) -> ActionNetwork:
    """Rebuild the network of a model folder, on the CPU, in evaluation mode.

    Raises ModelError when a file is absent, damaged, or does not fit the other.
    """
    spec = load_spec(folder)
    try:
        network = ActionNetwork(spec)
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise _broken(folder, error) from error
    return network.eval()


def load_spec(folder: Path) -> NetworkSpec:
    """Read what the network of a model folder is. Raises ModelError."""
    try:
        return NetworkSpec.from_dict(json.loads((folder / SPEC_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _broken(folder, error) from error


def _broken(folder: Path, error: Exception) -> ModelError:
    return ModelError(f"{folder} is not a whole model folder: {first_line(error)}")


@lru_cache(maxsize=len(STREAMS))  # the networks of a fusion
def load_shared(folder: Path, device: str) -> ActionNetwork:
    """Return the network of `load_model` on a device, the same one as long as it is asked for.

    For the short tasks of a worker process; a folder must not change in its lifetime.
    """
    return load_model(folder).to(device)
