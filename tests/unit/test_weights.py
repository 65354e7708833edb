"""Weights from paths and URLs, and from those who would harm the reader."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.torch import save, save_file

from stpa import weights as weights_module
from stpa.errors import ModelError
from stpa.weights import read_weights, weights_digest

STATE = {"stem.weight": torch.arange(6.0).reshape(2, 3), "stem.bias": torch.tensor([1.0, 2.0])}
URL = "memory://weights/net.safetensors"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory(cache: Path) -> Iterator[MemoryFileSystem]:
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def save_plain(path: Path) -> None:
    torch.save(STATE, path)


def save_wrapped(path: Path) -> None:
    torch.save({"epoch": 3, "best": 0.5, "state_dict": STATE}, path)


def save_parallel(path: Path) -> None:
    torch.save({"state_dict": {f"module.{name}": STATE[name] for name in STATE}}, path)


def save_legacy(path: Path) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("net.safetensors", lambda path: save_file(STATE, path)),
        ("net.pth", save_plain),
        ("net.pth.tar", save_wrapped),
        ("net.pt", save_parallel),
        ("net.bin", save_legacy),
    ],
)
def test_every_known_form_gives_the_state_dict(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    path = tmp_path / name
    write(path)
    assert_same(read_weights(str(path)), STATE)
    assert_same(read_weights(path.as_uri()), STATE)


def test_prefix_of_some_names_alone_is_kept(tmp_path: Path) -> None:
    state = {"module.weight": torch.ones(1), "bias": torch.ones(1)}
    torch.save(state, tmp_path / "net.pth")
    assert_same(read_weights(str(tmp_path / "net.pth")), state)


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.made}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_hostile_pickle_is_refused_unrun(tmp_path: Path, zipped: bool, suffix: str) -> None:
    made, path = tmp_path / "made", tmp_path / f"net{suffix}"
    content = {**STATE, "extra": Hostile(made)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"save_file|give a \.safetensors") as refusal:
        read_weights(str(path))
    assert not made.exists()
    assert "\n" not in str(refusal.value)
    # The file does harm where it is trusted: the refusal was not for nothing.
    torch.load(path.rename(tmp_path / "trusted.pth"), weights_only=False)
    assert made.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_file_gives_one_line(tmp_path: Path, suffix: str) -> None:
    stream = io.BytesIO()
    torch.save(STATE, stream)
    whole = save(STATE) if suffix == ".safetensors" else stream.getvalue()
    path = tmp_path / f"net{suffix}"
    damaged = [whole[:length] for length in range(0, len(whole) - 1, 41)]
    for content in [
        *damaged,
        b"<html>404</html>",
        bytes(100),
        whole[::-1],
        b"\x80\x02]q\x00K\x01.",
    ]:
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"net\.\w+ .*(damaged|holds)") as refusal:
            read_weights(str(path))
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "holds no state dict"),
        ([torch.ones(1)], "holds no state dict"),
        ({"weight": torch.ones(1), "epoch": 3}, "a int at 'epoch'"),
        ({3: torch.ones(1)}, "at 3"),
        ({"state_dict": {"weight": [1.0]}}, "a list at 'weight'"),
    ],
)
def test_what_is_no_state_dict_is_named(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "net.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match=said):
        read_weights(str(path))


@pytest.mark.parametrize("name", ["absent.pth", "absent.safetensors", ""])
def test_absent_file_and_folder_are_named(tmp_path: Path, name: str) -> None:
    for read in (read_weights, weights_digest):
        with pytest.raises(ModelError, match=rf"{tmp_path.name}.* cannot be read"):
            read(str(tmp_path / name))


def test_url_gives_the_same_as_the_file(memory: MemoryFileSystem) -> None:
    memory.pipe(URL, save(STATE))
    assert_same(read_weights(URL), STATE)
    assert weights_digest(URL) == hashlib.sha256(save(STATE)).hexdigest()


def test_url_is_fetched_once(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe(URL, save(STATE))
    read_weights(URL)
    monkeypatch.setattr("fsspec.AbstractFileSystem.get_file", None)
    assert_same(read_weights(URL), STATE)
    weights_digest(URL)


def test_changed_file_replaces_its_copy(memory: MemoryFileSystem, cache: Path) -> None:
    memory.pipe(URL, save(STATE))
    read_weights(URL)
    changed = {"other": torch.zeros(3)}
    memory.pipe(URL, save(changed))
    assert_same(read_weights(URL), changed)
    assert len(files(cache)) == 1


def test_broken_transfer_leaves_no_copy(
    memory: MemoryFileSystem, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(self: MemoryFileSystem, remote: str, local: str) -> None:
        Path(local).write_bytes(b"half")
        raise ConnectionResetError("the other side hung up\nand said more")

    memory.pipe(URL, save(STATE))
    with monkeypatch.context() as patch:
        patch.setattr("fsspec.AbstractFileSystem.get_file", break_off)
        with pytest.raises(ModelError, match=r"cannot be fetched \(the other side hung up\)"):
            read_weights(URL)
    assert files(cache) == []
    assert_same(read_weights(URL), STATE)


def test_truncated_transfer_is_refused(
    memory: MemoryFileSystem, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe(URL, save(STATE))
    monkeypatch.setattr(
        "fsspec.AbstractFileSystem.get_file",
        lambda self, remote, local: Path(local).write_bytes(save(STATE)[:-1]),
    )
    size = len(save(STATE))
    with pytest.raises(ModelError, match=f"{size - 1} of {size} bytes came"):
        weights_digest(URL)
    assert files(cache) == []


def test_endless_file_is_not_fetched(
    memory: MemoryFileSystem, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe(URL, save(STATE))
    monkeypatch.setattr(weights_module, "MAX_FETCHED_BYTES", 10)
    with pytest.raises(ModelError, match="at most 10"):
        read_weights(URL)
    assert files(cache) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://weights/absent.pth", "absent.pth"),
        ("nowhere://weights/net.pth", "Protocol not known: nowhere"),
    ],
)
def test_unreachable_url_is_named(memory: MemoryFileSystem, url: str, said: str) -> None:
    for read in (read_weights, weights_digest):
        with pytest.raises(ModelError, match=rf"{url} cannot be fetched \(.*{said}"):
            read(url)


def test_hostile_pickle_at_a_url_is_refused_unrun(memory: MemoryFileSystem, tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"weight": Hostile(tmp_path / "made")}, stream)
    memory.pipe("memory://weights/net.pth", stream.getvalue())
    with pytest.raises(ModelError, match="save_file"):
        read_weights("memory://weights/net.pth")
    assert not (tmp_path / "made").exists()


def test_a_file_is_digested_once_and_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.safetensors"
    read: list[Path] = []
    digest = weights_module.digest_file
    monkeypatch.setattr(
        weights_module, "digest_file", lambda path: read.append(path) or digest(path)
    )
    save_file(STATE, path)
    before = weights_digest(str(path))
    assert weights_digest(str(path)) == before
    assert read == [path]
    save_file({name: value + 1 for name, value in STATE.items()}, path)  # of the same size
    assert weights_digest(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest() != before
