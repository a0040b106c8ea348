"""What a manager's config says, and deployments that act on real instances."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

from . import _check, _native
from ._errors import Error, Refused
from ._spec import actor, spec_text

if TYPE_CHECKING:
    from ._client import Client
    from ._models import Deployment

# Keys of a config that are about the manager; the others belong to a spec.
_OWN = ("server", "services", "spec", "state_dir", "token")


class Settings:
    """A manager's config."""

    def __init__(self) -> None:
        self.state_dir: Optional[str] = None
        self.server: Optional[str] = None
        self.token: Optional[str] = None
        self.usual: Any = None
        self.services: Dict[str, Any] = {}
        self._client: Optional[Client] = None
        self._lock = threading.Lock()

    @classmethod
    def read(cls, config: Any) -> "Settings":
        """Reads what is given; what is wrong is raised with its key."""
        settings = cls()
        if config is None:
            return settings
        if isinstance(config, (str, os.PathLike)):
            settings._take_spec(config, "config")
            return settings
        if not isinstance(config, Mapping):
            kind = type(config).__name__
            raise TypeError(f"config: expected a dict or the path of a rollway.yaml, not {kind}")
        if config.get("state_dir") is not None:
            settings.state_dir = os.path.abspath(_check.path("state_dir", config["state_dir"]))
        if config.get("server") is not None:
            settings.server = _check.path("server", config["server"])
            if settings.state_dir is not None:
                raise ValueError("config: give either state_dir or server")
        if config.get("token") is not None:
            settings.token = _check.text("token", config["token"])
        rest = {key: value for key, value in config.items() if key not in _OWN}
        if "run" in rest:
            settings._take_spec(rest, "config")
            rest = {}
        if config.get("spec") is not None:
            settings._take_spec(config["spec"], "spec")
        services = config.get("services") or {}
        for name, spec in _check.mapping("services", services).items():
            settings.services[_check.text("services", name)] = spec
        for name, spec in rest.items():
            if isinstance(spec, Mapping) and "run" in spec:
                settings.services[_check.text("config", name)] = spec
        return settings

    def _take_spec(self, spec: Any, name: str) -> None:
        if not isinstance(spec, Mapping):
            _check.path(name, spec)
            spec_text(spec)
        service = spec.get("service") if isinstance(spec, Mapping) else _service_in(spec)
        if service is None:
            self.usual = spec
        else:
            self.services[str(service)] = spec

    @property
    def acts(self) -> bool:
        """Whether any service is more than a record."""
        return bool(self.services) or self.usual is not None or self.server is not None

    def client(self) -> Client:
        """The client of the control plane that is meant."""
        from ._client import Client

        with self._lock:
            if self._client is None:
                self._client = Client(self.state_dir, server=self.server, token=self.token)
            return self._client

    def record(self, row: Mapping[str, Any]) -> None:
        """Keeps a deployment that was carried out here."""
        import json

        kept = {**row, "actor": actor()}
        _native.record(str(self.state_dir), json.dumps(kept, default=str))

    def history(self) -> List[Mapping[str, Any]]:
        """All deployments of the state folder, oldest first."""
        import json

        state_dir = str(self.state_dir)
        rows: List[Mapping[str, Any]] = json.loads(_native.read_records(state_dir))
        if os.path.exists(os.path.join(state_dir, "rollway.db")):
            client = self.client()
            for service in client.services():
                views = client.history(service.service, 1000)
                rows.extend(_row(view) for view in views if view.is_over)
        return sorted(rows, key=lambda row: row["started_at_ms"])

    def close(self) -> None:
        """Ends what runs in this process."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


def _service_in(path: Any) -> Optional[str]:
    """The service that a file names: the one line that is needed of it."""
    text, form, _, _ = spec_text(path)
    if form == "json":
        import json

        found = json.loads(text).get("service")
        return None if found is None else str(found)
    sign = "=" if form == "toml" else ":"
    for line in text.splitlines():
        key, found_sign, value = line.partition(sign)
        if found_sign and key.strip() == "service":
            return value.split("#")[0].strip().strip("\"'")
    return None


def _row(view: Deployment) -> Dict[str, Any]:
    """A deployment of the control plane as a line of a manager's history."""
    kind = "rollback" if view.kind == "rollback" else "deploy"
    managed = {"managed": True, "deployment": view.id, "release": view.to.number}
    return {
        "service": view.service,
        "version": view.to.version,
        "strategy": view.strategy,
        "kind": kind,
        "state": view.state,
        "success": view.success,
        "targets_updated": view.instances_started - view.instances_failed,
        "targets_failed": view.instances_failed,
        "errors": list(view.why) if not view.success else [],
        "metadata": managed,
        "started_at_ms": view.started_at_ms,
        "duration_ms": float(view.elapsed_ms),
    }


class Managed:
    """Deployments on real instances, for a manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def close(self) -> None:
        """Ends what runs in this process."""
        self._settings.close()

    def knows(self, service: str) -> bool:
        """Whether it is known how a service is run."""
        settings = self._settings
        return service in settings.services or settings.usual is not None

    def run(
        self,
        kind: str,
        service: str,
        version: str,
        strategy: Any,
        is_usual: bool,
        targets: List[Any],
    ) -> Any:
        """Deploys, or goes back; answers a ``DeploymentResult`` whatever happens."""
        from codomyrmex.deployment.strategies import implementations as ours

        began = time.perf_counter()
        builtin = (ours.RollingDeployment, ours.BlueGreenDeployment, ours.CanaryDeployment)
        try:
            if type(strategy) in builtin:
                act = self._deploy if kind == "deploy" else self._rollback
                view = act(service, version, None if is_usual else strategy, len(targets))
                return self._looked_after(view, strategy, targets, began)
            return self._by_class(kind, service, version, strategy, targets)
        except Refused as refused:
            errors = [str(problem) for problem in refused.problems]
        except Error as error:
            errors = [str(error)]
        except Exception as error:
            errors = [str(error) or type(error).__name__]
        return _failed(errors, len(targets), began)

    def _spec(self, service: str, strategy: Any, count: int) -> Any:
        """The spec of a service, with what the strategy says."""
        settings = self._settings
        spec = settings.services.get(service, settings.usual)
        if not isinstance(spec, Mapping):
            return spec
        full: Dict[str, Any] = dict(spec)
        full.setdefault("service", service)
        full.setdefault("instances", count)
        if strategy is not None:
            full.update(_as_spec(strategy, full))
        return full

    def _deploy(self, service: str, version: str, strategy: Any, count: int) -> Deployment:
        spec = self._spec(service, strategy, count)
        name = None
        if strategy is not None and not isinstance(spec, Mapping):
            name = _name(strategy)
        client = self._settings.client()
        return client.deploy(spec, version, strategy=name, check=False)

    def _rollback(self, service: str, version: str, strategy: Any, count: int) -> Deployment:
        client = self._settings.client()
        try:
            known = {view.to.version for view in client.history(service, 1000)}
        except Refused:
            known = set()
        if version in known:
            return client.rollback(service, version, check=False)
        # A version that was never here comes as any new one does.
        return self._deploy(service, version, strategy, count)

    def _looked_after(
        self, view: Deployment, strategy: Any, targets: List[Any], began: float
    ) -> Any:
        """The result, after what the caller's own functions say of it."""
        errors: List[str] = []
        places = self._places(view, targets)
        if view.success:
            health: Optional[Callable[[Any], bool]] = strategy.health_check
            for place in places if health is not None else []:
                errors.extend(_asked(health, place, f"Health check failed for {place.id}"))
            switch = getattr(strategy, "switch_fn", None)
            if switch is not None and not errors:
                errors.extend(_asked(switch, view.to.version, "Traffic switch failed"))
            if errors:
                self._take_back(view, errors)
        return _result(view, errors, began)

    def _places(self, view: Deployment, targets: List[Any]) -> List[Any]:
        """The caller's targets, told where the instances are."""
        instances = self._settings.client().instances(view.service)
        for place, instance in zip(targets, instances):
            place.address = instance.address or place.address
            place.version = instance.release.version
            place.healthy = instance.health == "healthy"
        return targets[: len(instances)]

    def _take_back(self, view: Deployment, errors: List[str]) -> None:
        client = self._settings.client()
        try:
            client.rollback(view.service, check=False)
        except Error:
            # There is nothing before it.
            client.down(view.service)
            errors.append("there was no version before: the service was taken down")

    def _by_class(
        self, kind: str, service: str, version: str, strategy: Any, targets: List[Any]
    ) -> Any:
        """A strategy of the user's own: its first update of a target brings the service to the
        version, by the spec's own strategy, and each next one tells what came of that."""
        from codomyrmex.deployment.strategies import DeploymentResult

        seen: Dict[str, Deployment] = {}

        def bring(target: Any, wanted: str) -> bool:
            if wanted not in seen:
                act = self._deploy if kind == "deploy" else self._rollback
                seen[wanted] = act(service, wanted, None, len(targets))
            view = seen[wanted]
            if not view.success:
                raise RuntimeError(": ".join(view.why) or f"{view.id} {view.state}")
            return True

        result = getattr(strategy, kind)(targets, version, bring)
        if not isinstance(result, DeploymentResult):
            name = type(strategy).__name__
            kind = type(result).__name__
            raise TypeError(f"{name} answered a {kind}, not a DeploymentResult")
        for view in seen.values():
            result.metadata.setdefault("deployment", view.id)
        return result


def _asked(function: Any, subject: Any, otherwise: str) -> List[str]:
    """What a function of the caller's says; an exception of its is no better than a no."""
    try:
        return [] if function(subject) else [otherwise]
    except Exception as error:
        return [f"{otherwise}: {error}"]


def _name(strategy: Any) -> str:
    from codomyrmex.deployment.strategies.implementations import strategy_name

    return strategy_name(strategy)


def _milliseconds(seconds: float) -> str:
    return f"{max(0, round(seconds * 1000))}ms"


def _as_spec(strategy: Any, spec: Mapping[str, Any]) -> Dict[str, Any]:
    """What a strategy object says, in the words of ``rollway.yaml``."""
    name = _name(strategy)
    if name == "canary":
        steps: List[Dict[str, Any]] = []
        last = 0
        for stage in strategy.stages:
            weight = int(stage)
            # Full weight comes by itself after the last step.
            if not last < weight < 100:
                continue
            last = weight
            steps.append({"weight": weight})
            if strategy.stage_duration > 0:
                steps.append({"hold": _milliseconds(strategy.stage_duration)})
        return {"strategy": {"canary": {"steps": steps}}} if steps else {"strategy": "rolling"}
    if name == "blue_green":
        return {"strategy": "blue_green"}
    update = dict(spec.get("update") or {})
    update["max_parallel"] = strategy.batch_size
    if strategy.delay_seconds > 0:
        update["min_healthy_time"] = _milliseconds(strategy.delay_seconds)
    return {"strategy": "rolling", "update": update}


def _result(view: Deployment, more: List[str], began: float) -> Any:
    from codomyrmex.deployment.strategies import DeploymentResult, DeploymentState

    row = _row(view)
    good = view.success and not more
    metadata = dict(row["metadata"])
    if view.strategy == "blue_green":
        metadata["active_slot"] = "green" if good else "blue"
    return DeploymentResult(
        success=good,
        targets_updated=row["targets_updated"] if good else 0,
        targets_failed=0 if good else max(1, row["targets_failed"]),
        duration_ms=(time.perf_counter() - began) * 1000.0,
        state=DeploymentState.ROLLED_BACK if more else DeploymentState(view.state),
        errors=row["errors"] + more,
        metadata=metadata,
    )


def _failed(errors: List[str], count: int, began: float) -> Any:
    from codomyrmex.deployment.strategies import DeploymentResult, DeploymentState

    return DeploymentResult(
        success=False,
        targets_updated=0,
        targets_failed=count,
        duration_ms=(time.perf_counter() - began) * 1000.0,
        state=DeploymentState.FAILED,
        errors=errors,
        metadata={"managed": True},
    )
