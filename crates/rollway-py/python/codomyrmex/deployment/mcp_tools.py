"""Deployment as tools for assistants; ``python -m rollway.mcp`` serves them."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, TypeVar

from .manager import DeploymentManager
from .strategies import DeploymentTarget, create_strategy

__all__ = ["deployment_execute", "deployment_get_history", "deployment_list_strategies"]

F = TypeVar("F", bound=Callable[..., Any])

_STRATEGIES = ["rolling", "blue_green", "canary"]
_manager: Optional[DeploymentManager] = None


def _the_manager() -> DeploymentManager:
    """One for all tools of this process; made when it is first needed."""
    global _manager
    if _manager is None:
        _manager = DeploymentManager()
    return _manager


def _tool(properties: Dict[str, Any], required: List[str], extra: bool = False) -> Callable[[F], F]:
    """Says of a function what an assistant has to know."""

    def mark(function: F) -> F:
        schema = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": extra,
        }
        description = (function.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
        meta = {
            "name": function.__name__,
            "description": description,
            "category": "deployment",
            "schema": schema,
            "parameters": schema,
        }
        setattr(function, "_mcp_tool_meta", meta)
        return function

    return mark


_TARGET = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string", "description": "The id, if there is none."},
        "address": {"type": "string", "description": "host:port"},
        "version": {"type": "string"},
        "metadata": {"type": "object"},
    },
    "required": ["id"],
}


@_tool(
    {
        "service_name": {"type": "string", "description": "The service to deploy."},
        "version": {"type": "string", "description": "The version to deploy."},
        "strategy": {"type": "string", "enum": _STRATEGIES, "default": "rolling"},
        "targets": {
            "type": ["array", "null"],
            "items": _TARGET,
            "description": "Where to; without them, three targets are made.",
        },
    },
    ["service_name", "version"],
    extra=True,
)
def deployment_execute(
    service_name: str,
    version: str,
    strategy: str = "rolling",
    targets: Optional[List[Dict[str, Any]]] = None,
    **kwargs: Any,
) -> Dict[str, Any]:
    """Deploy a version of a service with a strategy.

    Args:
        service_name: the service.
        version: the version.
        strategy: ``rolling``, ``blue_green`` or ``canary``.
        targets: dictionaries with ``id``, ``name`` and ``address``.
        kwargs: what the strategy's class takes.

    Returns:
        The result as a dictionary, with ``service`` and ``version``.
    """
    made = create_strategy(strategy, **kwargs)
    places = None if targets is None else [_target(index, it) for index, it in enumerate(targets)]
    result = _the_manager().deploy(service_name, version, made, places).to_dict()
    result["service"] = service_name
    result["version"] = version
    return result


def _target(index: int, given: Mapping[str, Any]) -> DeploymentTarget:
    if not isinstance(given, Mapping):
        raise TypeError(f"targets[{index}]: expected a dict, not {type(given).__name__}")
    if "id" not in given:
        raise ValueError(f"targets[{index}]: it has no id")
    return DeploymentTarget(
        id=str(given["id"]),
        name=str(given.get("name", given["id"])),
        address=str(given.get("address", "")),
        version=given.get("version"),
        metadata=dict(given.get("metadata") or {}),
    )


@_tool({}, [])
def deployment_list_strategies() -> List[str]:
    """List the names of the strategies."""
    return list(_STRATEGIES)


@_tool({}, [])
def deployment_get_history() -> List[Dict[str, Any]]:
    """List the deployments that were carried out, oldest first."""
    return _the_manager().get_deployment_history()
