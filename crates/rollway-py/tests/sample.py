"""What a user's script looks like; mypy --strict is run over it, and it runs."""

from typing import List

from codomyrmex.deployment import (
    CanaryAnalyzer,
    CanaryDecision,
    DeploymentManager,
    DeploymentResult,
    DeploymentState,
    DeploymentStrategy,
    DeploymentTarget,
    RollingDeployment,
    create_strategy,
)
from codomyrmex.deployment.health_checks import HealthCheck, HealthChecker, HealthCheckResult
from codomyrmex.deployment.health_checks import HealthStatus
from codomyrmex.deployment.rollback import RollbackManager
from codomyrmex.deployment.strategies.base import DeployFn


class Reversed(RollingDeployment):
    def deploy(
        self, targets: List[DeploymentTarget], version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        return super().deploy(list(reversed(targets)), version, deploy_fn)


class Nothing(DeploymentStrategy):
    def deploy(
        self, targets: List[DeploymentTarget], version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        return DeploymentResult(True, 0, 0, 0.0, DeploymentState.COMPLETED)

    def rollback(
        self, targets: List[DeploymentTarget], previous_version: str, deploy_fn: DeployFn
    ) -> DeploymentResult:
        return self.deploy(targets, previous_version, deploy_fn)


class Always(HealthCheck):
    def check(self) -> HealthCheckResult:
        return HealthCheckResult(self.name, HealthStatus.HEALTHY)


def update(target: DeploymentTarget, version: str) -> bool:
    return bool(target.id and version)


def main() -> None:
    manager = DeploymentManager()
    results: List[DeploymentResult] = [
        manager.deploy("shop", "v1", Reversed(batch_size=2)),
        manager.deploy("shop", "v2", Nothing()),
        manager.rollback("shop", "v1", create_strategy("blue_green")),
    ]
    print([bool(result) for result in results], manager.get_active_version("shop"))
    targets = [DeploymentTarget("a", "a", "host:1")]
    print(RollingDeployment(health_check=lambda it: it.healthy).deploy(targets, "v1", update))
    report = CanaryAnalyzer().analyze({"errors": 1.0}, {"errors": 2.0})
    print(report.decision is CanaryDecision.ROLLBACK)
    print(HealthChecker().add_check(Always("yes")).run_all().overall_status.value)
    snapshots = RollbackManager()
    snapshots.create_snapshot("v1", {"targets": 3})
    print(snapshots.rollback_to("v1").message)


if __name__ == "__main__":
    main()
