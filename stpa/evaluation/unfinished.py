"""A sweep's scores while it runs: a killed one goes on with the videos that are missing."""

import json
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from stpa.evaluation.k_sweep import LogitsByK, LogitsByVideo

_LINE = TypeAdapter(tuple[str, dict[int, list[float]]])
"""A video's id, and its logits by K."""


class UnfinishedScores:
    """Logits by video and K, in a file of one JSON array a line.

    Each video is appended as it comes, so a kill can tear the last line; lines that are no
    video's are passed over.
    """

    def __init__(self, file: Path) -> None:
        """Load what `file` holds, if it is there."""
        self._file = file
        self.logits: LogitsByVideo = {}
        for line in file.read_bytes().splitlines() if file.exists() else ():
            try:
                video_id, by_k = _LINE.validate_json(line)
            except ValidationError:
                continue
            self.logits[video_id] = {
                k: np.array(logits, dtype=np.float32) for k, logits in by_k.items()
            }

    def add(self, video_id: str, logits: LogitsByK) -> None:
        """Keep one more video."""
        line = json.dumps([video_id, {k: values.tolist() for k, values in logits.items()}])
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            # The break comes first: a line that a kill tore takes no other with it.
            stream.write(f"\n{line}")
        self.logits[video_id] = logits

    def remove(self) -> None:
        """Delete the file: the whole has been written elsewhere."""
        self._file.unlink(missing_ok=True)
