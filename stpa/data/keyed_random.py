"""Random numbers that depend on a key alone: not on the order of calls, nor on the process."""

from typing import Any

import numpy as np

from stpa.files import digest_value


def keyed_generator(*key: Any) -> np.random.Generator:
    """Return a generator of its own for a key of JSON values; equal keys draw equal numbers."""
    return np.random.default_rng(int(digest_value(key, length=32), 16))
