"""What is written next to generated clips: UCF101's lists, and annotations with the answers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stpa.data.datasets.synthetic_clip import ClipScript, Mover
from stpa.files import atomic_path

_NUM_SPLITS = 3


def write_lists(folder: Path, scripts: Mapping[str, ClipScript], num_groups: int) -> None:
    """Write the class index and the splits; each holds out another third of the groups."""
    labels = sorted({script.label for script in scripts.values()})
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    _write_lines(folder / "classInd.txt", [f"{numbers[label]} {label}" for label in labels])
    num_held_out = max(1, num_groups // 3)
    for split in range(_NUM_SPLITS):
        last = num_groups - split * num_held_out
        held_out = {(last - step - 1) % num_groups + 1 for step in range(num_held_out)}
        train, test = [], []
        for path, script in scripts.items():
            listed = path.removeprefix("UCF-101/")
            if script.group in held_out:
                test.append(listed)
            else:
                train.append(f"{listed} {numbers[script.label]}")
        _write_lines(folder / f"trainlist{split + 1:02}.txt", train)
        _write_lines(folder / f"testlist{split + 1:02}.txt", test)


def write_annotations(path: Path, scripts: Mapping[str, ClipScript], size_px: int) -> None:
    """Write each action's first frame, and its box (x0, y0, x1, y1, px) in every frame of it.

    The same of the distractor, where there is one; the part of a box that is on the frame.
    """
    actions = {}
    for video, script in scripts.items():
        actions[video] = _annotation(script.actor, size_px)
        if script.distractor is not None:
            actions[video]["distractor"] = _annotation(script.distractor, size_px)
    keep_or_write(path, as_json(actions))


def as_json(value: Any) -> str:
    """Return `value` as one line of JSON."""
    return json.dumps(value) + "\n"


def keep_or_write(path: Path, text: str) -> None:
    """Leave an equal file as it is, so that a second run changes nothing."""
    content = text.encode()
    if not (path.is_file() and path.read_bytes() == content):
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)


def _annotation(mover: Mover, size_px: int) -> dict[str, Any]:
    boxes = mover.boxes().clip(0, size_px).round(2)
    return {"first_frame": mover.first_frame, "boxes": boxes.tolist()}


def _write_lines(path: Path, lines: list[str]) -> None:
    """Write lines that end as the original lists' do."""
    keep_or_write(path, "".join(f"{line}\r\n" for line in lines))
