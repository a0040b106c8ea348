"""The manager: deployments of services, and their history."""

from .manager import DeploymentManager

__all__ = ["DeploymentManager"]
