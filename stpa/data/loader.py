"""Batches of clips from loader processes, one of which may stall or crash, but not unnoticed."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from typing import Any

import cv2
import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from stpa.data.clips import Clips, Item
from stpa.data.deadline import limit_decoding
from stpa.errors import DataError, StpaError

LOOK_SECONDS = 2.0
"""How often a loader process looks whether it is still needed."""
_NOTHING = -1


class ClipLoader:
    """Collates the items of `clips` whose places `batches` gives.

    With `num_processes` above 0, a decoding that takes over `decode_seconds` ends its loader
    process, and that ends the epoch with a DataError that names the video. What an item raises
    is raised here.
    """

    def __init__(
        self,
        clips: Clips,
        *,
        batches: Sampler[list[int]],
        num_processes: int,
        decode_seconds: float,
        pin_memory: bool,
    ) -> None:
        self.clips = clips
        self._decode_seconds = decode_seconds
        # For each loader process its number and the item it is at; in memory that they share.
        self._board = torch.full((num_processes, 2), _NOTHING).share_memory_()
        self._loader = DataLoader(
            _Watched(clips, self._board),
            batch_sampler=batches,
            num_workers=num_processes,
            pin_memory=pin_memory,
            collate_fn=_collate,
            worker_init_fn=partial(_start_process, decode_seconds, os.getpid()),
            generator=torch.Generator(),  # the global one would draw other dropout
            persistent_workers=num_processes > 0,
            # A fork of a process with threads can inherit a lock that nobody will release.
            multiprocessing_context=_start_server() if num_processes else None,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        try:
            with _keep_signal_handler(signal.SIGCHLD):
                batches = iter(self._loader)
            for batch in batches:
                if isinstance(batch, StpaError):
                    raise batch
                yield batch
        except (RuntimeError, EOFError, OSError) as error:
            if not isinstance(error, RuntimeError):
                # A process that dies with a batch on its way closes the connection first.
                time.sleep(LOOK_SECONDS)
            if not (lost := self._lost()):
                raise
            names = ", ".join(str(self.clips.video(index)) for index in lost)
            raise DataError(
                f"{names} gave no frame for {self._decode_seconds:g} s "
                "(data.decode_deadline_seconds), or crashed its decoder, "
                "or memory ran out then: see that disk and memory are well, and ingest again"
            ) from error

    def _lost(self) -> list[int]:
        """Return the items that loader processes were at when they died."""
        return [item for pid, item in self._board.tolist() if item >= 0 and not _is_alive(pid)]


@contextmanager
def _keep_signal_handler(number: signal.Signals) -> Iterator[None]:
    """Undo what the block does to a handler: PyTorch's, for loader processes that die, raises in
    the midst of anything. Without it, PyTorch looks after them every few seconds while it waits.
    """
    before = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(number, before)


def _start_server() -> BaseContext:
    """Return a context whose processes are forks of one that has imported all and done nothing."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


class _Watched(Dataset[Item | StpaError]):
    """Says on a board at which item this process is; gives errors as items, which stay whole."""

    def __init__(self, clips: Clips, board: torch.Tensor) -> None:
        self.clips = clips
        self._board = board

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Item | StpaError:
        self._say(index)
        try:
            return self.clips[index]
        except StpaError as error:
            return error
        finally:
            self._say(_NOTHING)

    def _say(self, index: int) -> None:
        if process := get_worker_info():
            self._board[process.id] = torch.tensor([os.getpid(), index])


def _start_process(decode_seconds: float, trainer: int, _number: int) -> None:
    limit_decoding(decode_seconds)
    cv2.setNumThreads(1)  # the processes share the cores already
    threading.Thread(target=_end_with, args=(trainer,), daemon=True).start()


def _end_with(trainer: int) -> None:
    """End this process when the one that trains has: the server of its fork waits for it."""
    while _is_alive(trainer):
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def _collate(items: Sequence[Item | StpaError]) -> dict[str, Any] | StpaError:
    """Stack items; frames of different sizes, which are to be cropped later, at their top left."""
    whole: list[Item] = []
    for item in items:
        if isinstance(item, StpaError):
            return item
        whole.append(item)
    if not any("box" in item for item in whole):
        return default_collate(whole)
    height, width = (max(item["frames"].shape[axis] for item in whole) for axis in (2, 3))
    return default_collate(
        [{**item, "frames": _pad(item["frames"], height, width)} for item in whole]
    )


def _pad(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Repeat the last row and column, so that resizing a crop at the edge blends in no black."""
    down, right = height - frames.shape[2], width - frames.shape[3]
    if not (down or right):
        return frames
    return torch.from_numpy(
        np.pad(frames.numpy(), ((0, 0), (0, 0), (0, down), (0, right)), mode="edge")
    )


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
