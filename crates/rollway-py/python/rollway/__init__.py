"""Rollway for Python: progressive delivery for services on any target.

:class:`Client` and :class:`AsyncClient` have the verbs of the command line; ``python -m rollway`` is
the command line itself. The classes that users of ``codomyrmex.deployment`` know are there, in
:mod:`codomyrmex.deployment`.
"""

from ._client import AsyncClient, Client
from ._errors import DeploymentFailed, Error, Refused, Unavailable
from ._models import (
    Answer,
    Arm,
    Deployment,
    Event,
    Failure,
    Instance,
    Plan,
    Problem,
    Release,
    Service,
    Stage,
    Waiting,
)
from ._native import __version__

__all__ = [
    "Answer",
    "Arm",
    "AsyncClient",
    "Client",
    "Deployment",
    "DeploymentFailed",
    "Error",
    "Event",
    "Failure",
    "Instance",
    "Plan",
    "Problem",
    "Refused",
    "Release",
    "Service",
    "Stage",
    "Unavailable",
    "Waiting",
    "__version__",
]
