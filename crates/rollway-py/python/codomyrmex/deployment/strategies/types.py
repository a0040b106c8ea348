"""What strategies work on, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, List, Optional

__all__ = ["DeploymentResult", "DeploymentState", "DeploymentTarget"]


class DeploymentState(Enum):
    """Where a deployment stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    PAUSED = "paused"


@dataclass
class DeploymentTarget:
    """A place for an instance of a service."""

    id: str
    """Unlike that of any other target."""
    name: str
    """For people."""
    address: str
    """Where it answers: ``host:port``."""
    healthy: bool = True
    """Whether its last health check was good."""
    version: Optional[str] = None
    """The version that it is on, if that is known."""
    metadata: Dict[str, Any] = field(default_factory=dict)
    """Whatever else its owner wants to keep."""


@dataclass
class DeploymentResult:
    """What came of a deployment; true where it is a success."""

    success: bool
    """Whether everything that was asked for was done."""
    targets_updated: int
    """How many targets are on the new version."""
    targets_failed: int
    """How many should be and are not, or are not well."""
    duration_ms: float
    """How long it took, in milliseconds."""
    state: DeploymentState
    """Where the deployment ended."""
    errors: List[str] = field(default_factory=list)
    """What went wrong, in order."""
    metadata: Dict[str, Any] = field(default_factory=dict)
    """What else there is to know; ``managed`` is false where nothing but records was changed."""

    def __bool__(self) -> bool:
        """Whether it is a success."""
        return self.success

    def to_dict(self) -> Dict[str, Any]:
        """The fields as a plain dictionary, the state as its text."""
        return {
            "success": self.success,
            "targets_updated": self.targets_updated,
            "targets_failed": self.targets_failed,
            "duration_ms": self.duration_ms,
            "state": self.state.value,
            "errors": list(self.errors),
            "metadata": dict(self.metadata),
        }

    def _repr_html_(self) -> str:
        """A small table, for notebooks."""
        from rollway._html import result

        return result(self)
