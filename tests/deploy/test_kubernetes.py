"""The manifests against Kubernetes' own schemas, and against each other and the service's settings."""

import json
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from deploy_support import DEPLOY

from services.gateway.settings import Settings

FOLDER = DEPLOY / "kubernetes"
VERSIONS = ("1.30", "1.33")
OVERLAYS = ("cpu", "gpu")
# Kinds that come with operators; Kubernetes has no schema of them.
FOREIGN = {"ServiceMonitor": "monitoring.coreos.com/v1"}
MANIFESTS = sorted(
    path
    for path in FOLDER.rglob("*.yaml")
    if path.name != "kustomization.yaml" and path.parent.name != "autoscaling"
)


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def kustomization(folder):
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


def assembled(folder):
    """Return the manifests of an overlay and its settings, without kustomize: it has no patches."""
    made, settings = [], {}
    config = kustomization(folder)
    assert set(config) <= {
        "apiVersion",
        "kind",
        "namespace",
        "resources",
        "configMapGenerator",
        "images",
    }
    for name in config["resources"]:
        path = folder / name
        if path.is_dir():
            inner, below = assembled(path)
            made += inner
            settings |= below
        else:
            made += documents(path)
    for generator in config.get("configMapGenerator", ()):
        settings |= dict(literal.split("=", 1) for literal in generator["literals"])
    return made, settings


def rendered(overlay):
    """Return the manifests that are applied: by kubectl where there is one, else put together here."""
    if kubectl := shutil.which("kubectl"):
        result = subprocess.run(
            [kubectl, "kustomize", str(FOLDER / "overlays" / overlay)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return list(yaml.safe_load_all(result.stdout))
    return assembled(FOLDER / "overlays" / overlay)[0]


def of_kind(manifests, kind, name=None):
    return [
        manifest
        for manifest in manifests
        if manifest["kind"] == kind and name in (None, manifest["metadata"]["name"])
    ]


def only(manifests, kind, name):
    (manifest,) = of_kind(manifests, kind, name)
    return manifest


def pod_of(manifests, name):
    return only(manifests, "Deployment", name)["spec"]["template"]["spec"]


def containers(manifests):
    for deployment in of_kind(manifests, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        for container in pod["containers"] + pod.get("initContainers", []):
            yield pod, container


def validate(manifest, version):
    if manifest["kind"] in FOREIGN:
        assert manifest["apiVersion"] == FOREIGN[manifest["kind"]]
        return
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_each_manifest_fits_its_schema(path, version):
    for manifest in documents(path):
        validate(manifest, version)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_would_be_applied_fits_its_schema(overlay):
    manifests = rendered(overlay)
    for manifest in manifests:
        validate(manifest, VERSIONS[-1])
    assert not of_kind(manifests, "Secret"), "an example key must never be applied"


def test_the_schemas_refuse_what_is_wrong():
    (deployment,) = documents(FOLDER / "base" / "deployment.yaml")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        validate(deployment, VERSIONS[-1])


def test_every_file_is_used_but_the_example():
    used = set()
    for folder in (FOLDER / "base", *(FOLDER / "overlays" / name for name in OVERLAYS)):
        used |= {(folder / name).resolve() for name in kustomization(folder)["resources"]}
    assert {path.name for path in MANIFESTS if path.resolve() not in used} == {"keys.example.yaml"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_policies_and_monitors_find_their_pods(overlay):
    manifests = rendered(overlay)
    pods = [
        deployment["spec"]["template"]["metadata"]["labels"]
        for deployment in of_kind(manifests, "Deployment")
    ]
    services = {service["metadata"]["name"]: service for service in of_kind(manifests, "Service")}
    selectors = [service["spec"]["selector"] for service in services.values()]
    for kind in ("PodDisruptionBudget", "Deployment"):
        selectors += [manifest["spec"]["selector"]["matchLabels"] for manifest in of_kind(manifests, kind)]
    selectors += [
        policy["spec"]["podSelector"]["matchLabels"] for policy in of_kind(manifests, "NetworkPolicy")
    ]
    for selector in selectors:
        assert sum(selector.items() <= labels.items() for labels in pods) == 1, selector
    for monitor in of_kind(manifests, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        # Exactly one service: its name is the job's, which the rules count on; a second would count twice.
        (name,) = [
            name
            for name, service in services.items()
            if wanted.items() <= service["metadata"]["labels"].items()
        ]
        assert name == monitor["metadata"]["name"] in ("inversefacenet", "triton")
        ports = {port["name"] for port in services[name]["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_and_volumes_that_are_named_exist(overlay):
    manifests = rendered(overlay)
    for pod, container in containers(manifests):
        ports = {port["name"] for port in container.get("ports", ())}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports
        assert {mount["name"] for mount in container["volumeMounts"]} <= {
            volume["name"] for volume in pod["volumes"]
        }
    claims = {claim["metadata"]["name"] for claim in of_kind(manifests, "PersistentVolumeClaim")}
    for pod, _ in containers(manifests):
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_containers_run_with_no_more_rights_than_they_need(overlay):
    seen = 0
    for pod, container in containers(rendered(overlay)):
        seen += 1
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
        # Read-only but for /tmp.
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert re.fullmatch(r"[\w.-]+:\d[\w.-]*", container["image"]), "pin a version"
    assert seen == {"cpu": 1, "gpu": 3}[overlay]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_are_ones_that_the_service_takes(overlay, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    _, settings = assembled(FOLDER / "overlays" / overlay)
    (secret,) = documents(FOLDER / "base" / "keys.example.yaml")
    settings |= {"IFN_API_KEYS": secret["stringData"]["keys.json"], "IFN_HOST": "0.0.0.0"}
    known = {f"IFN_{name.upper()}" for name in Settings.model_fields}
    assert set(settings) <= known
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert read.backend == {"cpu": "onnx", "gpu": "triton"}[overlay]
    assert set(json.loads(settings["IFN_API_KEYS"])) == set(read.api_keys) == {"shop"}
    gateway = pod_of(rendered(overlay), "inversefacenet")
    (container,) = gateway["containers"]
    assert read.workers == int(container["resources"]["requests"]["cpu"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": read.port, "grpc": read.grpc_port}
    # Every request that was accepted is answered before the pod is killed.
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert gateway["terminationGracePeriodSeconds"] > pause + read.drain_delay + read.drain
    assert container["readinessProbe"]["timeoutSeconds"] > read.probe_timeout
    # The worst that callers can send fits beside the processes and their models. A pixel takes four bytes at
    # the decoder and three in the photo.
    limit = container["resources"]["limits"]["memory"]
    bodies = (read.uploads + read.queue + read.workers) * read.max_body_bytes
    photos = read.workers * read.max_pixels * 7
    assert bodies + photos < 0.6 * int(limit.removesuffix("Gi")) * 2**30
    # Without keys it doesn't start at all.
    monkeypatch.delenv("IFN_API_KEYS")
    with pytest.raises(ValueError, match="IFN_API_KEYS"):
        Settings()


def test_gateways_and_nobody_else_reach_triton():
    manifests = rendered("gpu")
    gateway = only(manifests, "Deployment", "inversefacenet")["spec"]["template"]["metadata"]["labels"]
    triton = only(manifests, "NetworkPolicy", "triton")["spec"]
    callers = [
        rule["from"][0]["podSelector"]["matchLabels"]
        for rule in triton["ingress"]
        if any(port["port"] == "grpc" for port in rule["ports"])
    ]
    assert len(callers) == 1
    assert callers[0].items() <= gateway.items()
    way = only(manifests, "NetworkPolicy", "inversefacenet-to-triton")["spec"]["egress"][0]
    service = only(manifests, "Service", "triton")["spec"]
    _, settings = assembled(FOLDER / "overlays" / "gpu")
    host, port = settings["IFN_TRITON_URL"].split(":")
    assert host == "triton"
    assert int(port) in [entry["port"] for entry in service["ports"]]
    assert [entry["port"] for entry in way["ports"]] == [int(port)]


def test_the_plan_is_made_where_it_is_served():
    pod = pod_of(rendered("gpu"), "triton")
    (convert,), (serve,) = pod["initContainers"], pod["containers"]
    assert convert["image"] == serve["image"]
    assert convert["resources"]["limits"]["nvidia.com/gpu"] == serve["resources"]["limits"]["nvidia.com/gpu"]
    mounts = {mount["name"]: mount["mountPath"] for mount in convert["volumeMounts"]}
    assert f"--output={mounts['models']}" in convert["args"]
    assert f"--cache={mounts['cache']}" in convert["args"]
    served = {mount["name"]: mount["mountPath"] for mount in serve["volumeMounts"]}
    assert f"--model-repository={served['models']}/repository" in serve["args"]


def test_the_autoscaler_and_the_adapter_speak_of_the_same_metric():
    scaler = only(rendered("cpu"), "HorizontalPodAutoscaler", "inversefacenet")["spec"]
    names = [metric["pods"]["metric"]["name"] for metric in scaler["metrics"] if metric["type"] == "Pods"]
    adapter = yaml.safe_load((FOLDER / "autoscaling" / "prometheus-adapter.yaml").read_text())
    assert names == [rule["name"]["as"] for rule in adapter["rules"]["custom"]]
    assert scaler["minReplicas"] >= 2
    target = scaler["scaleTargetRef"]
    assert only(rendered("cpu"), target["kind"], target["name"])
