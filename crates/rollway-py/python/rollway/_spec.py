"""Specs as they are given, and who gives them."""

from __future__ import annotations

import os
from typing import Any, Mapping, Tuple

from . import _check

_FORMS = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}


def spec_text(spec: Any) -> Tuple[str, str, str, str]:
    """Text, format, file and folder of a spec: a dictionary, or the path of a file."""
    if isinstance(spec, Mapping):
        import json

        try:
            return json.dumps(spec), "json", "spec", os.getcwd()
        except TypeError as error:
            raise TypeError(f"spec: {error}") from None
    path = os.path.abspath(_check.path("spec", spec))
    form = _FORMS.get(os.path.splitext(path)[1])
    if form is None:
        raise ValueError(f"spec: {path!r} is no .yaml, .toml or .json file")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(), form, path, os.path.dirname(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"spec: could not read {path!r}: {error}") from error


def actor() -> str:
    """Who asks, for the history."""
    for name in ("SUDO_USER", "USER", "LOGNAME"):
        value = os.environ.get(name, "")
        if 0 < len(value) <= 64:
            return value
    return f"user {os.getuid()}"
