"""What workers make comes into the workspace's folder, whether they share it or not."""

from pathlib import Path

import pytest

from stpa.stages.worker_files import WorkerFiles


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_file_is_kept_once_whoever_writes_it(tmp_path: Path, is_shared: bool) -> None:
    files = WorkerFiles(tmp_path / "folder", is_shared)
    written: list[Path] = []

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
        written.append(path)

    content = files.make("class/a.avi", write)
    kept = tmp_path / "folder" / "class" / "a.avi"
    assert (content is None) == kept.exists() == is_shared
    files.keep("class/a.avi", content)
    assert kept.read_text() == "content"
    assert (written == [kept]) == is_shared
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
