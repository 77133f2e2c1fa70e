"""Every command that the READMEs of the systems before documented for their charts, as arguments of ours.

Those systems: telemetry-gen-and-send, telemetry-pipeline, the multi-tenant demo app. What a command refers to and does not
bring along (a Secret that was made before) is `external`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from policies import External

VALUES = Path(__file__).resolve().parent / "values"
CHARTS = VALUES.parent.parent.parent / "deploy/helm"


def sets(*pairs: str) -> tuple[str, ...]:
    return tuple(part for pair in pairs for part in ("--set", pair))


def values(name: str) -> tuple[str, ...]:
    return ("--values", str(VALUES / name))


@dataclass(frozen=True)
class Example:
    chart: str
    name: str
    arguments: tuple[str, ...] = ()
    external: External = field(default_factory=External)

    def __str__(self) -> str:
        return f"{self.chart}: {self.name}"


def pipeline(name: str, *arguments: str, external: External = External()) -> Example:
    return Example("telemetry-pipeline", name, arguments, external)


def load(name: str, *pairs: str, secret: str = "") -> Example:
    secrets = frozenset({secret} if secret else ())
    return Example("telemetry-gen-and-send", name, sets(*pairs), External(secrets=secrets))


KEY = "honeycomb.apiKey=your-api-key"
HONEYCOMB = ("sender.config.otlp.endpoint=api.honeycomb.io:443", "sender.config.otlp.insecure=false")
ENDPOINT = sets("global.otlpEndpoint=http://opentelemetry-collector.otel-collector.svc.cluster.local:4317")


def demo(name: str, tenant: int, *pairs: str) -> Example:
    tenant_values = ("--values", str(CHARTS / f"demo-app/values-tenant{tenant}.yaml"))
    return Example("demo-app", f"{name}, tenant {tenant}", (*tenant_values, *sets(*pairs)))


REGISTRY = ("global.imageRegistry=docker.io/myorg", "sender.image.repository=sender", "receiver.image.repository=receiver")
TAGS = ("sender.image.tag=v1.0.0", "receiver.image.tag=v1.0.0")
FULL_PATHS = ("sender.image.repository=myregistry.io/myorg/sender", "receiver.image.repository=myregistry.io/myorg/receiver")
JOB = ("loadgen.enabled=true", "loadgen.mode=job", "loadgen.job.users=20", "loadgen.job.spawnRate=5", "loadgen.job.runTime=10m")

EXAMPLES = [
    Example("mytsdb", "defaults"),
    Example("mytsdb", "seeded", sets("seed.enabled=true", "persistence.enabled=false", "grafana.enabled=true")),
    Example("mytsdb", "temporary", sets("persistence.enabled=false", "gateway.enabled=false")),
    Example("mytsdb", "everything",
            (*sets("ingress.enabled=true", "ingress.className=nginx", "networkPolicy.enabled=true", "serviceMonitor.enabled=true",
                   "image.registry=ghcr.io/someone", "imagePullSecrets={regcred}", "webConfig.existingSecret=web",
                   "service.type=NodePort", "service.nodePorts.http=30090", "persistence.storageClass=fast-ssd",
                   "limits.tenants.team-a.retention=30d", "priorityClassName=high",
                   "networkPolicy.writers[0].namespaceSelector.matchLabels.team=apps"),),
            External(secrets=frozenset({"web"}))),
    # --- telemetry-gen-and-send
    load("defaults"),
    load("quick start", "honeycomb.apiKey=your-api-key-here", *HONEYCOMB),
    load("existing secret", "honeycomb.existingSecret=honeycomb-credentials", *HONEYCOMB, secret="honeycomb-credentials"),
    load("continuous", KEY, "replicaCount=5", "sender.config.sending.rateLimit.eventsPerSecond=200000"),
    load("time-limited", KEY, "sender.config.sending.duration=10m", "replicaCount=10"),
    load("high throughput", KEY, "replicaCount=20", "sender.config.sending.rateLimit.eventsPerSecond=500000",
         "sender.config.sending.concurrency=50", "sender.resources.limits.cpu=4000m", "sender.resources.limits.memory=2Gi"),
    load("custom endpoint", "honeycomb.apiKey=your-token", "sender.config.otlp.endpoint=localhost:4317",
         "sender.config.otlp.insecure=true"),
    load("persistent templates", KEY, "storage.type=persistentVolumeClaim", "storage.persistentVolumeClaim.size=10Gi",
         "storage.persistentVolumeClaim.storageClass=fast-ssd"),
    load("scale vertically", "sender.config.sending.concurrency=100", "sender.config.sending.rateLimit.eventsPerSecond=1000000",
         "sender.resources.limits.cpu=8000m", "sender.resources.limits.memory=4Gi"),
    load("image version", "image.tag=v0.2.0"),
    load("less load", "sender.config.sending.concurrency=20", "sender.resources.limits.cpu=2000m"),
    load("multiplier and network policy", "sender.config.sending.multiplier=3", "networkPolicy.enabled=true"),
    # --- telemetry-pipeline
    pipeline("defaults"),
    pipeline("custom installation", *sets("apiGateway.ingress.enabled=true",
             "apiGateway.ingress.hosts[0].host=telemetry-api.example.com", "collector.persistence.size=50Gi", "streamer.workers=4")),
    pipeline("production", *values("pipeline-production.yaml")),
    pipeline("components", *values("pipeline-components.yaml"), external=External(ports=frozenset({8080}))),
    pipeline("streamer only", *sets("collector.enabled=false", "apiGateway.enabled=false", "streamer.workers=4",
             "streamer.rate=20.0")),
    pipeline("collector with high availability", *sets("streamer.enabled=false", "apiGateway.enabled=false",
             "collector.replicaCount=3", "collector.autoscaling.enabled=true", "collector.persistence.size=100Gi")),
    pipeline("gateway with ingress", *sets("streamer.enabled=false", "collector.enabled=false", "apiGateway.ingress.enabled=true",
             "apiGateway.ingress.hosts[0].host=api.telemetry.local")),
    pipeline("CSV from a file", *sets("streamer.csvData="), "--set-file", f"streamer.csvData={VALUES / 'my-data.csv'}"),
    pipeline("CSV from a ConfigMap", *sets("streamer.existingConfigMap=my-telemetry-csv"),
             external=External(config_maps=frozenset({"my-telemetry-csv"}))),
    pipeline("CSV on a volume", *sets("streamer.persistence.enabled=true", "streamer.persistence.size=5Gi")),
    pipeline("development", *sets("collector.persistence.enabled=false", "mq.persistence.enabled=false",
             "apiGateway.replicaCount=1", "collector.replicaCount=1"), "--set-string", "collector.resources.requests.cpu=50m",
             "--set-string", "collector.resources.requests.memory=128Mi"),
    pipeline("upgrade", *sets("collector.image.tag=v2.0.0")),
    pipeline("queue in memory, closed network", *sets("collector.checkpointEnabled=false", "networkPolicy.enabled=true",
             "collector.enabled=true")),
    pipeline("gateway alone in a closed network", *sets("networkPolicy.enabled=true", "collector.enabled=false",
             "streamer.enabled=false")),
    # --- demo-app
    Example("demo-app", "defaults"),
    *[Example("demo-app", f"default images, tenant {tenant}",
              ("--values", str(CHARTS / f"demo-app/values-tenant{tenant}.yaml"), *ENDPOINT)) for tenant in (1, 2)],
    demo("global registry", 1, *REGISTRY, *TAGS),
    demo("global registry", 2, *REGISTRY),
    demo("full image paths", 1, *FULL_PATHS, *TAGS),
    demo("load as a deployment", 1, "loadgen.enabled=true", "loadgen.mode=deployment"),
    demo("load as a job", 1, *JOB),
    demo("load elsewhere", 2, "loadgen.enabled=true", "loadgen.mode=deployment",
         "loadgen.env.TARGET_HOST=http://sender-service:8000"),
    demo("node-local endpoint", 1, "global.useNodeLocalEndpoint=true", "networkPolicy.enabled=true", "loadgen.enabled=true"),
    demo("fixed endpoint", 2, "global.useNodeLocalEndpoint=false", "global.otlpEndpoint=http://custom-collector:4317"),
    Example("demo-app", "images and secrets", values("demo-app-images.yaml")),
]
