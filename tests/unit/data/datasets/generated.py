"""Scripts of generated clips for the tests of this folder."""

from stpa.config import SyntheticConfig
from stpa.data.datasets.synthetic_clip import ClipScript, Mover, write_script
from stpa.params import read_params
from stpa.presets import preset_path


def _settings(preset: str) -> SyntheticConfig:
    return SyntheticConfig.model_validate(read_params(preset_path(preset))["data"]["synthetic"])


DEMO = _settings("demo")
HARD = _settings("where-and-when")


def script_of(
    appearance: str = "Jade",
    motion: str = "Sway",
    group: int = 1,
    clip: int = 1,
    settings: SyntheticConfig = DEMO,
    **changes,
) -> ClipScript:
    """Write a script; further keywords replace values of the settings."""
    return write_script(settings.model_copy(update=changes), appearance, motion, group, clip)


def distractor_of(script: ClipScript) -> Mover:
    """Return the distractor of a script that has one."""
    assert script.distractor is not None
    return script.distractor
