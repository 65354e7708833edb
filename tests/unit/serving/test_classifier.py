"""Classifying real video files with stubs of networks (`Levels`)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stpa.data.killable import KillablePool
from stpa.data.probe import probe
from stpa.data.storage import Folder
from stpa.evaluation.judging import judging_of
from stpa.evaluation.reading import describe_video
from stpa.serving.classifier import Classifier
from stpa.serving.sources import describe_sources
from tests.unit.data.conftest import make_limits
from tests.unit.evaluation.test_predict import classifier as make_networks
from tests.workspaces import write_video

NUM_FRAMES = 20


@pytest.fixture(scope="module")
def pool() -> Iterator[KillablePool]:
    with KillablePool(make_limits(decode_memory_gib=4), 2) as pool:
        yield pool


@pytest.fixture
def classifier(pool: KillablePool) -> Classifier:
    return Classifier(make_networks("rgb", "flow"), pool, model="m/1", title="m version 1")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{number}.avi" for number in range(4)]
    for number, path in enumerate(paths):
        write_video(path, seed=number, num_frames=NUM_FRAMES)
    return paths


def test_results_are_those_of_the_networks_in_the_order_asked_for(classifier, videos):
    expected = {}
    for path in videos:
        video = describe_video(path, probe(path))
        logits = make_networks("rgb", "flow").scores(video, Folder(path.parent))
        expected[str(path)] = judging_of(False).probabilities(logits)
    asked = [videos[2], videos[0], videos[2], str(videos[1])]
    results = classifier.predict(asked)
    assert [result.path for result in results] == list(map(str, asked))
    for result in results:
        found = [result.scores[name] for name in classifier.class_names]
        np.testing.assert_allclose(found, expected[result.path], rtol=1e-4)
        assert list(result.scores.values()) == sorted(found, reverse=True)
        assert result.label == next(iter(result.scores))
        assert result.seconds == NUM_FRAMES / 25


def test_one_path_need_be_no_list(classifier, videos):
    [result] = classifier.predict(videos[0])
    assert result == classifier.predict([videos[0]])[0]


def test_a_bad_file_is_a_result_with_its_reason_and_ends_nothing(classifier, videos, tmp_path):
    bad = tmp_path / "bad.avi"
    bad.write_text("no video")
    results = classifier.predict([bad, videos[0], tmp_path / "gone.avi"])
    assert [result.error for result in results] == [
        "does not decode (Invalid data found when processing input)",
        None,
        "there is no such file",
    ]
    assert results[0].probability is None
    assert not results[0].labels


def test_a_threshold_leaves_the_answer_blank(classifier, videos):
    [result] = classifier.predict(videos[0], threshold=1.0)
    assert result.label == ""
    assert result.probability is not None


def test_what_decided_is_found_without_opening_the_file_here(classifier, videos, monkeypatch):
    import av

    monkeypatch.setattr(av, "open", lambda *_, **__: pytest.fail("opened in this process"))
    [(_, result)] = classifier.classify(describe_sources(videos[:1]), explain=True)
    assert set(result.explanation.streams) == {"rgb", "flow"}
    assert result.explanation.streams["flow"].frames.shape == (4, 48, 48, 3)


def test_temporary_files_are_gone_at_the_end(classifier, videos, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    classifier.predict(videos)
    assert not list(tmp_path.iterdir())
