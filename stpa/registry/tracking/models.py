"""Registered models: versions that hold their networks, and the aliases that name them."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from stpa.errors import RegistryError, first_line
from stpa.files import atomic_path, digest_value
from stpa.registry.tracking.artifacts import Artifacts
from stpa.registry.tracking.connection import reporting, unheard_warnings
from stpa.registry.tracking.runs import KEY_TAG

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MODEL_FILE = "MLmodel"
_SERVED_MODEL = Path(__file__).parents[1] / "served_model.py"
_REQUIREMENTS = ("mlflow", "torch", "timm", "opencv-contrib-python-headless", "av")


@dataclass(frozen=True)
class Version:
    """A registered model version."""

    name: str
    number: int
    run_id: str
    artifact: str
    """Its folder among the run's artifacts."""
    tags: Mapping[str, str]


@dataclass(frozen=True)
class RegisteredModel:
    """What a registered model says of its versions as a whole."""

    aliases: Mapping[str, int]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class DownloadedModel:
    """A registered model's files: its networks' folders by stream, and its serving settings."""

    networks: Mapping[str, Path]
    serving: Mapping[str, Any]


class Models(Artifacts):
    """The model registry."""

    @reporting
    def register_model(
        self,
        name: str,
        run_id: str,
        networks: Mapping[str, Path],
        serving: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> Version:
        """Register the run's model, once for its key and `serving` however often it is called.

        The version holds copies of the `networks`' folders (by stream), `serving` and the code
        file that answers `mlflow.pyfunc.load_model(...).predict([video paths])`; no pickle.
        """
        from mlflow.exceptions import MlflowException

        run = self.client.get_run(run_id)
        key = digest_value([run.data.tags[KEY_TAG], serving])
        query = f"name = '{name}' and tags.`{KEY_TAG}` = '{key}'"
        found = self.client.search_model_versions(query)
        if found:
            return _version(min(found, key=lambda version: int(version.version)))
        artifact = f"model-{key}"  # a run's network may be served in several ways
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / artifact
            _save_pyfunc(folder, networks, serving)
            self.log_files(run_id, folder, artifact)
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{run.info.artifact_uri}/{artifact}"
        return _version(
            self.client.create_model_version(name, source, run_id, {**tags, KEY_TAG: key})
        )

    @reporting
    def download_model(self, version: Version, cache: Path) -> DownloadedModel:
        """Fetch a version's files into a folder of `cache`, unless they are there."""
        # The run's id is unique over all servers; a version's number is not.
        folder = cache / f"{version.name}-{version.number}-{version.run_id[:8]}"
        if not folder.exists():
            with atomic_path(folder) as temporary:
                temporary.mkdir()
                self.fetch_files(version.run_id, version.artifact, temporary)
        what = f"what is stored of {version.name} version {version.number}"
        return read_model(folder / version.artifact, what)

    @reporting
    def registered(self, name: str) -> RegisteredModel:
        """Return the aliases and tags of a model, both empty where there is no such model."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return RegisteredModel({}, {})
        aliases = {alias: int(number) for alias, number in found.aliases.items()}
        return RegisteredModel(aliases, dict(found.tags))

    @reporting
    def version(self, name: str, number: int) -> Version:
        """Return a version of a registered model."""
        return _version(self.client.get_model_version(name, str(number)))

    def version_by_alias(self, name: str, alias: str) -> Version | None:
        """Return the version that `alias` names, or None."""
        number = self.registered(name).aliases.get(alias)
        return None if number is None else self.version(name, number)

    @reporting
    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Point `alias` at a version, in one step for every reader."""
        self.client.set_registered_model_alias(name, alias, str(number))

    @reporting
    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for tag, value in tags.items():
            self.client.set_model_version_tag(version.name, str(version.number), tag, value)

    @reporting
    def tag_model(self, name: str, tag: str, value: str) -> None:
        """Set a tag of a registered model as a whole."""
        self.client.set_registered_model_tag(name, tag, value)

    @reporting
    def untag_model(self, name: str, tag: str) -> None:
        """Delete a tag of a registered model as a whole."""
        self.client.delete_registered_model_tag(name, tag)


def read_model(folder: Path, what: str) -> DownloadedModel:
    """Read a registered model's own folder, which MLflow need not be asked for.

    Raises RegistryError, which calls it `what`, where it is none.
    """
    try:
        described = yaml.safe_load((folder / MODEL_FILE).read_text(encoding="utf-8"))
        flavor = described["flavors"]["python_function"]
        networks = {name: folder / entry["path"] for name, entry in flavor["artifacts"].items()}
        return DownloadedModel(networks, flavor["config"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise RegistryError(f"{what} is not whole: {MODEL_FILE}: {reason}") from error


def _version(found: "ModelVersion") -> Version:
    artifact = (found.source or "").rpartition("/")[2]
    return Version(found.name, int(found.version), found.run_id or "", artifact, dict(found.tags))


def _save_pyfunc(folder: Path, networks: Mapping[str, Path], serving: Mapping[str, Any]) -> None:
    with unheard_warnings():
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(
            folder,
            python_model=_SERVED_MODEL,
            artifacts={str(stream): str(path) for stream, path in networks.items()},
            model_config=dict(serving),
            # This package itself must be there: naming it would invite a stranger's namesake.
            pip_requirements=[f"{name}=={installed_version(name)}" for name in _REQUIREMENTS],
        )
