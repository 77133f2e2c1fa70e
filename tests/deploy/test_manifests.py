"""Every overlay and every chart, with every documented example, renders to manifests that Kubernetes 1.31 to 1.37 takes and that
keep our policies."""

import unittest

import policies
import schemas
from examples import EXAMPLES
from model import of_kind, pods
from render import DEPLOY, HELM_MAJORS, helm, helm_text, kustomize

OVERLAYS = ["kind/overlays/seeded", "kind/overlays/persistent", "examples"]


class Manifests(unittest.TestCase):
    def check(self, name: str, documents: list[dict], external: policies.External = policies.External()) -> None:
        self.assertTrue(documents, f"{name} renders to nothing")
        found = policies.problems(documents, external)
        for version in schemas.VERSIONS:
            found += schemas.problems(documents, version)
        self.assertEqual(found, [], f"{name}: " + "\n".join(found))

    def test_every_overlay_is_valid_and_keeps_the_policies(self):
        for overlay in OVERLAYS:
            self.check(overlay, kustomize(DEPLOY / overlay))

    def test_every_example_of_every_chart_is_valid_and_keeps_the_policies(self):
        for example in EXAMPLES:
            self.check(str(example), helm(example.chart, *example.arguments), example.external)

    def test_every_chart_has_examples(self):
        charts = {path.parent.name for path in (DEPLOY / "helm").glob("*/Chart.yaml")}
        self.assertEqual(charts, {example.chart for example in EXAMPLES})

    def test_both_majors_of_helm_render_the_same(self):
        """Of each chart the defaults and the example with most arguments: what one major refuses it refuses there."""
        by_chart: dict[str, list] = {}
        for example in EXAMPLES:
            by_chart.setdefault(example.chart, []).append(example)
        chosen = [e for found in by_chart.values() for e in (found[0], max(found, key=lambda item: len(item.arguments)))]
        for example in [*chosen, *(e for e in EXAMPLES if e.name in ("production", "components", "time-limited"))]:
            texts = [helm_text(example.chart, "test", "test", example.arguments, program) for program in HELM_MAJORS]
            bodies = [sorted(part.strip() for part in text.split("---\n")) for text in texts]
            self.assertTrue(all(body == bodies[0] for body in bodies), str(example))

    def test_seeded_overlay_gates_readiness_by_the_order_of_its_containers(self):
        pod = next(pod for pod in pods(kustomize(DEPLOY / "kind/overlays/seeded")) if pod.owner["metadata"]["name"] == "mytsdb")
        order = [(container["name"], container.get("restartPolicy")) for container in pod.spec["initContainers"]]
        self.assertEqual(order, [("wipe-data", None), ("mytsdb", "Always"), ("seed", None)])
        self.assertEqual([container["name"] for container in pod.spec["containers"]], ["follow"])
        self.assertIn("emptyDir", next(volume for volume in pod.spec["volumes"] if volume["name"] == "data"))

    def test_persistent_overlay_wipes_and_seeds_nothing(self):
        pod = next(pod for pod in pods(kustomize(DEPLOY / "kind/overlays/persistent")) if pod.owner["metadata"]["name"] == "mytsdb")
        self.assertEqual([container["name"] for container in pod.containers], ["mytsdb"])
        self.assertEqual(pod.owner["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data")

    def test_chart_and_overlay_run_the_server_alike(self):
        """Two ways to the same pod: what differs is written down here."""
        overlay = next(p for p in pods(kustomize(DEPLOY / "kind/overlays/seeded")) if p.owner["metadata"]["name"] == "mytsdb")
        arguments = ("--set", "seed.enabled=true", "--set", "persistence.enabled=false", "--set", "fullnameOverride=mytsdb")
        chart = next(iter(pods(helm("mytsdb", *arguments))))
        for one, other in zip(overlay.containers, chart.containers, strict=True):
            one = one | {"resources": None}
            self.assertEqual(one, other | {"resources": None})

    def test_ports_of_the_kind_cluster_are_those_of_services(self):
        from render import documents
        cluster = documents((DEPLOY / "kind/cluster.yaml").read_text())[0]
        mapped = {port["containerPort"] for port in cluster["nodes"][0]["extraPortMappings"]}
        services = of_kind(kustomize(DEPLOY / "kind/overlays/seeded"), "Service")
        offered = {port["nodePort"] for service in services for port in service["spec"]["ports"] if "nodePort" in port}
        self.assertEqual(mapped, offered)
        self.assertTrue(all(p["listenAddress"] == "127.0.0.1" for p in cluster["nodes"][0]["extraPortMappings"]))
        self.assertIn("@sha256:", cluster["nodes"][0]["image"])
