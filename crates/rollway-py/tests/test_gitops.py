"""`GitOpsSynchronizer` on real repositories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Dict

import pytest
from codomyrmex.deployment import GitOpsSynchronizer


class Repository:
    """A repository that people push to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "main")
        self.commit({"app.yaml": "one"})

    def git(self, *arguments: str) -> str:
        names = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in (
            "NAME",
            "EMAIL",
        )}
        ran = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", *arguments],
            cwd=self.folder,
            env={**os.environ, **names},
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.strip()

    def commit(self, files: Dict[str, Any]) -> str:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                path.symlink_to(content)
            else:
                path.write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "origin")


def test_a_folder_follows_its_branch(origin: Repository, tmp_path: Path) -> None:
    local = tmp_path / "deep" / "local"
    sync = GitOpsSynchronizer(str(origin.folder), str(local))
    assert (sync.repo_url, sync.local_path, sync.branch) == (
        str(origin.folder),
        str(local),
        "main",
    )
    assert (sync.get_version(), sync.is_synced(), sync.is_dirty()) == (None, False, False)
    assert sync.sync() is True and sync.last_error is None
    assert sync.get_version() == origin.git("rev-parse", "HEAD")
    assert sync.is_synced() and not sync.is_dirty()
    assert (local / "app.yaml").read_text() == "one"
    new = origin.commit({"app.yaml": "two"})
    assert sync.is_synced()
    assert sync.sync() and sync.get_version() == new
    (local / "app.yaml").write_text("changed")
    assert sync.is_dirty() and not sync.is_synced()
    (local / "new").write_text("x")
    assert sync.sync() and (local / "app.yaml").read_text() == "two"
    assert sync.is_dirty() and not sync.is_synced()
    (local / "new").unlink()
    assert sync.is_synced()
    assert not GitOpsSynchronizer(str(origin.folder), str(local)).is_synced()


def test_force_pushes_branches_tags_and_commits(origin: Repository, tmp_path: Path) -> None:
    first = origin.git("rev-parse", "HEAD")
    sync = GitOpsSynchronizer(str(origin.folder), str(tmp_path / "local"))
    second = origin.commit({"app.yaml": "two"})
    assert sync.sync() and sync.checkout(first) and sync.get_version() == first
    assert not sync.is_synced()
    origin.git("tag", "v1", first)
    origin.git("branch", "side", first)
    assert sync.checkout("main") and sync.get_version() == second and sync.is_synced()
    assert sync.checkout("v1") and sync.get_version() == first
    assert sync.sync("side") and sync.get_version() == first and sync.is_synced()
    origin.git("reset", "-q", "--hard", first)
    third = origin.commit({"app.yaml": "three"})
    assert sync.sync() and sync.get_version() == third
    assert sync.checkout("nowhere") is False and sync.last_error is not None
    assert sync.checkout("--help") is False
    assert sync.get_version() == third
    assert sync.sync("nowhere") is False and not sync.is_synced()


@pytest.mark.parametrize("url", ["/no/such/repository", "", "--upload-pack=x", "ext::sh -c id",
                                 "http://127.0.0.1:1/x.git", "git://127.0.0.1:1/x"])
def test_nothing_raises(url: str, tmp_path: Path) -> None:
    sync = GitOpsSynchronizer(url, str(tmp_path / "local"))
    assert sync.sync() is False
    assert sync.last_error and sync.get_version() is None
    assert not sync.is_synced() and not sync.is_dirty() and not sync.checkout("main")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_others_is_left_alone(origin: Repository, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    sync = GitOpsSynchronizer(str(origin.folder), str(local))
    assert sync.sync(), "an empty folder is replaced"
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("x")
    sync = GitOpsSynchronizer(str(origin.folder), str(other))
    assert sync.sync() is False and "no repository" in str(sync.last_error)
    assert (other / "precious").read_text() == "x"
    # One that we made is ours to make again.
    subprocess.run(["rm", "-rf", str(local / ".git")], check=True)
    assert GitOpsSynchronizer(str(origin.folder), str(local)).sync()
    # A folder inside of another repository is not that repository.
    inside = origin.folder / "inside"
    inside.mkdir()
    assert GitOpsSynchronizer(str(origin.folder), str(inside)).get_version() is None


def test_a_repository_of_the_users_is_followed(origin: Repository, tmp_path: Path) -> None:
    local = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(origin.folder), str(local)], check=True)
    new = origin.commit({"app.yaml": "two"})
    sync = GitOpsSynchronizer(str(origin.folder), str(local))
    assert sync.sync() and sync.get_version() == new and sync.is_synced()


def test_links_out_of_the_tree_are_refused(origin: Repository, tmp_path: Path) -> None:
    good = origin.commit({"folder/link": Path("../app.yaml")})
    sync = GitOpsSynchronizer(str(origin.folder), str(tmp_path / "local"))
    assert sync.sync() and (tmp_path / "local/folder/link").read_text() == "one"
    origin.commit({"bad": Path("/etc/passwd")})
    assert sync.sync() is False and "leads out" in str(sync.last_error)
    assert sync.get_version() == good and not (tmp_path / "local/bad").exists()


def test_nothing_of_the_repository_is_run(origin: Repository, tmp_path: Path) -> None:
    local, mark = tmp_path / "local", tmp_path / "mark"
    sync = GitOpsSynchronizer(str(origin.folder), str(local))
    assert sync.sync()
    hook = local / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    for name in ("post-checkout", "reference-transaction", "post-merge"):
        hook.with_name(name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        hook.with_name(name).chmod(0o755)
    subprocess.run(
        ["git", "config", "core.fsmonitor", f"touch {mark}; false"], cwd=local, check=True
    )
    origin.commit({"app.yaml": "two", ".gitattributes": "*.bin filter=lfs\n", "a.bin": "x"})
    assert sync.sync() and sync.checkout("main") and not sync.is_dirty()
    assert not mark.exists()


def test_left_locks_do_not_stop_us(origin: Repository, tmp_path: Path) -> None:
    local = tmp_path / "local"
    sync = GitOpsSynchronizer(str(origin.folder), str(local))
    assert sync.sync()
    (local / ".git/index.lock").write_text("")
    new = origin.commit({"app.yaml": "two"})
    assert sync.sync() and sync.get_version() == new, sync.last_error
