"""Snapshots of what was deployed, and the way back to one of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Dict, List, Optional

from rollway import _check

__all__ = ["DeploymentSnapshot", "RollbackManager", "RollbackResult", "SnapshotState"]


class SnapshotState(Enum):
    """What a snapshot is now."""

    ACTIVE = "active"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


@dataclass
class DeploymentSnapshot:
    """What was deployed at one time."""

    version: str
    """The version."""
    state: SnapshotState = SnapshotState.ACTIVE
    """What the snapshot is now."""
    created_at: datetime = field(default_factory=datetime.now)
    """When it was made."""
    metadata: Dict[str, Any] = field(default_factory=dict)
    """Whatever else its owner wants to keep."""

    def to_dict(self) -> Dict[str, Any]:
        """The snapshot as a plain dictionary."""
        return {
            "version": self.version,
            "state": self.state.value,
            "created_at": self.created_at.isoformat(),
            "metadata": dict(self.metadata),
        }


@dataclass
class RollbackResult:
    """What came of a rollback."""

    success: bool
    """Whether it was done."""
    from_version: str
    """The version before."""
    to_version: str
    """The version after."""
    performed_at: datetime = field(default_factory=datetime.now)
    """When."""
    message: str = ""
    """In words."""


class RollbackManager:
    """Keeps snapshots in the order of their making."""

    def __init__(self) -> None:
        self._snapshots: List[DeploymentSnapshot] = []
        self._current_version: Optional[str] = None

    def create_snapshot(
        self, version: str, metadata: Optional[Dict[str, Any]] = None
    ) -> DeploymentSnapshot:
        """Make a snapshot; the one that was active is superseded by it."""
        _check.text("version", version)
        for snapshot in self._snapshots:
            if snapshot.state is SnapshotState.ACTIVE:
                snapshot.state = SnapshotState.SUPERSEDED
        snapshot = DeploymentSnapshot(version=version, metadata=dict(metadata or {}))
        self._snapshots.append(snapshot)
        self._current_version = version
        return snapshot

    def rollback_to(self, version: str) -> RollbackResult:
        """Go back to the first snapshot of a version; all later ones are superseded.

        Raises:
            KeyError: there is no snapshot of that version.
        """
        for index, snapshot in enumerate(self._snapshots):
            if snapshot.version == version:
                break
        else:
            known = ", ".join(dict.fromkeys(it.version for it in self._snapshots)) or "none"
            raise KeyError(f"No snapshot found for version: {version}; known: {known}")
        before = self._current_version or "unknown"
        snapshot.state = SnapshotState.ROLLED_BACK
        for later in self._snapshots[index + 1 :]:
            later.state = SnapshotState.SUPERSEDED
        self._current_version = version
        return RollbackResult(
            success=True,
            from_version=before,
            to_version=version,
            message=f"Rolled back from {before} to {version}",
        )

    def list_snapshots(self) -> List[DeploymentSnapshot]:
        """Copies of all snapshots, oldest first."""
        return [copy.deepcopy(snapshot) for snapshot in self._snapshots]

    def verify_rollback(self) -> bool:
        """Whether exactly one snapshot was rolled back to, and its version is the current one."""
        back = [it for it in self._snapshots if it.state is SnapshotState.ROLLED_BACK]
        return len(back) == 1 and back[0].version == self._current_version

    @property
    def current_version(self) -> Optional[str]:
        """The version that is deployed now."""
        return self._current_version

    def __repr__(self) -> str:
        count, version = len(self._snapshots), self._current_version
        return f"RollbackManager(snapshots={count}, current_version={version!r})"
