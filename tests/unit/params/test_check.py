"""Checking params files: what extends what, and how errors are told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from stpa.errors import ConfigError
from stpa.optical_flow.codec import write_flow_video
from stpa.params import check_params, find_faults, load_config, read_params, settle_estimator
from stpa.presets import NAMES, preset_path
from stpa.workspace import Workspace

SYNTHETIC = read_params(preset_path("demo"))["data"]["synthetic"]


@pytest.fixture
def write(tmp_path: Path):
    """Write a params file below the test's folder."""

    def write(name: str, params: dict[str, Any]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(params), encoding="utf-8")
        return path

    return write


def whole() -> dict[str, Any]:
    params = read_params(preset_path("standard"))
    params["optical_flow"]["estimator"] = "dis"
    return params


def faults_of(params: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        check_params(params, Path("params.yaml"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_sound_wherever_it_is(name, tmp_path):
    params = read_params(preset_path(name))
    settle_estimator(params, Workspace(tmp_path))
    assert check_params(params, preset_path(name)).data.source is None


class TestAutomaticEstimator:
    @pytest.mark.parametrize(("has_gpu", "estimator"), [(True, "tvl1"), (False, "dis")])
    def test_is_chosen_by_the_machine_before_any_is_stored(
        self, write, monkeypatch, has_gpu, estimator
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
        path = write("params.yaml", whole() | {"optical_flow": automatic()})
        assert load_config(path).optical_flow.estimator == estimator

    @pytest.mark.parametrize(
        ("made_by", "chosen"), [("dis", "dis"), ("tvl1", "tvl1"), ("raft", "dis")]
    )
    def test_stays_what_it_was_for_the_stored_flow(
        self, write, tmp_path, monkeypatch, made_by, chosen
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        path = write("params.yaml", whole() | {"optical_flow": automatic()})
        write_flow_video(
            tmp_path / "data" / "optical_flow" / "swim" / "a.avi",
            np.zeros((2, 2, 32, 32), np.uint8),
            width=32,
            height=32,
            provenance={"estimator": made_by},
        )
        assert load_config(path).optical_flow.estimator == chosen

    def test_has_no_options(self):
        params = whole() | {"optical_flow": automatic() | {"options": {"parameters": "opencv_cpu"}}}
        assert "optical_flow.estimator 'auto' is unknown" in faults_of(params)


def automatic() -> dict[str, Any]:
    return whole()["optical_flow"] | {"estimator": "auto"}


class TestExtends:
    def test_nearer_files_override_key_by_key(self, write):
        write("a.yaml", {"data": {"split": 1, "num_folds": 3}, "train": {"rgb": {"epochs": 9}}})
        write("b.yaml", {"extends": "a.yaml", "data": {"split": 2}})
        c = write("sub/c.yaml", {"extends": "../b.yaml", "train": {"rgb": {"dropout": 0}}})
        assert read_params(c) == {
            "data": {"split": 2, "num_folds": 3},
            "train": {"rgb": {"epochs": 9, "dropout": 0}},
        }

    def test_lists_and_null_replace_what_is_below(self, write):
        write("a.yaml", {"evaluate": {"sweep": [1, 2]}, "data": {"synthetic": {"seed": 0}}})
        b = write(
            "b.yaml",
            {"extends": "a.yaml", "evaluate": {"sweep": [3]}, "data": {"synthetic": None}},
        )
        assert read_params(b) == {"evaluate": {"sweep": [3]}, "data": {"synthetic": None}}

    def test_a_circle_is_told(self, write):
        write("a.yaml", {"extends": "sub/b.yaml"})
        b = write("sub/b.yaml", {"extends": "../a.yaml"})
        with pytest.raises(ConfigError, match=r"extends itself: remove one `extends`"):
            read_params(b)

    def test_a_missing_base_is_told_by_name(self, write):
        with pytest.raises(ConfigError, match=r"nowhere.yaml does not exist"):
            read_params(write("a.yaml", {"extends": "nowhere.yaml"}))

    def test_a_relative_path_counts_from_the_file_that_states_it(self, write, tmp_path):
        write("sub/a.yaml", {"model": {"pretrained": "w.safetensors"}, "data": {"source": "v"}})
        b = write("b.yaml", {"extends": "sub/a.yaml", "data": {"source": "mine"}})
        params = read_params(b)
        assert params["model"]["pretrained"] == str(tmp_path / "sub" / "w.safetensors")
        assert params["data"]["source"] == str(tmp_path / "mine")


class TestFaults:
    def test_all_come_at_once(self):
        params = whole()
        rgb = params["train"]["streams"]["rgb"]
        rgb["learning_rat"] = rgb.pop("learning_rate")
        params["data"]["max_quarantined"] = 7
        params["model"]["backbone"] = "resnt50"
        params["optical_flow"]["estimator"] = "farnback"
        params["promotion"]["rules"]["luck"] = {}
        params["evaluate"]["num_segments"] = 4
        told = faults_of(params)
        assert "params.yaml has 7 error(s): " in told
        for fault in (
            "missing key train.streams.rgb.learning_rate",
            "unknown key train.streams.rgb.learning_rat (did you mean learning_rate?)",
            "data.max_quarantined is 7: input should be less than or equal to 1",
            "model.backbone 'resnt50' is unknown to timm (did you mean resnet50?)",
            "optical_flow.estimator 'farnback' is unknown: choose from ",
            "promotion.rules.luck is unknown: choose from same_data_version, ",
            "evaluate.num_segments 4 is not in evaluate.sweep",
        ):
            assert fault in told

    @pytest.mark.parametrize(
        ("estimator", "options", "told"),
        [
            ("tvl1", {"parametrs": "opencv_cpu"}, "unexpected keyword argument 'parametrs'"),
            ("tvl1", {"parameters": "opencv"}, "parameters 'opencv' is unknown: choose from"),
            ("raft", {}, "missing a required argument: 'weights'"),
            ("dis", {"preset": 1}, "unexpected keyword argument 'preset'"),
        ],
    )
    def test_options_that_the_estimator_does_not_take(self, estimator, options, told):
        params = whole()
        params["optical_flow"] |= {"estimator": estimator, "options": options}
        assert f"optical_flow.options of {estimator}: " in faults_of(params)
        assert told in faults_of(params)

    @pytest.mark.parametrize(
        ("place", "suggestion"),
        [
            (("dtaa",), "unknown key dtaa (did you mean data?)"),
            (("data", "synthetic", "num_group"), "data.synthetic.num_group (did you mean num_gr"),
            (("compute", "xyz"), "unknown key compute.xyz"),
        ],
    )
    def test_a_misspelt_key_anywhere_is_told_with_the_one_meant(self, place, suggestion):
        params = whole()
        params["data"]["synthetic"] = dict(SYNTHETIC)
        section = params
        for part in place[:-1]:
            section = section[part]
        section[place[-1]] = 1
        assert suggestion in faults_of(params)

    @pytest.mark.parametrize(
        "section",
        [None, 3, "text", [1], {"backbone": ["resnet18"]}, {"backbone": None}, {1: 2}],
        ids=repr,
    )
    def test_a_section_of_any_shape_is_a_fault_and_not_a_crash(self, section):
        assert "error(s)" in faults_of(whole() | {"model": section})

    @pytest.mark.parametrize(
        ("section", "values", "fault"),
        [
            ("compute", {"workers_per_stream": 33}, "32 is below compute.workers_per_stream 33"),
            (
                "compute",
                {"fewest_workers": 2},
                "fewest_workers 2 is above compute.workers_per_stream",
            ),
            ("compute", {"fewest_workers": 1}, "fewest_workers needs compute.checkpoint_steps"),
            ("compute", {"checkpoints": "folder"}, "'folder' must begin with / or s3://bucket"),
            ("compute", {"checkpoints": "s3://"}, "'s3://' must begin with / or s3://bucket"),
            (
                "compute",
                {"gpus_per_worker": 0.5, "workers_per_stream": 2},
                "gpus_per_worker 0.5 would put several of 2 workers on one GPU",
            ),
            ("train", {"short_side": 200}, "train.short_side 200 is below train.input_size 224"),
            (
                "train",
                {"clips_at_once": 0},
                "train.clips_at_once 0 must be auto, null or a number from 1 on",
            ),
            (
                "train",
                {"frames_at_once": 4, "freeze_batch_norm": "all_but_first"},
                "frames_at_once needs train.freeze_batch_norm all, not all_but_first",
            ),
            (
                "model",
                {"pretrained": False},
                "train.warm_start features begins with what pretrained weights make",
            ),
            ("model", {"top_layer": "FC"}, "model.top_layer FC needs model.num_scales 1, not 3"),
            (
                "train",
                {"warm_start": "none"},
                "evaluate.late_fusion fitted needs heads that learn from features",
            ),
            (
                "evaluate",
                {"late_fusion": "fited"},
                "choose from average_logits, average_probabilities, tsn_weighted, fitted",
            ),
            ("promotion", {"candidate": "best"}, "promotion.candidate 'best'"),
        ],
    )
    def test_sections_that_do_not_fit_together_are_told(self, section, values, fault):
        params = whole()
        params[section] |= values
        assert fault in faults_of(params)

    @pytest.mark.parametrize(
        ("section", "values", "fault"),
        [
            ("model", {"pretrained": False}, "set model.pretrained to true or to a weights file"),
            ("train", {"crop_on_device": True}, "crop_on_device crops frames in training, but"),
            ("compute", {"workers_per_stream": 2}, "workers_per_stream 2 is for whole networks"),
        ],
    )
    def test_what_a_frozen_backbone_leaves_no_room_for_is_told(self, section, values, fault):
        params = whole()
        params["model"] |= {"freeze": "backbone"}
        assert not find_faults(params)
        params[section] |= values
        assert fault in faults_of(params)

    def test_frames_at_once_need_batch_norms_that_a_new_backbone_leaves_to_learn(self):
        params = whole()
        params["train"] |= {"frames_at_once": 4, "freeze_batch_norm": "pretrained"}
        assert not find_faults(params)
        params["model"] |= {"pretrained": False}
        assert "train.frames_at_once needs frozen batch norms" in faults_of(params)

    def test_weights_of_the_optical_flow_count_from_the_file_that_names_them(self, write, tmp_path):
        options = {"weights": "raft.pth"}
        path = write("a.yaml", {"optical_flow": {"estimator": "raft", "options": options}})
        values = read_params(path)["optical_flow"]
        assert values["options"]["weights"] == str(tmp_path / "raft.pth")
        params = whole()
        params["optical_flow"] |= values
        assert f"optical_flow.options.weights {tmp_path}/raft.pth is not a file" in faults_of(
            params
        )

    def test_what_does_not_fit_together_is_told_beside_the_faults_of_each_section(self):
        params = whole()
        params["data"] |= {"split": 9, "group_pattern": "_g", "remot": "x"}
        params["train"] |= {"short_side": 200, "momentum": 1, "seed": "x"}
        params["compute"] |= {"workers_per_stream": 50, "cpus_per_worker": 0}
        params["model"] |= {"pretrained": "/nowhere/w.safetensors", "num_scales": 9}
        rules = {"no_worse_than_champion": {"min_gain": float("nan")}, "has_learnt": {"x": 1}}
        params["promotion"] |= {"rules": rules, "model_name": "a/b"}
        params["evaluate"] |= {"num_segments": 4, "frames_per_task": 0}
        told = faults_of(params)
        assert "has 15 error(s)" in told
        for fault in (
            "data.split 9 is above data.num_folds 3",
            "data.group_pattern '_g' has no group",
            "train.short_side 200 is below train.input_size 224",
            "train.momentum is 1: input should be less than 1",
            "train.batch_size 32 is below compute.workers_per_stream 50",
            "model.pretrained /nowhere/w.safetensors is not a file",
            "unknown key promotion.rules.has_learnt.x",
            "promotion.model_name 'a/b' is no name for MLflow",
            "promotion.rules.no_worse_than_champion.min_gain is nan: input should be a finite",
            "evaluate.num_segments 4 is not in evaluate.sweep",
        ):
            assert fault in told

    @pytest.mark.parametrize(
        ("section", "values", "fault"),
        [
            ("data", {"dataset": "synthetic"}, "data.synthetic is null, but data.dataset"),
            (
                "data",
                {
                    "dataset": "synthetic",
                    "transcode": {"short_side": 64, "gop": 6, "quality": 18},
                },
                "data.transcode is for videos of a source",
            ),
            (
                "data",
                {"synthetic": SYNTHETIC | {"action_share": [0.4, 0.2]}},
                "data.synthetic.action_share: 0.4 is above 0.2: state the lower bound first",
            ),
            (
                "data",
                {"synthetic": SYNTHETIC | {"actor_radius": [0.1, 0.3]}},
                "data.synthetic.actor_radius.1 is 0.3: input should be less than or equal to 0.25",
            ),
            (
                "data",
                {"synthetic": SYNTHETIC | {"home": "center"}},
                "data.synthetic.home is 'center': input should be 'centre' or 'anywhere'",
            ),
            ("data", {"group_pattern": "("}, "data.group_pattern '(' is no regex"),
            ("promotion", {"model_name": "it's"}, "is no name for MLflow"),
            ("promotion", {"model_name": ""}, "is no name for MLflow"),
            ("tracking", {"experiment": ""}, "tracking.experiment is ''"),
            ("compute", {"cpus_per_worker": float("inf")}, "compute.cpus_per_worker is inf"),
            (
                "model",
                {"top_layer": "D"},
                "model.top_layer 'D' is unknown: choose from A, B, C, FC",
            ),
            ("model", {"downsampling": "min"}, "model.downsampling 'min' is unknown"),
            ("evaluate", {"grid": "fine"}, "evaluate.grid 'fine' is unknown: choose from exact"),
            ("model", {"backbone": "resnet18.x"}, "'resnet18.x' is unknown to timm (did you mean"),
            ("model", {"input_mean": [1, 2]}, "model.input_mean is [1, 2]: list should have"),
        ],
    )
    def test_a_value_that_would_only_fail_later_is_told_at_once(self, section, values, fault):
        params = whole()
        params[section] |= values
        assert fault in faults_of(params)

    def test_weights_at_an_address_are_looked_for_when_they_are_read(self):
        params = whole()
        params["model"]["pretrained"] = "s3://bucket/w.safetensors"
        assert check_params(params, Path("params.yaml")).model.pretrained

    def test_another_dataset_than_a_folder_has_splits_of_its_own(self):
        params = whole()
        params["data"] |= {"dataset": "ucf101", "split": 3, "num_folds": 2}
        assert check_params(params, Path("params.yaml")).data.split == 3

    def test_nothing_is_quietly_converted(self):
        params = whole()
        params["train"]["horizontal_flip"] = "perhaps"
        params["train"]["streams"]["rgb"]["epochs"] = 2.5
        params["train"]["batch_size"] = "32"
        told = faults_of(params)
        assert "train.horizontal_flip is 'perhaps'" in told
        assert "train.streams.rgb.epochs is 2.5" in told
        assert "train.batch_size is '32'" in told
