"""What every strategy is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Callable, List

from .types import DeploymentResult, DeploymentTarget

__all__ = ["DeployFn", "DeploymentStrategy", "HealthFn"]

DeployFn = Callable[[DeploymentTarget, str], bool]
"""Brings a target to a version; answers whether it did."""
HealthFn = Callable[[DeploymentTarget], bool]
"""Whether a target is well."""


class DeploymentStrategy(ABC):
    """How targets come to a version. Make a subclass for a way of your own."""

    @abstractmethod
    def deploy(
        self, targets: List[DeploymentTarget], version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        """Bring the targets to a version."""

    @abstractmethod
    def rollback(
        self, targets: List[DeploymentTarget], previous_version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        """Bring the targets back to the version before."""
