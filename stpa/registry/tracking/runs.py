"""Tracked runs, each named by the digest of its inputs."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from stpa.data.manifest import Split
from stpa.data.versioning import DataVersion
from stpa.errors import RegistryError
from stpa.registry.tracking.artifacts import Artifacts
from stpa.registry.tracking.connection import SQLITE, artifacts_address, reporting

KEY_TAG = "stpa.key"
"""Carried by runs and versions alike: the digest of the inputs that made them."""

_PARENT_TAG = "mlflow.parentRunId"
"""By which MLflow's pages show a run below another."""

_VIEW = "stpa"
"""The name of the table's columns, among the views that the experiment's people share."""

_TRAINING = "?workflowType=machine_learning"
"""What keeps MLflow's pages from being those of its tools for language models."""

DESCRIPTION_TAG = "mlflow.note.content"
"""Markdown that MLflow's page of a run shows first."""

_CONTEXTS: dict[Split, str] = {"train": "training", "test": "testing"}


@dataclass(frozen=True)
class Dataset:
    """The videos that a run learnt from, or was judged on."""

    workspace: str
    split: Split
    version: DataVersion
    num_videos: int
    class_names: tuple[str, ...]


class Runs(Artifacts):
    """The runs of one experiment.

    Holds no notion of a current run, so threads and processes may each use their own.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        """Connect, and make the experiment where it is not there yet."""
        super().__init__(uri)
        self._experiment_id = self._open_experiment(experiment)

    @reporting
    def find_run(self, key: str) -> str | None:
        """Return the id of the run that carries `key`."""
        found = self.client.search_runs(
            [self._experiment_id],
            f"tags.`{KEY_TAG}` = '{key}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        return found[0].info.run_id if found else None

    @reporting
    def open_run(
        self,
        key: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None = None,
    ) -> str:
        """Return the id of the run of these inputs, made if it is not there, below `parent`.

        A finished one is left as it is, an interrupted one reopened.

        Nested `params` are logged flat (`train.streams.rgb.epochs`) and whole, as params.yaml. A
        flat one keeps the value it was first logged with: MLflow forbids to change it.
        """
        run_id = self.find_run(key)
        if parent is not None:
            tags = {**tags, _PARENT_TAG: parent}
        if run_id is None:
            created = self.client.create_run(
                self._experiment_id, run_name=name, tags={**tags, KEY_TAG: key}
            )
            run_id = created.info.run_id
        elif self.client.get_run(run_id).info.status == "FINISHED":
            return run_id  # its lineage is that of the process that did the work
        else:
            self.client.update_run(run_id, status="RUNNING", name=name)
        self._log_params(run_id, params, tags)
        return run_id

    def _log_params(self, run_id: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        known = self.client.get_run(run_id).data.params
        new = [Param(name, value) for name, value in flatten(params) if name not in known]
        self.client.log_batch(
            run_id, params=new, tags=[RunTag(name, value) for name, value in tags.items()]
        )
        self.log_text(run_id, yaml.safe_dump(dict(params), sort_keys=False), "params.yaml")

    @reporting
    def log_metrics(
        self, run_id: str, metrics: Mapping[str, float], step: int | None = None
    ) -> None:
        """Log numbers, at a step (epoch) or once for the run; one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, step or 0) for name, value in metrics.items()],
        )

    @reporting
    def set_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Log metrics of which a run has one value each, unless they are its values already."""
        current = self.client.get_run(run_id).data.metrics
        changed = {name: value for name, value in metrics.items() if current.get(name) != value}
        if changed:
            self.log_metrics(run_id, changed)

    @reporting
    def logged_steps(self, run_id: str, metric: str) -> set[int]:
        """Return the steps at which a metric was logged."""
        return {entry.step for entry in self.client.get_metric_history(run_id, metric)}

    @reporting
    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """Name a dataset as an input of the run, once however often it is called."""
        from mlflow.entities import Dataset as MlflowDataset
        from mlflow.entities import DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        logged = MlflowDataset(
            name=f"{dataset.workspace}-{dataset.split}",
            digest=dataset.version.id,
            source_type="dvc",
            source=json.dumps(asdict(dataset.version)),
            profile=json.dumps(
                {
                    "videos": dataset.num_videos,
                    "classes": len(dataset.class_names),
                    "class_names": dataset.class_names,
                },
                ensure_ascii=False,
            ),
        )
        context = InputTag("mlflow.data.context", _CONTEXTS[dataset.split])
        inputs = [DatasetInput(logged, [context])]
        try:
            self.client.log_inputs(run_id, inputs)
        except MlflowException:  # as where another training enters the same dataset just now
            self.client.log_inputs(run_id, inputs)

    @reporting
    def tags(self, run_id: str) -> dict[str, str]:
        """Return a run's tags."""
        return self.client.get_run(run_id).data.tags

    @reporting
    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        for name, value in tags.items():
            self.client.set_tag(run_id, name, value)

    @reporting
    def nest_run(self, run_id: str, parent: str) -> None:
        """Show the run below `parent`, unless it is below another already: it can have one."""
        if _PARENT_TAG not in self.client.get_run(run_id).data.tags:
            self.client.set_tag(run_id, _PARENT_TAG, parent)

    def run_page(self, run_id: str, file: str | None = None) -> str:
        """Return the address of a run's page, or of a file there, below that of the server."""
        page = f"{self._pages}/{run_id}"
        return (page if file is None else f"{page}/artifacts/{file}") + _TRAINING

    @reporting
    def table_page(self, columns: Sequence[str]) -> str:
        """Return the address of the table of all runs, below that of the server.

        MLflow's own table shows neither metrics nor params until a person chooses some. A view
        that is shared, which is a tag of the experiment, chooses `columns` for them, such as
        "metrics.`test/top1`".
        """
        view = json.dumps({"selectedColumns": columns})
        self.client.set_experiment_tag(self._experiment_id, f"mlflow.sharedViewState.{_VIEW}", view)
        return f"{self._pages}{_TRAINING}&viewStateShareKey={_VIEW}"

    @property
    def _pages(self) -> str:
        return f"#/experiments/{self._experiment_id}/runs"

    @reporting
    def close_run(self, run_id: str, failed: bool = False) -> None:
        """Mark the run as finished or failed."""
        self.client.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    @reporting
    def _open_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            location = None
            if self.uri.startswith(SQLITE):
                location = artifacts_address(Path(self.uri.removeprefix(SQLITE)))
            try:
                return self.client.create_experiment(name, artifact_location=location)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = self.client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage == "deleted":
            raise RegistryError(
                f"experiment {name!r} at {self.place} was deleted: "
                "restore it in MLflow or change tracking.experiment"
            )
        return found.experiment_id


def flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested parameters as (dotted name, text)."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
