"""Deployments on real processes behind the real proxy."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, List

import pytest
from codomyrmex.deployment import (
    BlueGreenDeployment,
    CanaryDeployment,
    DeploymentManager,
    DeploymentState,
    RollingDeployment,
)
from conftest import Place, ask, free_port, run_python, until

import rollway


def version_at(port: int) -> str:
    return str(json.loads(ask(port))["version"])


def test_a_manager_with_a_run_section_acts_on_real_processes(place: Place) -> None:
    config = {"state_dir": place.state_dir, **place.spec()}
    with DeploymentManager(config) as manager:
        first = manager.deploy("shop", "v1")
        assert first, first.errors
        assert first.metadata["managed"] is True
        assert first.state is DeploymentState.COMPLETED
        assert version_at(place.port) == "v1"
        canary = CanaryDeployment(stages=[50.0, 100.0])
        assert manager.deploy("shop", "v2", strategy=canary)
        assert version_at(place.port) == "v2"
        assert manager.deploy("shop", "v3", strategy=BlueGreenDeployment())
        assert version_at(place.port) == "v3"
        assert manager.get_active_version("shop") == "v3"
        back = manager.rollback("shop", "v1")
        assert back, back.errors
        assert version_at(place.port) == "v1"
        assert manager.get_active_version("shop") == "v1"
        rows = manager.get_deployment_history()
        assert [(row["version"], row["strategy"], row["success"]) for row in rows] == [
            ("v1", "rolling", True),
            ("v2", "canary", True),
            ("v3", "blue_green", True),
            ("v1", "rollback", True),
        ]
        assert [row["kind"] for row in rows] == ["deploy"] * 3 + ["rollback"]


def test_a_version_that_does_not_start_is_a_failed_result_and_the_old_one_serves(
    place: Place,
) -> None:
    config = {"state_dir": place.state_dir, **place.spec()}
    with DeploymentManager(config) as manager:
        assert manager.deploy("shop", "v1")
        broken = place.spec()
        broken["run"] = {"command": ["/bin/false"]}
        with DeploymentManager({"state_dir": place.state_dir, **broken}) as other:
            result = other.deploy("shop", "v2")
        assert not result
        assert result.state is DeploymentState.ROLLED_BACK
        assert result.errors
        assert version_at(place.port) == "v1"
        assert manager.get_active_version("shop") == "v1"


def test_a_health_check_of_the_callers_takes_a_version_back(place: Place) -> None:
    with DeploymentManager({"state_dir": place.state_dir, **place.spec()}) as manager:
        assert manager.deploy("shop", "v1")
        seen: List[str] = []

        def never(target: Any) -> bool:
            seen.append(target.address)
            return False

        result = manager.deploy("shop", "v2", RollingDeployment(health_check=never))
        assert not result
        assert result.state is DeploymentState.ROLLED_BACK
        assert result.errors[0].startswith("Health check failed for shop-")
        assert all(address.rpartition(":")[2].isdigit() for address in seen)
        assert version_at(place.port) == "v1"


def test_a_subclass_is_honoured(place: Place) -> None:
    class Mine(RollingDeployment):
        def deploy(self, targets: Any, version: str, deploy_fn: Any) -> Any:
            result = super().deploy(targets, version, deploy_fn)
            result.metadata["mine"] = True
            return result

    with DeploymentManager({"state_dir": place.state_dir, **place.spec()}) as manager:
        result = manager.deploy("shop", "v1", Mine())
        assert result and result.metadata["mine"] is True
        assert version_at(place.port) == "v1"


def test_instances_and_history_outlive_the_process_and_the_command_line_sees_them(
    place: Place,
) -> None:
    code = """
import json, sys
from codomyrmex.deployment import DeploymentManager
manager = DeploymentManager({"state_dir": sys.argv[1], **json.loads(sys.argv[2])})
assert manager.deploy("shop", "v1").success
assert manager.deploy("elsewhere", "v9").metadata == {"managed": False}
"""
    ran = run_python(code, place.state_dir, json.dumps(place.spec()))
    assert ran.returncode == 0, ran.stderr
    assert version_at(place.port) == "v1"
    cli = [sys.executable, "-m", "rollway", "--state-dir", place.state_dir, "--json"]
    shown = subprocess.run([*cli, "status", "shop"], capture_output=True, text=True)
    if shown.returncode != 0:
        # A control plane for the command line: the Python one has gone with its process.
        with rollway.Client(place.state_dir) as client:
            assert client.status("shop").serving == rollway.Release(1, "v1")
            shown = subprocess.run([*cli, "history", "shop"], capture_output=True, text=True)
            assert json.loads(shown.stdout)[0]["to"]["version"] == "v1", shown.stderr
            shown = subprocess.run([*cli, "history", "elsewhere"], capture_output=True, text=True)
            assert json.loads(shown.stdout)[0]["to"]["version"] == "v9", shown.stderr
    with DeploymentManager({"state_dir": place.state_dir}) as again:
        assert [row["version"] for row in again.get_deployment_history()] == ["v1", "v9"]
        assert again.get_active_version("shop") == "v1"


def test_a_canary_is_explained_and_shown_in_a_notebook(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    analysis = {"interval": "1s", "warmup": "0s", "min_bake": "0s", "deadline": "10m"}
    steps = {"canary": {"steps": [{"weight": 50}, {"analyse": analysis}]}}
    with rollway.Client(place.state_dir) as client:
        client.deploy(place.spec(), "v1", progress=True)
        assert "shop-1" in capfd.readouterr().err, "a bar of stages"
        plan = client.plan(place.spec(strategy=steps), "v2")
        assert plan.forecast, plan
        begun = client.deploy(place.spec(strategy=steps), "v2", wait=False)

        def judged() -> bool:
            ask(place.port)
            told = client.explain("shop", begun.number)
            return bool(told.judgements) and told.judgements[0].samples > 0

        until(judged, "the judgement has a sample")
        told = client.explain("shop", begun.number)
        assert told.deployment == "shop-2" and told.judgements[0].now_words, told
        client.abort("shop")
        frame = client.history_frame("shop")
        assert list(frame["state"]) == ["rolled_back", "completed"]
        assert list(frame["to"]) == ["v2", "v1"]
        client.down("shop")
    assert asyncio.run(explained(place, begun.number)).judgements[0].samples > 0


async def explained(place: Place, number: int) -> rollway.Explanation:
    async with rollway.AsyncClient(place.state_dir) as client:
        return await client.explain("shop", number)


def test_the_client_has_the_verbs(place: Place) -> None:
    with rollway.Client(place.state_dir) as client:
        plan = client.plan(place.spec(), "v1")
        assert plan.to.version == "v1" and plan.stages and "<table>" in plan._repr_html_()
        ended = client.deploy(place.spec(), "v1")
        assert ended.success and ended.stages[0].state == "done"
        assert "shop-1" in ended._repr_html_() and "<svg" in ended._repr_html_()
        steps = {"canary": {"steps": [{"weight": 50}, {"approve": "look"}]}}
        begun = client.deploy(place.spec(strategy=steps), "v2", wait=False)
        until(
            lambda: client.status("shop").deployment.waiting is not None  # type: ignore[union-attr]
            and "promote" in client.status("shop").deployment.waiting.what,  # type: ignore[union-attr]
            "waits for promote",
        )
        client.pause("shop")
        assert client.deployment("shop", begun.number).state == "paused"
        client.resume("shop")
        client.promote("shop")
        assert client.wait("shop", begun.number).success
        assert client.rollback("shop").to.version == "v1"
        assert [one.to.version for one in client.history("shop")] == ["v1", "v2", "v1"]
        assert len(client.instances("shop")) == 2
        kinds = [event.kind for event in client.events("shop")]
        assert kinds[0] == "deployment_began" and kinds.count("deployment_ended") == 3
        client.down("shop")
        assert client.instances("shop") == []


def test_errors_have_their_chain_of_reasons(place: Place) -> None:
    with rollway.Client(place.state_dir) as client:
        with pytest.raises(rollway.Refused, match="unknown key") as refused:
            client.deploy({"service": "shop", "run": {"comand": ["x"]}}, "v1")
        assert refused.value.problems[0].path
        with pytest.raises(rollway.DeploymentFailed) as failed:
            client.deploy(place.spec(run={"command": ["/bin/false"]}), "v1")
        assert len(failed.value.reasons) > 1
        assert failed.value.deployment.state in ("failed", "rolled_back")
        with pytest.raises(rollway.Refused):
            client.status("nothing")
    with pytest.raises(rollway.Unavailable, match="could not ask"):
        rollway.Client(server=place.state_dir + "/nowhere.sock").services()


def test_the_async_client_is_awaited_and_cancelled(place: Place) -> None:
    async def main() -> None:
        async with rollway.AsyncClient(place.state_dir) as client:
            assert (await client.deploy(place.spec(), "v1")).success
            seen = [event.kind async for event in client.events("shop")]
            assert seen[-1] == "deployment_ended"
            steps = {"canary": {"steps": [{"weight": 50}, {"hold": "60s"}]}}
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.deploy(place.spec(strategy=steps), "v2"), 1.0)
            assert (await client.status("shop")).deployment.state == "rolled_back"  # type: ignore[union-attr]
            await client.down("shop")

    asyncio.run(main())


def test_ctrl_c_undoes_the_deployment(place: Place) -> None:
    code = """
import json, sys
from codomyrmex.deployment import DeploymentManager, CanaryDeployment
manager = DeploymentManager({"state_dir": sys.argv[1], **json.loads(sys.argv[2])})
assert manager.deploy("shop", "v1").success
print("v1", flush=True)
try:
    manager.deploy("shop", "v2", CanaryDeployment(stages=[50, 100], stage_duration_seconds=60))
except KeyboardInterrupt:
    print(manager.get_deployment_history()[-1]["state"], flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, place.state_dir, json.dumps(place.spec())],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "v1\n"
    # Some answers come from v2 now: the deployment holds at half of the traffic.
    until(lambda: version_at(place.port) == "v2", "the canary gets requests")
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "rolled_back\n"
    assert child.wait(timeout=30) == 0
    assert {version_at(place.port) for _ in range(20)} == {"v1"}


def test_the_lock_of_the_interpreter_is_free_during_a_deployment(place: Place) -> None:
    counted = [0]
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1

    def rate(act: Any) -> float:
        before, began = counted[0], time.perf_counter()
        act()
        return (counted[0] - before) / (time.perf_counter() - began)

    steps = {"canary": {"steps": [{"weight": 50}, {"hold": "2s"}]}}
    with rollway.Client(place.state_dir) as client:
        client.deploy(place.spec(), "v1")
        thread = threading.Thread(target=count)
        thread.start()
        try:
            alone = rate(lambda: time.sleep(1.0))
            beside = rate(lambda: client.deploy(place.spec(strategy=steps), "v2"))
        finally:
            stop.set()
            thread.join()
    # A lock that is held during waits would leave next to nothing; the rest is other processes.
    assert beside > alone / 2, (alone, beside)


def test_eight_services_from_eight_threads(tmp_path: Path, place: Place) -> None:
    def spec(index: int) -> Any:
        made = place.spec(f"shop-{index}", instances=1)
        made["traffic"] = {"listen": [f"127.0.0.1:{free_port()}"]}
        return made

    services = {f"shop-{index}": spec(index) for index in range(8)}
    config = {"state_dir": place.state_dir, "services": services}
    with DeploymentManager(config) as manager:
        results: List[Any] = [None] * 8

        def deploy(index: int) -> None:
            results[index] = manager.deploy(f"shop-{index}", f"v{index}")

        threads = [threading.Thread(target=deploy, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(results), [result.errors for result in results]
        rows = manager.get_deployment_history()
        assert sorted((row["service"], row["version"]) for row in rows) == [
            (f"shop-{index}", f"v{index}") for index in range(8)
        ]
        for index in range(8):
            assert manager.get_active_version(f"shop-{index}") == f"v{index}"


def test_a_fork_after_use_is_told(place: Place) -> None:
    code = """
import os, sys, json
import rollway
client = rollway.Client(sys.argv[1])
client.services()
pid = os.fork()
if pid == 0:
    try:
        client.services()
    except RuntimeError as error:
        assert "forked" in str(error), error
        os._exit(0)
    os._exit(1)
_, status = os.waitpid(pid, 0)
assert client.services() == []
client.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    ran = run_python(code, place.state_dir)
    assert ran.returncode == 0, ran.stderr


def test_mcp_serves_a_real_client(place: Place) -> None:
    mcp = pytest.importorskip("mcp")
    stdio = pytest.importorskip("mcp.client.stdio")
    file = Path(place.state_dir).parent / "rollway.json"
    file.write_text(json.dumps(place.spec()))
    env = {**os.environ, "ROLLWAY_STATE_DIR": place.state_dir}
    server = mcp.StdioServerParameters(
        command=sys.executable, args=["-m", "rollway.mcp"], env=env
    )

    def told(answer: Any) -> Any:
        return json.loads(answer.content[0].text)

    async def main() -> None:
        async with stdio.stdio_client(server) as (reading, writing):
            async with mcp.ClientSession(reading, writing) as session:
                await session.initialize()
                names = {tool.name for tool in (await session.list_tools()).tools}
                assert names == {
                    "abort",
                    "deploy",
                    "history",
                    "list_strategies",
                    "plan",
                    "promote",
                    "rollback",
                    "status",
                }
                deploy = {"spec": str(file), "version": "v1"}
                answer = told(await session.call_tool("deploy", deploy))
                assert answer["state"] == "completed", answer
                answer = told(await session.call_tool("status", {"service": "shop"}))
                assert answer["serving"]["version"] == "v1"
                answer = told(await session.call_tool("status", {"service": "none"}))
                assert "no service" in answer["error"]

    asyncio.run(main())
