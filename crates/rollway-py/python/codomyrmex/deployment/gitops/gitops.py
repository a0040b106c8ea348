"""A folder that follows a branch of a Git repository."""

from __future__ import annotations

import threading
from typing import Callable, Optional, TypeVar

from rollway import _check, _native
from rollway._log import Logger

__all__ = ["GitOpsSynchronizer"]

logger = Logger(__name__)

T = TypeVar("T")


class GitOpsSynchronizer:
    """Keeps a folder at the tip of a branch.

    Nothing of the repository is run: no hooks, no submodules, no LFS. A commit with a symbolic link
    that leads out of the folder is refused. Nothing here raises because of Git, the network or the
    disk: the answer says that it was not done, and :attr:`last_error` says why.
    """

    def __init__(self, repo_url: str, local_path: str, branch: str = "main") -> None:
        """
        Args:
            repo_url: the repository.
            local_path: the folder; one that holds something else is left alone.
            branch: the branch.
        """
        self.repo_url = _check.text("repo_url", repo_url, empty=True)
        self.local_path = _check.path("local_path", local_path)
        self.branch = _check.text("branch", branch)
        self.last_error: Optional[str] = None
        """Why the last call was not done; ``None`` if it was."""
        self._synced: Optional[str] = None
        self._lock = threading.Lock()

    def sync(self, branch: Optional[str] = None) -> bool:
        """Make the folder what the branch is now: clone, or fetch and reset hard.

        Changes in the folder are lost; files that the branch does not know stay.

        Args:
            branch: another branch than usual.
        """
        wanted = self.branch if branch is None else _check.text("branch", branch)
        with self._lock:
            self._synced = None
            commit = self._try(
                "sync", lambda: _native.git_sync(self.repo_url, self.local_path, wanted)
            )
            if commit is None:
                return False
            self._synced = wanted
            logger.info("%s is at %s", self.local_path, commit)
            return True

    def get_version(self) -> Optional[str]:
        """The full hash of the commit that the folder is at, if it is at any."""
        return self._try(
            "get_version", lambda: _native.git_version(self.repo_url, self.local_path)
        )

    def is_synced(self) -> bool:
        """Whether the last sync went well, and the folder is still what it was made then."""
        branch = self._synced
        if branch is None:
            return False
        return bool(
            self._try(
                "is_synced",
                lambda: _native.git_is_at(self.repo_url, self.local_path, branch),
            )
        )

    def checkout(self, revision: str) -> bool:
        """Go to a commit, tag or branch; one that is not here is fetched."""
        _check.text("revision", revision)
        with self._lock:
            commit = self._try(
                "checkout",
                lambda: _native.git_checkout(self.repo_url, self.local_path, revision),
            )
            return commit is not None

    def is_dirty(self) -> bool:
        """Whether the folder differs from its commit: changed, new or missing files."""
        return bool(
            self._try(
                "is_dirty", lambda: _native.git_is_dirty(self.repo_url, self.local_path)
            )
        )

    def _try(self, doing: str, act: "Callable[[], Optional[T]]") -> "Optional[T]":
        try:
            done = act()
        except _native.Failed as error:
            self._complain(doing, str(error))
            return None
        # That a sync failed is told until something goes well again.
        if doing in ("sync", "checkout"):
            self.last_error = None
        return done

    def _complain(self, doing: str, why: str) -> None:
        self.last_error = why
        logger.warning("%s of %s: %s", doing, self.local_path, why)

    def __repr__(self) -> str:
        return f"GitOpsSynchronizer(local_path={self.local_path!r}, branch={self.branch!r})"
