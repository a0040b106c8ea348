"""Ways to a control plane."""

from __future__ import annotations

import os
import sys
from typing import Any, Optional, Tuple

from . import _check
from ._native import Failed, Plane, request_http

# Checking and keeping an artifact of gigabytes takes its time.
ANSWER_SECONDS = 300.0


def program(name: str = "rollway") -> str:
    """The program that comes with this package."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_bin", name)
    return os.environ.get("ROLLWAY_PROGRAM", here) if name == "rollway" else here


def usual_state_dir() -> str:
    """Where the command line keeps its state."""
    given = os.environ.get("ROLLWAY_STATE_DIR")
    if given:
        return os.path.abspath(given)
    if os.geteuid() == 0:
        return "/var/lib/rollway"
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "rollway")


class Local:
    """The control plane of a state folder: the one that runs, or one inside this process."""

    def __init__(self, state_dir: str) -> None:
        if not sys.platform.startswith("linux"):
            raise OSError("rollway deploys on Linux only; name a server elsewhere")
        self.plane = Plane(state_dir, program())
        self.state_dir: Optional[str] = state_dir

    def request(self, method: str, path: str, body: bytes) -> Tuple[int, bytes]:
        """Ask; a control plane that is not there, or has gone, is brought back."""
        self.plane.ensure()
        return self.plane.request(method, path, body, ANSWER_SECONDS)

    def close(self) -> None:
        """End what is in this process."""
        self.plane.close()


class Socket:
    """A control plane that listens on a Unix socket somewhere."""

    state_dir: Optional[str] = None

    def __init__(self, path: str) -> None:
        if os.path.isdir(path):
            path = os.path.join(path, "control.sock")
        self._place = (os.path.dirname(os.path.abspath(path)), os.path.basename(path))
        self._pid = os.getpid()

    def request(self, method: str, path: str, body: bytes) -> Tuple[int, bytes]:
        """Ask."""
        return request_http(self._place, (method, path), body, ANSWER_SECONDS)

    def close(self) -> None:
        """Nothing is kept open."""


class Url:
    """A control plane behind a URL."""

    state_dir: Optional[str] = None

    def __init__(self, url: str, token: Optional[str]) -> None:
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"server: {url!r} is neither a socket nor an http(s) URL")
        if token is not None and parts.scheme == "http" and parts.hostname not in (
            "localhost",
            "127.0.0.1",
            "::1",
        ):
            raise ValueError("server: a token goes only over https, or to this machine")
        self._parts, self._token = parts, token

    def request(self, method: str, path: str, body: bytes) -> Tuple[int, bytes]:
        """Ask."""
        import http.client

        parts = self._parts
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        headers = {"content-type": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        connection = kind(str(parts.hostname), parts.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"could not ask {parts.hostname}: {error}") from error
        finally:
            connection.close()

    def close(self) -> None:
        """Nothing is kept open."""


def way(state_dir: Any, server: Any, token: Any) -> Any:
    """The way that is meant."""
    if server is None:
        if token is not None:
            raise ValueError("token: it needs a server")
        given = usual_state_dir() if state_dir is None else _check.path("state_dir", state_dir)
        return Local(os.path.abspath(given))
    if state_dir is not None:
        raise ValueError("state_dir: give either it or a server")
    place = _check.path("server", server)
    if token is not None:
        _check.text("token", token)
    if place.startswith("unix://"):
        return Socket(place[len("unix://") :])
    if "://" in place:
        return Url(place, token)
    return Socket(place)
