"""Rollway for Python: progressive delivery for services on any target.

:class:`Client` and :class:`AsyncClient` have the verbs of the command line; ``python -m rollway`` is
the command line itself. The classes that users of ``codomyrmex.deployment`` know are there, in
:mod:`codomyrmex.deployment`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._native import __version__

if TYPE_CHECKING:
    from ._client import AsyncClient, Client
    from ._errors import DeploymentFailed, Error, Refused, Unavailable
    from ._models import (
        Answer,
        Arm,
        Deployment,
        Event,
        Explanation,
        Failure,
        Instance,
        Judgement,
        Plan,
        Problem,
        Release,
        Service,
        Stage,
        Verdict,
        Waiting,
    )

__all__ = [
    "Answer",
    "Arm",
    "AsyncClient",
    "Client",
    "Deployment",
    "DeploymentFailed",
    "Error",
    "Event",
    "Explanation",
    "Failure",
    "Instance",
    "Judgement",
    "Plan",
    "Problem",
    "Refused",
    "Release",
    "Service",
    "Stage",
    "Unavailable",
    "Verdict",
    "Waiting",
    "__version__",
]


# Read when they are first asked for: most programs need few of them, and none need them at once.
_PLACES = {
    "_client": ("AsyncClient", "Client"),
    "_errors": ("DeploymentFailed", "Error", "Refused", "Unavailable"),
}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = (place for place, names in _PLACES.items() if name in names)
    value = getattr(importlib.import_module(f".{next(found, '_models')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted(__all__)
