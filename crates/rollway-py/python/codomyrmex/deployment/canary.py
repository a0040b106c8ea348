"""Whether a canary is as good as what serves: metrics compared one by one.

Lower is better for every metric. The comparison and the decision are made by Rollway's core.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, List, Mapping, Optional

from rollway import _check
from rollway._log import Logger
from rollway._native import compare, decide, success_rate

__all__ = ["CanaryAnalyzer", "CanaryDecision", "CanaryReport", "MetricComparison"]

logger = Logger(__name__)


class CanaryDecision(Enum):
    """What is to become of the canary."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    CONTINUE = "continue"


@dataclass
class MetricComparison:
    """One metric of the canary beside the baseline's."""

    metric_name: str
    """The metric."""
    baseline_value: float
    """What it is where the old version serves."""
    canary_value: float
    """What it is where the new version serves."""
    threshold: float = 0.1
    """So much it may rise, as a share of the baseline; with a baseline of 0, so much it may be."""
    passed: bool = field(init=False)
    """Whether it stays within the threshold."""
    message: str = field(init=False)
    """Why, in words."""

    def __post_init__(self) -> None:
        """Compare."""
        _check.any_number("baseline_value", self.baseline_value)
        _check.any_number("canary_value", self.canary_value)
        _check.any_number("threshold", self.threshold)
        self.passed, rise = compare(self.baseline_value, self.canary_value, self.threshold)
        if rise is None:
            self.message = f"Value {self.canary_value} vs threshold {self.threshold}"
        elif self.passed:
            self.message = f"Within threshold: {rise:+.1%}"
        else:
            self.message = f"Exceeded threshold: {rise:+.1%} (limit: {self.threshold:.1%})"

    def to_dict(self) -> Dict[str, Any]:
        """The comparison as a plain dictionary."""
        return {
            "metric": self.metric_name,
            "baseline": round(self.baseline_value, 4),
            "canary": round(self.canary_value, 4),
            "threshold": self.threshold,
            "passed": self.passed,
            "message": self.message,
        }


@dataclass
class CanaryReport:
    """What an analysis came to."""

    decision: CanaryDecision = CanaryDecision.CONTINUE
    """What is to become of the canary."""
    comparisons: List[MetricComparison] = field(default_factory=list)
    """The metrics, by name."""
    pass_rate: float = 0.0
    """The share of metrics that passed: 0 to 1."""

    def to_dict(self) -> Dict[str, Any]:
        """The report as a plain dictionary."""
        return {
            "decision": self.decision.value,
            "pass_rate": round(self.pass_rate, 3),
            "metrics": [comparison.to_dict() for comparison in self.comparisons],
            "total_metrics": len(self.comparisons),
        }


class CanaryAnalyzer:
    """Compares the metrics of a canary with those of the baseline."""

    def __init__(
        self,
        promote_threshold: float = 0.9,
        rollback_threshold: float = 0.5,
        metric_tolerance: float = 0.1,
    ) -> None:
        """
        Args:
            promote_threshold: the canary is good from this share of passed metrics on.
            rollback_threshold: and bad below this one.
            metric_tolerance: so much a metric may rise, as a share of the baseline.
        """
        self.promote_threshold = _check.number("promote_threshold", promote_threshold)
        self.rollback_threshold = _check.number("rollback_threshold", rollback_threshold)
        self.metric_tolerance = _check.number("metric_tolerance", metric_tolerance)

    def analyze(
        self,
        baseline: Mapping[str, float],
        canary: Mapping[str, float],
        tolerances: Optional[Mapping[str, float]] = None,
    ) -> CanaryReport:
        """Compare all metrics that either has; a missing one is 0.

        Args:
            baseline: the metrics of what serves.
            canary: the metrics of the canary.
            tolerances: tolerances of single metrics.
        """
        _check.mapping("baseline", baseline)
        _check.mapping("canary", canary)
        own = _check.mapping("tolerances", {} if tolerances is None else tolerances)
        comparisons = [
            MetricComparison(
                metric_name=name,
                baseline_value=baseline.get(name, 0.0),
                canary_value=canary.get(name, 0.0),
                threshold=own.get(name, self.metric_tolerance),
            )
            for name in sorted(set(baseline) | set(canary))
        ]
        passed = sum(comparison.passed for comparison in comparisons)
        rate = success_rate(passed, len(comparisons))
        decision = CanaryDecision(decide(rate, self.promote_threshold, self.rollback_threshold))
        logger.info("canary analysis: %s, %.1f%% passed", decision.value, rate * 100)
        return CanaryReport(decision=decision, comparisons=comparisons, pass_rate=rate)
