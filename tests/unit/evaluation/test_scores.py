import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stpa.errors import DataError
from stpa.evaluation.scores import read_scores, write_scores


@pytest.fixture
def path(tmp_path, make_scores):
    """A sound scores file, for tests to damage."""
    path = tmp_path / "scores.parquet"
    write_scores(path, make_scores())
    return path


def _replace(path, name, values):
    table = pq.read_table(path)
    position = table.column_names.index(name)
    pq.write_table(table.set_column(position, name, values), path)


def _rewrite_header(path, change):
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"stpa.scores"])
    change(header)
    pq.write_table(table.replace_schema_metadata({"stpa.scores": json.dumps(header)}), path)


def _logits(values):
    return pa.array(np.asarray(values, np.float32).tolist(), pa.list_(pa.float32(), 3))


def _labels(values):
    return pa.array(values, pa.list_(pa.bool_(), len(values[0])))


def test_scores_come_back_as_they_were_written(path, make_scores):
    read, written = read_scores(path), make_scores()
    for name in ("stream", "head", "model_key", "data_version", "class_names", "video_ids"):
        assert getattr(read, name) == getattr(written, name)
    np.testing.assert_array_equal(read.labels, written.labels)
    assert list(read.logits) == [1, 3]
    for k, logits in written.logits.items():
        np.testing.assert_array_equal(read.logits[k], logits)


def test_scores_of_several_labels_and_none_come_back(tmp_path, make_scores):
    labels = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1], [0, 0, 0], [0, 1, 0]], bool)
    path = tmp_path / "scores.parquet"
    write_scores(path, make_scores(multi_label=True, labels=labels))
    read = read_scores(path)
    assert read.multi_label is True
    np.testing.assert_array_equal(read.labels, labels)


def test_names_of_any_script_come_back(tmp_path, make_scores):
    names = ("naïve\nswim", "潜水", '"quoted", $x$')
    path = tmp_path / "scores.parquet"
    write_scores(path, make_scores(class_names=names))
    assert read_scores(path).class_names == names


def test_asking_for_a_missing_k_names_those_there_are(make_scores):
    with pytest.raises(DataError, match=r"no rgb scores at K=25, only at \[1, 3\]"):
        make_scores().at(25)


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1 cut off"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "scores.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match="evaluate again"):
        read_scores(path)


def test_a_cut_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="evaluate again"):
        read_scores(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.parquet cannot be used"):
        read_scores(tmp_path / "nowhere.parquet")


def test_a_parquet_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"video_id": ["a"]}), path)
    with pytest.raises(DataError, match="it has no header"):
        read_scores(path)


@pytest.mark.parametrize(
    ("column", "values", "fault"),
    [
        ("video_id", pa.array(["a"] * 6), "video ids repeat"),
        ("video_id", pa.array([*"abcde", None]), "a video id is no text"),
        ("labels", pa.array([0, 0, 1, 1, 2, 2]), "int64 is there where .* was expected"),
        ("labels", _labels([[True, False]] * 6), "is there where .* was expected"),
        ("labels", _labels([[True, False, None]] * 6), "a value is missing"),
        ("labels", _labels([[True, False, False]] * 5 + [None]), "cannot be used"),
        ("labels", _labels([[False] * 3] * 6), "no video has a label"),
        ("labels", _labels([[True, False, True]] * 6), "a video has not exactly one label"),
        ("labels", _labels([[True, False, False]] * 5 + [[False] * 3]), "not exactly one label"),
        ("logits_k3", _logits([[0, 0, np.nan]] * 6), "a logit is not finite"),
        ("logits_k3", _logits([[0, np.inf, 0]] * 6), "a logit is not finite"),
        (
            "logits_k3",
            pa.array([[0.0, 1.0, None]] * 6, pa.list_(pa.float32(), 3)),
            "a value is missing",
        ),
        (
            "logits_k3",
            pa.array([[0.0, 1.0, 2.0]] * 5 + [None], pa.list_(pa.float32(), 3)),
            "cannot be used",
        ),
        (
            "logits_k3",
            pa.array([[0.0, 1.0]] * 6, pa.list_(pa.float32(), 2)),
            "is there where .* was expected",
        ),
    ],
)
def test_a_broken_column_is_refused_with_its_fault(path, column, values, fault):
    _replace(path, column, values)
    with pytest.raises(DataError, match=fault):
        read_scores(path)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda header: header.pop("head"), "'head'"),
        (lambda header: header.update(stream=7), "its stream is no text"),
        (lambda header: header.update(class_names=["a", "b", "b"]), "class names repeat"),
        (lambda header: header.update(class_names=["a", "b", 3]), "a class name is no text"),
        (lambda header: header.update(class_names=None), "cannot be used"),
        (lambda header: header.pop("multi_label"), "'multi_label'"),
        (lambda header: header.update(multi_label="no"), "neither true nor false"),
        (lambda header: header.update(multi_label=1), "neither true nor false"),
    ],
)
def test_a_broken_header_is_refused_with_its_fault(path, change, fault):
    _rewrite_header(path, change)
    with pytest.raises(DataError, match=fault):
        read_scores(path)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("logits_k0", "its logits are of no number of segments"),
        ("logits_k-3", "its logits are of no number of segments"),
        ("logits_kmany", "invalid literal"),
    ],
)
def test_logits_of_an_impossible_k_are_refused(path, name, fault):
    table = pq.read_table(path)
    pq.write_table(table.append_column(name, table["logits_k3"]), path)
    with pytest.raises(DataError, match=fault):
        read_scores(path)


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        (["video_id", "labels"], "its logits are of no number of segments"),
        (["labels", "logits_k1"], "video_id"),
        (["video_id", "logits_k1"], "labels"),
    ],
)
def test_missing_columns_are_refused(path, columns, fault):
    pq.write_table(pq.read_table(path).select(columns), path)
    with pytest.raises(DataError, match=fault):
        read_scores(path)


def test_a_file_without_videos_is_refused(path):
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(DataError, match="it holds no video"):
        read_scores(path)
