"""Deployment strategies: rolling, blue-green, canary, and the base of your own."""

from .base import DeploymentStrategy
from .implementations import (
    BlueGreenDeployment,
    BlueGreenStrategy,
    CanaryDeployment,
    CanaryStrategy,
    RollingDeployment,
    RollingStrategy,
    create_strategy,
)
from .types import DeploymentResult, DeploymentState, DeploymentTarget

__all__ = [
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
]
