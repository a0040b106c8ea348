"""The script that users begin with: as it is, and with a config that says how services are run."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Dict

from conftest import Place, ask, free_port, run_python

SCRIPT = (Path(__file__).parent / "quick_start.py").read_text(encoding="utf-8")
SERVICES = {"auth-service": "v2.0.0", "api-gateway": "v3.0.0", "web-frontend": "v1.5.0"}


def home(folder: Path, repositories: Path) -> str:
    """A home folder whose git looks for the repositories of the script in a folder."""
    (folder / "home").mkdir()
    config = f'[url "file://{repositories}/"]\n    insteadOf = https://github.com/org/\n'
    (folder / "home" / ".gitconfig").write_text(config, encoding="utf-8")
    return str(folder / "home")


def repository(folder: Path) -> str:
    """A repository with one commit; answers the commit."""
    work = folder / "deploy-configs"
    run = ["git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", str(work)], check=True)
    (work / "shop.yaml").write_text("service: shop\n", encoding="utf-8")
    subprocess.run([*run, "add", "."], check=True)
    subprocess.run([*run, "commit", "--quiet", "--message", "first"], check=True)
    told = subprocess.check_output([*run, "rev-parse", "HEAD"], text=True)
    return told.strip()


def test_the_script_runs_as_it_is(tmp_path: Path) -> None:
    there_before = os.path.exists("/tmp/deploy-configs")
    ran = run_python(SCRIPT, HOME=home(tmp_path, tmp_path / "nowhere"))
    assert ran.returncode == 0, ran.stderr
    first, *lines = ran.stdout.splitlines()
    assert re.match(r"Deployment successful: DeploymentResult\(success=True, ", first), first
    assert "'managed': False" in first
    assert lines == [
        "auth-service -> v2.1.0 (rolling): OK",
        "api-gateway -> v3.0.0 (canary): OK",
        "web-frontend -> v1.5.0 (blue_green): OK",
        "Synced version: None",
        "Is synced: False",
    ]
    assert ran.stderr.count("only the recorded version of its targets moves") == 1, ran.stderr
    assert os.path.exists("/tmp/deploy-configs") == there_before


def test_the_script_with_run_sections_acts_on_real_processes(
    place: Place, tmp_path: Path
) -> None:
    ports = {name: free_port() for name in SERVICES}

    def spec(name: str) -> Dict[str, Any]:
        return place.spec(name, traffic={"listen": [f"127.0.0.1:{ports[name]}"]})

    config = {"state_dir": place.state_dir, "services": {name: spec(name) for name in SERVICES}}
    commit = repository(tmp_path)
    script = SCRIPT.replace("DeploymentManager()", f"DeploymentManager({config!r})")
    script = script.replace("/tmp/deploy-configs", str(tmp_path / "checkout"))
    ran = run_python(script, HOME=home(tmp_path, tmp_path))
    assert ran.returncode == 0, ran.stderr
    first, *lines = ran.stdout.splitlines()
    assert "'managed': True" in first, first
    # A first deployment has nothing that a canary or a second colour could be held against.
    assert lines == [
        "auth-service -> v2.1.0 (rolling): OK",
        "api-gateway -> v3.0.0 (rolling): OK",
        "web-frontend -> v1.5.0 (rolling): OK",
        f"Synced version: {commit}",
        "Is synced: True",
    ]
    # The processes outlive the script, and the rollback was real.
    for name, version in SERVICES.items():
        assert json.loads(ask(ports[name]))["version"] == version
    assert (tmp_path / "checkout" / "shop.yaml").exists()
