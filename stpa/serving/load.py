"""Load a registered model: by its address, from a workspace, or from its own folder.

Imports the networks' libraries only in its functions, next to the processes that start meanwhile.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stpa.config import DecodeConfig
from stpa.errors import RegistryError
from stpa.workspace import Workspace

if TYPE_CHECKING:
    from stpa.params.parts import PredictParams
    from stpa.registry.tracking import DownloadedModel, Tracker, Version
    from stpa.serving.classifier import Classifier

CACHE = Path("~/.cache/stpa/registered")
"""Where models are kept that no workspace asks for."""


class _Found(NamedTuple):
    """A model's files, and what it is called (`Classifier.model` and `Classifier.title`)."""

    files: "DownloadedModel"
    model: str
    title: str


def load(model: str | Path, tracking_uri: str | None = None) -> "Classifier":
    """Load a classifier.

    `model` is the address of a registered model ("models:/NAME@champion" or "models:/NAME/3"), a
    workspace, whose champion is loaded, or the folder of a registered model (with MLmodel in it).
    `tracking_uri` is MLflow's address; default: that of MLFLOW_TRACKING_URI. A workspace's models
    are where its params.yaml says. Raises RegistryError where there is no such model.

    A program that imports torch before, and has no GPU, runs faster with OMP_WAIT_POLICY=passive in
    its environment.
    """
    from stpa.params import load_part
    from stpa.params.parts import PredictParams
    from stpa.presets import DEFAULT, preset_path
    from stpa.registry.reference import SCHEME

    folder = Path(model)
    workspace = Workspace(folder)
    if workspace.params.is_file():
        return load_registered(workspace, load_part(workspace.params, PredictParams))
    limits = load_part(preset_path(DEFAULT), PredictParams).data
    if str(model).startswith(SCHEME):
        return _open(limits, lambda: _find_by_address(str(model), tracking_uri))
    return _open(limits, lambda: _find_in_folder(folder))


def load_registered(
    workspace: Workspace,
    params: "PredictParams",
    *,
    reference: str | None = None,
    challenger: bool = False,
    num_segments: int | None = None,
    num_processes: int | None = None,
) -> "Classifier":
    """Load a workspace's champion, its latest challenger, or the model that `reference` names.

    `num_segments` is how many frames are looked at, where that shall not be what the model was
    judged by. `num_processes` read videos; default: one per core. Raises RegistryError.
    """

    def find() -> _Found:
        from stpa.registry.tracking import open_tracker

        tracker = open_tracker(workspace, params.tracking)
        name = params.promotion.model_name
        version, title = find_registered(tracker, name, reference, challenger=challenger)
        files = tracker.download_model(version, workspace.registered)
        return _Found(files, name_of(version), title)

    return _open(params.data, find, num_segments=num_segments, num_processes=num_processes)


def find_registered(
    tracker: "Tracker", model_name: str, reference: str | None = None, *, challenger: bool = False
) -> "tuple[Version, str]":
    """Return the version that `load_registered` loads, and what a person reads for it."""
    from stpa.registry.aliases import find_challenger, find_champion
    from stpa.registry.promotion import DECISION_TAG
    from stpa.registry.reference import find_version

    if reference is not None:
        version, role = find_version(tracker, reference), ""
    elif challenger:
        version = find_challenger(tracker, model_name)
        role = f" (challenger, {version.tags.get(DECISION_TAG, 'not judged')})"
    else:
        version, role = find_champion(tracker, model_name), " (champion)"
    return version, f"{version.name} version {version.number}{role}"


def name_of(version: "Version") -> str:
    """Return what tells a version from all others of its server, as MLflow names it."""
    return f"{version.name}/{version.number}"


def _find_by_address(address: str, tracking_uri: str | None) -> _Found:
    from stpa.registry.reference import SCHEME, find_version
    from stpa.registry.tracking.models import Models

    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise RegistryError(
            f"{address} is at no known server: give tracking_uri, or set MLFLOW_TRACKING_URI"
        )
    models = Models(uri)
    version = find_version(models, address)
    title = address.removeprefix(SCHEME)
    return _Found(models.download_model(version, CACHE.expanduser()), name_of(version), title)


def _find_in_folder(folder: Path) -> _Found:
    from stpa.registry.tracking.models import MODEL_FILE, read_model

    if not (folder / MODEL_FILE).is_file():
        raise RegistryError(
            f"{folder} is neither a workspace (with params.yaml) nor a registered model's folder "
            f"(with {MODEL_FILE}): name one, or models:/NAME@ALIAS"
        )
    return _Found(read_model(folder, str(folder)), str(folder), str(folder))


def _open(
    limits: DecodeConfig,
    find: Callable[[], _Found],
    *,
    num_segments: int | None = None,
    num_processes: int | None = None,
) -> "Classifier":
    """Load what `find` finds, while the processes that read videos start."""
    from stpa.data.killable import KillablePool

    pool = KillablePool(limits, num_processes or len(os.sched_getaffinity(0)))
    pool.warm_up("stpa.serving.prepare")
    try:
        found = find()

        # OpenMP reads it when torch is imported. Its threads would spin while they wait for one
        # another, on cores that the processes that decode need.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import torch

        from stpa.evaluation import predict
        from stpa.models.checkpoint import load_model
        from stpa.registry.candidate import read_serving
        from stpa.serving.classifier import Classifier

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        serving = read_serving(found.files.serving, found.title)
        networks = predict.Classifier(
            {name: load_model(path).to(device) for name, path in found.files.networks.items()},
            fusion=serving.fusion,
            num_segments=num_segments or serving.num_segments,
            num_crops=serving.num_crops,
            optical_flow=serving.optical_flow.model_dump(),
        )
        return Classifier(networks, pool, model=found.model, title=found.title)
    except BaseException:
        pool.close()
        raise
