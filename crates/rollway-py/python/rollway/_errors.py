"""What is raised, each with its chain of reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence, Tuple

if TYPE_CHECKING:
    from ._models import Deployment, Problem


class Error(Exception):
    """Something was not done; :attr:`reasons` says why, the outcome first, then the causes."""

    reasons: Tuple[str, ...]

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(": ".join(self.reasons))


class Refused(Error):
    """What was asked for is wrong; nothing was changed."""

    problems: "Tuple[Problem, ...]"

    def __init__(self, problems: "Sequence[Problem]") -> None:
        self.problems = tuple(problems)
        super().__init__([str(problem) for problem in self.problems])


class Unavailable(Error):
    """The control plane did not answer, or could not do it."""


class DeploymentFailed(Error):
    """A deployment ended otherwise than it should."""

    deployment: "Deployment"

    def __init__(self, deployment: "Deployment") -> None:
        self.deployment = deployment
        outcome = f"{deployment.id} {deployment.state.replace('_', ' ')}"
        super().__init__([outcome, *deployment.why])
