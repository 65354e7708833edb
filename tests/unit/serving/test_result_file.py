"""Rows of results: written as they come, read back, and gone on from."""

import csv
import json
from contextlib import closing
from pathlib import Path

import pytest
from pyarrow import parquet

from stpa.errors import UsageError
from stpa.serving.result import Result
from stpa.serving.result_file import ResultFile, check_result_file, read_rows
from stpa.serving.rows import Row, columns_of, is_done, row_of
from stpa.serving.sources import Source

COLUMNS = columns_of(2)
SOURCE = Source("clips/läuft, \"weg\".mp4", 5, "2017-07-14T02:40:00.123456+00:00")  # fmt: skip
RESULT = Result(
    SOURCE.name, labels=("a",), scores={"a": 0.75, "b\u2028": 0.25, "c": 0.0}, seconds=1.5
)
ROWS = [
    row_of(RESULT, SOURCE, "m/1", COLUMNS),
    row_of(Result("b.mp4", error="is empty"), Source("b.mp4", 0, "2020"), "m/1", COLUMNS),
]
names = pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])


def write(path: Path, *rows: Row) -> None:
    with closing(ResultFile(path, COLUMNS)) as file:
        for row in rows:
            file.append([row])


def read_elsewhere(path: Path) -> list[dict]:
    """Read a file as other programs do."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    return parquet.read_table(path).to_pylist()


def test_a_row_has_the_answer_the_best_classes_and_what_the_file_was():
    assert ROWS[0] == {
        "path": SOURCE.name,
        "label": "a",
        "probability": 0.75,
        "label_1": "a",
        "probability_1": 0.75,
        "label_2": "b\u2028",
        "probability_2": 0.25,
        "seconds": 1.5,
        "error": None,
        "model": "m/1",
        "bytes": 5,
        "modified": SOURCE.modified,
    }
    assert ROWS[1]["error"] == "is empty"
    assert ROWS[1]["label"] is ROWS[1]["probability_1"] is None


@names
def test_rows_come_back_as_they_were_and_others_can_read_them(name, tmp_path):
    write(tmp_path / name, *ROWS)
    assert read_rows(tmp_path / name, COLUMNS) == ROWS
    assert [row["path"] for row in read_elsewhere(tmp_path / name)] == [SOURCE.name, "b.mp4"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@names
def test_a_file_is_continued(name, tmp_path):
    write(tmp_path / name, ROWS[0])
    write(tmp_path / name, ROWS[1])
    assert read_rows(tmp_path / name, COLUMNS) == ROWS
    assert len(read_elsewhere(tmp_path / name)) == 2


@names
def test_a_row_is_there_before_the_batch_ends(name, tmp_path):
    file = ResultFile(tmp_path / name, COLUMNS)
    file.append([ROWS[0]])
    assert read_rows(tmp_path / name, COLUMNS) == [ROWS[0]]
    file.close()


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_row_that_was_torn_is_cut_off_and_takes_no_other_with_it(name, tmp_path):
    path = tmp_path / name
    write(path, *ROWS)
    path.write_bytes(path.read_bytes()[:-3])
    assert read_rows(path, COLUMNS) == ROWS[:1]
    write(path, ROWS[1])
    assert read_rows(path, COLUMNS) == ROWS
    assert len(read_elsewhere(path)) == 2


def test_the_table_of_an_earlier_batch_stays_until_the_next_one_ends(tmp_path):
    path = tmp_path / "r.parquet"
    write(path, ROWS[0])
    file = ResultFile(path, COLUMNS)  # and is killed
    file.append([ROWS[1]])
    assert len(read_elsewhere(path)) == 1
    assert read_rows(path, COLUMNS) == ROWS
    file.close()
    assert len(read_elsewhere(path)) == 2


@names
def test_rows_of_other_columns_are_refused_by_name(name, tmp_path):
    write(tmp_path / name, ROWS[0])
    before = (tmp_path / name).read_bytes()
    with pytest.raises(UsageError, match=rf"{name} has other columns \(path, label"):
        ResultFile(tmp_path / name, columns_of(3))
    assert (tmp_path / name).read_bytes() == before


def test_two_processes_do_not_write_one_file(tmp_path):
    with (
        closing(ResultFile(tmp_path / "r.csv", COLUMNS)),
        pytest.raises(UsageError, match="another process writes"),
    ):
        ResultFile(tmp_path / "r.csv", COLUMNS)


@pytest.mark.parametrize(
    ("name", "told"),
    [("r.txt", r"end its name in \.csv"), ("no/r.csv", "in a folder that is there")],
)
def test_a_file_that_cannot_be_written_is_refused_beforehand(name, told, tmp_path):
    with pytest.raises(UsageError, match=told):
        check_result_file(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "model", "done"),
    [
        (SOURCE, "m/1", True),
        (SOURCE, "m/2", False),
        (Source(SOURCE.path, 6, SOURCE.modified), "m/1", False),
        (Source(SOURCE.path, 5, "2018"), "m/1", False),
        (Source("other.mp4", 5, SOURCE.modified), "m/1", False),
    ],
)
def test_a_row_counts_for_the_same_file_and_model_alone(source, model, done):
    assert is_done(ROWS[0], source, model) is done


@pytest.mark.parametrize("error", [None, "cannot be fetched"])
def test_an_address_that_was_not_read_is_tried_again(error):
    source = Source("https://host/a.mp4")
    row = row_of(Result(source.name, error=error), source, "m/1", COLUMNS)
    assert is_done(row, source, "m/1") is (error is None)
