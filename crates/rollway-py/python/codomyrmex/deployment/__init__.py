"""Deployments: strategies, health checks, rollback, Git as the source.

The names and what they do are those of ``codomyrmex.deployment``; what is done is done by Rollway.
"""

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
