"""What health checks answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Dict, List

__all__ = ["AggregatedHealth", "HealthCheckResult", "HealthStatus"]


class HealthStatus(Enum):
    """How something is."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"


@dataclass
class HealthCheckResult:
    """What one check found."""

    name: str
    """The check."""
    status: HealthStatus
    """How it is."""
    message: str = ""
    """Why, in words."""
    latency_ms: float = 0.0
    """How long the check took, in milliseconds."""
    timestamp: datetime = field(default_factory=datetime.now)
    """When."""
    details: Dict[str, Any] = field(default_factory=dict)
    """What was seen."""

    def to_dict(self) -> Dict[str, Any]:
        """The result as a plain dictionary."""
        return {
            "name": self.name,
            "status": self.status.value,
            "message": self.message,
            "latency_ms": self.latency_ms,
            "timestamp": self.timestamp.isoformat(),
            "details": dict(self.details),
        }


@dataclass
class AggregatedHealth:
    """What several checks come to."""

    overall_status: HealthStatus
    """How it is on the whole."""
    checks: List[HealthCheckResult]
    """What each check found."""
    timestamp: datetime = field(default_factory=datetime.now)
    """When."""

    @property
    def healthy_count(self) -> int:
        """How many checks are good."""
        return sum(check.status is HealthStatus.HEALTHY for check in self.checks)

    @property
    def unhealthy_count(self) -> int:
        """How many checks are bad."""
        return sum(check.status is HealthStatus.UNHEALTHY for check in self.checks)

    def to_dict(self) -> Dict[str, Any]:
        """The health as a plain dictionary."""
        return {
            "overall_status": self.overall_status.value,
            "healthy_count": self.healthy_count,
            "unhealthy_count": self.unhealthy_count,
            "total_checks": len(self.checks),
            "checks": [check.to_dict() for check in self.checks],
            "timestamp": self.timestamp.isoformat(),
        }
