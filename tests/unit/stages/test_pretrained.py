"""Weights are looked for before anything long starts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import timm
import torch
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.torch import save_file

from stpa.config import Config
from stpa.errors import ModelError
from stpa.models import published
from stpa.models.backbones import Backbone
from stpa.models.published import FILES
from stpa.params import check_params
from stpa.stages.pretrained import describe_weights, prepare_weights
from stpa.streams import RGB
from tests.workspaces import small_params

NAME = "mobilenetv2_050"
REPOSITORY = "timm/mobilenetv2_050.lamb_in1k"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, on a machine without network."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def config(pretrained: bool | str, **changes: dict[str, Any]) -> Config:
    changes["model"] = {"backbone": NAME, "pretrained": pretrained}
    return check_params(small_params(**changes), Path("params.yaml"))


def cache_weights(hub: Path, write: Callable[[Path], Any]) -> Path:
    """Lay a file out as Hugging Face's cache has it."""
    repository = hub / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = repository / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c0ffee")
    write(snapshot / FILES[0])
    return snapshot / FILES[0]


def write_network(path: Path) -> None:
    torch.manual_seed(7)
    save_file(timm.create_model(NAME).state_dict(), path)


@pytest.mark.parametrize("look", [prepare_weights, describe_weights])
class TestLooking:
    def test_published_weights_that_cannot_come_are_told_with_what_places_them(self, hub, look):
        with pytest.raises(ModelError) as raised:
            look(config(True))
        message = str(raised.value)
        assert message.startswith(f"the published weights of {NAME} are not in {hub} and cannot be")
        assert f"`hf download {REPOSITORY} {FILES[0]}`" in message
        assert "\n" not in message

    def test_an_absent_file_is_told(self, memory, look):
        with pytest.raises(
            ModelError, match=r"^weights file memory://absent.pth cannot be fetched"
        ):
            look(config("memory://absent.pth"))

    def test_the_optical_flow_estimator_has_weights_too(self, memory, look):
        flow = {"estimator": "raft", "options": {"weights": "memory://absent.pth"}}
        with pytest.raises(ModelError, match=r"^weights file memory://absent.pth"):
            look(config(False, optical_flow=flow))

    def test_random_weights_need_no_file(self, hub, look):
        look(config(False))


def test_published_weights_in_the_cache_are_found_and_loaded_without_network(hub):
    path = cache_weights(hub, write_network)
    prepare_weights(config(True))
    megabytes = f"{path.stat().st_size / 1e6:.0f} MB"
    assert describe_weights(config(True)) == f"{NAME}'s are in the cache ({megabytes}, apache-2.0)"
    network = Backbone(NAME, stream=RGB, input_size=32, num_scales=1, pretrained=True)
    torch.manual_seed(7)
    first, *_ = timm.create_model(NAME).parameters()
    assert torch.equal(network.stem[0].weight, first)


def test_a_broken_file_in_the_cache_is_to_be_removed(hub):
    path = cache_weights(hub, lambda path: path.write_bytes(b"broken"))
    with pytest.raises(ModelError, match=rf"cannot be read .*: remove {path} and try again"):
        Backbone(NAME, stream=RGB, input_size=32, num_scales=1, pretrained=True)


def test_where_files_are_is_described_with_their_size(memory):
    memory.pipe("memory://weights/net.pth", b"x" * 3_000_000)
    assert describe_weights(config("memory://weights/net.pth")).endswith("net.pth (3 MB)")


def test_another_machines_workers_look_for_published_weights_themselves(hub, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    prepare_weights(config(True))


def test_a_backbone_without_published_weights_is_refused(hub):
    with pytest.raises(ModelError, match="timm publishes no weights of bn_inception"):
        published.fetch_weights("bn_inception")
