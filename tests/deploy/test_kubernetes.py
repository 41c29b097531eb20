"""Manifests are valid for every supported Kubernetes, restricted, and agree with one another."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
import warnings

import pytest
import yaml

from server.telemetry import catalogue
from tests.deploy.manifests import INSTALLATIONS, KUBERNETES, one, pod, resources, workload

with warnings.catch_warnings():  # its own concern: how it finds its files
    warnings.simplefilter("ignore")
    import kubernetes_validate

OLDEST, NEWEST = "1.30", "1.37"
SECRET = re.compile(r"(?i)password|BEGIN [A-Z ]*PRIVATE KEY|secret_access_key:|\btoken: ")

both = pytest.mark.parametrize("installation", INSTALLATIONS)


def server(installation: str) -> dict:
    (container,) = pod(installation)["spec"]["containers"]
    return container


def settings(installation: str) -> dict:
    return tomllib.loads(one(installation, "ConfigMap")["data"]["blindproof.toml"])


@both
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_valid(installation: str, version: str):
    for resource in resources(installation):
        kubernetes_validate.validate(resource, version, strict=True)


def test_what_is_not_valid_is_refused():
    broken = json.loads(json.dumps(workload("single")))
    broken["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


@both
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_makes_the_same_resources(installation: str):
    built = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / installation],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    def names(found) -> list[tuple[str, str]]:
        return sorted((each["kind"], each["metadata"]["name"]) for each in found)

    assert names(yaml.safe_load_all(built)) == names(resources(installation))


@both
def test_every_file_is_applied(installation: str):
    directory = KUBERNETES / installation
    listed = yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]
    there = {path.name for path in directory.glob("*.yaml")}
    assert there - {"kustomization.yaml", "prometheus-adapter.yaml"} == set(listed) - {"../base"}


@both
def test_pods_satisfy_the_restricted_profile(installation: str):
    spec = pod(installation)["spec"]
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"] + spec["initContainers"]:
        confined = container["securityContext"]
        assert confined["allowPrivilegeEscalation"] is False
        assert confined["readOnlyRootFilesystem"] is True
        assert confined["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
    assert spec["automountServiceAccountToken"] is False
    labels = one(installation, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@both
def test_a_group_is_not_let_into_secrets_at_every_start(installation: str):
    """The server refuses a secret which others than its owner may read."""
    context = pod(installation)["spec"]["securityContext"]
    assert context["fsGroupChangePolicy"] == "OnRootMismatch"


@both
def test_variables_of_services_are_not_taken_for_settings(installation: str):
    assert pod(installation)["spec"]["enableServiceLinks"] is False


@both
def test_probes_ask_what_is_served(installation: str):
    container = server(installation)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    stated = settings(installation)
    assert stated["listen"].endswith(f":{ports['grpc']}")
    assert stated["metrics"].endswith(f":{ports['metrics']}")
    probed = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness")}
    assert set(map(str, probed.values())) == {str({"path": "/readyz", "port": "metrics"})}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    for name in ("blindproof", "blindproof-metrics"):
        service = one(installation, "Service", name)["spec"]
        assert {port["targetPort"] for port in service["ports"]} <= set(ports)
        assert service["selector"].items() <= pod(installation)["metadata"]["labels"].items()


@both
def test_a_pod_has_the_time_to_end_its_calls(installation: str):
    before = server(installation)["lifecycle"]["preStop"]["exec"]["command"]
    assert before[0] == "sleep"
    needed = float(before[1]) + settings(installation)["shutdown_seconds"]
    assert pod(installation)["spec"]["terminationGracePeriodSeconds"] > needed


@both
def test_memory_that_calls_may_take_fits_into_the_limit(installation: str):
    container, stated = server(installation), settings(installation)
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) << 30
    assert 1.25 * stated["max_memory_bytes"] < limit - (2 << 30)
    assert stated["workers"] == int(container["resources"]["requests"]["cpu"])


@both
def test_files_of_settings_are_mounted(installation: str):
    spec, container = pod(installation)["spec"], server(installation)
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = workload(installation)["spec"].get("volumeClaimTemplates", [])
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert set(mounts.values()) <= volumes | {claim["metadata"]["name"] for claim in claims}
    stated = settings(installation)
    for name in ("models", "state", "tls_certificate", "tls_key", "tls_client_ca"):
        assert any(stated[name].startswith(f"{path}/") for path in mounts), name
    assert "/etc/blindproof" in mounts


@both
def test_keys_of_tls_are_not_for_everybody(installation: str):
    volumes = {volume["name"]: volume for volume in pod(installation)["spec"]["volumes"]}
    for volume in volumes.values():
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] == 0o440


@both
def test_nothing_is_open_that_no_policy_opens(installation: str):
    nothing = one(installation, "NetworkPolicy", "nothing")["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ports = {port["name"] for port in server(installation)["ports"]}
    for rule in one(installation, "NetworkPolicy", "server")["spec"]["ingress"]:
        assert rule["from"]
        assert {port["port"] for port in rule["ports"]} <= ports


def test_one_server_over_sqlite_stays_one():
    assert workload("single")["spec"]["replicas"] == 1
    assert "audit_database" not in settings("single")
    assert "HorizontalPodAutoscaler" not in {each["kind"] for each in resources("single")}


def test_several_servers_share_database_archive_and_directory():
    stated = settings("scaled")
    assert stated["audit_database"].startswith("postgresql://")
    assert stated["audit_archive"].startswith("s3://")
    assert one("scaled", "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "replicas" not in workload("scaled")["spec"]


def test_the_autoscaler_follows_the_queue_which_the_server_shows():
    scaler = one("scaled", "HorizontalPodAutoscaler")["spec"]
    target = workload("scaled")
    assert scaler["scaleTargetRef"]["kind"] == target["kind"]
    assert scaler["scaleTargetRef"]["name"] == target["metadata"]["name"]
    (metric,) = scaler["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name == catalogue.QUEUE_DEPTH.exported
    adapter = (KUBERNETES / "scaled" / "prometheus-adapter.yaml").read_text()
    assert f'__name__="{name}"' in adapter
    # New servers are of use only if clients come to them while the load lasts.
    window = scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"]
    assert settings("scaled")["connection_seconds"] < window
    budget = one("scaled", "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] < scaler["minReplicas"]
    labels = pod("scaled")["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_no_manifest_holds_a_secret():
    assert not any(each["kind"] == "Secret" for name in INSTALLATIONS for each in resources(name))
    for path in KUBERNETES.rglob("*.yaml"):
        for line in path.read_text().splitlines():
            if not line.lstrip().startswith("#"):
                assert not SECRET.search(line), f"{path}: {line}"
