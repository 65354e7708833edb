"""What is timed of a retraining's work, on small networks and videos."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stpa.data.clips import ClipReader
from stpa.data.storage import Folder
from stpa.streams import FLOW, RGB
from stpa.training import timing
from stpa.training.timing import seconds_of, time_extraction, time_network, time_reading
from tests.unit.training.test_fit import make_job
from tests.workspaces import make_video, write_video


class Work:
    """Work that takes as long as a test says, by a clock that nothing else moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
        self._now, self._seconds, self.num_calls = 0.0, seconds, 0
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self._now)

    def __call__(self) -> None:
        self._now += self._seconds[min(self.num_calls, len(self._seconds) - 1)]
        self.num_calls += 1


@pytest.mark.parametrize("first", [0.25, 5.0])
def test_the_first_call_does_not_count_however_long(first, monkeypatch):
    work = Work(monkeypatch, first, 0.125)
    assert seconds_of(work) == pytest.approx(0.125)
    assert work.num_calls == 1 + 4


def test_a_long_call_is_timed_once(monkeypatch):
    work = Work(monkeypatch, 5.0)
    assert seconds_of(work) == 5.0
    assert work.num_calls == 1 + 1


@pytest.mark.parametrize("stream", [RGB, FLOW])
@pytest.mark.parametrize("head", ["stpa", "tsn"])
def test_a_network_is_timed_without_any_file(stream, head, monkeypatch):
    monkeypatch.setattr(timing, "BUDGET_SECONDS", 0.0)
    job = replace(make_job(Path("nowhere"), frames_at_once=None), stream=stream, head=head)
    before = torch.get_num_threads()
    times = time_network(replace(job, videos=()), "cpu", clips_per_step=4)
    assert times.clip_seconds > 0
    assert times.frame_seconds > 0
    assert torch.get_num_threads() == before


def test_reading_and_extraction_are_timed_by_the_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "seconds_of", lambda work: (work(), work()) and 8.0)
    write_video(tmp_path / "a.avi", seed=0, num_frames=5)
    reader = ClipReader(RGB, Folder(tmp_path), short_side=32)
    assert time_reading(reader, make_video("a"), num_segments=2) == 4.0
    settings = {"estimator": "dis", "options": {}, "bound_px": 8.0, "width": 64, "height": 64}
    assert time_extraction(tmp_path / "a.avi", 4, settings) == 2.0
