"""Params files of earlier formats: how they are refused, and what an upgrade makes of them."""

from pathlib import Path

import pytest
import yaml
from ruamel.yaml.comments import CommentedMap

from stpa.config import FORMAT
from stpa.errors import ConfigError
from stpa.params import (
    check_params,
    find_changes,
    load_config,
    read_document,
    read_params,
    upgrade,
)
from stpa.params.changes import ABSENT
from stpa.params.document import value_at
from stpa.params.upgrade import STEPS, Edits
from stpa.presets import preset_path

FORMAT_1 = Path(__file__).with_name("format_1.yaml")
FORMAT_2 = Path(__file__).with_name("format_2.yaml")
"""The params.yaml at the top of stpa 0.1.0, which `stpa init` wrote without its comments."""

CURRENT = """\
data:
  folds: 3     # how many

  # Two lines
  # on time.
  patience: 1  # epochs
  seed: 0
"""


@pytest.fixture
def write(tmp_path: Path):
    """Write a params file."""

    def write(text: str, name: str = "params.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def edit(write):
    """Edit a file whose current keys and comments are those of CURRENT; return its text."""

    def edit(text: str, *changes: tuple[str, ...]) -> str:
        document = read_document(write(text))
        edits = Edits(document.root, read_document(write(CURRENT, "current.yaml")).root)
        for name, *arguments in changes:
            getattr(edits, name)(*arguments)
        return document.text(document.head)

    return edit


class TestEdits:
    def test_an_added_key_has_the_place_and_the_comments_of_the_current_file(self, edit):
        text = edit("data:\n  seed: 4  # mine\n  folds: 5\n", ("add", "data.patience", 0))
        assert text == (
            "data:\n  seed: 4  # mine\n  folds: 5\n\n  # Two lines\n  # on time.\n"
            "  patience: 0  # epochs\n"
        )

    def test_the_first_key_is_added_as_the_first(self, edit):
        text = edit("# Mine.\ndata:\n  seed: 4\n", ("add", "data.folds", 5))
        assert text == "# Mine.\n\ndata:\n  folds: 5     # how many\n  seed: 4\n"

    def test_a_key_that_is_not_current_any_more_is_added_at_the_end(self, edit):
        assert edit("data:\n  seed: 4\n", ("add", "data.gone", 1)).endswith("seed: 4\n  gone: 1\n")

    def test_a_key_that_is_there_keeps_its_value(self, edit):
        text = "data:\n  seed: 4 # mine\n"
        assert edit(text, ("add", "data.seed", 0)) == text

    def test_a_removed_key_takes_its_comments_along_and_no_others(self, edit):
        text = "data:\n  folds: 3 # a\n\n  # On crops.\n  crop: 1 # b\n\n  # On seeds.\n  seed: 0\n"
        expected = "data:\n  folds: 3 # a\n\n  # On seeds.\n  seed: 0\n"
        assert edit(text, ("remove", "data.crop")) == expected

    def test_a_renamed_key_keeps_its_value_and_its_comment(self, edit):
        text = "data:\n  splits: 9   # mine\n  seed: 0\n"
        renamed = edit(text, ("rename", "data.splits", "data.folds"))
        assert renamed == "data:\n  folds: 9    # mine\n  seed: 0\n"

    def test_a_renamed_key_without_a_comment_gets_the_current_one(self, edit):
        text = edit("data:\n  seed: 0\n  splits: 9\n", ("rename", "data.splits", "data.folds"))
        assert text == "data:\n  folds: 9     # how many\n  seed: 0\n"

    @pytest.mark.parametrize("text", ["data: 3\n", "model: {a: 1}\n", "data: null\n"])
    @pytest.mark.parametrize(
        "change",
        [("add", "data.seed", 1), ("remove", "data.seed"), ("rename", "data.seed", "data.s")],
    )
    def test_a_section_that_is_none_is_left_to_the_check(self, edit, text, change):
        assert edit(text, change) == text

    def test_a_value_can_depend_on_others(self):
        edits = Edits(CommentedMap(data=CommentedMap(seed=4)), CommentedMap())
        assert (edits.get("data.seed"), edits.get("data.x"), edits.get("x.y")) == (4, None, None)


def test_a_step_leads_from_every_earlier_format():
    assert set(STEPS) == set(range(1, FORMAT))


MOVED = {
    "model.fusion": "model.heads.stpa.scale_fusion",
    "model.map_norm": "model.heads.stpa.map_norm",
    "train.interactive_loss": "model.heads.stpa.interactive_loss",
    "train.interactive_weight": "model.heads.stpa.interactive_weight",
    "train.attention_loss": "model.heads.stpa.attention_loss",
    "train.attention_weight": "model.heads.stpa.attention_weight",
    "train.rgb": "train.streams.rgb",
    "train.flow": "train.streams.flow",
    "promotion.min_gain": "promotion.rules.no_worse_than_champion.min_gain",
}
"""Keys of format 1 that stand elsewhere."""
MOVED_OF_2 = MOVED | {
    "model.score_norm": "model.heads.stpa.score_norm",
    "model.aggregate": "model.heads.stpa.aggregate",
}


@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize(("file", "moved"), [(FORMAT_1, MOVED), (FORMAT_2, MOVED_OF_2)])
def test_an_upgraded_file_is_sound_and_keeps_its_values(write, file, moved, bare):
    text = file.read_text(encoding="utf-8")
    before = yaml.safe_load(text) | {"train": yaml.safe_load(text)["train"] | {"seed": 77}}
    before["optical_flow"]["estimator"] = "dis"
    text = text.replace("seed: 0", "seed: 77").replace("estimator: auto ", "estimator: dis ")
    path = write(yaml.safe_dump(before, sort_keys=False) if bare else text)
    document = read_document(path)
    upgrade(document, path)
    upgraded = write(document.text(document.head), "upgraded.yaml")
    after = read_params(upgraded)
    assert check_params(after, upgraded).version == FORMAT
    changes = find_changes(before, after)
    changed = [each.key for each in changes if ABSENT not in (each.old, each.new)]
    assert set(changed) <= {"version", "promotion.rules"}
    assert list(after["promotion"]["rules"]) == before["promotion"]["rules"]
    gone = {each.key for each in changes if each.new == ABSENT}
    assert gone == {*moved, "evaluate.baseline"}
    for old, new in moved.items():
        assert value_at(after, *new.split(".")) == value_at(before, *old.split("."))
    assert list(after["model"]["heads"]) == ["stpa", "tsn"]


@pytest.mark.parametrize(("baseline", "heads"), [(True, ["stpa", "tsn"]), (False, ["stpa"])])
@pytest.mark.parametrize(("fusion", "candidate"), [("fitted", "auto"), ("average_logits", "stpa")])
def test_what_was_trained_and_served_before_heads_had_sections_still_is(
    write, baseline, heads, fusion, candidate
):
    values = yaml.safe_load(FORMAT_2.read_text(encoding="utf-8"))
    values["evaluate"] |= {"baseline": baseline, "late_fusion": fusion}
    path = write(yaml.safe_dump(values, sort_keys=False))
    document = read_document(path)
    upgrade(document, path)
    assert list(document.values["model"]["heads"]) == heads
    assert document.values["promotion"]["candidate"] == candidate


def test_a_head_that_was_named_for_promotion_still_is(write):
    values = yaml.safe_load(FORMAT_2.read_text(encoding="utf-8"))
    values["evaluate"]["late_fusion"] = "average_logits"
    values["promotion"]["candidate"] = "tsn"
    path = write(yaml.safe_dump(values, sort_keys=False))
    document = read_document(path)
    upgrade(document, path)
    assert document.values["promotion"]["candidate"] == "tsn"


def test_an_upgraded_file_keeps_every_line_of_what_stays_in_place(write):
    text = FORMAT_1.read_text(encoding="utf-8")
    document = read_document(write(text))
    upgrade(document, FORMAT_1)
    upgraded = document.text(document.head).splitlines()
    moved = {key.rpartition(".")[2] for key in MOVED} | {"baseline", "rules"}
    kept = [line for line in text.splitlines() if line.strip().partition(":")[0] not in moved]
    known = {line.strip() for line in upgraded}  # streams stand one level deeper
    assert [line for line in kept if line.strip() not in known] == []
    assert upgraded[:4][-1].startswith(f"version: {FORMAT} ")


def test_an_upgraded_file_has_the_clips_that_it_had(write):
    clips = "{num_groups: 8, clips_per_group: 3, num_frames: 40, size_px: 96, seed: 0}"
    text = FORMAT_1.read_text(encoding="utf-8").replace("synthetic: null", f"synthetic: {clips}")
    document = read_document(write(text))
    upgrade(document, FORMAT_1)
    upgraded = read_params(write(document.text(document.head)))
    expected = read_params(preset_path("demo"))["data"]["synthetic"]  # whose clips are pinned
    assert upgraded["data"]["synthetic"] == expected


def test_an_old_file_is_one_line_with_what_it_lacks_and_the_command_for_it(write, tmp_path):
    path = write(FORMAT_1.read_text(encoding="utf-8"))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    told = str(caught.value)
    assert told.startswith(f"{path} has format 1, but this stpa reads format {FORMAT}; it lacks ve")
    assert told.endswith(f": run `stpa init {tmp_path} --upgrade`")


def test_many_lacking_keys_are_counted(write, monkeypatch):
    def lacking(params: Edits) -> None:
        for number in range(9):
            params.add(f"data.key{number}", number)

    monkeypatch.setitem(STEPS, 1, lacking)
    with pytest.raises(ConfigError, match=r"lacks data.key0, .*, data.key4 and 5 more: run"):
        load_config(write("data: {}\n"))


def test_a_params_file_of_another_project_is_told_as_such(write):
    path = write("prepare: {split: 0.2}\nfeaturize: {max_features: 100}\n")
    for attempt in (load_config, lambda path: upgrade(read_document(path), path)):
        with pytest.raises(ConfigError, match="is not of stpa, as it has no section of it"):
            attempt(path)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (FORMAT + 1, f"has format {FORMAT + 1}, but this stpa reads format {FORMAT} at most: ins"),
        ("two", "version is 'two', but it must be a whole number from 1 on"),
        (True, "version is True, but it must be"),
        (0, "version is 0, but it must be"),
    ],
)
def test_a_format_of_the_future_or_none_is_one_line(write, version, told):
    values = read_params(preset_path("standard")) | {"version": version}
    with pytest.raises(ConfigError) as caught:
        load_config(write(yaml.safe_dump(values)))
    assert told in str(caught.value)
