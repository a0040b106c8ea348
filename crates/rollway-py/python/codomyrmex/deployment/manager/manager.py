"""Deploys services, and remembers what came of it.

Where ``config`` says how a service is run, its deployments act on real instances. Where nothing
does, only the recorded version of the targets moves, and the result says so.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional

from rollway import _check
from rollway._log import ERROR, INFO, Logger
from rollway._managed import Managed, Settings

from ..strategies.base import DeploymentStrategy
from ..strategies.implementations import RollingDeployment, strategy_name
from ..strategies.types import DeploymentResult, DeploymentState, DeploymentTarget

__all__ = ["DeploymentManager"]

logger = Logger(__name__)

# So many targets are made where none are given.
_TARGETS = 3


class _Entry:
    """One line of the history."""

    def __init__(
        self,
        told: Mapping[str, str],
        result: DeploymentResult,
        started_at: datetime,
    ) -> None:
        self.service, self.version = told["service"], told["version"]
        self.strategy, self.kind = told["strategy"], told["kind"]
        self.result, self.started_at = result, started_at

    def to_dict(self) -> Dict[str, Any]:
        """For people who print histories."""
        result = self.result
        return {
            "service": self.service,
            "version": self.version,
            "strategy": self.strategy,
            "kind": self.kind,
            "success": result.success,
            "targets_updated": result.targets_updated,
            "targets_failed": result.targets_failed,
            "state": result.state.value,
            "started_at": self.started_at.isoformat(),
            "duration_ms": result.duration_ms,
            "errors": list(result.errors),
            "managed": bool(result.metadata.get("managed", False)),
        }

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "_Entry":
        """From what is kept in the state folder."""
        result = DeploymentResult(
            success=row["success"],
            targets_updated=row["targets_updated"],
            targets_failed=row["targets_failed"],
            duration_ms=row["duration_ms"],
            state=DeploymentState(row["state"]),
            errors=list(row["errors"]),
            metadata=dict(row["metadata"]),
        )
        started = datetime.fromtimestamp(row["started_at_ms"] / 1000, timezone.utc)
        return cls(row, result, started)


class DeploymentManager:
    """Deploys services with a strategy, and keeps the history.

    Example::

        manager = DeploymentManager()
        manager.deploy("auth-service", "v2.1.0")
        manager.rollback("auth-service", "v2.0.0")

    ``config`` is a dictionary with any of these:

    ``state_dir``
        A folder: the history is kept there, and shared with the command line.
    ``services``
        For each service what ``rollway.yaml`` says, as a dictionary, or the path of one. Instead of
        it, ``run`` and whatever else ``rollway.yaml`` knows hold for every service.
    ``server``, ``token``
        The socket or URL of a running control plane.

    A path instead of a dictionary is the path of a ``rollway.yaml``.
    """

    def __init__(self, config: Any = None) -> None:
        self._settings = Settings.read(config)
        self._managed: Optional[Managed] = Managed(self._settings) if self._settings.acts else None
        self._entries: List[_Entry] = []
        self._active: Dict[str, str] = {}
        self._warned = False
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def deploy(
        self,
        service_name: str,
        version: str,
        strategy: Optional[DeploymentStrategy] = None,
        targets: Optional[List[DeploymentTarget]] = None,
    ) -> DeploymentResult:
        """Deploy a version of a service.

        A deployment that fails is a result, not an exception.

        Args:
            service_name: the service.
            version: the version.
            strategy: how; by default rolling, one target after the other.
            targets: where to; by default three targets are made.
        """
        return self._run("deploy", service_name, version, strategy, targets)

    def rollback(
        self,
        service_name: str,
        previous_version: str,
        strategy: Optional[DeploymentStrategy] = None,
        targets: Optional[List[DeploymentTarget]] = None,
    ) -> DeploymentResult:
        """Bring a service back to a version.

        Args:
            service_name: the service.
            previous_version: the version.
            strategy: how; by default rolling, one target after the other.
            targets: where to; by default three targets are made.
        """
        return self._run("rollback", service_name, previous_version, strategy, targets)

    def _run(
        self,
        kind: str,
        service: str,
        version: str,
        strategy: Optional[DeploymentStrategy],
        targets: Optional[List[DeploymentTarget]],
    ) -> DeploymentResult:
        self._check_process()
        _check.text("service_name", service)
        _check.text("previous_version" if kind == "rollback" else "version", version)
        how = RollingDeployment() if strategy is None else strategy
        for verb in ("deploy", "rollback"):
            if not callable(getattr(how, verb, None)):
                raise TypeError(f"strategy: expected a DeploymentStrategy, not {strategy!r}")
        places = _targets(service) if targets is None else _check.list_of("targets", targets)
        told = {"service": service, "version": version, "kind": kind}
        told["strategy"] = strategy_name(how)
        started_at, began = datetime.now(timezone.utc), time.perf_counter()
        managed = self._managed
        is_managed = managed is not None and managed.knows(service)
        if is_managed and managed is not None:
            result: DeploymentResult = managed.run(
                kind, service, version, how, strategy is None, places
            )
        else:
            self._warn_once(service)
            result = self._by_strategy(told, how, places, began)
        result.metadata.setdefault("managed", is_managed)
        entry = _Entry(told, result, started_at)
        with self._lock:
            self._entries.append(entry)
            if result.success:
                self._active[service] = version
        if not is_managed and self._settings.state_dir is not None:
            self._settings.record({**told, **_kept(entry)})
        level = INFO if result.success else ERROR
        logger.log(level, "%s of %s %s: %s", kind, service, version, result.state.value)
        return result

    def _by_strategy(
        self,
        told: Mapping[str, str],
        how: DeploymentStrategy,
        places: List[DeploymentTarget],
        began: float,
    ) -> DeploymentResult:
        """Lets the strategy act on targets that are not ours to run."""
        act: Callable[..., DeploymentResult] = getattr(how, told["kind"])
        try:
            result = act(places, told["version"], _move)
            if not isinstance(result, DeploymentResult):
                kind = type(result).__name__
                raise TypeError(f"{told['strategy']} answered a {kind}, not a DeploymentResult")
            return result
        except Exception as error:
            logger.debug("%s of %s failed", told["kind"], told["service"], exc_info=True)
            return DeploymentResult(
                success=False,
                targets_updated=0,
                targets_failed=len(places),
                duration_ms=(time.perf_counter() - began) * 1000.0,
                state=DeploymentState.FAILED,
                errors=[str(error) or type(error).__name__],
            )

    def get_active_version(self, service_name: str) -> Optional[str]:
        """The version that a service was last brought to, if it ever was."""
        self._check_process()
        _check.text("service_name", service_name)
        if self._settings.state_dir is None:
            with self._lock:
                return self._active.get(service_name)
        return self._serving().get(service_name)

    @property
    def history(self) -> List[DeploymentResult]:
        """The results of all deployments, oldest first; a copy."""
        return [entry.result for entry in self._all()]

    def get_deployment_history(self) -> List[Dict[str, Any]]:
        """All deployments as dictionaries, oldest first."""
        return [entry.to_dict() for entry in self._all()]

    def summary(self) -> Dict[str, Any]:
        """How many deployments there were, and how they ended."""
        entries = self._all()
        states = [entry.result.state for entry in entries]
        return {
            "total_deployments": len(entries),
            "active_services": sorted(self._serving()),
            "completed": states.count(DeploymentState.COMPLETED),
            "failed": states.count(DeploymentState.FAILED),
            "rolled_back": states.count(DeploymentState.ROLLED_BACK),
        }

    def history_frame(self) -> Any:
        """The history as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        from rollway._html import frame

        return frame(self.get_deployment_history())

    def close(self) -> None:
        """End what runs in this process for the manager; instances and their proxy go on."""
        if self._managed is not None:
            self._managed.close()
        self._settings.close()

    def __enter__(self) -> "DeploymentManager":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """The history as a small table, for notebooks."""
        from rollway._html import table

        return table(self.get_deployment_history())

    def _all(self) -> List[_Entry]:
        self._check_process()
        if self._settings.state_dir is None:
            with self._lock:
                return list(self._entries)
        return [_Entry.of(row) for row in self._settings.history()]

    def _serving(self) -> Dict[str, str]:
        """The version of each service that has one."""
        serving: Dict[str, str] = {}
        if self._settings.state_dir is None:
            with self._lock:
                return dict(self._active)
        for entry in self._all():
            if entry.result.success:
                serving[entry.service] = entry.version
        return serving

    def _warn_once(self, service: str) -> None:
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            logger.warning(
                "nothing says how %s is run: only the recorded version of its targets moves; "
                "give the manager a config with a run section to deploy it",
                service,
            )

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                "this DeploymentManager was made before the process forked, and cannot be used in "
                "the child: make a new one there"
            )


def _targets(service: str) -> List[DeploymentTarget]:
    """The targets of a service for which none are given."""
    host = os.environ.get("DEPLOY_HOST", "localhost")
    port = os.environ.get("DEPLOY_BASE_PORT", "8000")
    try:
        first = int(port)
    except ValueError:
        raise ValueError(f"DEPLOY_BASE_PORT: expected a port, not {port!r}") from None
    return [
        DeploymentTarget(
            id=f"{service}-{index}",
            name=f"{service}-instance-{index}",
            address=f"{host}:{first + index}",
        )
        for index in range(_TARGETS)
    ]


def _move(target: DeploymentTarget, version: str) -> bool:
    """All that can be done to a target that nobody said how to run."""
    target.version = version
    return True


def _kept(entry: _Entry) -> Dict[str, Any]:
    """What is kept of a result in the state folder."""
    result = entry.result
    return {
        "state": result.state.value,
        "success": bool(result.success),
        "targets_updated": result.targets_updated,
        "targets_failed": result.targets_failed,
        "errors": [str(error) for error in result.errors],
        "metadata": result.metadata,
        "started_at_ms": int(entry.started_at.timestamp() * 1000),
        "duration_ms": float(result.duration_ms),
    }
