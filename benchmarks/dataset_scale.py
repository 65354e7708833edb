"""The data stages on as many videos as UCF101 has, tiny ones: what each costs, and how it grows.

The videos are so small that decoding them is little; what is left is the price of a file: copies,
checks, hashes, DVC's bookkeeping. Everything is on the disk of this machine.
"""

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import typer
import yaml

from benchmarks.measure import Setting, Times, figure, report, run, time_of
from stpa.compute.tasks import cluster
from stpa.config import Config
from stpa.data import versioning
from stpa.params import load_config, read_params
from stpa.presets import preset_path
from stpa.stages.extract import extract
from stpa.stages.ingest import ingest
from stpa.stages.initialise import initialise
from stpa.terminal import TERMINAL
from stpa.workspace import Workspace

NUM_CLASSES, CLIPS_PER_GROUP = 101, 4
WIDTH, HEIGHT, NUM_FRAMES = 64, 48, 6
PARAMS = preset_path("standard")
FEWER = 10
"""A tenth of the videos is measured too: time by the video should not grow with their number."""


def main(
    videos: Annotated[int, typer.Option(min=8 * FEWER * NUM_CLASSES, help="How many.")] = 13_320,
) -> None:
    """Time ingest, optical flow and restoration of many tiny videos."""
    setting = Setting("cpu", "float32")
    few, many = _time_all(videos // FEWER), _time_all(videos)
    total = "all stages"
    figures = [
        figure(
            f"{name}, by the video: {videos} over {videos // FEWER}",
            [many[name] / videos],
            [few[name] / (videos // FEWER)],
            bound=1.2 if name == total else None,
            unit="s",
        )
        for name in (total, *(name for name in many if name != total))
    ]
    minutes = {name: seconds / 60 for name, seconds in many.items()}
    report("dataset_scale", figures, setting, videos=videos, minutes=minutes)


def _time_all(num_videos: int) -> dict[str, float]:
    """Return the seconds of each stage, and of "all stages"."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _make_dataset(folder / "source", num_videos)
        workspace, config = _make_workspace(folder, "first")
        seconds = {
            "ingest": _seconds("ingest", lambda: ingest(workspace, config, folder / "source")),
            "ingest again, unchanged": _seconds(
                "ingest again", lambda: ingest(workspace, config, folder / "source")
            ),
        }
        with cluster(None):
            seconds["optical flow"] = _seconds("flow", lambda: extract(workspace, config))
            seconds["optical flow again, unchanged"] = _seconds(
                "flow again", lambda: extract(workspace, config)
            )
        elsewhere, _ = _make_workspace(folder, "second")
        seconds["restore elsewhere"] = _seconds(
            "restore",
            lambda: versioning.restore(
                elsewhere.root, config.data.remote, versioning.read_version(workspace.root)
            ),
        )
        return {"all stages": sum(seconds.values()), **seconds}


def _seconds(name: str, work: Callable[[], object]) -> float:
    with TERMINAL.console.status(name):
        times: Times = time_of(work, Setting("cpu", "float32"))
    return times.wall


def _make_workspace(folder: Path, name: str) -> tuple[Workspace, Config]:
    params = read_params(PARAMS)
    params["data"] |= {"dataset": "csv", "source": None, "remote": str(folder / "remote")}
    params["optical_flow"] |= {"estimator": "dis", "width": WIDTH, "height": HEIGHT}
    params["model"]["pretrained"] = False
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(params), encoding="utf-8")
    workspace = Workspace(folder / name)
    initialise(workspace, file)
    return workspace, load_config(workspace.params)


def _make_dataset(folder: Path, num_videos: int) -> None:
    """Write videos of distinct content, and their list."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with (
        (folder / "videos.csv").open("w", encoding="utf-8", newline="") as stream,
        TERMINAL.bar(f"generating {num_videos} videos") as progress,
    ):
        rows = csv.writer(stream)
        rows.writerow(["path", "label", "split", "group"])
        for index in range(num_videos):
            label, clip = index % NUM_CLASSES, index // NUM_CLASSES
            group = clip // CLIPS_PER_GROUP
            path = f"class{label:03}/v_g{group:03}_c{clip % CLIPS_PER_GROUP}.avi"
            _write_video(folder / path, rng)
            split = "test" if group % 4 == 0 else "train"
            rows.writerow([path, f"class{label:03}", split, f"class{label:03}/{group}"])
            progress(index + 1, num_videos)


def _write_video(path: Path, rng: np.random.Generator) -> None:
    path.parent.mkdir(exist_ok=True)
    image = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.thread_count = WIDTH, HEIGHT, 1
        for step in range(NUM_FRAMES):
            moved = np.roll(image, step, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    run(main)
