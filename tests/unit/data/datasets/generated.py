"""Scripts of generated clips for the tests of this folder."""

from stpa.config import SyntheticConfig
from stpa.data.datasets.synthetic_clip import ClipScript, write_script
from stpa.params import read_params
from stpa.presets import preset_path

DEMO = SyntheticConfig.model_validate(read_params(preset_path("demo"))["data"]["synthetic"])


def script_of(
    appearance: str = "Jade", motion: str = "Sway", group: int = 1, clip: int = 1, **changes
) -> ClipScript:
    """Write a script by the demo's settings; further keywords replace their values."""
    settings = DEMO.model_copy(update=changes)
    return write_script(settings, appearance, motion, group, clip)
