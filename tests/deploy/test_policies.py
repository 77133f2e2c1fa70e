"""Each policy, and the check of schemas, notices what it is for: a mutation of a manifest that is well makes it speak, and only it."""

import copy
import unittest
from collections.abc import Callable

import policies
import schemas
from model import namespace
from render import DEPLOY, helm, kustomize

Mutation = Callable[[list[dict]], object]


def find(documents: list[dict], kind: str, name: str) -> dict:
    return next(d for d in documents if d["kind"] == kind and d["metadata"]["name"].startswith(name))


def server(documents: list[dict]) -> dict:
    """The container of the server."""
    return find(documents, "StatefulSet", "mytsdb")["spec"]["template"]["spec"]["initContainers"][1]


def pod_of(documents: list[dict], kind: str, name: str) -> dict:
    return find(documents, kind, name)["spec"]["template"]["spec"]


def restricted_without(container_key: str) -> Mutation:
    return lambda documents: server(documents)["securityContext"].pop(container_key)


def put(target: dict, key: str, value: object) -> None:
    target[key] = value


MUTATIONS: dict[str, list[Mutation]] = {
    "restricted": [
        restricted_without("allowPrivilegeEscalation"),
        restricted_without("readOnlyRootFilesystem"),
        restricted_without("capabilities"),
        lambda d: put(server(d)["securityContext"], "runAsUser", 0),
        lambda d: put(server(d)["securityContext"], "privileged", True),
        lambda d: put(server(d)["securityContext"]["capabilities"], "add", ["SYS_ADMIN"]),
        lambda d: put(server(d)["ports"][0], "hostPort", 9090),
        lambda d: pod_of(d, "Deployment", "grafana")["securityContext"].pop("seccompProfile"),
        lambda d: pod_of(d, "Deployment", "grafana")["securityContext"].pop("runAsNonRoot"),
        lambda d: put(pod_of(d, "Deployment", "grafana"), "hostNetwork", True),
        lambda d: pod_of(d, "DaemonSet", "gpu-replay").pop("automountServiceAccountToken"),
        lambda d: (pod_of(d, "Deployment", "load")["volumes"][1].pop("emptyDir"),
                   put(pod_of(d, "Deployment", "load")["volumes"][1], "hostPath", {"path": "/"})),
    ],
    "namespaces_enforce": [
        lambda d: put(find(d, "Namespace", "mytsdb")["metadata"]["labels"], "pod-security.kubernetes.io/enforce", "baseline"),
        lambda d: put(find(d, "ServiceAccount", "unused-by-design")["metadata"], "namespace", "elsewhere"),
    ],
    "resources": [
        lambda d: server(d)["resources"]["requests"].pop("memory"),
        lambda d: server(d)["resources"].pop("limits"),
        lambda d: put(server(d)["resources"]["requests"], "memory", "2Gi"),
    ],
    "container_ports": [
        lambda d: put(server(d)["ports"][3], "name", "arrow_flight"),
        lambda d: server(d)["ports"].append({"name": "other", "containerPort": 9090}),
        lambda d: server(d)["ports"].append({"name": "other", "containerPort": 99091}),
    ],
    "probes": [
        lambda d: put(server(d)["livenessProbe"]["httpGet"], "port", 99091),
        lambda d: put(server(d)["readinessProbe"]["httpGet"], "port", "htpp"),
        lambda d: server(d).pop("readinessProbe"),
        lambda d: put(server(d)["startupProbe"]["httpGet"], "path", ""),
        lambda d: put(server(d)["startupProbe"], "timeoutSeconds", 30),
        lambda d: put(pod_of(d, "StatefulSet", "mytsdb")["initContainers"][2], "livenessProbe", server(d)["livenessProbe"]),
    ],
    "labels": [
        lambda d: find(d, "Deployment", "grafana")["metadata"]["labels"].pop("app.kubernetes.io/part-of"),
        lambda d: put(find(d, "Service", "grafana")["metadata"]["labels"], "owner", "somebody else"),
    ],
    "names": [
        lambda d: d.append(copy.deepcopy(find(d, "ServiceAccount", "unused-by-design"))),
        lambda d: put(find(d, "ServiceAccount", "unused-by-design")["metadata"], "name", "Not_Valid"),
    ],
    "selectors": [
        lambda d: put(find(d, "Deployment", "grafana")["spec"]["selector"]["matchLabels"], "app.kubernetes.io/name", "graphana"),
        lambda d: put(find(d, "Deployment", "sender")["spec"]["selector"], "matchLabels", {"app.kubernetes.io/name": "sample-app"}),
    ],
    "services": [
        lambda d: put(find(d, "Service", "grafana-nodeport")["spec"]["ports"][0], "targetPort", "web"),
        lambda d: put(find(d, "Service", "grafana-nodeport")["spec"]["selector"], "app.kubernetes.io/name", "graphana"),
        lambda d: put(find(d, "Service", "grafana-nodeport")["spec"]["ports"][0], "nodePort", 3000),
        lambda d: put(find(d, "Service", "grafana-nodeport")["spec"]["ports"][0], "nodePort", 30090),
        lambda d: put(find(d, "StatefulSet", "mytsdb")["spec"], "serviceName", "mytsdb-headles"),
    ],
    "addresses": [
        lambda d: put(pod_of(d, "DaemonSet", "gpu-replay")["containers"][0], "args", ["--endpoint=http://mytsdb:4371"]),
        lambda d: put(find(d, "ConfigMap", "load")["data"], "sender.yaml", "endpoint: my-tsdb.mytsdb.svc:4317"),
    ],
    "config_maps": [lambda d: put(find(d, "ConfigMap", "gpu-csv")["data"], "large.csv", "x" * (1 << 20))],
    "images": [
        lambda d: put(server(d), "image", "mytsdb:latest"),
        lambda d: put(server(d), "image", "registry:5000/mytsdb"),
        lambda d: put(server(d), "imagePullPolicy", "Always"),
    ],
    "volumes": [
        lambda d: put(server(d)["volumeMounts"][0], "name", "date"),
        lambda d: put(server(d)["volumeMounts"][1], "mountPath", "/data"),
        lambda d: put(pod_of(d, "DaemonSet", "gpu-replay")["volumes"][0]["configMap"], "name", "gpu-cvs"),
        lambda d: put(pod_of(d, "DaemonSet", "gpu-replay"), "serviceAccountName", "nobody"),
    ],
    "variables": [
        lambda d: find(d, "ConfigMap", "sample-app")["data"].pop("TENANT_ID"),
        lambda d: pod_of(d, "Deployment", "sender")["containers"][0]["env"].insert(0, {"name": "A", "value": "$(TENANT_ID)"}),
        lambda d: pod_of(d, "Deployment", "sender")["containers"][0]["env"].append({"name": "POD_NAME", "value": "x"}),
    ],
    "availability": [
        lambda d: put(find(d, "PodDisruptionBudget", "otel-collector")["spec"], "maxUnavailable", 0),
        lambda d: put(find(d, "StatefulSet", "otel-collector")["spec"], "replicas", 1),
        lambda d: put(find(d, "StatefulSet", "mytsdb")["spec"], "replicas", 2),
    ],
    "networks": [
        lambda d: put(find(d, "NetworkPolicy", "grafana")["spec"]["ingress"][0]["ports"][0], "port", "web"),
        lambda d: put(find(d, "NetworkPolicy", "grafana")["spec"]["egress"][0]["ports"][0], "port", 9091),
        lambda d: put(find(d, "NetworkPolicy", "grafana")["spec"]["podSelector"], "matchLabels", {"app": "graphana"}),
        lambda d: put(find(d, "NetworkPolicy", "load")["spec"]["ingress"][0]["from"][0]["podSelector"], "matchLabels", {"a": "b"}),
        lambda d: put(find(d, "NetworkPolicy", "grafana")["spec"], "policyTypes", ["Ingress"]),
    ],
}

CHART_MUTATIONS: dict[str, list[Mutation]] = {
    "monitors": [lambda d: put(find(d, "ServiceMonitor", "test-store")["spec"]["endpoints"][0], "port", "metrics")],
    "availability": [
        lambda d: put(find(d, "StatefulSet", "test-collector")["spec"], "replicas", 3),
        lambda d: put(find(d, "Ingress", "test")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"], "name", "gateway"),
    ],
}

SCHEMA_MUTATIONS: list[Mutation] = [
    lambda d: put(server(d), "imagePulPolicy", "Always"),
    lambda d: put(server(d)["ports"][0], "containerPort", "9090"),
    lambda d: put(find(d, "Service", "grafana")["spec"], "type", 1),
    lambda d: put(find(d, "Deployment", "grafana"), "apiVersion", "apps/v1beta1"),
]


class Policies(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.overlay = kustomize(DEPLOY / "kind/overlays/seeded")
        # Something that nothing else refers to.
        spare = copy.deepcopy(find(cls.overlay, "ServiceAccount", "mytsdb"))
        spare["metadata"]["name"] = "unused-by-design"
        cls.overlay.append(spare)
        cls.chart = helm("telemetry-pipeline", "--set", "monitoring.serviceMonitor.enabled=true", "--set",
                         "apiGateway.ingress.enabled=true", "--set", "collector.autoscaling.enabled=true")

    def check(self, original: list[dict], mutations: dict[str, list[Mutation]]) -> None:
        self.assertEqual(policies.problems(original), [])
        for name, changes in mutations.items():
            for number, change in enumerate(changes):
                documents = copy.deepcopy(original)
                change(documents)
                found = {problem.partition(":")[0] for problem in policies.problems(documents)}
                self.assertIn(name, found, f"mutation {number} of {name} goes unnoticed; noticed is {found or 'nothing'}")

    def test_every_policy_notices_its_mutations_of_the_overlay(self):
        self.check(self.overlay, MUTATIONS)

    def test_every_policy_notices_its_mutations_of_a_chart(self):
        self.check(self.chart, CHART_MUTATIONS)

    def test_every_policy_has_a_mutation(self):
        known = {policy.__name__ for policy in policies.POLICIES}
        self.assertEqual(known, set(MUTATIONS) | set(CHART_MUTATIONS))

    def test_schemas_notice_unknown_fields_wrong_types_and_old_versions(self):
        for number, change in enumerate(SCHEMA_MUTATIONS):
            documents = copy.deepcopy(self.overlay)
            change(documents)
            for version in schemas.VERSIONS:
                self.assertTrue(schemas.problems(documents, version), f"mutation {number} goes unnoticed in {version}")

    def test_namespaces_of_the_overlay_are_ours(self):
        self.assertEqual({namespace(d) for d in self.overlay} - {""}, {"mytsdb", "tenant1-demo", "tenant2-demo"})
