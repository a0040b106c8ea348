"""Deployments: strategies, health checks, rollback, Git as the source.

The names and what they do are those of ``codomyrmex.deployment``; what is done is done by Rollway.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from . import canary, gitops, health_checks, manager, mcp_tools, rollback, strategies
    from .canary import CanaryAnalyzer, CanaryDecision, CanaryReport, MetricComparison
    from .gitops import GitOpsSynchronizer
    from .manager import DeploymentManager
    from .strategies import (
        BlueGreenDeployment,
        BlueGreenStrategy,
        CanaryDeployment,
        CanaryStrategy,
        DeploymentResult,
        DeploymentState,
        DeploymentStrategy,
        DeploymentTarget,
        RollingDeployment,
        RollingStrategy,
        create_strategy,
    )

__all__ = [
    "BlueGreenDeployment",
    "BlueGreenStrategy",
    "CanaryAnalyzer",
    "CanaryDecision",
    "CanaryDeployment",
    "CanaryReport",
    "CanaryStrategy",
    "DeploymentManager",
    "DeploymentResult",
    "DeploymentState",
    "DeploymentStrategy",
    "DeploymentTarget",
    "GitOpsSynchronizer",
    "MetricComparison",
    "RollingDeployment",
    "RollingStrategy",
    "canary",
    "create_strategy",
    "gitops",
    "health_checks",
    "manager",
    "mcp_tools",
    "rollback",
    "strategies",
]

# Read when they are first asked for: nobody needs all of them at once.
_PLACES = {
    "canary": ("CanaryAnalyzer", "CanaryDecision", "CanaryReport", "MetricComparison"),
    "gitops": ("GitOpsSynchronizer",),
    "health_checks": (),
    "manager": ("DeploymentManager",),
    "mcp_tools": (),
    "rollback": (),
    "strategies": (
        "BlueGreenDeployment",
        "BlueGreenStrategy",
        "CanaryDeployment",
        "CanaryStrategy",
        "DeploymentResult",
        "DeploymentState",
        "DeploymentStrategy",
        "DeploymentTarget",
        "RollingDeployment",
        "RollingStrategy",
        "create_strategy",
    ),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return import_module(f"{__name__}.{name}")
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
