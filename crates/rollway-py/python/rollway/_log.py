"""Loggers that read :mod:`logging` when there is somebody to tell.

Reading it takes longer than everything of ours together, and a program that has not read it has
set nothing up: of what it logs only warnings and errors are shown.
"""

from __future__ import annotations

import sys
from typing import Any

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40


class Logger:
    """The logger of that name, from :func:`logging.getLogger`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def log(self, level: int, message: str, *values: Any, **more: Any) -> None:
        """Logs a message of that level; ``more`` is for :meth:`logging.Logger.log`."""
        if level < WARNING and "logging" not in sys.modules:
            return
        import logging

        more.setdefault("stacklevel", 2)
        logging.getLogger(self.name).log(level, message, *values, **more)

    def debug(self, message: str, *values: Any, **more: Any) -> None:
        """Logs what only helps to find a fault."""
        self.log(DEBUG, message, *values, stacklevel=3, **more)

    def info(self, message: str, *values: Any, **more: Any) -> None:
        """Logs what went as it should."""
        self.log(INFO, message, *values, stacklevel=3, **more)

    def warning(self, message: str, *values: Any, **more: Any) -> None:
        """Logs what somebody should look at."""
        self.log(WARNING, message, *values, stacklevel=3, **more)
