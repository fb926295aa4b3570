"""Tests of docs/kubernetes.yaml, without a cluster.

kubernetes-validate has the schemas of the Kubernetes API. In strict mode it refuses unknown fields, as the API server
does for kubectl. The schemas do not know whether selectors, ports and durations fit together; the other tests do.
"""

import copy
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "docs/kubernetes.yaml"
RESOURCES = [resource for resource in yaml.safe_load_all(MANIFEST.read_text()) if resource]
KINDS = {resource["kind"]: resource for resource in RESOURCES}
# The oldest version that docs/kubernetes.md promises, and the newest whose schemas the package has.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
# Seconds that the server takes to stop: src/http/server.rs, LAME_DUCK and GRACE.
STOPS = 26

POD = KINDS["Deployment"]["spec"]["template"]
[CONTAINER] = POD["spec"]["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource["kind"])
def test_the_schemas_accept(resource, version):
    # It takes the newest schemas that are not newer than `version`.
    assert version.startswith(kubernetes_validate.validate(resource, version, strict=True))


def test_the_schemas_refuse():
    """The check above has teeth: a misspelt field and a wrong type."""
    for change in (
        lambda spec: spec.update(terminationGracePeriod=35),
        lambda spec: spec.update(terminationGracePeriodSeconds="35"),
        lambda spec: spec["containers"][0]["securityContext"].update(readonlyRootFilesystem=True),
    ):
        broken = copy.deepcopy(KINDS["Deployment"])
        change(broken["spec"]["template"]["spec"])
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_each_resource_is_there_once():
    kinds = ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"]
    assert [resource["kind"] for resource in RESOURCES] == kinds
    assert {resource["metadata"]["name"] for resource in RESOURCES} == {"moth-classifier"}
    # kubectl's option -n decides.
    assert not any("namespace" in resource["metadata"] for resource in RESOURCES)


def test_the_selectors_find_the_pods():
    labels = POD["metadata"]["labels"]
    spread = [constraint["labelSelector"] for constraint in POD["spec"]["topologySpreadConstraints"]]
    selectors = [
        KINDS["Deployment"]["spec"]["selector"],
        {"matchLabels": KINDS["Service"]["spec"]["selector"]},
        KINDS["PodDisruptionBudget"]["spec"]["selector"],
        KINDS["NetworkPolicy"]["spec"]["podSelector"],
        *spread,
    ]
    for selector in selectors:
        assert selector["matchLabels"] and selector["matchLabels"].items() <= labels.items()
    target = KINDS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    deployment = KINDS["Deployment"]
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }


def test_the_pod_has_no_privileges():
    """The Pod Security Standard `restricted`, and more."""
    spec, container = POD["spec"], CONTAINER["securityContext"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    # The image has the user root. A name could not be checked, a number can.
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"} & spec.keys()
    assert not any("hostPort" in port for port in CONTAINER["ports"])
    [volume], [mount] = spec["volumes"], CONTAINER["volumeMounts"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/tmp")
    assert volume["emptyDir"]["sizeLimit"]


def test_the_keys_come_from_the_secret():
    [variable] = CONTAINER["env"]
    assert variable["name"] == "API_KEYS" and "value" not in variable
    secret = variable["valueFrom"]["secretKeyRef"]
    # A pod without keys would have to be open: it must not start.
    assert not secret.get("optional")
    made = re.search(
        r"kubectl create secret generic (\S+) --from-file=(\S+?)=", (ROOT / "docs/kubernetes.md").read_text()
    )
    assert (secret["name"], secret["key"]) == made.groups()


def test_the_command_line_fits_the_ports():
    command, *options = CONTAINER["args"]
    assert command == "serve" and "command" not in CONTAINER, "the image's entry point is the binary"
    values = dict(option.partition("=")[::2] for option in options)
    assert "--open" not in values
    assert values["--host"] == "0.0.0.0"
    assert int(values["--port"]) == PORTS["http"]
    assert int(values["--metrics-port"]) == PORTS["metrics"]


def test_the_probes():
    probes = {name: CONTAINER[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/livez"}
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {"http"}
    # Seconds for which the process may be silent. A slow node must not restart a pod that starts or is busy.
    silence = {name: probe["periodSeconds"] * probe["failureThreshold"] for name, probe in probes.items()}
    assert silence["startup"] >= 60 and silence["liveness"] >= 60
    assert silence["readiness"] <= 15


def test_requests_in_flight_finish():
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before >= 5, "nodes may still send new connections"
    assert before + STOPS < POD["spec"]["terminationGracePeriodSeconds"] <= 60


def test_the_resources():
    resources = CONTAINER["resources"]
    assert resources["requests"] == {"cpu": "500m", "memory": "512Mi"}
    assert resources["limits"].keys() == {"cpu", "memory"}


def test_the_autoscaler_owns_the_replicas():
    spec = KINDS["HorizontalPodAutoscaler"]["spec"]
    [metric] = spec["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    assert 2 <= spec["minReplicas"] < spec["maxReplicas"]
    # `kubectl apply` would set them back.
    assert "replicas" not in KINDS["Deployment"]["spec"]


def test_a_pod_is_ready_at_all_times():
    rolling = KINDS["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert rolling["maxUnavailable"] == 0 and rolling["maxSurge"] > 0
    # With two pods, one may be evicted, and a drain of a node does not hang.
    assert KINDS["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_the_service_has_only_the_api():
    spec = KINDS["Service"]["spec"]
    assert [port["targetPort"] for port in spec["ports"]] == ["http"]
    assert spec.get("type", "ClusterIP") == "ClusterIP"


def test_the_policy_lets_only_prometheus_read_metrics():
    spec = KINDS["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"] and spec["egress"] == []
    rules = {rule["ports"][0]["port"]: rule for rule in spec["ingress"]}
    assert all(len(rule["ports"]) == 1 for rule in spec["ingress"]) and rules.keys() == PORTS.keys()
    # A rule without `from` lets everybody in.
    assert "from" not in rules["http"]
    [peer] = rules["metrics"]["from"]
    assert peer.keys() == {"namespaceSelector", "podSelector"}, "both must hold"
    assert all(selector["matchLabels"] for selector in peer.values())
