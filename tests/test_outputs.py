"""Files that commands write are there whole or not at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nntune.errors import OutputError, RefusedError, UsageError
from nntune.outputs import check_free, put, replacing


def half(new: Path) -> None:
    """As where the disk gets full."""
    new.write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def written(path: Path, write: Callable[[Path], object], *, force: bool) -> None:
    with replacing(path, force=force) as new:
        write(new)


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.html cannot be written: "):
        written(tmp_path / "a.html", half, force=False)

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    put(path, b"old", force=False)

    with pytest.raises(OutputError):
        written(path, half, force=True)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.html"

    def late(new: Path) -> None:
        new.write_text("ours")
        path.write_text("theirs")

    with pytest.raises(RefusedError):
        written(path, late, force=False)

    assert path.read_text() == "theirs"


def test_libraries_see_the_ending_of_the_path(tmp_path: Path) -> None:
    written(tmp_path / "a.png", lambda new: new.write_text(new.suffix), force=False)

    assert (tmp_path / "a.png").read_text() == ".png"


@pytest.mark.parametrize(
    ("path", "wrong"), [(".", r"\. is a folder; -o names"), ("no/a", "no folder no")]
)
def test_a_path_that_cannot_be_a_file_is_refused(
    path: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=wrong):
        check_free(Path(path), force=True)
