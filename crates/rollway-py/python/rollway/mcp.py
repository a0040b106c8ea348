"""``python -m rollway.mcp``: deployment as tools for assistants, over stdio.

Needs the official ``mcp`` package: ``pip install rollway[mcp]``. The control plane is the one that
the command line uses; ``ROLLWAY_STATE_DIR`` names another.
"""

from __future__ import annotations

import inspect
import json
from typing import Any, Callable, Dict, List, Mapping, Optional

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


_TYPES = {"str": "string", "int": "integer", "bool": "boolean"}


def schema(function: Callable[..., Any]) -> Dict[str, Any]:
    """The JSON Schema of a tool's parameters, from its signature."""
    properties: Dict[str, Any] = {}
    required: List[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        told = str(parameter.annotation)
        optional = told.startswith("Optional[")
        kind = _TYPES[told[len("Optional[") : -1] if optional else told]
        properties[name] = {"type": [kind, "null"] if optional else kind}
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
        else:
            properties[name]["default"] = parameter.default
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def call(known: Mapping[str, Callable[..., Any]], name: str, given: Mapping[str, Any]) -> str:
    """Calls a tool; answers JSON, and an error as such."""
    function = known.get(name)
    if function is None:
        raise ValueError(f"unknown tool {name!r}; known: {', '.join(sorted(known))}")
    try:
        return json.dumps(function(**given), default=str)
    except Error as error:
        return json.dumps({"error": str(error), "reasons": list(error.reasons)})


def main() -> None:
    """Serves the tools on standard input and output until the other side hangs up."""
    try:
        import anyio
        import mcp.types as types
        from mcp.server.lowlevel import Server
        from mcp.server.stdio import stdio_server
    except ImportError:
        raise SystemExit("error: this needs the mcp package: pip install 'rollway[mcp]'") from None
    known = tools(Client())
    server: Any = Server("rollway")

    @server.list_tools()  # type: ignore[untyped-decorator,unused-ignore]
    async def list_tools() -> Any:
        return [
            types.Tool(name=name, description=function.__doc__ or "", inputSchema=schema(function))
            for name, function in known.items()
        ]

    @server.call_tool()  # type: ignore[untyped-decorator,unused-ignore]
    async def call_tool(name: str, arguments: Dict[str, Any]) -> Any:
        text = await anyio.to_thread.run_sync(lambda: call(known, name, arguments))
        return [types.TextContent(type="text", text=text)]

    async def serve() -> None:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(serve)


if __name__ == "__main__":
    main()
