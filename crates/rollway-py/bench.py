"""What the Python packages cost: size and import, our own time a target, the interpreter's lock.

Run by `make bench-python` in an environment that has the wheel and nothing else.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, List

import rollway
from codomyrmex.deployment import DeploymentTarget, RollingDeployment

TARGETS = 10_000
BATCH = 100
ROUNDS = 15
STARTS = 31


def median_ms(act: Callable[[], Any], rounds: int) -> float:
    """The median of the wall-clock times of some rounds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def imports(wheel: Path) -> None:
    """How long an interpreter that has read nothing yet takes to import the packages."""

    def import_ms(what: str) -> float:
        code = f"import time; began = time.perf_counter(); {what}"
        code += "; print(time.perf_counter() - began)"
        ran = [sys.executable, "-c", code]
        times = [float(subprocess.check_output(ran)) for _ in range(STARTS)]
        return statistics.median(times) * 1e3

    bare = median_ms(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), STARTS)
    print(f"wheel: {wheel.stat().st_size / 1e6:.1f} MB")
    print(f"start and end of an interpreter without: {bare:.1f} ms")
    imported = (
        "import dataclasses, datetime, enum, typing",
        "import rollway",
        "from rollway import Client",
        "import codomyrmex.deployment",
        "from codomyrmex.deployment import DeploymentManager",
    )
    for what in imported:
        print(f"{what}: {import_ms(what):.1f} ms")


def targets() -> None:
    """Our own time a target beyond the calls of a `deploy_fn` that does nothing."""
    fleet = [DeploymentTarget(f"t{i}", f"target {i}", f"host:{i}") for i in range(TARGETS)]
    rolling = RollingDeployment(batch_size=BATCH)

    def deploy_fn(target: DeploymentTarget, version: str) -> bool:
        return True

    def calls() -> None:
        for target in fleet:
            deploy_fn(target, "v1")

    own, alone = [], []
    for _ in range(ROUNDS):
        own.append(median_ms(lambda: rolling.deploy(fleet, "v1", deploy_fn), 1))
        alone.append(median_ms(calls, 1))
    each = (statistics.median(own) - statistics.median(alone)) * 1e3 / TARGETS
    print(
        f"{TARGETS} targets, batches of {BATCH}: {statistics.median(own):.1f} ms, "
        f"of them {statistics.median(alone):.1f} ms in deploy_fn: {each:.2f} us of ours a target"
    )


def lock(shop: str) -> None:
    """How fast another thread counts while a deployment is waited for, beside while nothing is."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port = it.getsockname()[1]
    spec = {
        "service": "shop",
        "instances": 2,
        "run": {"command": [shop, "--port", "{{port}}", "--version", "{{version}}"]},
        "health": [{"http": {"path": "/healthz"}}],
        "traffic": {"listen": [f"127.0.0.1:{port}"]},
        "strategy": {"canary": {"steps": [{"weight": 50}, {"hold": "3s"}], "analysis": None}},
    }
    if sys.platform == "linux" and len(os.sched_getaffinity(0)) < 2:
        print("the lock is not measured on one core: instances take their share of it")
        return
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1

    def rate(act: Callable[[], Any]) -> float:
        before, began = counted[0], time.perf_counter()
        act()
        return (counted[0] - before) / (time.perf_counter() - began)

    thread = threading.Thread(target=count)
    with tempfile.TemporaryDirectory() as folder, rollway.Client(folder) as client:
        client.deploy(spec, "v0")
        thread.start()
        ratios: List[float] = []
        try:
            for index in range(1, 6):
                alone = rate(lambda: time.sleep(3))
                ratios.append(rate(lambda: client.deploy(spec, f"v{index}")) / alone)
        finally:
            stop.set()
            thread.join()
            client.down("shop")
    told = ", ".join(f"{ratio:.0%}" for ratio in ratios)
    middle = statistics.median(ratios)
    print(f"another thread during deployments of 3 s: {middle:.0%} of its rate alone ({told})")


if __name__ == "__main__":
    imports(Path(sys.argv[1]))
    targets()
    lock(sys.argv[2])
