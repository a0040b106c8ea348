"""The control plane's verbs as methods."""

from __future__ import annotations

import functools
import json
import os
from typing import (
    Any,
    AsyncIterator,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    TypeVar,
    Union,
)
from urllib.parse import quote

from . import _check
from ._errors import DeploymentFailed, Refused, Unavailable
from ._models import (
    Answer,
    Deployment,
    Event,
    Explanation,
    Instance,
    Plan,
    Problem,
    Service,
)
from ._native import Failed
from ._spec import actor, spec_text
from ._transport import way

T = TypeVar("T")
Spec = Union[Mapping[str, Any], str, "os.PathLike[str]"]

# One question waits so long for something to happen; then it is asked again.
_POLL_MS = 500
_EVENTS_MAX = 500
# The control plane may go away so often, one time after the other, before it is believed.
_LOSSES_MAX = 3


class Client:
    """A client of a control plane.

    Without a server, the control plane of the state folder is used: the one that runs, or, where
    none does, one inside this process. What it deployed goes on when this process ends.

    Args:
        state_dir: the state folder; by default the one that the command line uses.
        server: socket or URL of a control plane that runs.
        token: who we are, for a URL.
    """

    def __init__(
        self,
        state_dir: "Optional[Union[str, os.PathLike[str]]]" = None,
        *,
        server: Optional[str] = None,
        token: Optional[str] = None,
    ) -> None:
        self._way = way(state_dir, server, token)
        self._pid = os.getpid()

    @property
    def state_dir(self) -> Optional[str]:
        """The state folder, if the control plane is that of one."""
        state_dir: Optional[str] = self._way.state_dir
        return state_dir

    # --- what changes something

    def deploy(
        self,
        spec: Spec,
        version: Optional[str] = None,
        *,
        strategy: Optional[str] = None,
        wait: bool = True,
        check: bool = True,
        progress: bool = False,
        idempotency_key: Optional[str] = None,
    ) -> Deployment:
        """Deploy a version of a service.

        Args:
            spec: what ``rollway.yaml`` says, as a dictionary, or the path of one.
            version: goes before the spec's.
            strategy: goes before the spec's: ``rolling``, ``blue_green``, ``canary``, ``recreate``.
            wait: whether to wait for the end. Ctrl-C undoes the deployment.
            check: whether an end other than completed is raised.
            progress: whether to show a bar, if ``tqdm`` is installed.
            idempotency_key: the same key again is the same deployment.

        Raises:
            Refused: the spec is wrong, or another deployment is under way.
            DeploymentFailed: it ended otherwise than completed.
        """
        args = _deploy_args(spec, version, strategy)
        args["idempotency_key"] = idempotency_key
        begun = Deployment._of(self._ask("POST", "/v1/deployments", args))
        return self._ended(begun, wait, check, progress)

    def rollback(
        self,
        service: str,
        to: Optional[str] = None,
        *,
        wait: bool = True,
        check: bool = True,
        progress: bool = False,
    ) -> Deployment:
        """Bring an earlier release back.

        Args:
            service: the service.
            to: a release such as ``r3``, or a version; by default the one before.
            wait: whether to wait for the end.
            check: whether an end other than completed is raised.
            progress: whether to show a bar, if ``tqdm`` is installed.
        """
        answer = self._verb(service, "rollback", {"to": to})
        if answer.deployment is None:
            raise Refused([Problem("", answer.message)])
        begun = self.deployment(service, answer.deployment)
        return self._ended(begun, wait, check, progress)

    def promote(self, service: str, *, full: bool = False) -> Answer:
        """Open the gate that the deployment waits at; ``full`` opens all gates to come, too."""
        return self._verb(service, "promote", {"full": full})

    def pause(self, service: str) -> Answer:
        """Stop the deployment where it is; what runs goes on running."""
        return self._verb(service, "pause", {})

    def resume(self, service: str) -> Answer:
        """Let a paused deployment go on."""
        return self._verb(service, "resume", {})

    def abort(self, service: str, reason: Optional[str] = None, *, wait: bool = True) -> Answer:
        """Undo the deployment under way; traffic goes back first."""
        answer = self._verb(service, "abort", {"reason": reason})
        if wait and answer.deployment is not None:
            self.wait(service, answer.deployment)
        return answer

    def down(self, service: str, *, wait: bool = True) -> Answer:
        """Stop all instances of a service; it stays known."""
        answer = self._verb(service, "down", {})
        if wait and answer.deployment is not None:
            self.wait(service, answer.deployment)
        return answer

    # --- what only looks

    def plan(
        self, spec: Spec, version: Optional[str] = None, *, strategy: Optional[str] = None
    ) -> Plan:
        """What a deployment would do; nothing is changed."""
        return Plan._of(self._ask("POST", "/v1/plan", _deploy_args(spec, version, strategy)))

    def status(self, service: str) -> Service:
        """A service as it is now."""
        return Service._of(self._ask("GET", f"/v1/services/{_part(service)}"))

    def services(self) -> List[Service]:
        """All services, by name."""
        return [Service._of(one) for one in self._ask("GET", "/v1/services")]

    def instances(self, service: str) -> List[Instance]:
        """The instances of a service."""
        path = f"/v1/services/{_part(service)}/instances"
        return [Instance._of(one) for one in self._ask("GET", path)]

    def history(self, service: str, limit: int = 20) -> List[Deployment]:
        """The last deployments of a service, newest first."""
        _check.whole("limit", limit, least=1)
        path = f"/v1/services/{_part(service)}/deployments?limit={limit}"
        return [Deployment._of(one) for one in self._ask("GET", path)]

    def deployment(self, service: str, number: int) -> Deployment:
        """One deployment."""
        _check.whole("number", number, least=1)
        path = f"/v1/services/{_part(service)}/deployments/{number}"
        return Deployment._of(self._ask("GET", path))

    def explain(self, service: str, number: int) -> Explanation:
        """Why a deployment was judged as it was, computed again from the stored samples."""
        _check.whole("number", number, least=1)
        path = f"/v1/services/{_part(service)}/deployments/{number}/analysis"
        return Explanation._of(self._ask("GET", path))

    def events(
        self, service: str, after: int = 0, *, follow: bool = False
    ) -> Iterator[Event]:
        """What has happened to a service, in order.

        Args:
            service: the service.
            after: the number of the event to begin after.
            follow: whether to go on waiting for the next one.
        """
        last = _check.whole("after", after, least=0)
        while True:
            page = self._events(service, last, _POLL_MS if follow else 0)
            for event in page:
                last = event.seq
                yield event
            if not page and not follow:
                return

    def _events(self, service: str, after: int, wait_ms: int) -> List[Event]:
        query = f"after={after}&limit={_EVENTS_MAX}&wait_ms={wait_ms}"
        page = self._ask("GET", f"/v1/services/{_part(service)}/events?{query}")
        return [Event._of(one) for one in page["events"]]

    def wait(
        self, service: str, number: int, *, on_look: Optional[Callable[[Deployment], None]] = None
    ) -> Deployment:
        """Wait for the end of a deployment."""
        path = f"/v1/services/{_part(service)}/deployments/{number}?wait_ms={_POLL_MS}"
        losses = 0
        while True:
            try:
                view = Deployment._of(self._ask("GET", path))
                losses = 0
            except Unavailable:
                # The control plane is being replaced: what it deploys goes on.
                losses += 1
                if losses > _LOSSES_MAX:
                    raise
                continue
            if on_look is not None:
                on_look(view)
            if view.is_over:
                return view

    def history_frame(self, service: str, limit: int = 1000) -> Any:
        """The deployments of a service as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        from ._html import frame

        rows = []
        for one in self.history(service, limit):
            row = {key: value for key, value in one.to_dict().items() if key != "stages"}
            rows.append({**row, "to": one.to.version, "started_at": one.started_at})
        return frame(rows)

    def close(self) -> None:
        """End the control plane if it is in this process; instances and their proxy go on."""
        if os.getpid() == self._pid:
            self._way.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- how

    def _ended(self, begun: Deployment, wait: bool, check: bool, progress: bool) -> Deployment:
        if not wait:
            return begun
        from ._progress import bar

        try:
            with bar(begun, progress) as on_look:
                view = self.wait(begun.service, begun.number, on_look=on_look)
        except KeyboardInterrupt:
            self._undo(begun)
            raise
        if check and not view.success:
            raise DeploymentFailed(view)
        return view

    def _undo(self, begun: Deployment) -> None:
        """After Ctrl-C: traffic back, nothing left over. A second one leaves at once."""
        try:
            self._verb(begun.service, "abort", {"reason": "interrupted"})
        except Refused:
            # It has ended just now; or it is being undone already.
            pass
        self.wait(begun.service, begun.number)

    def _verb(self, service: str, verb: str, args: Mapping[str, Any]) -> Answer:
        body = {**args, "actor": actor()}
        return Answer._of(self._ask("POST", f"/v1/services/{_part(service)}/{verb}", body))

    def _ask(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> Any:
        if os.getpid() != self._pid:
            raise RuntimeError(
                "this client was made before the process forked, and cannot be used in the child: "
                "make a new one there"
            )
        sent = b"" if body is None else json.dumps(body).encode()
        try:
            status, answer = self._way.request(method, path, sent)
        except Failed as error:
            raise Unavailable(str(error).split(": ")) from error
        return _read(status, answer)


def _read(status: int, answer: bytes) -> Any:
    try:
        told = json.loads(answer)
    except ValueError:
        told = {}
    if 200 <= status < 300:
        return told
    problems = [Problem._of(one) for one in told.get("problems") or []]
    if problems:
        raise Refused(problems)
    why = told.get("failure") or f"the control plane answered {status}"
    raise Unavailable(why.split(": "))


def _part(service: str) -> str:
    return quote(_check.text("service", service), safe="")


def _deploy_args(spec: Spec, version: Optional[str], strategy: Optional[str]) -> Dict[str, Any]:
    """The body of a deployment or plan."""
    text, form, file, folder = spec_text(spec)
    if version is not None:
        _check.text("version", version)
    if strategy is not None:
        _check.text("strategy", strategy)
    return {
        "spec": text,
        "format": form,
        "file": file,
        "folder": folder,
        "version": version,
        "strategy": strategy,
        "env": {},
        "actor": actor(),
    }


class AsyncClient:
    """The same verbs to be awaited; what waits does so on other threads.

    Args:
        state_dir: the state folder; by default the one that the command line uses.
        server: socket or URL of a control plane that runs.
        token: who we are, for a URL.
    """

    def __init__(
        self,
        state_dir: "Optional[Union[str, os.PathLike[str]]]" = None,
        *,
        server: Optional[str] = None,
        token: Optional[str] = None,
    ) -> None:
        self._client = Client(state_dir, server=server, token=token)

    async def _call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        import asyncio

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, functools.partial(function, *args, **kwargs))

    async def deploy(
        self,
        spec: Spec,
        version: Optional[str] = None,
        *,
        strategy: Optional[str] = None,
        wait: bool = True,
        check: bool = True,
        idempotency_key: Optional[str] = None,
    ) -> Deployment:
        """Deploy a version of a service; a cancelled wait undoes the deployment."""
        begun = await self._call(
            self._client.deploy,
            spec,
            version,
            strategy=strategy,
            wait=False,
            idempotency_key=idempotency_key,
        )
        return await self._ended(begun, wait, check)

    async def rollback(
        self, service: str, to: Optional[str] = None, *, wait: bool = True, check: bool = True
    ) -> Deployment:
        """Bring an earlier release back."""
        begun = await self._call(self._client.rollback, service, to, wait=False)
        return await self._ended(begun, wait, check)

    async def _ended(self, begun: Deployment, wait: bool, check: bool) -> Deployment:
        import asyncio

        if not wait:
            return begun
        view = begun
        path = f"/v1/services/{_part(begun.service)}/deployments/{begun.number}"
        try:
            while not view.is_over:
                told = await self._call(self._client._ask, "GET", f"{path}?wait_ms={_POLL_MS}")
                view = Deployment._of(told)
        except asyncio.CancelledError:
            await asyncio.shield(self._call(self._client._undo, begun))
            raise
        if check and not view.success:
            raise DeploymentFailed(view)
        return view

    async def promote(self, service: str, *, full: bool = False) -> Answer:
        """Open the gate that the deployment waits at."""
        return await self._call(self._client.promote, service, full=full)

    async def pause(self, service: str) -> Answer:
        """Stop the deployment where it is."""
        return await self._call(self._client.pause, service)

    async def resume(self, service: str) -> Answer:
        """Let a paused deployment go on."""
        return await self._call(self._client.resume, service)

    async def abort(
        self, service: str, reason: Optional[str] = None, *, wait: bool = True
    ) -> Answer:
        """Undo the deployment under way."""
        return await self._call(self._client.abort, service, reason, wait=wait)

    async def down(self, service: str, *, wait: bool = True) -> Answer:
        """Stop all instances of a service."""
        return await self._call(self._client.down, service, wait=wait)

    async def plan(
        self, spec: Spec, version: Optional[str] = None, *, strategy: Optional[str] = None
    ) -> Plan:
        """What a deployment would do."""
        return await self._call(self._client.plan, spec, version, strategy=strategy)

    async def status(self, service: str) -> Service:
        """A service as it is now."""
        return await self._call(self._client.status, service)

    async def services(self) -> List[Service]:
        """All services, by name."""
        return await self._call(self._client.services)

    async def instances(self, service: str) -> List[Instance]:
        """The instances of a service."""
        return await self._call(self._client.instances, service)

    async def history(self, service: str, limit: int = 20) -> List[Deployment]:
        """The last deployments of a service, newest first."""
        return await self._call(self._client.history, service, limit)

    async def deployment(self, service: str, number: int) -> Deployment:
        """One deployment."""
        return await self._call(self._client.deployment, service, number)

    async def explain(self, service: str, number: int) -> Explanation:
        """Why a deployment was judged as it was."""
        return await self._call(self._client.explain, service, number)

    async def events(
        self, service: str, after: int = 0, *, follow: bool = False
    ) -> AsyncIterator[Event]:
        """What has happened to a service, in order."""
        last = _check.whole("after", after, least=0)
        wait_ms = _POLL_MS if follow else 0
        while True:
            page = await self._call(self._client._events, service, last, wait_ms)
            for event in page:
                last = event.seq
                yield event
            if not page and not follow:
                return

    async def close(self) -> None:
        """End the control plane if it is in this process."""
        await self._call(self._client.close)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
