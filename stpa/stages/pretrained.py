"""The weights files that a retraining needs, looked for before anything long starts."""

from stpa.compute.tasks import joined_address
from stpa.config import Config
from stpa.models.published import cached_weights, fetch_weights, find_on_hub, license_of
from stpa.weights import weights_size


def prepare_weights(config: Config) -> None:
    """Check that all weights files are there, and download published ones into the hub's cache.

    Another machine's workers download theirs. Raises ModelError, with what places a file.
    """
    for location in _files(config):
        weights_size(location)
    if config.model.pretrained is True and not joined_address(config.compute.address):
        fetch_weights(config.model.backbone)


def describe_weights(config: Config) -> str:
    """Return where the weights are, and download none; raise ModelError for the first that is
    absent.
    """
    found = [f"{location} ({_megabytes(weights_size(location))})" for location in _files(config)]
    if config.model.pretrained is True:
        found.append(_describe_published(config.model.backbone))
    return "; ".join(found) or "none are asked for"


def _files(config: Config) -> list[str]:
    """Return the paths and addresses that params.yaml names."""
    named = [config.model.pretrained, config.optical_flow.options.get("weights")]
    return [each for each in named if isinstance(each, str)]


def _describe_published(backbone: str) -> str:
    terms = license_of(backbone)
    if path := cached_weights(backbone):
        return f"{backbone}'s are in the cache ({_megabytes(path.stat().st_size)}, {terms})"
    if file := find_on_hub(backbone):
        where = "is on Hugging Face's hub: the first training downloads it"
        return f"{backbone}'s {file} ({terms}) {where}"
    return f"timm downloads {backbone}'s ({terms}) in the first training"


def _megabytes(num_bytes: int | None) -> str:
    return "of unknown size" if num_bytes is None else f"{num_bytes / 1e6:.0f} MB"
