"""The contract of `codomyrmex.deployment`, line by line."""

from __future__ import annotations

import asyncio
import http.server
import importlib
import math
import sys
import threading
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest
from codomyrmex.deployment import (
    BlueGreenDeployment,
    BlueGreenStrategy,
    CanaryAnalyzer,
    CanaryDecision,
    CanaryDeployment,
    CanaryReport,
    CanaryStrategy,
    DeploymentManager,
    DeploymentResult,
    DeploymentState,
    DeploymentStrategy,
    DeploymentTarget,
    MetricComparison,
    RollingDeployment,
    RollingStrategy,
    create_strategy,
)
from codomyrmex.deployment.health_checks import (
    AggregatedHealth,
    CommandHealthCheck,
    DiskHealthCheck,
    HealthCheck,
    HealthChecker,
    HealthCheckResult,
    HealthStatus,
    HTTPHealthCheck,
    MemoryHealthCheck,
    TCPHealthCheck,
)
from codomyrmex.deployment.mcp_tools import (
    deployment_execute,
    deployment_get_history,
    deployment_list_strategies,
)
from codomyrmex.deployment.rollback import (
    DeploymentSnapshot,
    RollbackManager,
    RollbackResult,
    SnapshotState,
)
from conftest import free_port, run_python, targets
from hypothesis import given, settings
from hypothesis import strategies as st


def yes(target: DeploymentTarget, version: str) -> bool:
    return True


def only(*bad: str) -> Any:
    return lambda target, version: target.id not in bad


# --- names


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("strategies", "DeploymentState DeploymentTarget DeploymentResult create_strategy"),
        ("strategies.types", "DeploymentState DeploymentTarget DeploymentResult"),
        ("strategies.base", "DeploymentStrategy"),
        (
            "strategies.implementations",
            "RollingDeployment BlueGreenDeployment CanaryDeployment create_strategy",
        ),
        ("manager.manager", "DeploymentManager"),
        ("manager", "DeploymentManager"),
        ("gitops.gitops", "GitOpsSynchronizer"),
        ("gitops", "GitOpsSynchronizer"),
        ("canary", "CanaryAnalyzer CanaryDecision CanaryReport MetricComparison"),
        ("health_checks", "HealthChecker HealthCheck HTTPHealthCheck HealthStatus"),
        (
            "health_checks.checks",
            "HealthCheck HTTPHealthCheck TCPHealthCheck CommandHealthCheck MemoryHealthCheck "
            "DiskHealthCheck",
        ),
        ("health_checks.checker", "HealthChecker"),
        ("health_checks.models", "HealthStatus HealthCheckResult AggregatedHealth"),
        ("rollback", "SnapshotState DeploymentSnapshot RollbackResult RollbackManager"),
        (
            "mcp_tools",
            "deployment_execute deployment_list_strategies deployment_get_history",
        ),
    ],
)
def test_names_are_where_users_have_them(module: str, names: str) -> None:
    found = importlib.import_module(f"codomyrmex.deployment.{module}")
    for name in names.split():
        assert hasattr(found, name), name


def test_the_package_lists_its_names() -> None:
    package = importlib.import_module("codomyrmex.deployment")
    for name in package.__all__:
        assert getattr(package, name).__doc__, name
    assert (RollingStrategy, BlueGreenStrategy, CanaryStrategy) == (
        RollingDeployment,
        BlueGreenDeployment,
        CanaryDeployment,
    )


# --- types


def test_states_have_their_values() -> None:
    assert [state.value for state in DeploymentState] == [
        "pending",
        "in_progress",
        "completed",
        "failed",
        "rolled_back",
        "paused",
    ]


def test_targets_have_their_defaults() -> None:
    target = DeploymentTarget("a", "name", "host:1")
    assert (target.healthy, target.version, target.metadata) == (True, None, {})
    assert target.metadata is not DeploymentTarget("b", "name", "host:2").metadata
    assert target == DeploymentTarget(id="a", name="name", address="host:1")


def test_results_are_true_where_they_are_a_success() -> None:
    good = DeploymentResult(True, 2, 0, 1.5, DeploymentState.COMPLETED)
    assert good and (good.errors, good.metadata) == ([], {})
    assert not DeploymentResult(False, 0, 1, 0.0, DeploymentState.FAILED)
    assert good.to_dict() == {
        "success": True,
        "targets_updated": 2,
        "targets_failed": 0,
        "duration_ms": 1.5,
        "state": "completed",
        "errors": [],
        "metadata": {},
    }
    assert list(asdict(good)) == list(good.to_dict())


def test_the_base_is_abstract() -> None:
    with pytest.raises(TypeError):
        DeploymentStrategy()  # type: ignore[abstract]


# --- rolling


def test_rolling_goes_in_order_and_on_after_a_failure() -> None:
    seen: List[str] = []

    def act(target: DeploymentTarget, version: str) -> bool:
        seen.append(target.id)
        if target.id == "t2":
            raise RuntimeError("boom")
        return target.id != "t1"

    places = targets(5)
    result = RollingDeployment(
        batch_size=2, health_check=lambda target: target.id != "t3"
    ).deploy(places, "v2", act)
    assert seen == ["t0", "t1", "t2", "t3", "t4"]
    assert result.errors == [
        "Deploy failed for t1",
        "Error deploying to t2: boom",
        "Health check failed for t3",
    ]
    assert (result.success, result.state) == (False, DeploymentState.FAILED)
    assert (result.targets_updated, result.targets_failed) == (2, 3)
    assert [place.version for place in places] == ["v2", None, None, "v2", "v2"]
    assert [place.healthy for place in places] == [True, True, True, False, True]


def test_rolling_defaults_and_rollback() -> None:
    rolling = RollingDeployment()
    assert (rolling.batch_size, rolling.delay_seconds, rolling.health_check) == (1, 0.0, None)
    places = targets(3)
    result = rolling.rollback(places, "v1", yes)
    assert result and result.state is DeploymentState.COMPLETED
    assert {place.version for place in places} == {"v1"}


def test_rolling_waits_between_batches_only() -> None:
    began = time.perf_counter()
    result = RollingDeployment(batch_size=2, delay_seconds=0.05).deploy(targets(4), "v", yes)
    took = time.perf_counter() - began
    assert 0.05 <= took < 0.1 + 0.05
    assert result.duration_ms >= 50


def test_nothing_to_do_is_done() -> None:
    for strategy in (RollingDeployment(), BlueGreenDeployment(), CanaryDeployment()):
        result = strategy.deploy([], "v1", yes)
        assert result and (result.targets_updated, result.targets_failed) == (0, 0)


@given(total=st.integers(0, 200), size=st.integers(1, 50), bad=st.sets(st.integers(0, 199)))
@settings(deadline=None, max_examples=50)
def test_rolling_updates_every_target_once(total: int, size: int, bad: Any) -> None:
    seen: List[str] = []

    def act(target: DeploymentTarget, version: str) -> bool:
        seen.append(target.id)
        return int(target.id[1:]) not in bad

    places = targets(total)
    result = RollingDeployment(batch_size=size).deploy(places, "v", act)
    failed = len([index for index in range(total) if index in bad])
    assert seen == [place.id for place in places]
    assert (result.targets_updated, result.targets_failed) == (total - failed, failed)
    assert result.success == (failed == 0) == (not result.errors)


# --- blue-green


def test_blue_green_switches_when_all_are_well() -> None:
    switched: List[str] = []

    def switch(version: str) -> bool:
        switched.append(version)
        return True

    strategy = BlueGreenDeployment(switch_fn=switch)
    result = strategy.deploy(targets(3), "v2", yes)
    assert result and switched == ["v2"] and result.metadata == {"active_slot": "green"}
    result = strategy.deploy(targets(3), "v3", only("t1"))
    assert switched == ["v2"] and result.metadata == {"active_slot": "blue"}
    assert result.errors == ["Deploy failed: t1"]
    strategy.deploy([], "v4", yes)
    assert switched == ["v2"]
    back = strategy.rollback(targets(3), "v1", only("t0", "t1", "t2"))
    assert back and switched == ["v2", "v1"]
    assert (back.state, back.targets_updated) == (DeploymentState.ROLLED_BACK, 3)
    assert back.metadata == {"active_slot": "blue"}


def test_blue_green_tells_what_went_wrong() -> None:
    def boom(_: Any, __: Any = None) -> bool:
        raise ValueError("no")

    def errors(strategy: BlueGreenDeployment, act: Any = yes) -> List[str]:
        result = strategy.deploy(targets(1), "v2", act)
        assert not result and result.state is DeploymentState.FAILED
        assert result.metadata["active_slot"] == "blue" and result.targets_failed == 1
        return result.errors

    assert errors(BlueGreenDeployment(health_check=lambda _: False)) == ["Health check failed: t0"]
    assert errors(BlueGreenDeployment(), boom) == ["Error: t0 - no"]
    assert errors(BlueGreenDeployment(switch_fn=lambda _: False)) == ["Traffic switch failed"]
    assert errors(BlueGreenDeployment(switch_fn=boom)) == ["Switch error: no"]


# --- canary


def test_canary_defaults() -> None:
    canary = CanaryDeployment()
    assert canary.stages == [10.0, 25.0, 50.0, 100.0]
    assert (canary.stage_duration, canary.success_threshold) == (0.0, 0.95)
    assert CanaryDeployment(stage_duration_seconds=2.5).stage_duration == 2.5
    assert canary.stages is not CanaryDeployment().stages


def test_canary_stops_under_the_threshold() -> None:
    places = targets(10)
    result = CanaryDeployment(stages=[50.0, 100.0]).deploy(places, "v2", only("t1", "t3"))
    assert (result.success, result.state) == (False, DeploymentState.FAILED)
    assert result.errors == ["Canary failed at 50.0%: success rate 60.0%"]
    assert result.metadata == {"stopped_at_stage": 50.0}
    assert (result.targets_updated, result.targets_failed) == (3, 2)
    assert [place.version for place in places[5:]] == [None] * 5


def test_canary_at_the_threshold_goes_on() -> None:
    result = CanaryDeployment(stages=[20, 100], success_threshold=0.5).deploy(
        targets(10), "v2", only("t1")
    )
    assert "stopped_at_stage" not in result.metadata
    assert result.targets_updated == 9 and result.targets_failed == 1
    assert not result and result.errors == ["Deploy failed: t1"]


def test_canary_rollback_ends_as_rolled_back() -> None:
    places = targets(4)
    result = CanaryDeployment().rollback(places, "v1", yes)
    assert result and result.state is DeploymentState.ROLLED_BACK
    assert {place.version for place in places} == {"v1"}


def test_canary_shows_the_rate_and_the_stage_as_given() -> None:
    result = CanaryDeployment(stages=[30]).deploy(targets(10), "v", only("t0"))
    assert result.errors == ["Canary failed at 30%: success rate 66.7%"]
    assert result.metadata["stopped_at_stage"] == 30


@given(
    total=st.integers(0, 300),
    stages=st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=6),
)
@settings(deadline=None, max_examples=60)
def test_canary_stages_have_floor_of_their_share(total: int, stages: List[float]) -> None:
    counts: List[int] = []
    places = targets(total)

    class Counting(CanaryDeployment):
        pass

    stages = sorted(stages)
    for upto in range(1, len(stages) + 1):
        places = targets(total)
        result = Counting(stages=stages[:upto]).deploy(places, "v2", yes)
        counts.append(sum(place.version == "v2" for place in places))
        assert result.targets_updated == counts[-1]
    assert counts == [math.floor(total * stage / 100) for stage in stages]


def test_strategies_come_by_name() -> None:
    assert isinstance(create_strategy("rolling", batch_size=3), RollingDeployment)
    assert isinstance(create_strategy("blue_green"), BlueGreenDeployment)
    assert isinstance(create_strategy("canary", stages=[50.0]), CanaryDeployment)
    with pytest.raises(ValueError, match=r"^Unknown strategy: canry$"):
        create_strategy("canry")


@pytest.mark.parametrize(
    ("kind", "make", "name"),
    [
        (ValueError, lambda: RollingDeployment(batch_size=0), "batch_size"),
        (TypeError, lambda: RollingDeployment(batch_size=1.5), "batch_size"),  # type: ignore
        (TypeError, lambda: RollingDeployment(batch_size="2"), "batch_size"),  # type: ignore
        (ValueError, lambda: RollingDeployment(delay_seconds=-1), "delay_seconds"),
        (ValueError, lambda: RollingDeployment(delay_seconds=math.nan), "delay_seconds"),
        (TypeError, lambda: RollingDeployment(health_check=1), "health_check"),  # type: ignore
        (TypeError, lambda: BlueGreenDeployment(switch_fn="x"), "switch_fn"),  # type: ignore
        (ValueError, lambda: CanaryDeployment(stages=[120.0]), "stages"),
        (ValueError, lambda: CanaryDeployment(stages=[-1.0]), "stages"),
        (TypeError, lambda: CanaryDeployment(stages=["a"]), "stages"),  # type: ignore
        (TypeError, lambda: CanaryDeployment(stages="50"), "stages"),  # type: ignore
        (ValueError, lambda: CanaryDeployment(success_threshold=1.5), "success_threshold"),
        (ValueError, lambda: CanaryDeployment(stage_duration_seconds=-1), "stage_duration"),
        (TypeError, lambda: RollingDeployment().deploy(None, "v", yes), "targets"),  # type: ignore
        (TypeError, lambda: RollingDeployment().deploy([], 1, yes), "version"),  # type: ignore
        (TypeError, lambda: RollingDeployment().deploy([], "v", None), "deploy_fn"),  # type: ignore
        (TypeError, lambda: DeploymentManager(3), "config"),
        (TypeError, lambda: DeploymentManager({"state_dir": 3}), "state_dir"),
        (TypeError, lambda: DeploymentManager().deploy(1, "v"), "service_name"),  # type: ignore
        (TypeError, lambda: DeploymentManager().deploy("s", None), "version"),  # type: ignore
        (ValueError, lambda: DeploymentManager().deploy("", "v"), "service_name"),
        (TypeError, lambda: DeploymentManager().deploy("s", "v", "canary"), "strategy"),  # type: ignore
        (TypeError, lambda: HTTPHealthCheck("a", 1), "url"),  # type: ignore
        (ValueError, lambda: TCPHealthCheck("a", "h", 70000), "port"),
        (ValueError, lambda: TCPHealthCheck("a", "h", 1, timeout=0), "timeout"),
        (TypeError, lambda: CommandHealthCheck("a", "ls -l"), "command"),  # type: ignore
        (TypeError, lambda: CanaryAnalyzer().analyze([], {}), "baseline"),  # type: ignore
        (TypeError, lambda: MetricComparison("m", "a", 1.0), "baseline_value"),  # type: ignore
    ],
)
def test_bad_input_is_told_with_its_name(kind: Any, make: Any, name: str) -> None:
    with pytest.raises(kind, match=name):
        make()


# --- manager


def test_a_new_manager_knows_nothing(quiet_env: None) -> None:
    manager = DeploymentManager()
    assert (manager.history, manager.get_deployment_history()) == ([], [])
    assert manager.get_active_version("shop") is None
    assert manager.summary() == {
        "total_deployments": 0,
        "active_services": [],
        "completed": 0,
        "failed": 0,
        "rolled_back": 0,
    }


class Keeping(RollingDeployment):
    """Keeps what it was given."""

    given: List[DeploymentTarget]

    def deploy(self, targets: Any, version: str, deploy_fn: Any) -> DeploymentResult:
        self.given = targets
        return super().deploy(targets, version, deploy_fn)


def test_three_targets_are_made(quiet_env: None, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = Keeping()
    assert DeploymentManager().deploy("shop", "v1", keeping).targets_updated == 3
    assert [(it.id, it.name, it.address, it.version) for it in keeping.given] == [
        ("shop-0", "shop-instance-0", "localhost:8000", "v1"),
        ("shop-1", "shop-instance-1", "localhost:8001", "v1"),
        ("shop-2", "shop-instance-2", "localhost:8002", "v1"),
    ]
    monkeypatch.setenv("DEPLOY_HOST", "there")
    monkeypatch.setenv("DEPLOY_BASE_PORT", "9000")
    DeploymentManager().deploy("shop", "v1", keeping)
    assert keeping.given[2].address == "there:9002"


def test_an_exception_in_a_strategy_is_a_failed_result() -> None:
    class Exploding(RollingDeployment):
        def deploy(self, targets: Any, version: str, deploy_fn: Any) -> DeploymentResult:
            raise RuntimeError("unhandled explosion")

    manager = DeploymentManager()
    result = manager.deploy("shop", "v1", Exploding())
    assert (result.success, result.state) == (False, DeploymentState.FAILED)
    assert result.errors == ["unhandled explosion"] and result.targets_failed == 3
    assert manager.get_active_version("shop") is None
    assert manager.get_deployment_history()[0]["strategy"] == "Exploding"


def test_history_and_summary(quiet_env: None) -> None:
    manager = DeploymentManager()
    manager.deploy("a", "v1")
    manager.deploy("a", "v2", CanaryDeployment())
    places = targets(2)
    bad = RollingDeployment(health_check=lambda target: False)
    assert not manager.deploy("b", "v1", bad, places)
    manager.rollback("a", "v1", BlueGreenDeployment())
    assert manager.get_active_version("a") == "v1" and manager.get_active_version("b") is None
    rows = manager.get_deployment_history()
    assert [(row["service"], row["version"], row["strategy"], row["state"]) for row in rows] == [
        ("a", "v1", "rolling", "completed"),
        ("a", "v2", "canary", "completed"),
        ("b", "v1", "rolling", "failed"),
        ("a", "v1", "blue_green", "rolled_back"),
    ]
    wanted = "service version strategy success targets_updated state started_at duration_ms"
    assert all(set(wanted.split()) <= set(row) for row in rows)
    assert [datetime.fromisoformat(row["started_at"]) for row in rows] == sorted(
        datetime.fromisoformat(row["started_at"]) for row in rows
    )
    assert manager.summary() == {
        "total_deployments": 4,
        "active_services": ["a"],
        "completed": 2,
        "failed": 1,
        "rolled_back": 1,
    }
    copy = manager.history
    copy.clear()
    assert len(manager.history) == 4 and manager.history[0].targets_updated == 3
    assert "<table>" in manager._repr_html_() and "<table>" in manager.history[0]._repr_html_()


def test_unmanaged_targets_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    manager = DeploymentManager()
    with caplog.at_level("WARNING"):
        results = [manager.deploy("a", "v1"), manager.deploy("b", "v1")]
    assert [result.metadata["managed"] for result in results] == [False, False]
    assert len([it for it in caplog.records if it.levelname == "WARNING"]) == 1


def test_two_managers_share_nothing_and_leave_nothing(tmp_path: Path) -> None:
    code = """
from codomyrmex.deployment import DeploymentManager
one, other = DeploymentManager(), DeploymentManager()
one.deploy("shop", "v1")
assert other.history == [] and other.get_active_version("shop") is None
"""
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    ran = run_python(code, **env, ROLLWAY_STATE_DIR=str(tmp_path / "state"))
    assert ran.returncode == 0, ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_history_is_durable_with_a_state_dir(tmp_path: Path) -> None:
    config = {"state_dir": str(tmp_path / "state")}
    first = DeploymentManager(config)
    first.deploy("shop", "v1")
    first.deploy("shop", "v2", CanaryDeployment(), targets(4))
    assert not first.deploy("shop", "v3", RollingDeployment(health_check=lambda _: False))
    again = DeploymentManager(config)
    assert again.get_deployment_history() == first.get_deployment_history()
    assert [result.targets_updated for result in again.history] == [3, 4, 0]
    assert again.get_active_version("shop") == "v2"
    assert again.summary()["total_deployments"] == 3
    again.rollback("shop", "v1")
    assert first.get_active_version("shop") == "v1"


def test_eight_threads_have_their_own_results() -> None:
    manager = DeploymentManager()
    results: List[Any] = [None] * 8

    def deploy(index: int) -> None:
        results[index] = manager.deploy(f"s{index}", f"v{index}", None, targets(index + 1))

    threads = [threading.Thread(target=deploy, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.targets_updated for result in results] == list(range(1, 9))
    rows = manager.get_deployment_history()
    assert sorted((row["service"], row["version"], row["targets_updated"]) for row in rows) == [
        (f"s{index}", f"v{index}", index + 1) for index in range(8)
    ]


def test_a_manager_is_not_used_after_a_fork() -> None:
    code = """
import os, sys
from codomyrmex.deployment import DeploymentManager
from codomyrmex.deployment.health_checks import TCPHealthCheck
manager = DeploymentManager()
manager.deploy("shop", "v1")
TCPHealthCheck("x", "127.0.0.1", 1).check()
pid = os.fork()
if pid == 0:
    try:
        manager.deploy("shop", "v2")
    except RuntimeError as error:
        assert "forked" in str(error)
    else:
        os._exit(1)
    assert DeploymentManager().deploy("shop", "v2").success
    TCPHealthCheck("x", "127.0.0.1", 1).check()
    os._exit(0)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""
    ran = run_python(code)
    assert ran.returncode == 0, ran.stderr


# --- canary analysis


def test_comparisons_are_made_when_built() -> None:
    worse = MetricComparison("errors", 1.0, 1.5)
    assert (worse.passed, worse.threshold) == (False, 0.1)
    assert worse.message == "Exceeded threshold: +50.0% (limit: 10.0%)"
    near = MetricComparison("errors", 100.0, 105.0)
    assert near.passed and near.message == "Within threshold: +5.0%"
    better = MetricComparison("errors", 100.0, 50.0)
    assert better.passed and better.message == "Within threshold: -50.0%"
    zero = MetricComparison("errors", 0.0, 0.05)
    assert zero.passed and zero.message == "Value 0.05 vs threshold 0.1"
    over = MetricComparison("errors", 0.0, 0.5, threshold=0.2)
    assert not over.passed and over.message == "Value 0.5 vs threshold 0.2"
    assert not MetricComparison("errors", 1.0, math.nan).passed
    assert not MetricComparison("errors", 0.0, math.nan).passed
    assert MetricComparison("m", 1.23456, 1.234567).to_dict() == {
        "metric": "m",
        "baseline": 1.2346,
        "canary": 1.2346,
        "threshold": 0.1,
        "passed": True,
        "message": "Within threshold: +0.0%",
    }


@given(
    baseline=st.floats(0.001, 1e6), canary=st.floats(0, 1e6), threshold=st.floats(0, 10)
)
def test_a_rise_over_the_threshold_fails(
    baseline: float, canary: float, threshold: float
) -> None:
    compared = MetricComparison("m", baseline, canary, threshold)
    assert compared.passed == ((canary - baseline) / baseline <= threshold)
    assert compared.message.startswith("Within" if compared.passed else "Exceeded")


def test_decisions() -> None:
    assert [it.value for it in CanaryDecision] == ["promote", "rollback", "continue"]
    analyzer = CanaryAnalyzer()
    base = {"a": 1.0, "b": 1.0, "c": 1.0}

    def decision(**canary: float) -> Tuple[CanaryDecision, float]:
        report = analyzer.analyze(base, {**base, **canary})
        return report.decision, round(report.pass_rate, 3)

    assert decision() == (CanaryDecision.PROMOTE, 1.0)
    assert decision(b=2.0) == (CanaryDecision.CONTINUE, 0.667)
    assert decision(b=2.0, c=2.0) == (CanaryDecision.ROLLBACK, 0.333)
    empty = analyzer.analyze({}, {})
    assert (empty.decision, empty.pass_rate) == (CanaryDecision.PROMOTE, 1.0)


def test_reports_name_all_metrics_sorted() -> None:
    report = CanaryAnalyzer().analyze({"b": 1.0}, {"a": 0.05, "c": 1.0}, {"c": 2.0})
    told = report.to_dict()
    assert [metric["metric"] for metric in told["metrics"]] == ["a", "b", "c"]
    assert [metric["baseline"] for metric in told["metrics"]] == [0.0, 1.0, 0.0]
    assert [metric["canary"] for metric in told["metrics"]] == [0.05, 0.0, 1.0]
    assert told["metrics"][2]["threshold"] == 2.0
    assert (told["total_metrics"], told["decision"], told["pass_rate"]) == (3, "promote", 1.0)
    assert CanaryReport(CanaryDecision.CONTINUE, [], 2 / 3).to_dict()["pass_rate"] == 0.667


# --- health checks


def test_health_models() -> None:
    assert [it.value for it in HealthStatus] == ["healthy", "unhealthy", "degraded", "unknown"]
    result = HealthCheckResult("a", HealthStatus.HEALTHY)
    assert (result.message, result.latency_ms, result.details) == ("", 0.0, {})
    told = result.to_dict()
    assert datetime.fromisoformat(told.pop("timestamp")) == result.timestamp
    assert told == {
        "name": "a",
        "status": "healthy",
        "message": "",
        "latency_ms": 0.0,
        "details": {},
    }
    bad = HealthCheckResult("b", HealthStatus.UNHEALTHY)
    health = AggregatedHealth(HealthStatus.DEGRADED, [result, bad])
    assert (health.healthy_count, health.unhealthy_count) == (1, 1)
    told = health.to_dict()
    assert (told["overall_status"], told["total_checks"]) == ("degraded", 2)
    assert (told["healthy_count"], told["unhealthy_count"], len(told["checks"])) == (1, 1, 2)
    assert datetime.fromisoformat(told["timestamp"])


class Fixed(HealthCheck):
    def __init__(self, status: Any, critical: bool = True) -> None:
        super().__init__("fixed", critical=critical)
        self.status = status

    def check(self) -> HealthCheckResult:
        if isinstance(self.status, Exception):
            raise self.status
        return HealthCheckResult(self.name, self.status)


@pytest.mark.parametrize(
    ("checks", "overall"),
    [
        ([], "healthy"),
        ([Fixed(HealthStatus.HEALTHY)], "healthy"),
        ([Fixed(HealthStatus.UNKNOWN)], "healthy"),
        ([Fixed(HealthStatus.DEGRADED)], "degraded"),
        ([Fixed(HealthStatus.UNHEALTHY, critical=False)], "degraded"),
        ([Fixed(HealthStatus.UNHEALTHY), Fixed(HealthStatus.HEALTHY)], "unhealthy"),
        ([Fixed(RuntimeError("boom"))], "unhealthy"),
    ],
)
def test_health_on_the_whole(checks: List[HealthCheck], overall: str) -> None:
    checker = HealthChecker()
    for check in checks:
        assert checker.add_check(check) is checker
    assert checker.run_all().overall_status.value == overall
    assert asyncio.run(checker.run_all_async()).overall_status.value == overall


def test_checks_run_at_once_when_awaited() -> None:
    checker = HealthChecker()
    for index in range(4):
        checker.add_check(CommandHealthCheck(f"c{index}", ["sleep", "0.5"]))
    began = time.perf_counter()
    assert asyncio.run(checker.run_all_async()).healthy_count == 4
    assert time.perf_counter() - began < 1.5


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = 503 if self.path == "/bad" else 302 if self.path == "/moved" else 200
        if self.path == "/slow":
            time.sleep(1.0)
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/there")
        self.end_headers()
        self.wfile.write(f"{self.path} {self.headers.get('x-me', '-')} (ok)".encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()


def test_http_checks(server: str) -> None:
    def found(path: str, **more: Any) -> HealthCheckResult:
        return HTTPHealthCheck("web", server + path, **more).check()

    good = found("/x", expected_body="(ok)", headers={"X-Me": "yes"})
    assert good.status is HealthStatus.HEALTHY and good.details["status_code"] == 200
    assert good.latency_ms > 0 and good.name == "web"
    assert found("/x", expected_body="/x yes", headers={"x-me": "yes"}).message == "OK"
    bad = found("/bad")
    assert bad.status is HealthStatus.UNHEALTHY
    assert bad.message == "Expected status 200, got 503"
    assert found("/bad", expected_status=503).status is HealthStatus.HEALTHY
    assert found("/moved", expected_body="/there").status is HealthStatus.HEALTHY
    assert found("/moved", expected_status=302).status is HealthStatus.HEALTHY
    assert found("/x", expected_body=".*").message == "Response body mismatch"
    slow = found("/slow", timeout=0.1)
    assert slow.status is HealthStatus.UNHEALTHY and slow.latency_ms < 900
    for url in ("http://127.0.0.1:1/", "ftp://x/", "no url", "http://"):
        assert HTTPHealthCheck("x", url, timeout=1.0).check().status is HealthStatus.UNHEALTHY


def test_tcp_checks(server: str) -> None:
    port = int(server.rpartition(":")[2])
    found = TCPHealthCheck("port", "localhost", port).check()
    assert found.status is HealthStatus.HEALTHY and found.message == f"Port {port} is open"
    assert found.details == {"host": "localhost", "port": port}
    closed = free_port()
    found = TCPHealthCheck("port", "127.0.0.1", closed).check()
    assert found.status is HealthStatus.UNHEALTHY
    assert found.message == f"Port {closed} is closed"
    assert found.details == {"host": "127.0.0.1", "port": closed}
    found = TCPHealthCheck("port", "no.such.host.invalid", 1, timeout=2.0).check()
    assert found.status is HealthStatus.UNHEALTHY


def test_command_checks() -> None:
    def found(*command: str, **more: Any) -> HealthCheckResult:
        return CommandHealthCheck("cmd", list(command), **more).check()

    assert found("true").status is HealthStatus.HEALTHY
    failed = found("sh", "-c", "echo no >&2; echo out; exit 1")
    assert failed.status is HealthStatus.UNHEALTHY
    assert failed.message == "Exit code 1, expected 0"
    assert failed.details["stderr"].strip() == "no"
    assert found("sh", "-c", "exit 3", expected_exit_code=3).status is HealthStatus.HEALTHY
    assert found("echo", "a.b", expected_output="a.b").status is HealthStatus.HEALTHY
    assert found("echo", "axb", expected_output="a.b").message == "Output mismatch"
    assert found("sh", "-c", "echo x >&2", expected_output="x").message == "Output mismatch"
    began = time.perf_counter()
    assert found("sleep", "30", timeout=0.2).message == "Command timed out"
    assert time.perf_counter() - began < 10
    assert found("no-such-command-anywhere").status is HealthStatus.UNHEALTHY
    assert found().status is HealthStatus.UNHEALTHY
    assert CommandHealthCheck("a", ["true"]).timeout == 10.0


def test_memory_and_disk_checks(tmp_path: Path) -> None:
    memory = MemoryHealthCheck()
    assert (memory.name, memory.warning_threshold, memory.critical_threshold) == (
        "memory",
        80.0,
        95.0,
    )
    found = memory.check()
    assert set(found.details) == {"total_gb", "available_gb", "percent_used"}
    assert 0 <= found.details["percent_used"] <= 100
    disk = DiskHealthCheck()
    assert (disk.name, disk.path, disk.critical) == ("disk", "/", True)
    found = DiskHealthCheck("d", str(tmp_path), 101.0, 102.0).check()
    assert found.status is HealthStatus.HEALTHY
    assert set(found.details) == {"path", "total_gb", "free_gb", "percent_used"}
    assert DiskHealthCheck(path=str(tmp_path), warning_threshold=0, critical_threshold=0).check(
    ).status is HealthStatus.UNHEALTHY
    missing = DiskHealthCheck(path=str(tmp_path / "none")).check()
    assert missing.status is HealthStatus.UNHEALTHY
    for check in (memory, disk):
        states = [check._classify(percent, {"a": 1}, 2.0) for percent in (79.9, 80.0, 95.0)]
        assert [it.status.value for it in states] == ["healthy", "degraded", "unhealthy"]
        assert states[0].details == {"a": 1} and states[0].latency_ms == 2.0


# --- rollback


def test_snapshots() -> None:
    assert [it.value for it in SnapshotState] == ["active", "rolled_back", "superseded"]
    manager = RollbackManager()
    assert repr(manager) == "RollbackManager(snapshots=0, current_version=None)"
    assert manager.current_version is None and not manager.verify_rollback()
    manager.create_snapshot("v1", {"targets": 3})
    manager.create_snapshot("v2")
    third = manager.create_snapshot("v3")
    assert third.state is SnapshotState.ACTIVE and manager.current_version == "v3"

    def states() -> List[str]:
        return [it.state.value for it in manager.list_snapshots()]

    assert states() == ["superseded", "superseded", "active"]
    result = manager.rollback_to("v1")
    assert isinstance(result, RollbackResult) and result.success
    assert (result.from_version, result.to_version) == ("v3", "v1")
    assert result.message == "Rolled back from v3 to v1"
    assert states() == ["rolled_back", "superseded", "superseded"]
    assert manager.verify_rollback() and manager.current_version == "v1"
    assert repr(manager) == "RollbackManager(snapshots=3, current_version='v1')"
    with pytest.raises(KeyError, match="v9"):
        manager.rollback_to("v9")
    manager.list_snapshots()[0].metadata["targets"] = 5
    first = manager.list_snapshots()[0]
    assert first.to_dict() == {
        "version": "v1",
        "state": "rolled_back",
        "created_at": first.created_at.isoformat(),
        "metadata": {"targets": 3},
    }
    manager.create_snapshot("v1")
    assert states()[0] == "rolled_back" and manager.verify_rollback()
    manager.create_snapshot("v4")
    assert not manager.verify_rollback()
    assert DeploymentSnapshot("v").state is SnapshotState.ACTIVE


# --- tools


def test_tools() -> None:
    assert deployment_list_strategies() == ["rolling", "blue_green", "canary"]
    before = len(deployment_get_history())
    done = deployment_execute(
        "shop", "v1", "canary", [{"id": "a", "name": "a", "address": "h:1"}], stages=[100.0]
    )
    assert (done["service"], done["version"], done["success"]) == ("shop", "v1", True)
    assert (done["targets_updated"], done["state"]) == (1, "completed")
    assert len(deployment_get_history()) == before + 1
    assert deployment_get_history()[-1]["service"] == "shop"
    with pytest.raises(ValueError, match="Unknown strategy: x"):
        deployment_execute("shop", "v1", "x")
    for tool in (deployment_execute, deployment_list_strategies, deployment_get_history):
        meta = tool._mcp_tool_meta  # type: ignore[attr-defined]
        assert meta["name"] == tool.__name__ and meta["description"]
        assert meta["category"] == "deployment"
        assert meta["parameters"]["type"] == "object"
    schema = deployment_execute._mcp_tool_meta["schema"]  # type: ignore[attr-defined]
    assert schema["required"] == ["service_name", "version"]


# --- the boundary


def test_a_panic_is_a_runtime_error_with_a_hint() -> None:
    from rollway import _native

    with pytest.raises(RuntimeError, match="please report"):
        _native.provoke_panic()
    # And nothing is broken by it.
    assert _native.batches(3, 2) == [(0, 2), (2, 3)]


def test_the_sample_runs() -> None:
    sample = Path(__file__).with_name("sample.py").read_text()
    ran = run_python(sample)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "[True, True, True] v1"


def test_everything_public_has_a_docstring() -> None:
    missing = []
    for name, module in list(sys.modules.items()):
        if not name.startswith("codomyrmex.deployment"):
            continue
        assert module.__doc__, name
        for item in getattr(module, "__all__", ()):
            value = getattr(module, item)
            if getattr(value, "__module__", "").startswith(("typing", "collections")):
                continue
            if not getattr(value, "__doc__", None):
                missing.append(f"{name}.{item}")
            for method, function in vars(value).items() if isinstance(value, type) else ():
                if not method.startswith("_") and callable(function) and not function.__doc__:
                    missing.append(f"{name}.{item}.{method}")
    assert missing == []
