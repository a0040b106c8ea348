"""``python -m rollway.mcp``: deployment as tools for assistants, over stdio.

Needs the official ``mcp`` package: ``pip install rollway[mcp]``. The control plane is the one that
the command line uses; ``ROLLWAY_STATE_DIR`` names another.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, Callable, Dict, List, Optional

from ._client import Client
from ._errors import Error

__all__ = ["main", "tools"]


def tools(client: Client) -> Dict[str, Callable[..., Any]]:
    """The tools by name; their parameters are those of :class:`Client`."""

    def deploy(spec: str, version: Optional[str] = None, strategy: Optional[str] = None) -> Any:
        """Deploy a version of a service: spec is the path of its rollway.yaml."""
        return client.deploy(spec, version, strategy=strategy, check=False).to_dict()

    def plan(spec: str, version: Optional[str] = None, strategy: Optional[str] = None) -> Any:
        """Show what a deployment would do; nothing is changed."""
        return client.plan(spec, version, strategy=strategy).to_dict()

    def status(service: str) -> Any:
        """Show a service as it is now."""
        return client.status(service).to_dict()

    def history(service: str, limit: int = 20) -> Any:
        """Show the last deployments of a service, newest first."""
        return [one.to_dict() for one in client.history(service, limit)]

    def rollback(service: str, to: Optional[str] = None) -> Any:
        """Bring an earlier release back: a number such as r3, or a version."""
        return client.rollback(service, to, check=False).to_dict()

    def promote(service: str, full: bool = False) -> Any:
        """Open the gate that the deployment waits at; full opens all gates to come."""
        return client.promote(service, full=full).to_dict()

    def abort(service: str, reason: Optional[str] = None) -> Any:
        """Undo the deployment under way."""
        return client.abort(service, reason).to_dict()

    def list_strategies() -> List[str]:
        """List the names of the strategies."""
        return ["blue_green", "canary", "recreate", "rolling"]

    listed = (deploy, plan, status, history, rollback, promote, abort, list_strategies)
    return {function.__name__: function for function in listed}


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same tool, whose failures are an answer with the chain of reasons."""

    @functools.wraps(function)
    def tool(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Error as error:
            return {"error": str(error), "reasons": list(error.reasons)}

    return tool


def _server() -> Any:
    """A server of the official package: its class has had two names."""
    for module, name in (("mcp.server", "MCPServer"), ("mcp.server.fastmcp", "FastMCP")):
        try:
            return getattr(importlib.import_module(module), name)("rollway")
        except (ImportError, AttributeError):
            continue
    raise SystemExit("error: this needs the mcp package: pip install 'rollway[mcp]'")


def main() -> None:
    """Serves the tools on standard input and output until the other side hangs up."""
    server = _server()
    with Client() as client:
        for function in tools(client).values():
            server.add_tool(_told(function))
        server.run("stdio")


if __name__ == "__main__":
    main()
