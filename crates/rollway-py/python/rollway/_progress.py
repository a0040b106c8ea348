"""A bar of stages while a deployment goes on, if ``tqdm`` is installed."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, Callable, Iterator, Optional

from ._models import Deployment


@contextlib.contextmanager
def bar(begun: Deployment, wanted: bool) -> Iterator[Optional[Callable[[Deployment], None]]]:
    """What is to be told each new look; nothing where no bar is wanted or can be drawn."""
    make: Any = None
    if wanted:
        try:
            make = importlib.import_module("tqdm.auto").tqdm
        except ImportError:
            make = None
    if make is None:
        yield None
        return
    with make(total=max(1, len(begun.stages)), desc=begun.id, unit="stage") as drawn:

        def look(view: Deployment) -> None:
            drawn.total = max(1, len(view.stages))
            drawn.n = sum(stage.state == "done" for stage in view.stages)
            waiting = view.waiting.what if view.waiting is not None else view.state
            drawn.set_postfix_str(waiting)

        yield look
