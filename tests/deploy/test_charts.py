"""Charts map their values to what they say, and refuse bad ones with a message that names the value."""

import re
import unittest

import yaml
from examples import EXAMPLES
from model import of_kind, pods
from render import DEPLOY, HELM_MAJORS, PROGRAMS, RenderError, helm, notes, run

# Chart, arguments, and what the message has to say.
REFUSED = [
    ("mytsdb", ["replicas=2"], "replicas"),
    ("mytsdb", ["image.tag=latest"], "tag"),
    ("mytsdb", ["image.digest=sha256:12"], "digest"),
    ("mytsdb", ["seed.enabled=true"], "persistence.enabled=false"),
    ("mytsdb", ["seed.preset=huge"], "preset"),
    ("mytsdb", ["persistence.size=lots"], "size"),
    ("mytsdb", ["persistence.accessModes={ReadWriteMany}"], "accessModes"),
    ("mytsdb", ["service.nodePorts.http=99090"], "http"),
    ("mytsdb", ["config.http-port=1"], "http-port"),
    ("mytsdb", ["serviceAccount.create=false"], "serviceAccount.name is needed"),
    ("mytsdb", ["seed.enabled=true", "persistence.enabled=false", "webConfig.existingSecret=web"], "seed.enabled cannot log in"),
    ("telemetry-gen-and-send", ["replicaCount=-1"], "replicaCount"),
    ("telemetry-gen-and-send", ["sender.config.otlp.endpoint=api.honeycomb.io:443"], "Honeycomb wants a key"),
    ("telemetry-gen-and-send", ["honeycomb.apiKey=a", "honeycomb.existingSecret=b"], "both set"),
    ("telemetry-gen-and-send", ["sender.config.sending.duration=soon"], "duration"),
    ("telemetry-gen-and-send", ["sender.config.sending.concurrency=0"], "concurrency"),
    ("telemetry-gen-and-send", ["sender.config.otlp.endpoint=http://x"], "endpoint"),
    ("telemetry-gen-and-send", ["storage.type=hostPath"], "type"),
    ("telemetry-gen-and-send", ["sender.confg.sending.concurrency=1"], "confg"),
    ("telemetry-pipeline", ["streamer.rate=0"], "rate"),
    ("telemetry-pipeline", ["streamer.workers=two"], "workers"),
    ("telemetry-pipeline", ["apiGateway.port=99091"], "port"),
    ("telemetry-pipeline", ["apiGateway.cors.allowedMethods={FETCH}"], "allowedMethods"),
    ("telemetry-pipeline", ["collector.autoscaling.enabled=true", "collector.autoscaling.minReplicas=5"], "minReplicas 5"),
    ("telemetry-pipeline", ["streamer.enabled=false", "collector.enabled=false", "apiGateway.enabled=false"], "nothing would be"),
    ("telemetry-pipeline", ["streamer.csvData=a", "streamer.existingConfigMap=b"], "streamer.csvData is inline"),
    ("telemetry-pipeline", ["store.retention=forever"], "retention"),
    ("telemetry-pipeline", ["mq.dir=relative"], "dir"),
    ("demo-app", ["loadgen.mode=cron"], "mode"),
    ("demo-app", ["global.useNodeLocalEndpoint=false"], "global.otlpEndpoint is needed"),
    ("demo-app", ["global.imageRegistry=https://docker.io"], "imageRegistry"),
    ("demo-app", ["sender.env.ERROR_RATE=1.5"], "ERROR_RATE"),
    ("demo-app", ["receiver.env.PROCESSING_TIME_MS=fast"], "PROCESSING_TIME_MS"),
    ("demo-app", ["tenantId=a/b"], "tenantId"),
    ("demo-app", ["loadgen.job.runTime=10 minutes"], "runTime"),
]

# The defaults that the tables of the systems before name.
DOCUMENTED = {
    "telemetry-gen-and-send": {
        "replicaCount": 3, "honeycomb.apiKey": "", "honeycomb.existingSecret": "",
        "sender.config.sending.rateLimit.eventsPerSecond": 100000, "sender.config.sending.concurrency": 30,
        "sender.config.sending.duration": "0", "sender.config.sending.multiplier": 0, "storage.type": "emptyDir",
    },
    "telemetry-pipeline": {
        "streamer.enabled": True, "streamer.workers": 2, "streamer.rate": 10.0, "collector.enabled": True,
        "collector.replicaCount": 1, "collector.workers": 4, "collector.persistence.enabled": True,
        "collector.persistence.size": "10Gi", "apiGateway.enabled": True, "apiGateway.replicaCount": 2,
        "apiGateway.ingress.enabled": False, "mq.persistence.enabled": True, "mq.persistence.size": "5Gi",
    },
    "demo-app": {"global.useNodeLocalEndpoint": True, "global.otlpPort": "4317", "loadgen.enabled": False},
}


def container(documents: list[dict], name: str) -> dict:
    return next(c for pod in pods(documents) for c in pod.containers if c["name"] == name)


def sets(*pairs: str) -> list[str]:
    return [part for pair in pairs for part in ("--set", pair)]


class Charts(unittest.TestCase):
    def test_bad_values_are_refused_with_a_message_that_names_them(self):
        seen = set()
        for chart, pairs, message in REFUSED:
            # The older major says the same in other words: once a chart is enough.
            for program in HELM_MAJORS if chart not in seen else HELM_MAJORS[:1]:
                seen.add(chart)
                with self.assertRaises(RenderError, msg=f"{chart} {pairs}") as refused:
                    helm(chart, *sets(*pairs), program=program)
                self.assertIn(message, str(refused.exception), f"{chart} {pairs}")

    def test_lint_is_content(self):
        charts = sorted(str(path.parent) for path in (DEPLOY / "helm").glob("*/Chart.yaml"))
        for program in HELM_MAJORS:
            self.assertIn("0 chart(s) failed", run([str(PROGRAMS / program), "lint", "--strict", *charts]))

    def test_defaults_are_those_that_were_documented(self):
        for chart, wanted in DOCUMENTED.items():
            values = yaml.safe_load((DEPLOY / f"helm/{chart}/values.yaml").read_text())
            for path, value in wanted.items():
                found = values
                for key in path.split("."):
                    found = found[key]
                self.assertEqual(found, value, f"{chart}: {path}")

    def test_schemas_know_every_value(self):
        """A value that the schema does not list would be refused only where `additionalProperties` is false: ours all are."""
        for chart in {example.chart for example in EXAMPLES}:
            folder = DEPLOY / "helm" / chart
            values = yaml.safe_load((folder / "values.yaml").read_text())
            schema = yaml.safe_load((folder / "values.schema.json").read_text())
            self.assertIs(schema["additionalProperties"], False)
            self.assertEqual(set(values) - set(schema["properties"]), set(), chart)

    def test_every_template_uses_values_that_exist(self):
        for chart in {example.chart for example in EXAMPLES}:
            folder = DEPLOY / "helm" / chart
            values = yaml.safe_load((folder / "values.yaml").read_text())
            for path in sorted((folder / "templates").iterdir()):
                for used in re.findall(r"\.Values\.([A-Za-z]+(?:\.[A-Za-z]+)*)", path.read_text()):
                    found = values
                    for key in used.split("."):
                        self.assertIsInstance(found, dict, f"{chart}/{path.name}: {used}")
                        if not found or key == "apiKeyHeader" or used == "mq.persistence.dir":
                            break
                        self.assertIn(key, found, f"{chart}/{path.name}: {used}")
                        found = found[key]

    def test_notes_tell_what_to_do_next(self):
        self.assertIn("http://test-mytsdb.default.svc:9090", notes("mytsdb"))
        load = notes("telemetry-gen-and-send", *sets("replicaCount=5", "sender.config.sending.rateLimit.eventsPerSecond=200000"))
        self.assertIn("5 pods x 200000 events/s = 1000000 events/s", load)
        self.assertIn("service/test-api-gateway 8081:80", notes("telemetry-pipeline"))
        self.assertIn("tenant tenant1", notes("demo-app", *sets("tenantId=tenant1")))

    def test_changed_settings_change_the_pods(self):
        """Checksums: a pod is replaced when its ConfigMap or inline Secret changes."""
        for chart, kind, pair in [
            ("mytsdb", "StatefulSet", "config.retention=30d"),
            ("telemetry-gen-and-send", "Deployment", "sender.config.sending.concurrency=31"),
            ("telemetry-gen-and-send", "Deployment", "generator.config.seed=2"),
            ("telemetry-gen-and-send", "Deployment", "honeycomb.apiKey=other"),
            ("telemetry-pipeline", "DaemonSet", "streamer.csvData=other"),
            ("telemetry-pipeline", "StatefulSet", "collector.workers=5"),
            ("telemetry-pipeline", "Deployment", "apiGateway.cors.enabled=false"),
        ]:
            before, after = helm(chart), helm(chart, *sets(pair))
            annotations = [of_kind(d, kind)[0]["spec"]["template"]["metadata"]["annotations"] for d in (before, after)]
            self.assertNotEqual(annotations[0], annotations[1], f"{chart}: {pair}")

    def test_the_key_is_mounted_and_never_an_argument(self):
        for pairs, secret in [(["honeycomb.apiKey=s3cret"], "test-telemetry-gen-and-send-key"),
                              (["honeycomb.existingSecret=mine", "honeycomb.existingSecretKey=token"], "mine")]:
            documents = helm("telemetry-gen-and-send", *sets(*pairs))
            workload = of_kind(documents, "Deployment")[0]
            self.assertNotIn("s3cret", str(workload))
            volume = next(v for v in workload["spec"]["template"]["spec"]["volumes"] if v["name"] == "key")
            self.assertEqual(volume["secret"]["secretName"], secret)
            sender = yaml.safe_load(of_kind(documents, "ConfigMap")[0]["data"]["sender.yaml"])
            self.assertEqual(sender["otlp"]["apiKeyFile"], "/etc/load-key/api-key")

    def test_what_ends_by_itself_is_a_job(self):
        for pairs in (["sender.config.sending.duration=10m"], ["sender.config.sending.multiplier=1"]):
            documents = helm("telemetry-gen-and-send", *sets("replicaCount=4", *pairs))
            self.assertEqual([len(of_kind(documents, kind)) for kind in ("Job", "Deployment")], [1, 0])
            self.assertEqual(of_kind(documents, "Job")[0]["spec"]["completions"], 4)

    def test_large_numbers_of_a_values_file_stay_whole(self):
        """A million must not become 1e+06 on its way through the template."""
        from tempfile import NamedTemporaryFile
        with NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("sender: {config: {sending: {rateLimit: {eventsPerSecond: 1000000}}}}\n")
            file.flush()
            documents = helm("telemetry-gen-and-send", "--values", file.name)
        self.assertIn("eventsPerSecond: 1000000\n", of_kind(documents, "ConfigMap")[0]["data"]["sender.yaml"])

    def test_rates_and_workers_of_the_streamer_are_arguments(self):
        arguments = container(helm("telemetry-pipeline", *sets("streamer.workers=4", "streamer.rate=20.0")), "streamer")["args"]
        self.assertIn("--workers=4", arguments)
        self.assertIn("--rate=20.0", arguments)

    def test_the_streamer_sends_to_the_collector_or_past_it(self):
        for pairs, endpoint in [([], "http://test-collector:4317"),
                                (["collector.enabled=false"], "http://mytsdb.mytsdb.svc.cluster.local:4317"),
                                (["streamer.endpoint=http://x:1"], "http://x:1")]:
            arguments = container(helm("telemetry-pipeline", *sets(*pairs)), "streamer")["args"]
            self.assertIn(f"--endpoint={endpoint}", arguments)

    def test_registries_go_in_front_of_repositories(self):
        for pairs, image in [
            ([], "demo-app/sender:0.1.0"),
            (["global.imageRegistry=docker.io/myorg", "sender.image.repository=sender", "sender.image.tag=v1.0.0"],
             "docker.io/myorg/sender:v1.0.0"),
            (["sender.image.repository=docker.io/myorg/sender", "sender.image.tag=v1.0.0"], "docker.io/myorg/sender:v1.0.0"),
            (["global.imageRegistry=ghcr.io/myorg/", "sender.image.repository=sender"], "ghcr.io/myorg/sender:0.1.0"),
        ]:
            self.assertEqual(container(helm("demo-app", *sets(*pairs)), "sender")["image"], image)

    def test_the_endpoint_is_the_nodes_or_the_given_one(self):
        local = {variable["name"]: variable for variable in container(helm("demo-app"), "sender")["env"]}
        self.assertEqual(local["NODE_IP"]["valueFrom"]["fieldRef"]["fieldPath"], "status.hostIP")
        self.assertNotIn("OTEL_EXPORTER_OTLP_ENDPOINT", local)
        given = {v["name"]: v for v in container(helm("demo-app", *sets("global.otlpEndpoint=http://c:4317")), "sender")["env"]}
        self.assertEqual(given["OTEL_EXPORTER_OTLP_ENDPOINT"]["value"], "http://c:4317")
        self.assertNotIn("NODE_IP", given)
