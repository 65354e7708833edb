"""Loader processes: what they give, and what becomes of a decoder that hangs or crashes."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler

from stpa.data.clips import ClipReader, TrainClips
from stpa.data.crops import CropSource
from stpa.data.loader import ClipLoader
from stpa.data.storage import Folder
from stpa.errors import DataError
from stpa.streams import RGB
from tests.workspaces import make_video

VIDEOS = [make_video(name, num_frames=20, height=48) for name in "abcdef"]
CLASS_NAMES = ("left",)


@pytest.fixture
def root(tmp_path: Path, write_video) -> Path:
    path = write_video(tmp_path / "a.avi", num_frames=20)
    for video in VIDEOS[1:]:
        shutil.copy(path, tmp_path / video.path)
    return tmp_path


def make_loader(
    storage: Folder, num_processes: int, *, decode_seconds: float = 20.0, crop_later: bool = False
) -> ClipLoader:
    source = CropSource(
        ClipReader(RGB, storage, short_side=40),
        input_size=32,
        scales=(1.0, 0.75),
        horizontal_flip=True,
        crop_later=crop_later,
    )
    drawn = TrainClips(VIDEOS, CLASS_NAMES, source, num_segments=2, seed=0)
    return ClipLoader(
        drawn,
        batches=BatchSampler(SequentialSampler(drawn), 2, drop_last=False),
        num_processes=num_processes,
        decode_seconds=decode_seconds,
        pin_memory=False,
    )


def test_batches_are_the_same_from_any_number_of_processes(root):
    alone, several = list(make_loader(Folder(root), 0)), list(make_loader(Folder(root), 2))
    assert len(alone) == len(several) == len(make_loader(Folder(root), 0)) == 3
    assert torch.cat([batch["index"] for batch in several]).tolist() == list(range(6))
    for left, right in zip(alone, several, strict=True):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_decoder_that_sleeps_for_ever_is_killed_and_its_video_named(root):
    (root / "c.avi").unlink()
    os.mkfifo(root / "c.avi")  # whoever opens it waits for somebody to write
    loader = make_loader(Folder(root), 2, decode_seconds=1.0)
    with pytest.raises(DataError, match=r"^c\.avi gave no frame for 1 s \(data\.decode_deadline"):
        list(loader)


class CrashingFolder(Folder):
    """Stands for a decoder that one file crashes."""

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        if name == "e.avi":
            os.kill(os.getpid(), signal.SIGSEGV)
        yield self.root / name


def test_loader_processes_end_with_a_trainer_that_is_killed(root):
    trainer = get_context("spawn").Process(target=load_and_die, args=(root,))
    trainer.start()
    assert trainer.pid is not None
    left = psutil.Process(trainer.pid)
    started: dict[int, psutil.Process] = {}
    while trainer.is_alive():
        with suppress(psutil.NoSuchProcess):
            started |= {each.pid: each for each in left.children(recursive=True)}
        time.sleep(0.05)
    assert len(started) >= 3, "two that load and the one that they are forks of"
    _, alive = psutil.wait_procs(list(started.values()), timeout=30)
    assert alive == []


def load_and_die(root: Path) -> None:
    next(iter(make_loader(Folder(root), 2)))
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


class FaultyFolder(Folder):
    """Stands for a fault in this project."""

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        yield self.root / name[1 // 0 :]


@pytest.mark.parametrize("error", [EOFError, ConnectionResetError])
def test_a_process_that_dies_with_a_batch_on_its_way_names_its_video(root, monkeypatch, error):
    def give() -> Iterator[None]:
        raise error
        yield

    ended = subprocess.Popen(["true"])
    ended.wait()
    loader = make_loader(Folder(root), 1)
    loader._board[0] = torch.tensor([ended.pid, 4])
    monkeypatch.setattr(loader, "_loader", give())
    with pytest.raises(DataError, match=r"^e\.avi gave no frame for 20 s"):
        list(loader)


def test_a_decoder_that_crashes_is_named(root):
    with pytest.raises(DataError, match=r"^e\.avi gave no frame for 20 s"):
        list(make_loader(CrashingFolder(root), 2))


def test_processes_that_live_on_draw_other_clips_in_other_epochs(root):
    alone, several = make_loader(Folder(root), 0), make_loader(Folder(root), 2)
    seen = []
    for epoch in range(3):
        for loader in (alone, several):
            assert isinstance(loader.clips, TrainClips)
            loader.clips.set_epoch(epoch)
        expected = torch.cat([batch["frames"] for batch in alone])
        seen.append(torch.cat([batch["frames"] for batch in several]))
        assert torch.equal(seen[-1], expected)
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("num_processes", [0, 2])
def test_a_clip_that_does_not_decode_is_told_in_one_line(root, num_processes):
    (root / "b.avi").write_text("overwritten")
    with pytest.raises(DataError, match=r"b\.avi does not decode") as caught:
        list(make_loader(Folder(root), num_processes))
    assert "\n" not in str(caught.value)


def test_faults_that_are_ours_are_not_taken_for_a_decoder(root):
    with pytest.raises(ZeroDivisionError):
        list(make_loader(FaultyFolder(root), 1))


def test_whole_frames_of_different_sizes_are_batched_with_their_edges_repeated(root, write_video):
    write_video(root / "b.avi", num_frames=20, width=96)
    batch = next(iter(make_loader(Folder(root), 0, crop_later=True)))
    assert batch["frames"].shape == (2, 2, 3, 40, 80)
    narrow = batch["frames"][0]
    assert torch.equal(narrow[..., 53:], narrow[..., 52:53].expand(-1, -1, -1, 27))
    assert batch["box"].shape == (2, 4)
    assert batch["mirrored"].dtype == torch.bool
