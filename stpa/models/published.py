"""The weights that timm publishes on Hugging Face's hub, and their cache on this machine."""

import logging
from pathlib import Path

import timm
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import EntryNotFoundError

from stpa.errors import ModelError, first_line

FILES = ("model.safetensors", "pytorch_model.bin")
"""As timm names them; the first one that exists counts."""
ANSWER_SECONDS = 5.0

logger = logging.getLogger(__name__)


def cached_weights(name: str) -> Path | None:
    """Return the file of a CNN's published weights where the hub's cache has it."""
    repository = _repository(name)
    if repository is None:
        return None
    for file in FILES:
        path = try_to_load_from_cache(repository, file)
        if isinstance(path, str):  # else it is not cached, or known not to exist
            return Path(path)
    return None


def license_of(name: str) -> str:
    """Return what timm says of the licence of a model's published weights."""
    published = timm.models.get_pretrained_cfg(name)
    return (published and published.license) or "of no stated licence"


def fetch_weights(name: str) -> Path | None:
    """Return the file of a CNN's published weights, and download it where the cache lacks it.

    None where timm keeps them outside the hub, and downloads them itself. Raises ModelError, with
    what places the file by hand, where the hub does not answer within `ANSWER_SECONDS`.
    """
    path, repository = cached_weights(name), _repository(name)
    if path or repository is None:
        return path
    file = find_on_hub(name)
    assert file is not None, "the repository has one of them"
    logger.info(
        "downloading the weights of %s (%s) from %s",
        name,
        license_of(name),
        hf_hub_url(repository, file),
    )
    try:
        return Path(hf_hub_download(repository, file))
    except Exception as error:  # of several libraries for HTTP
        raise _unreachable(name, repository, error) from error


def find_on_hub(name: str) -> str | None:
    """Return which of `FILES` the hub has for a CNN; None where timm keeps it outside the hub.

    Downloads nothing. Raises ModelError as `fetch_weights` does.
    """
    repository = _repository(name)
    if repository is None:
        return None
    for file in FILES:
        try:
            # hf_hub_download would try for a minute to reach a server that does not answer.
            get_hf_file_metadata(hf_hub_url(repository, file), timeout=ANSWER_SECONDS)
        except EntryNotFoundError:
            continue
        except Exception as error:  # of several libraries for HTTP
            raise _unreachable(name, repository, error) from error
        return file
    raise ModelError(
        f"huggingface.co/{repository} has neither {' nor '.join(FILES)}: set model.pretrained to "
        "a weights file"
    )


def _repository(name: str) -> str | None:
    """Return the hub's repository of a CNN; None where timm's weights are elsewhere."""
    published = timm.models.get_pretrained_cfg(name)
    if published is None or not (published.hf_hub_id or published.url):
        raise ModelError(
            f"timm publishes no weights of {name}: set model.pretrained to a weights file or to "
            "false"
        )
    return published.hf_hub_id


def _unreachable(name: str, repository: str, error: Exception) -> ModelError:
    cache, folder = constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}"
    return ModelError(
        f"the published weights of {name} are not in {cache} and cannot be downloaded "
        f"({first_line(error)}): with a network, run `hf download {repository} {FILES[0]}`, and "
        f"copy ~/.cache/huggingface/hub/{folder} from there to {cache}; or set model.pretrained to "
        "a weights file"
    )
