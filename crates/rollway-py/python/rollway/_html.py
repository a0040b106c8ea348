"""Small tables and pictures for notebooks."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any, List, Mapping, Sequence, Tuple

if TYPE_CHECKING:
    from ._models import Deployment, Plan, Stage

_COLOURS = {"done": "#2e7d32", "active": "#1565c0", "pending": "#bdbdbd"}
_WIDTH, _HEIGHT = 240, 60


def frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as a pandas DataFrame."""
    try:
        import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise ImportError("history_frame needs pandas: pip install pandas") from None
    return pandas.DataFrame(list(rows))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as a table."""
    if not rows:
        return "<p>nothing yet</p>"
    names = [name for name in rows[0] if name not in ("errors", "metadata")]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(row.get(name)))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def result(of: Any) -> str:
    """A result of a deployment."""
    told = of.to_dict()
    rows = [{"what": key, "": value} for key, value in told.items() if key != "metadata"]
    return table(rows)


def plan(of: "Plan") -> str:
    """The stages of a plan, and the weights that they come to."""
    stages = [{"stage": it.name, "goal": it.goal} for it in of.stages]
    return f"<p>to {escape(str(of.to))}</p>{table(stages)}{_weights(of.stages, of.to.number)}"


def deployment(of: "Deployment") -> str:
    """A deployment: where it stands, and its stages as a bar."""
    boxes = "".join(
        f'<span title="{escape(it.goal)}" style="display:inline-block;padding:0 .5em;color:#fff;'
        f'background:{_COLOURS.get(it.state, "#bdbdbd")}">{escape(it.name)}</span>'
        for it in of.stages
    )
    why = "".join(f"<br>{escape(reason)}" for reason in of.why)
    state = escape(of.state.replace("_", " "))
    head = f"<b>{escape(of.id)}</b> {escape(of.strategy)} to {escape(str(of.to))}: {state}"
    return f"<div>{head}{why}<br>{boxes}</div>{_weights(of.stages, of.to.number)}"


def _weights(stages: "Sequence[Stage]", release: int) -> str:
    """The new release's share of the traffic, stage by stage, as a picture."""
    shares: List[float] = [0.0]
    for stage in stages:
        told = re.search(rf"\br{release} [^,;]*?(\d+) %", stage.goal)
        if told is not None:
            shares.append(float(told.group(1)))
        elif f"r{release} " in stage.goal:
            shares.append(100.0)
    points: List[Tuple[float, float]] = []
    step = _WIDTH / max(1, len(shares) - 1)
    for index, share in enumerate(shares):
        height = _HEIGHT * (1 - share / 100)
        if points:
            points.append((index * step, points[-1][1]))
        points.append((index * step, height))
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="weight of r{release}">'
        f'<polyline points="{line}" fill="none" stroke="#1565c0" stroke-width="2"/></svg>'
    )
