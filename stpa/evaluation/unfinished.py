"""A sweep's scores while it runs: a killed one goes on with the videos that are missing."""

import json
from pathlib import Path

import numpy as np

from stpa.evaluation.k_sweep import LogitsByVideo
from stpa.shapes import Float


class UnfinishedScores:
    """Logits by video and K, in a file of one JSON object a line.

    Each video is appended as it comes, so a kill can tear the last line; what cannot be read
    is forgotten.
    """

    def __init__(self, file: Path) -> None:
        """Load what `file` holds, if it is there."""
        self._file = file
        self.logits: LogitsByVideo = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = b""
        for line in file.read_bytes().splitlines(keepends=True) if file.exists() else ():
            try:
                video_id, by_k = json.loads(line)
                self.logits[video_id] = {
                    int(k): np.array(logits, dtype=np.float32) for k, logits in by_k.items()
                }
            except (ValueError, TypeError, AttributeError):
                continue
            kept += line
        # A line that is appended to a torn one would be lost with it.
        file.write_bytes(kept)

    def add(self, video_id: str, logits: dict[int, Float[np.ndarray, " classes"]]) -> None:
        """Keep one more video."""
        line = json.dumps([video_id, {k: values.tolist() for k, values in logits.items()}])
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")
        self.logits[video_id] = logits

    def remove(self) -> None:
        """Delete the file: the whole has been written elsewhere."""
        self._file.unlink(missing_ok=True)
