"""What the control plane tells, as frozen dataclasses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, ClassVar, Dict, Mapping, Optional, Tuple, Type, TypeVar

M = TypeVar("M", bound="_Model")

TERMINAL = ("completed", "failed", "rolled_back")


@dataclass(frozen=True)
class _Model:
    """Reads what it knows of a JSON object, and leaves the rest: a newer server may tell more."""

    _parts: ClassVar[Dict[str, Any]] = {}

    @classmethod
    def _of(cls: Type[M], told: Mapping[str, Any]) -> M:
        values: Dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name not in told:
                continue
            value, part = told[field.name], cls._parts.get(field.name)
            if part is not None and value is not None:
                if isinstance(value, list):
                    value = tuple(part._of(one) for one in value)
                else:
                    value = part._of(value)
            elif isinstance(value, list):
                value = tuple(value)
            values[field.name] = value
        return cls(**values)

    def to_dict(self) -> Dict[str, Any]:
        """As plain dictionaries and lists."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Problem(_Model):
    """One thing that is wrong with what was given."""

    path: str
    what: str
    hint: Optional[str] = None

    def __str__(self) -> str:
        text = f"{self.path}: {self.what}" if self.path else self.what
        return f"{text}; hint: {self.hint}" if self.hint else text


@dataclass(frozen=True)
class Release(_Model):
    """A release by number and version."""

    number: int
    version: str

    def __str__(self) -> str:
        return f"{self.version} (r{self.number})"


@dataclass(frozen=True)
class Stage(_Model):
    """One stage of a plan or of a deployment."""

    name: str
    state: str
    goal: str
    elapsed_ms: Optional[int] = None


@dataclass(frozen=True)
class Waiting(_Model):
    """What a deployment waits for."""

    what: str


@dataclass(frozen=True)
class Failure(_Model):
    """An instance that failed, with what was seen."""

    instance: str
    why: str


@dataclass(frozen=True)
class Deployment(_Model):
    """One attempt to make a release the serving one."""

    id: str
    number: int
    service: str
    kind: str
    strategy: str
    to: Release
    state: str
    started_at_ms: int
    elapsed_ms: int
    stages: Tuple[Stage, ...] = ()
    undoing: bool = False
    waiting: Optional[Waiting] = None
    reasons: Tuple[str, ...] = ()
    failures: Tuple[Failure, ...] = ()
    instances_started: int = 0
    instances_failed: int = 0
    actor: str = ""
    ended_at_ms: Optional[int] = None
    eta_ms: Optional[int] = None

    _parts: ClassVar[Dict[str, Any]] = {
        "to": Release,
        "stages": Stage,
        "waiting": Waiting,
        "failures": Failure,
    }

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in TERMINAL

    @property
    def success(self) -> bool:
        """Whether the release serves."""
        return self.state == "completed"

    @property
    def started_at(self) -> datetime:
        """When it began."""
        return datetime.fromtimestamp(self.started_at_ms / 1000, timezone.utc)

    @property
    def why(self) -> Tuple[str, ...]:
        """Why it ended as it did, the failed instances with it."""
        seen = tuple(f"{one.instance}: {one.why}" for one in self.failures)
        return tuple(dict.fromkeys(self.reasons + seen))

    def _repr_html_(self) -> str:
        """A bar of stages, for notebooks."""
        from ._html import deployment

        return deployment(self)


@dataclass(frozen=True)
class Plan(_Model):
    """What a deployment would do."""

    to: Release
    stages: Tuple[Stage, ...] = ()
    warnings: Tuple[Problem, ...] = ()
    changes: Tuple[Mapping[str, Any], ...] = ()
    #: How long the judgements will take, in words.
    forecast: Tuple[str, ...] = ()

    _parts: ClassVar[Dict[str, Any]] = {"to": Release, "stages": Stage, "warnings": Problem}

    def _repr_html_(self) -> str:
        """The stages as a small table, for notebooks."""
        from ._html import plan

        return plan(self)


@dataclass(frozen=True)
class Verdict(_Model):
    """What a judgement came to, when: samples, evidence and what is needed, in words."""

    sample: int
    verdict: Mapping[str, Any]
    words: Tuple[str, ...] = ()
    #: Whether the stored samples give the same again.
    is_same: bool = True
    #: What would have changed it.
    otherwise: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement(_Model):
    """One judgement of a deployment's new release."""

    stages: Tuple[str, ...]
    samples: int
    missed: int
    last_missed: Optional[str] = None
    verdicts: Tuple[Verdict, ...] = ()
    now: Optional[Mapping[str, Any]] = None
    #: How it stands by the samples so far.
    now_words: Tuple[str, ...] = ()

    _parts: ClassVar[Dict[str, Any]] = {"verdicts": Verdict}


@dataclass(frozen=True)
class Explanation(_Model):
    """Why a deployment was judged as it was."""

    deployment: str
    judgements: Tuple[Judgement, ...] = ()

    _parts: ClassVar[Dict[str, Any]] = {"judgements": Judgement}


@dataclass(frozen=True)
class Arm(_Model):
    """One release in the split of the traffic."""

    release: Release
    weight: int
    instances: int
    ready: int

    _parts: ClassVar[Dict[str, Any]] = {"release": Release}


@dataclass(frozen=True)
class Service(_Model):
    """A service as it is now."""

    service: str
    desired: str
    instances_wanted: int
    instances_ready: int
    last_seq: int
    serving: Optional[Release] = None
    arms: Tuple[Arm, ...] = ()
    listen: Tuple[str, ...] = ()
    deployment: Optional[Deployment] = None
    needs_operator: bool = False

    _parts: ClassVar[Dict[str, Any]] = {
        "serving": Release,
        "arms": Arm,
        "deployment": Deployment,
    }


@dataclass(frozen=True)
class Instance(_Model):
    """One running copy of a release."""

    instance: str
    release: Release
    life: str
    health: str
    routed: bool
    address: Optional[str] = None
    reason: Optional[str] = None
    restarts: int = 0
    age_ms: int = 0
    log: Optional[str] = None

    _parts: ClassVar[Dict[str, Any]] = {"release": Release}


@dataclass(frozen=True)
class Event(_Model):
    """One line of what has happened."""

    seq: int
    at_ms: int
    kind: str
    text: str
    deployment: Optional[int] = None
    body: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class Answer(_Model):
    """What a verb answers."""

    message: str
    deployment: Optional[int] = None
