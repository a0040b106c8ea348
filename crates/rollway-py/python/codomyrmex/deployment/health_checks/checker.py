"""Several checks as one."""

from __future__ import annotations

from typing import List

from .checks import HealthCheck
from .models import AggregatedHealth, HealthCheckResult, HealthStatus

__all__ = ["HealthChecker"]


def _failed(check: HealthCheck, error: Exception) -> HealthCheckResult:
    """What a check that raised found."""
    why = str(error) or type(error).__name__
    return HealthCheckResult(name=check.name, status=HealthStatus.UNHEALTHY, message=why)


class HealthChecker:
    """Runs health checks, and says how it is on the whole."""

    def __init__(self) -> None:
        self.checks: List[HealthCheck] = []

    def add_check(self, check: HealthCheck) -> "HealthChecker":
        """Add a check; answers the checker itself, so that calls can be chained."""
        if not callable(getattr(check, "check", None)):
            raise TypeError(f"check: expected a HealthCheck, not {check!r}")
        self.checks.append(check)
        return self

    def run_all(self) -> AggregatedHealth:
        """Run all checks, one after another."""
        checks = list(self.checks)
        results = []
        for check in checks:
            try:
                results.append(check.check())
            except Exception as error:
                results.append(_failed(check, error))
        return _aggregated(checks, results)

    async def run_all_async(self) -> AggregatedHealth:
        """Run all checks at once."""
        import asyncio

        async def one(check: HealthCheck) -> HealthCheckResult:
            try:
                return await check.check_async()
            except Exception as error:
                return _failed(check, error)

        checks = list(self.checks)
        results = await asyncio.gather(*(one(check) for check in checks))
        return _aggregated(checks, list(results))


def _aggregated(
    checks: List[HealthCheck], results: List[HealthCheckResult]
) -> AggregatedHealth:
    bad = (HealthStatus.UNHEALTHY, HealthStatus.DEGRADED)
    critical = any(
        result.status is HealthStatus.UNHEALTHY and check.critical
        for check, result in zip(checks, results)
    )
    if critical:
        overall = HealthStatus.UNHEALTHY
    elif any(result.status in bad for result in results):
        overall = HealthStatus.DEGRADED
    else:
        overall = HealthStatus.HEALTHY
    return AggregatedHealth(overall_status=overall, checks=results)
