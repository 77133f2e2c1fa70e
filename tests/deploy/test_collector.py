"""Every Collector configuration uses documented settings only, and its parts fit together."""

import copy
import unittest

import collector_keys
import yaml
from examples import EXAMPLES
from model import namespace, of_kind, pods
from render import DEPLOY, helm, kustomize

OVERLAYS = ["kind/overlays/seeded", "kind/overlays/persistent", "examples"]


def configurations(documents: list[dict]) -> list[dict]:
    found = [yaml.safe_load(text) for document in of_kind(documents, "ConfigMap")
             for key, text in document.get("data", {}).items() if key.endswith("collector.yaml")]
    return found


class Collector(unittest.TestCase):
    def setUp(self) -> None:
        self.documents = kustomize(DEPLOY / "kind/overlays/seeded")
        [self.config] = configurations(self.documents)

    def test_every_setting_is_documented_and_every_part_is_used(self):
        for overlay in OVERLAYS:
            [config] = configurations(kustomize(DEPLOY / overlay))
            self.assertEqual(collector_keys.problems(config), [], overlay)

    def test_the_configurations_of_charts_are_too(self):
        checked = 0
        for example in EXAMPLES:
            if example.chart == "telemetry-pipeline":
                for config in configurations(helm(example.chart, *example.arguments)):
                    self.assertEqual(collector_keys.problems(config), [], str(example))
                    checked += 1
        self.assertGreater(checked, 5)

    def test_mistakes_are_noticed(self):
        mistakes = [
            (lambda c: c["exporters"]["otlp"].update(insecure=True), "exporters.otlp.insecure"),
            (lambda c: c["exporters"].update(logging={}), "exporters.logging is not known"),
            (lambda c: c["exporters"]["otlp"]["sending_queue"].update(storage="disk"), "disk is no extension"),
            (lambda c: c["exporters"]["prometheusremotewrite"].update(sending_queue={}), "prometheusremotewrite.sending_queue"),
            (lambda c: c["processors"]["batch"].pop("metadata_keys"), "is no metadata key"),
            (lambda c: c["receivers"]["otlp"]["protocols"]["http"].pop("include_metadata"), "is not kept"),
            (lambda c: c["service"]["pipelines"]["traces"]["processors"].reverse(), "not memory_limiter, then batch"),
            (lambda c: c["service"]["pipelines"]["traces"]["exporters"].append("prometheusremotewrite"), "does not take traces"),
            (lambda c: c["service"]["extensions"].remove("file_storage"), "extensions.file_storage is used or defined"),
            (lambda c: c["receivers"]["otlp"]["protocols"].update(http=True), "is no section"),
            (lambda c: c["receivers"]["prometheus/self"]["config"]["scrape_configs"][0].update(interval="1s"), "[0].interval"),
        ]
        for change, message in mistakes:
            config = copy.deepcopy(self.config)
            change(config)
            self.assertIn(message, "\n".join(collector_keys.problems(config)))

    def test_the_main_pipeline_is_otlp_and_the_second_is_remote_write(self):
        pipelines = self.config["service"]["pipelines"]
        for signal in ("metrics", "traces", "logs"):
            self.assertEqual(pipelines[signal]["receivers"], ["otlp"])
            self.assertEqual(pipelines[signal]["exporters"], ["otlp", "debug"])
        self.assertEqual(pipelines["metrics/remote-write"]["exporters"], ["prometheusremotewrite"])

    def test_the_queue_is_on_disk_and_never_gives_up(self):
        otlp = self.config["exporters"]["otlp"]
        self.assertEqual(otlp["sending_queue"]["storage"], "file_storage")
        self.assertEqual(otlp["retry_on_failure"], otlp["retry_on_failure"] | {"enabled": True, "max_elapsed_time": "0s"})
        directory = self.config["extensions"]["file_storage"]["directory"]
        pod = next(p for p in pods(self.documents) if p.owner["metadata"]["name"] == "otel-collector")
        mounts = [m for m in pod.containers[0]["volumeMounts"] if directory.startswith(m["mountPath"] + "/")]
        self.assertEqual(len(mounts), 1, directory)
        self.assertFalse(mounts[0].get("readOnly"))

    def test_ports_are_those_of_the_container(self):
        pod = next(p for p in pods(self.documents) if p.owner["metadata"]["name"] == "otel-collector")
        protocols = self.config["receivers"]["otlp"]["protocols"]
        listened = {protocols[name]["endpoint"] for name in protocols} | {self.config["extensions"]["health_check"]["endpoint"]}
        self.assertEqual(listened, {f"0.0.0.0:{port}" for port in pod.ports().values()})

    def test_scraped_targets_are_services(self):
        jobs = self.config["receivers"]["prometheus/self"]["config"]["scrape_configs"]
        targets = [target for job in jobs for static in job["static_configs"] for target in static["targets"]]
        services = {s["metadata"]["name"]: s for s in of_kind(self.documents, "Service") if namespace(s) == "mytsdb"}
        for target in targets:
            host, port = target.split(":")
            self.assertIn(int(port), [found["port"] for found in services[host]["spec"]["ports"]])
