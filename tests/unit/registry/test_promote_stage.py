from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from stpa.config import Config
from stpa.data.versioning import DataVersion
from stpa.errors import ConfigError, RegistryError
from stpa.evaluation.fusion import Fusion
from stpa.params.parts import RollbackParams
from stpa.registry.candidate import Candidate, Serving, TrainedStream
from stpa.registry.judgement import Judgement
from stpa.registry.promotion import Outcome
from stpa.registry.tracking import Tracker, open_tracker
from stpa.stages.notices import Record, records_folder
from stpa.stages.promote import promote_candidate, rollback
from stpa.streams import FLOW, RGB, Stream
from stpa.workspace import Workspace
from tests.unit.registry.judgements import judgement

DATA = DataVersion(videos="a1", manifest="b2", optical_flow="c3")
PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def config(store_uri: str, model_name: str) -> Config:
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    params["tracking"] = {"uri": store_uri, "experiment": model_name}
    params["promotion"]["model_name"] = model_name
    return Config.model_validate(params)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def networks(workspace: Workspace, config: Config) -> dict[Stream, TrainedStream]:
    tracker = open_tracker(workspace, config.tracking)
    found = {}
    for stream in (RGB, FLOW):
        folder = workspace.runs / stream.name / "model"
        folder.mkdir(parents=True)
        (folder / "weights.safetensors").write_text(stream.name)
        run_id = tracker.open_run(f"{stream}-key", stream.name, {}, {})
        found[stream] = TrainedStream(folder, run_id)
    return found


class Judge:
    """Remembers what it was asked to judge."""

    def __init__(self, answer: Judgement) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, str, int]] = []

    def __call__(self, networks: Mapping[str, Path], serving: Serving) -> Judgement:
        weights = [
            (networks[stream] / "weights.safetensors").read_text() for stream in ("rgb", "flow")
        ]
        assert serving.fusion is not None
        assert serving.fusion.weights == {"rgb": 0.25, "flow": 1.5}
        self.asked.append((weights[0], weights[1], serving.fusion.name, serving.num_segments))
        return self.answer


def candidate(
    networks: dict[Stream, TrainedStream], key: str, num_right: int, data: str
) -> Candidate:
    right = [True] * num_right + [False] * (20 - num_right)
    fusion = Fusion("fitted", {"rgb": 0.25, "flow": 1.5})
    return Candidate(
        key, networks, "stpa", "named", fusion, 5, 1, judgement(right, data_version=data)
    )


def test_the_three_models_are_registered_once_and_the_fusion_names_its_networks(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream]
):
    judge = Judge(judgement([True] * 20))
    for expected in (Outcome.PROMOTED, Outcome.UNCHANGED):
        decision = promote_candidate(
            workspace, config, candidate(networks, "k1", 15, "d1"), DATA, judge
        )
        assert (decision.outcome, decision.champion_version) == (expected, 1)
    tracker = open_tracker(workspace, config.tracking)
    name = config.promotion.model_name
    for suffix in ("rgb", "flow", "fusion"):
        assert len(tracker.client.search_model_versions(f"name = '{name}-{suffix}'")) == 1
    tags = tracker.version(f"{name}-fusion", 1).tags
    assert (tags["stpa.rgb_version"], tags["stpa.flow_version"]) == ("1", "1")
    assert (tags["stpa.late_fusion"], tags["stpa.num_segments"]) == (
        "fitted (0.25 RGB + 1.50 optical flow)",
        "5",
    )
    assert judge.asked == []


def test_the_fusions_run_holds_metrics_lineage_params_and_the_test_videos(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream]
):
    judge = Judge(judgement([True]))
    promote_candidate(workspace, config, candidate(networks, "k1", 15, "d1"), DATA, judge)
    tracker = open_tracker(workspace, config.tracking)
    run_id = tracker.find_run("k1")
    assert run_id is not None
    run = tracker.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == (f"fusion-stpa-k1 {config.model.backbone} data-{DATA.id[:6]}")
    assert run.data.metrics == {"test/top1": 0.75}
    assert run.inputs is not None
    [videos] = run.inputs.dataset_inputs
    assert (videos.dataset.name, videos.dataset.digest) == (f"{workspace.name}-test", DATA.id)
    assert run.data.tags["data.version"] == DATA.id
    assert run.data.params["train.streams.rgb.epochs"] == str(config.train.streams["rgb"].epochs)


def test_networks_are_shown_below_their_first_fusion_and_linked_by_each(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream]
):
    judge = Judge(judgement([True] * 20))
    for key in ("k1", "k2"):
        promote_candidate(workspace, config, candidate(networks, key, 15, "d1"), DATA, judge)
    tracker = open_tracker(workspace, config.tracking)
    first, second = (tracker.find_run(key) or "" for key in ("k1", "k2"))
    for stream, network in networks.items():
        assert tracker.tags(network.run_id)["mlflow.parentRunId"] == first
        for fusion in (first, second):
            tags = tracker.tags(fusion)
            assert tags[f"stpa.{stream}_run"] == network.run_id
            assert f"[{stream}]({tracker.run_page(network.run_id)})" in tags["mlflow.note.content"]


def test_a_champion_on_the_same_data_is_not_judged_again(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream]
):
    judge = Judge(judgement([True] * 20))
    promote_candidate(workspace, config, candidate(networks, "k1", 15, "d1"), DATA, judge)
    decision = promote_candidate(
        workspace, config, candidate(networks, "k2", 14, "d1"), DATA, judge
    )
    assert (decision.outcome, judge.asked) == (Outcome.REJECTED, [])


def test_a_champion_is_judged_on_new_data_from_the_registry_once(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream]
):
    judge = Judge(judgement([True] * 20, data_version="d2"))
    promote_candidate(workspace, config, candidate(networks, "k1", 15, "d1"), DATA, judge)
    for network in networks.values():
        (network.folder / "weights.safetensors").write_text("trained anew")
    for _ in range(2):
        challenger = candidate(networks, "k2", 19, "d2")
        decision = promote_candidate(workspace, config, challenger, DATA, judge)
        assert decision.outcome is Outcome.REJECTED
    assert judge.asked == [("rgb", "flow", "fitted", 5)]


def test_a_damaged_record_is_judged_again(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream]
):
    judge = Judge(judgement([True] * 10 + [False] * 10, data_version="d1"))
    promote_candidate(workspace, config, candidate(networks, "k1", 15, "d1"), DATA, judge)
    tracker = open_tracker(workspace, config.tracking)
    tracker.log_text(tracker.find_run("k1") or "", "{", "judgements/d1.json")
    promote_candidate(workspace, config, candidate(networks, "k2", 16, "d1"), DATA, judge)
    assert len(judge.asked) == 1


def test_a_failure_closes_the_run_as_failed(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream]
):
    broken = {stream: TrainedStream(Path("nowhere"), n.run_id) for stream, n in networks.items()}
    with pytest.raises(RegistryError, match="nowhere"):
        promote_candidate(
            workspace, config, candidate(broken, "k1", 15, "d1"), DATA, Judge(judgement([True]))
        )
    tracker = open_tracker(workspace, config.tracking)
    assert tracker.client.get_run(tracker.find_run("k1") or "").info.status == "FAILED"


def test_an_unknown_rule_stops_before_anything_is_registered(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream]
):
    rules = config.promotion.model_copy(update={"rules": {"luck": {}}})
    config = config.model_copy(update={"promotion": rules})
    with pytest.raises(ConfigError, match="'luck'"):
        promote_candidate(
            workspace, config, candidate(networks, "k1", 15, "d1"), DATA, Judge(judgement([True]))
        )
    assert open_tracker(workspace, config.tracking).find_run("k1") is None


def test_rollback_serves_the_champion_before(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream], tracker: Tracker
):
    judge = Judge(judgement([True] * 15 + [False] * 5))
    promote_candidate(workspace, config, candidate(networks, "k1", 15, "d1"), DATA, judge)
    promote_candidate(workspace, config, candidate(networks, "k2", 18, "d1"), DATA, judge)
    params = RollbackParams(promotion=config.promotion, tracking=config.tracking)
    decision = rollback(workspace, params)
    assert (decision.champion_version, decision.previous_version) == (1, 2)
    champion = tracker.version_by_alias(f"{config.promotion.model_name}-fusion", "champion")
    assert champion is not None
    assert champion.number == 1


def test_each_decision_leaves_one_notice_with_its_reasons(
    workspace: Workspace, config: Config, networks: dict[Stream, TrainedStream]
):
    judge = Judge(judgement([True] * 20))
    for num_right, key in ((15, "k1"), (18, "k2"), (16, "k3")):
        for _ in range(2):  # as after a kill, or with nothing new
            promote_candidate(
                workspace, config, candidate(networks, key, num_right, "d1"), DATA, judge
            )
    rollback(workspace, RollbackParams(promotion=config.promotion, tracking=config.tracking))
    paths = records_folder(workspace).glob("*.json")
    notices = [Record.model_validate_json(path.read_bytes()).notice for path in paths]
    assert sorted((each.event, each.version) for each in notices) == [
        ("promoted", 1),
        ("promoted", 2),
        ("rejected", 3),
        ("rolled back", 1),
    ]
    for notice in notices:
        assert (notice.reasons == ()) == (notice.event == "rolled back")
        assert notice.report is not None
        assert "index.html" in notice.report
        if notice.event == "rejected":
            assert any(reason.reason in notice.text for reason in notice.reasons)
