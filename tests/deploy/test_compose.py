"""The composition hangs together, confines what it runs, and draws secrets for their readers."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import DEPLOY, compose

COMPOSE = DEPLOY / "compose"
SERVICES = sorted(compose()["services"])
IMAGE = re.compile(r"(?:[a-z]+/)?[a-z]+:[a-z0-9.-]+")

every = pytest.mark.parametrize("name", SERVICES)


@every
def test_services_are_confined(name: str):
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert set(service.get("cap_add", ())) == (
        {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"} if name == "postgres" else set()
    )


@every
def test_what_a_service_uses_is_declared(name: str):
    described = compose()
    service = described["services"][name]
    assert IMAGE.fullmatch(service["image"])
    assert set(service["networks"]) <= set(described["networks"])
    assert set(service.get("depends_on", ())) <= set(described["services"])
    assert set(service.get("secrets", ())) <= set(described["secrets"])
    assert {one["source"] for one in service.get("configs", ())} <= set(described["configs"])
    for volume in service.get("volumes", ()):
        assert volume.partition(":")[0] in described["volumes"]


def test_configurations_are_files_that_are_there():
    for described in compose()["configs"].values():
        assert (COMPOSE / described["file"]).is_file()


def test_secrets_are_files_that_are_not_in_the_repository(repository_root: Path):
    files = [COMPOSE / described["file"] for described in compose()["secrets"].values()]
    assert files
    for file in files:
        ignored = subprocess.run(
            ["git", "check-ignore", "--quiet", file],  # noqa: S607
            cwd=repository_root,
            check=False,
        )
        assert ignored.returncode == 0, file


def test_the_database_is_reached_by_the_server_only():
    described = compose()
    reached = [
        name for name, service in described["services"].items() if "database" in service["networks"]
    ]
    assert reached == ["server", "postgres"]
    assert described["networks"]["database"]["internal"] is True
    assert "ports" not in described["services"]["postgres"]


def test_metrics_are_scraped_where_they_are_served():
    scraping = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    (job,) = scraping["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert "monitoring" in compose()["services"][host]["networks"]
    assert f'metrics = "0.0.0.0:{port}"' in (COMPOSE / "blindproof.toml").read_text()
    mounted = {one["target"] for one in compose()["services"]["prometheus"]["configs"]}
    assert {f"/etc/prometheus/{name}" for name in scraping["rule_files"]} < mounted
    assert yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]


def test_the_dashboard_finds_its_source():
    (source,) = yaml.safe_load((COMPOSE / "grafana-datasources.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((COMPOSE / "grafana-dashboards.yaml").read_text())["providers"]
    dashboards = [one["target"] for one in compose()["services"]["grafana"]["configs"]]
    assert any(one.startswith(provider["options"]["path"] + "/") for one in dashboards)
    assert source["url"] == "http://prometheus:9090"
    assert json.loads((DEPLOY / "grafana" / "blindproof.json").read_text())["panels"]


def test_a_stop_waits_for_running_calls():
    stated = (COMPOSE / "blindproof.toml").read_text()
    shutdown = re.search(r"shutdown_seconds = ([0-9.]+)", stated)
    grace = compose()["services"]["server"]["stop_grace_period"]
    assert float(shutdown[1]) < float(grace.removesuffix("s"))


def test_passwords_are_drawn_once_and_for_their_readers_only(tmp_path: Path):
    script = tmp_path / "secrets.sh"
    script.write_bytes((COMPOSE / "secrets.sh").read_bytes())
    subprocess.run(["/bin/sh", script], check=True)
    drawn = {path.name: path for path in (tmp_path / "secrets").iterdir()}
    assert set(drawn) == {"grafana.password", "pg_service.conf", "postgres.password"}
    assert {path.stat().st_mode & 0o077 for path in drawn.values()} == {0}
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    password = drawn["postgres.password"].read_text()
    assert re.fullmatch("[0-9a-f]{48}", password)
    assert drawn["grafana.password"].read_text() != password
    assert f"password={password}\n" in drawn["pg_service.conf"].read_text()
    again = subprocess.run(["/bin/sh", script], check=False, capture_output=True)
    assert again.returncode == 1
    assert drawn["postgres.password"].read_text() == password
