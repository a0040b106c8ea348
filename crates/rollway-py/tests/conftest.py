"""What the tests share: folders, programs that serve, and services that run for real."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

from codomyrmex.deployment import DeploymentTarget


def targets(count: int) -> List[DeploymentTarget]:
    """Fresh targets."""
    return [DeploymentTarget(f"t{i}", f"target {i}", f"host:{i}") for i in range(count)]


def until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Waits for a condition; answers its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds} s")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port: int = it.getsockname()[1]
        return port


def ask(port: int, path: str = "/") -> str:
    """What a server answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def run_python(code: str, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """A script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )


class Place:
    """A state folder with a shop that can be deployed."""

    def __init__(self, folder: Path) -> None:
        self.state_dir = str(folder / "state")
        self.port = free_port()
        self.shop = os.environ.get("ROLLWAY_SHOP", "")

    def spec(self, service: str = "shop", **more: Any) -> Dict[str, Any]:
        """How the shop is run; its proxy listens on `port`."""
        spec: Dict[str, Any] = {
            "service": service,
            "instances": 2,
            "run": {
                "command": [self.shop, "--port", "{{port}}", "--version", "{{version}}"],
                "stop_timeout": "2s",
            },
            "health": [{"http": {"path": "/healthz"}, "interval": "100ms"}],
            "update": {"healthy_deadline": "5s"},
            "traffic": {"listen": [f"127.0.0.1:{self.port}"]},
        }
        spec.update(more)
        return spec

    def processes(self) -> List[int]:
        """All processes that name the state folder."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes()
                env = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                continue
            if self.state_dir.encode() in words or self.state_dir.encode() in env:
                found.append(int(entry))
        return found

    def end(self) -> None:
        """Ends what is left, hard."""
        for _ in range(200):
            left = self.processes()
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.02)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place that is cleared afterwards."""
    made = Place(tmp_path)
    if not os.path.exists(made.shop):
        pytest.skip("ROLLWAY_SHOP names no shop: run by scripts/python test")
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def quiet_env(monkeypatch: pytest.MonkeyPatch) -> Optional[None]:
    """Without what the machine's user has set."""
    for name in ("DEPLOY_HOST", "DEPLOY_BASE_PORT", "ROLLWAY_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    return None
