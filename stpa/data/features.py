"""Stored features: what a pretrained backbone made of each frame, one file per video.

A file holds, in safetensors,

    positions   int64 [time]                  where the video was looked at, ascending
    features    float16 [views, time, values] each frame's feature maps, flat, bottom to top

and what it was made from, as `key` of its metadata. View 0 is the centre crop, which is what
evaluation uses; each other view is one random crop of all frames. Rows are read one by one from the
mapped file, so that a clip costs its own rows alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stpa.data.clips import View
from stpa.data.manifest import Video
from stpa.data.sampling import test_positions, train_positions
from stpa.data.storage import Storage
from stpa.errors import DataError, first_line
from stpa.files import atomic_path
from stpa.shapes import Float16, Int

_KEY, _POSITIONS, _FEATURES = "key", "positions", "features"


def write_features(
    path: Path,
    positions: Int[np.ndarray, " time"],
    features: Float16[np.ndarray, "views time values"],
    key: str,
) -> None:
    """Write one video's file, atomically; `key` names what the features were made from."""
    with atomic_path(path) as temporary:
        tensors = {_POSITIONS: np.ascontiguousarray(positions), _FEATURES: features}
        save_file(tensors, temporary, metadata={_KEY: key})


def read_key(path: Path) -> str | None:
    """Return what the features of a file were made from; None where there is no whole file."""
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get(_KEY)
    except (OSError, SafetensorError):
        return None


@dataclass(frozen=True)
class FeatureSource:
    """Reads stored features, as clips to train on or as what a sweep looks at."""

    storage: Storage
    """Holds the files of one stream."""
    num_views: int
    """How many views to draw from, at most those that are stored."""
    keys: Mapping[str, str]
    """What each video's features must have been made from, by its id (`write_features`)."""

    def draw(self, video: Video, num_segments: int, rng: np.random.Generator) -> View:
        """Return a random view at random stored positions; as in `ClipSource`."""
        with self._open(video) as file:
            num_stored = file.get_slice(_POSITIONS).get_shape()[0]
            rows = train_positions(num_stored, num_segments, 1, rng)
            return _view(file, int(rng.integers(self.num_views)), rows)

    def fixed(self, video: Video, num_segments: int) -> View:
        """Return the centre at an even choice of the stored positions; as in `ClipSource`."""
        with self._open(video) as file:
            num_stored = file.get_slice(_POSITIONS).get_shape()[0]
            return _view(file, 0, test_positions(num_stored, num_segments, 1))

    def read(
        self, video: Video, positions: Int[np.ndarray, " frames"]
    ) -> Float16[torch.Tensor, "frames values"]:
        """Return the centre crop's features at `positions`; DataError where one is not stored."""
        with self._open(video) as file:
            stored = file.get_tensor(_POSITIONS)
            rows = np.searchsorted(stored, positions)
            if not np.array_equal(stored[np.minimum(rows, len(stored) - 1)], positions):
                raise DataError(
                    f"the features of {video} are not stored at all positions of this sweep: "
                    "run `stpa features`"
                )
            return _view(file, 0, rows)["frames"]

    @contextmanager
    def _open(self, video: Video) -> Iterator[Any]:
        try:
            with (
                self.storage.local(video.feature_path) as path,
                safe_open(path, framework="numpy") as file,
            ):
                if (file.metadata() or {}).get(_KEY) != self.keys[video.video_id]:
                    raise DataError(
                        f"the features of {video} were made from something else than what "
                        "params.yaml and the dataset are now: run `stpa features`"
                    )
                yield file
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"the features of {video} cannot be read ({first_line(error)}): "
                "run `stpa features`, which makes what is missing or damaged"
            ) from error


def _view(file: Any, view: int, rows: Int[np.ndarray, " frames"]) -> View:
    stored = file.get_slice(_FEATURES)
    values = np.concatenate([stored[view : view + 1, row : row + 1][0] for row in rows.tolist()])
    return {"frames": torch.from_numpy(values)}
