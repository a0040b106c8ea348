"""Arguments are checked where they enter; what is wrong is said with the argument's name."""

from __future__ import annotations

import math
import os
from typing import Any, Callable, List, Mapping, Optional, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K")
V = TypeVar("V")


def text(name: str, value: Any, empty: bool = False) -> str:
    """A text; an empty one only where that means something."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, not {_kind(value)}")
    if not value and not empty:
        raise ValueError(f"{name}: expected a text, not an empty one")
    return value


def path(name: str, value: Any) -> str:
    """A path, as text."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a path, not {_kind(value)}")
    plain = os.fspath(value)
    if not isinstance(plain, str):
        raise TypeError(f"{name}: expected a path of text, not of {_kind(plain)}")
    if not plain or "\0" in plain:
        raise ValueError(f"{name}: {plain!r} is no path")
    return plain


def whole(
    name: str, value: Any, least: Optional[int] = None, most: Optional[int] = None
) -> int:
    """A whole number."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name}: expected an int, not {_kind(value)}")
    number_ = int(value.__index__())
    _range(name, number_, least, most, None)
    return number_


def any_number(name: str, value: Any) -> None:
    """A number, even one that is not finite."""
    if isinstance(value, bool) or not hasattr(type(value), "__float__"):
        raise TypeError(f"{name}: expected a number, not {_kind(value)}")


def number(
    name: str,
    value: Any,
    least: Optional[float] = None,
    most: Optional[float] = None,
    above: Optional[float] = None,
) -> Any:
    """A finite number, as it was given: ``10`` stays ``10``, and is not shown as ``10.0``."""
    any_number(name, value)
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, not {value}")
    _range(name, value, least, most, above)
    return value


def function(name: str, value: Any) -> Any:
    """Something that can be called."""
    if not callable(value):
        raise TypeError(f"{name}: expected a function, not {_kind(value)}")
    return value


def maybe_function(name: str, value: Optional[F]) -> Optional[F]:
    """The same, or nothing."""
    if value is not None:
        function(name, value)
    return value


def list_of(name: str, value: Any) -> List[Any]:
    """A list of whatever can be gone through once; a text is none."""
    if isinstance(value, (str, bytes, Mapping)):
        raise TypeError(f"{name}: expected a list, not {_kind(value)}")
    try:
        return list(value)
    except TypeError:
        raise TypeError(f"{name}: expected a list, not {_kind(value)}") from None


def mapping(name: str, value: "Mapping[K, V]") -> "Mapping[K, V]":
    """A dictionary."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a dict, not {_kind(value)}")
    return value


def _range(
    name: str, value: Any, least: Any, most: Any, above: Any
) -> None:
    if least is not None and value < least:
        raise ValueError(f"{name}: expected at least {least}, not {value}")
    if most is not None and value > most:
        raise ValueError(f"{name}: expected at most {most}, not {value}")
    if above is not None and value <= above:
        raise ValueError(f"{name}: expected more than {above}, not {value}")


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
