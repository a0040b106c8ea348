"""Rolling, blue-green and canary on targets that a function of yours updates.

Which targets belong to a batch or a stage, and whether enough of them went well, is decided by the
same code as in the deployments that Rollway carries out itself.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from rollway import _check
from rollway._native import batches, holds, percent, stage_targets, success_rate

from .base import DeployFn, DeploymentStrategy, HealthFn
from .types import DeploymentResult, DeploymentState, DeploymentTarget

__all__ = [
    "BlueGreenDeployment",
    "BlueGreenStrategy",
    "CanaryDeployment",
    "CanaryStrategy",
    "RollingDeployment",
    "RollingStrategy",
    "create_strategy",
]

_STAGES = (10.0, 25.0, 50.0, 100.0)


def _milliseconds(since: float) -> float:
    return (time.perf_counter() - since) * 1000.0


def _checked(targets: Any, version: Any, deploy_fn: Any) -> List[DeploymentTarget]:
    """The targets as a list, after a look at what is given."""
    _check.text("version", version)
    _check.function("deploy_fn", deploy_fn)
    return _check.list_of("targets", targets)


class RollingDeployment(DeploymentStrategy):
    """Batch by batch, in order; a failure does not keep the targets behind it from being updated."""

    def __init__(
        self,
        batch_size: int = 1,
        delay_seconds: float = 0.0,
        health_check: Optional[HealthFn] = None,
    ) -> None:
        """
        Args:
            batch_size: so many targets before each wait; at least 1.
            delay_seconds: the wait between two batches.
            health_check: whether a target is well after its update.
        """
        self.batch_size = _check.whole("batch_size", batch_size, least=1)
        self.delay_seconds = _check.number("delay_seconds", delay_seconds, least=0.0)
        self.health_check = _check.maybe_function("health_check", health_check)

    def deploy(
        self, targets: List[DeploymentTarget], version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        """Bring the targets to a version, batch by batch."""
        all_targets = _checked(targets, version, deploy_fn)
        began = time.perf_counter()
        errors: List[str] = []
        updated = failed = 0
        for start, end in batches(len(all_targets), self.batch_size):
            if start and self.delay_seconds > 0:
                time.sleep(self.delay_seconds)
            for target in all_targets[start:end]:
                error = self._update(target, version, deploy_fn)
                if error is None:
                    updated += 1
                else:
                    failed += 1
                    errors.append(error)
        return DeploymentResult(
            success=failed == 0,
            targets_updated=updated,
            targets_failed=failed,
            duration_ms=_milliseconds(began),
            state=DeploymentState.FAILED if failed else DeploymentState.COMPLETED,
            errors=errors,
        )

    def _update(
        self, target: DeploymentTarget, version: str, deploy_fn: DeployFn
    ) -> Optional[str]:
        """Updates one target; answers what went wrong."""
        try:
            if not deploy_fn(target, version):
                return f"Deploy failed for {target.id}"
            target.version = version
            if self.health_check is not None:
                target.healthy = bool(self.health_check(target))
                if not target.healthy:
                    return f"Health check failed for {target.id}"
        except Exception as error:
            return f"Error deploying to {target.id}: {error}"
        return None

    def rollback(
        self, targets: List[DeploymentTarget], previous_version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        """Deploy the version before."""
        return self.deploy(targets, previous_version, deploy_fn)


class BlueGreenDeployment(DeploymentStrategy):
    """All targets first, then one switch, and that only if every target is well."""

    def __init__(
        self,
        switch_fn: Optional[Callable[[str], bool]] = None,
        health_check: Optional[HealthFn] = None,
    ) -> None:
        """
        Args:
            switch_fn: moves the traffic to a version; answers whether it did.
            health_check: whether a target is well after its update.
        """
        self.switch_fn = _check.maybe_function("switch_fn", switch_fn)
        self.health_check = _check.maybe_function("health_check", health_check)

    def deploy(
        self, targets: List[DeploymentTarget], version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        """Bring all targets to a version, then switch."""
        all_targets = _checked(targets, version, deploy_fn)
        began = time.perf_counter()
        errors: List[str] = []
        updated = failed = 0
        for target in all_targets:
            error = self._update(target, version, deploy_fn)
            if error is None:
                updated += 1
            else:
                failed += 1
                errors.append(error)
        if failed == 0 and updated > 0:
            error = self._switch(version)
            if error is not None:
                failed += 1
                errors.append(error)
        return DeploymentResult(
            success=failed == 0,
            targets_updated=updated,
            targets_failed=failed,
            duration_ms=_milliseconds(began),
            state=DeploymentState.FAILED if failed else DeploymentState.COMPLETED,
            errors=errors,
            metadata={"active_slot": "blue" if failed else "green"},
        )

    def _update(
        self, target: DeploymentTarget, version: str, deploy_fn: DeployFn
    ) -> Optional[str]:
        try:
            if not deploy_fn(target, version):
                return f"Deploy failed: {target.id}"
            target.version = version
            if self.health_check is not None:
                target.healthy = bool(self.health_check(target))
                if not target.healthy:
                    return f"Health check failed: {target.id}"
        except Exception as error:
            return f"Error: {target.id} - {error}"
        return None

    def _switch(self, version: str) -> Optional[str]:
        if self.switch_fn is None:
            return None
        try:
            return None if self.switch_fn(version) else "Traffic switch failed"
        except Exception as error:
            return f"Switch error: {error}"

    def rollback(
        self, targets: List[DeploymentTarget], previous_version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        """Switch back; nothing is deployed again."""
        all_targets = _checked(targets, previous_version, deploy_fn)
        began = time.perf_counter()
        error = self._switch(previous_version)
        if error is not None:
            return DeploymentResult(
                success=False,
                targets_updated=0,
                targets_failed=len(all_targets),
                duration_ms=_milliseconds(began),
                state=DeploymentState.FAILED,
                errors=[error],
                metadata={"active_slot": "green"},
            )
        return DeploymentResult(
            success=True,
            targets_updated=len(all_targets),
            targets_failed=0,
            duration_ms=_milliseconds(began),
            state=DeploymentState.ROLLED_BACK,
            metadata={"active_slot": "blue"},
        )


class CanaryDeployment(DeploymentStrategy):
    """A growing share of the targets, for as long as enough of them go well."""

    def __init__(
        self,
        stages: Optional[Sequence[float]] = None,
        stage_duration_seconds: float = 0.0,
        health_check: Optional[HealthFn] = None,
        success_threshold: float = 0.95,
    ) -> None:
        """
        Args:
            stages: the shares in percent; by default 10, 25, 50 and 100.
            stage_duration_seconds: the wait after each stage but the last.
            health_check: whether a target is well after its update.
            success_threshold: so large a share of a stage must go well: 0 to 1.
        """
        given = _check.list_of("stages", stages or _STAGES)
        self.stages: List[float] = [
            _check.number(f"stages[{index}]", stage, least=0.0, most=100.0)
            for index, stage in enumerate(given)
        ]
        self.stage_duration = _check.number(
            "stage_duration_seconds", stage_duration_seconds, least=0.0
        )
        self.health_check = _check.maybe_function("health_check", health_check)
        self.success_threshold = _check.number(
            "success_threshold", success_threshold, least=0.0, most=1.0
        )

    def deploy(
        self, targets: List[DeploymentTarget], version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        """Bring the targets to a version, stage by stage.

        A target that was not updated is tried again in the next stage; it counts as failed if its
        last try was.
        """
        all_targets = _checked(targets, version, deploy_fn)
        began = time.perf_counter()
        errors: List[str] = []
        updated = 0
        failed: Dict[int, Optional[str]] = {}
        stopped: Optional[float] = None
        for index, stage in enumerate(self.stages):
            wanted = stage_targets(len(all_targets), stage)
            there = sum(target.version == version for target in all_targets)
            waiting = [it for it in enumerate(all_targets) if it[1].version != version]
            well = 0
            tried = waiting[: max(0, wanted - there)]
            for place, target in tried:
                failed.pop(place, None)
                good, error = self._update(target, version, deploy_fn)
                if good:
                    well += 1
                else:
                    failed[place] = error
                    if error is not None:
                        errors.append(error)
            updated += well
            rate = success_rate(well, len(tried))
            if not holds(rate, self.success_threshold):
                errors.append(f"Canary failed at {stage}%: success rate {percent(rate)}")
                stopped = stage
                break
            if self.stage_duration > 0 and index + 1 < len(self.stages):
                time.sleep(self.stage_duration)
        if stopped is None:
            silent = [place for place, error in failed.items() if error is None]
            errors.extend(f"Deploy failed: {all_targets[place].id}" for place in silent)
        return DeploymentResult(
            success=not failed and stopped is None,
            targets_updated=updated,
            targets_failed=len(failed),
            duration_ms=_milliseconds(began),
            state=DeploymentState.FAILED if failed else DeploymentState.COMPLETED,
            errors=errors,
            metadata={} if stopped is None else {"stopped_at_stage": stopped},
        )

    def _update(
        self, target: DeploymentTarget, version: str, deploy_fn: DeployFn
    ) -> "tuple[bool, Optional[str]]":
        """Updates one target; answers whether it went well, and what is to be told if not."""
        try:
            if not deploy_fn(target, version):
                return False, None
            target.version = version
            if self.health_check is not None:
                target.healthy = bool(self.health_check(target))
                if not target.healthy:
                    return False, f"Canary health check failed: {target.id}"
        except Exception as error:
            return False, f"Error: {target.id} - {error}"
        return True, None

    def rollback(
        self, targets: List[DeploymentTarget], previous_version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        """Deploy the version before to all targets at once."""
        all_targets = _checked(targets, previous_version, deploy_fn)
        rolling = RollingDeployment(batch_size=max(1, len(all_targets)))
        result = rolling.deploy(all_targets, previous_version, deploy_fn)
        result.state = DeploymentState.ROLLED_BACK
        return result


RollingStrategy = RollingDeployment
BlueGreenStrategy = BlueGreenDeployment
CanaryStrategy = CanaryDeployment

_STRATEGIES: Dict[str, Callable[..., DeploymentStrategy]] = {
    "rolling": RollingDeployment,
    "blue_green": BlueGreenDeployment,
    "canary": CanaryDeployment,
}


def create_strategy(name: str, **kwargs: Any) -> DeploymentStrategy:
    """A strategy by its name: ``rolling``, ``blue_green`` or ``canary``.

    Args:
        name: the name.
        kwargs: what its class takes.

    Raises:
        ValueError: there is no strategy of that name.
    """
    made = _STRATEGIES.get(name) if isinstance(name, str) else None
    if made is None:
        raise ValueError(f"Unknown strategy: {name}")
    return made(**kwargs)


def strategy_name(strategy: DeploymentStrategy) -> str:
    """The name in histories: ``rolling`` for our own, the class's for those of others."""
    for name, ours in _STRATEGIES.items():
        if type(strategy) is ours:
            return name
    return type(strategy).__name__
