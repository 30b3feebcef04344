from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from hammerwork_worker import copying

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    folder = tmp_path / "worker"
    (folder / "lib").mkdir(parents=True)
    (folder / "ld.so").write_text("loader")
    (folder / "ld.so").chmod(0o755)
    (folder / "lib" / "libc.so.6").write_text("c")
    return folder


def content(folder: Path) -> dict[str, tuple[str, int]]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): (file.read_text(), file.stat().st_mode & 0o777) for file in files}


def test_a_copy_may_be_made_again(worker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "ld.so").write_text("the half of a lo")
    before = os.umask(0o077)
    try:
        assert copying.main([str(volume)], source=worker) == 0
        assert copying.main([str(volume)], source=worker) == 0
    finally:
        os.umask(before)
    assert content(volume) == content(worker)
    assert (volume / "lib").stat().st_mode & 0o777 == 0o755, "others may not read what is in it"
    assert capsys.readouterr().err.startswith(f"{volume}: 0 MB in ")


def test_an_image_without_a_portable_worker_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing"
    assert copying.main([str(tmp_path)], source=missing) == 1
    assert capsys.readouterr().err.endswith(f"No such file or directory: '{missing}'\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems, so it needs root")
@pytest.mark.parametrize(
    ("options", "told"),
    [("size=64k", "no room for the worker's 1 MB"), ("ro", "[Errno 30] Read-only file system: '{volume}/")],
)
def test_what_is_in_the_way_is_told(
    worker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, told: str
) -> None:
    (worker / "lib" / "libc.so.6").write_text("c" * 1_000_000)
    volume = tmp_path / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", volume], check=True, timeout=10)
    try:
        assert copying.main([str(volume)], source=worker) == 1
    finally:
        subprocess.run(["umount", volume], check=True, timeout=10)
    assert capsys.readouterr().err.startswith(f"hammerwork-worker-copy: {volume}: {told.format(volume=volume)}")
