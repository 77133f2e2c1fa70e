"""What we ask of manifests beyond the API's schemas, as a real API server, a real kubelet or an auditor would.

Input: the documents of one installation. Output: sentences about what is wrong; each policy is a function in `POLICIES`.
Not here: whether a field exists (`schemas.py`).

`External` names what an installation refers to and does not bring along, such as a Secret that is there already.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from model import Pod, matches, namespace, of_kind, pods, selected
from network import networks
from quantities import bytes_of, cpus_of

CONFIG_MAP_BYTES_MAX = 1 << 20
VOLUME_KINDS = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")


@dataclass(frozen=True)
class External:
    config_maps: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()
    ports: frozenset[int] = field(default_factory=frozenset)
    """Ports that the user's own rules of a network policy name."""


Policy = Callable[[list[dict], External], Iterable[str]]


def restricted(documents: list[dict], _external: External):
    """Pod Security "restricted", and a read-only root file system, and no token of the API."""
    for pod in pods(documents):
        spec, context = pod.spec, pod.spec.get("securityContext", {})
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{pod.name} shares a namespace of the host"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name} gets a token of the API"
        for volume in spec.get("volumes", []):
            if not VOLUME_KINDS & volume.keys():
                yield f"{pod.name}: volume {volume['name']} is none of {sorted(VOLUME_KINDS)}"
        for container in pod.containers:
            own = container.get("securityContext", {})
            both = context | own
            wanted = {
                "runAsNonRoot": both.get("runAsNonRoot") is True,
                "runAsUser other than 0": both.get("runAsUser", 0) != 0,
                "seccompProfile": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
                "allowPrivilegeEscalation: false": own.get("allowPrivilegeEscalation") is False,
                "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
                "capabilities.drop: [ALL]": "ALL" in own.get("capabilities", {}).get("drop", []),
                "no added capability": not own.get("capabilities", {}).get("add"),
                "privileged: false": not own.get("privileged"),
                "no hostPort": not any("hostPort" in port for port in container.get("ports", [])),
            }
            for what, is_so in wanted.items():
                if not is_so:
                    yield f"{pod.name}: {container['name']} wants {what}"


def namespaces_enforce(documents: list[dict], _external: External):
    """Namespaces of ours refuse what is not restricted; what is in a namespace of a manifest is in one of ours."""
    ours = {document["metadata"]["name"] for document in of_kind(documents, "Namespace")}
    for document in of_kind(documents, "Namespace"):
        if document["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"namespace {document['metadata']['name']} does not enforce restricted"
    for document in documents if ours else []:
        if document["kind"] != "Namespace" and namespace(document) not in ours:
            yield f"{document['kind']} {document['metadata']['name']} is in {namespace(document)!r}, which is not made"


def resources(documents: list[dict], _external: External):
    for pod in pods(documents):
        for container in pod.containers:
            requests = container.get("resources", {}).get("requests", {})
            limits = container.get("resources", {}).get("limits", {})
            name = f"{pod.name}: {container['name']}"
            if not {"cpu", "memory"} <= requests.keys():
                yield f"{name} requests no CPU or no memory"
            if "memory" not in limits:
                yield f"{name} has no limit of memory"
            for key, read in (("memory", bytes_of), ("ephemeral-storage", bytes_of), ("cpu", cpus_of)):
                if key in requests and key in limits and read(requests[key]) > read(limits[key]):
                    yield f"{name} requests more {key} than its limit"


def container_ports(documents: list[dict], _external: External):
    for pod in pods(documents):
        all_ports = [port for container in pod.containers for port in container.get("ports", [])]
        for what, count in Counter(port.get("name") for port in all_ports).items():
            if what is None or not PORT_NAME.fullmatch(what) or count > 1:
                yield f"{pod.name}: port name {what!r} is missing, not valid or there {count} times"
        for number, count in Counter(port["containerPort"] for port in all_ports).items():
            if not 1 <= number <= 65535 or count > 1:
                yield f"{pod.name}: port {number} is not valid or there {count} times"


def probes(documents: list[dict], _external: External):
    """What lasts and listens has probes; they go to ports that are there; what runs once has none."""
    kinds = ("startupProbe", "livenessProbe", "readinessProbe")
    for pod in pods(documents):
        for container in pod.containers:
            name = f"{pod.name}: {container['name']}"
            lasts = container in pod.lasting
            if not lasts and any(kind in container for kind in kinds):
                yield f"{name} runs once and has a probe"
            # Nobody waits for the pods of a Job to be ready.
            if lasts and container.get("ports") and pod.owner["kind"] != "Job":
                for kind in ("livenessProbe", "readinessProbe"):
                    if kind not in container:
                        yield f"{name} has no {kind}"
            own = {port["name"]: port["containerPort"] for port in container.get("ports", []) if "name" in port}
            for kind in kinds:
                probe = container.get(kind)
                if probe is None:
                    continue
                action = probe.get("httpGet") or probe.get("tcpSocket") or probe.get("grpc")
                if action is None:
                    yield f"{name}: {kind} does nothing"
                    continue
                port = action["port"]
                if port not in own and port not in own.values():
                    yield f"{name}: {kind} asks port {port!r}, which the container does not have"
                if "httpGet" in probe and not probe["httpGet"].get("path", "").startswith("/"):
                    yield f"{name}: {kind} asks no path"
                if probe.get("timeoutSeconds", 1) < 2 or probe.get("timeoutSeconds", 1) > probe.get("periodSeconds", 10):
                    yield f"{name}: {kind} has a timeout below 2 s or above its period"


def labels(documents: list[dict], _external: External):
    wanted = {"app.kubernetes.io/name", "app.kubernetes.io/part-of", "app.kubernetes.io/managed-by"}
    all_labels = [(f"{d['kind']} {d['metadata']['name']}", d["metadata"].get("labels", {}), d) for d in documents]
    all_labels += [(f"pods of {pod.name}", pod.labels, pod.owner) for pod in pods(documents)]
    for name, found, document in all_labels:
        if document["kind"] not in ("Namespace", "ConfigMap") and not wanted <= found.keys():
            yield f"{name} lacks {sorted(wanted - found.keys())}"
        for key, value in found.items():
            if not LABEL_VALUE.fullmatch(value):
                yield f"{name}: {value!r} is no value of the label {key}"


def names(documents: list[dict], _external: External):
    identities = Counter((d["kind"], namespace(d), d["metadata"]["name"]) for d in documents)
    for identity, count in identities.items():
        if count > 1:
            yield f"{identity} is there {count} times"
        if not NAME.fullmatch(identity[2]) or (identity[0] == "Service" and ("." in identity[2] or len(identity[2]) > 63)):
            yield f"{identity[2]!r} is no name of a {identity[0]}"


def selectors(documents: list[dict], _external: External):
    """A workload selects its own pods and nobody else's."""
    for owner in of_kind(documents, "Deployment", "StatefulSet", "DaemonSet"):
        found = [pod.owner["metadata"]["name"] for pod in selected(documents, owner["spec"]["selector"], namespace(owner))]
        if found != [owner["metadata"]["name"]]:
            yield f"{owner['kind']} {owner['metadata']['name']} selects the pods of {found}"


def services(documents: list[dict], _external: External):
    node_ports: Counter = Counter()
    for service in of_kind(documents, "Service"):
        name = f"Service {namespace(service)}/{service['metadata']['name']}"
        chosen = selected(documents, {"matchLabels": service["spec"]["selector"]}, namespace(service))
        if len(chosen) != 1:
            yield f"{name} selects the pods of {[pod.name for pod in chosen]}"
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            for pod in chosen:
                if target not in pod.ports() and target not in pod.ports().values():
                    yield f"{name}: {pod.name} has no port {target!r}"
            if not 1 <= port["port"] <= 65535:
                yield f"{name}: {port['port']} is no port"
            if "nodePort" in port:
                node_ports[port["nodePort"]] += 1
                if not 30000 <= port["nodePort"] <= 32767:
                    yield f"{name}: {port['nodePort']} is no port of nodes"
    for port, count in node_ports.items():
        if count > 1:
            yield f"{count} services want port {port} of the nodes"
    for owner in of_kind(documents, "StatefulSet"):
        if not service_named(documents, namespace(owner), owner["spec"]["serviceName"]):
            yield f"StatefulSet {owner['metadata']['name']}: there is no Service {owner['spec']['serviceName']}"


def service_named(documents: list[dict], in_namespace: str, name: str) -> dict | None:
    for service in of_kind(documents, "Service"):
        if namespace(service) == in_namespace and service["metadata"]["name"] == name:
            return service
    return None


ADDRESS = re.compile(r"(?:https?://|\b)([a-z0-9]+(?:-[a-z0-9]+)*)(?:\.([a-z0-9-]+)\.svc(?:\.cluster\.local)?)?:(\d{2,5})\b")


def addresses(documents: list[dict], _external: External):
    """Services that configurations, arguments and variables name are there, with that port. Names of others are left alone."""
    texts = [(namespace(d), f"ConfigMap {d['metadata']['name']}", text) for d in of_kind(documents, "ConfigMap")
             for key, text in d.get("data", {}).items() if not key.endswith(".json")]
    for pod in pods(documents):
        for container in pod.containers:
            values = container.get("args", []) + [v["value"] for v in container.get("env", []) if "value" in v]
            texts += [(namespace(pod.owner), pod.name, str(value)) for value in values]
    known_namespaces = {namespace(document) for document in documents}
    known = {service["metadata"]["name"] for service in of_kind(documents, "Service")}
    for home, where, text in texts:
        for host, other, port in ADDRESS.findall(text):
            if (other and other not in known_namespaces) or (not other and host not in known):
                continue
            service = service_named(documents, other or home, host)
            if service is None:
                yield f"{where}: there is no Service {host} in {other or home!r}"
            elif int(port) not in [found["port"] for found in service["spec"]["ports"]]:
                yield f"{where}: the Service {host} has no port {port}"


def config_maps(documents: list[dict], _external: External):
    for document in of_kind(documents, "ConfigMap"):
        size = sum(len(key) + len(text.encode()) for key, text in document.get("data", {}).items())
        if size >= CONFIG_MAP_BYTES_MAX:
            yield f"ConfigMap {document['metadata']['name']} has {size} bytes"


def images(documents: list[dict], _external: External):
    for pod in pods(documents):
        for container in pod.containers:
            name, _, digest = container["image"].partition("@")
            tag = name.rpartition("/")[2].partition(":")[2]
            if not digest and tag in ("", "latest"):
                yield f"{pod.name}: image {container['image']} has no tag that says which"
            if container.get("imagePullPolicy") != "IfNotPresent":
                yield f"{pod.name}: {container['name']} does not pull IfNotPresent, which images loaded into a node want"


def volumes(documents: list[dict], external: External):
    """Mounts have volumes, volumes have mounts, and what they are made of is there."""
    for pod in pods(documents):
        made = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        claimed = {claim["metadata"]["name"] for claim in pod.owner["spec"].get("volumeClaimTemplates", [])}
        if made.keys() & claimed:
            yield f"{pod.name}: {sorted(made.keys() & claimed)} are volumes and claims"
        mounted = set()
        for container in pod.containers:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
            if len(paths) > len(set(paths)):
                yield f"{pod.name}: {container['name']} mounts twice at one path"
        for name in mounted ^ (made.keys() | claimed):
            yield f"{pod.name}: volume {name} is mounted or made, not both"
        for kind, name in references(pod):
            known = {document["metadata"]["name"] for document in of_kind(documents, kind)
                     if namespace(document) == namespace(pod.owner)}
            known |= {"ConfigMap": external.config_maps, "Secret": external.secrets,
                      "PersistentVolumeClaim": external.claims}.get(kind, frozenset())
            if name not in known:
                yield f"{pod.name}: there is no {kind} {name}"


def references(pod: Pod) -> list[tuple[str, str]]:
    """What a pod needs by name: pairs of kind and name."""
    found = [("ServiceAccount", pod.spec["serviceAccountName"])] if "serviceAccountName" in pod.spec else []
    for volume in pod.spec.get("volumes", []):
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            if "configMap" in source:
                found.append(("ConfigMap", source["configMap"]["name"]))
            if "secret" in source:
                found.append(("Secret", source["secret"].get("secretName") or source["secret"]["name"]))
            if "persistentVolumeClaim" in source:
                found.append(("PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"]))
    for container in pod.containers:
        for source in (variable.get("valueFrom", {}) for variable in container.get("env", [])):
            if "configMapKeyRef" in source:
                found.append(("ConfigMap", source["configMapKeyRef"]["name"]))
            if "secretKeyRef" in source:
                found.append(("Secret", source["secretKeyRef"]["name"]))
    return found


def variables(documents: list[dict], _external: External):
    """Keys of ConfigMaps are there; $(NAME) names a variable before it; no name twice."""
    for pod in pods(documents):
        maps = {d["metadata"]["name"]: d.get("data", {}) for d in of_kind(documents, "ConfigMap")
                if namespace(d) == namespace(pod.owner)}
        for container in pod.containers:
            seen: set[str] = set()
            for variable in container.get("env", []):
                name = f"{pod.name}: {container['name']}: {variable['name']}"
                reference = variable.get("valueFrom", {}).get("configMapKeyRef")
                if reference and reference["key"] not in maps.get(reference["name"], {}):
                    yield f"{name}: no key {reference['key']} in {reference['name']}"
                for used in re.findall(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", variable.get("value", "")):
                    if used not in seen:
                        yield f"{name} uses {used}, which is not set before"
                if variable["name"] in seen:
                    yield f"{name} is set twice"
                seen.add(variable["name"])


def availability(documents: list[dict], _external: External):
    """Budgets let a node be drained; scalers, budgets and ingresses have something to work on; a store has one replica."""
    for budget in of_kind(documents, "PodDisruptionBudget"):
        name = f"PodDisruptionBudget {budget['metadata']['name']}"
        chosen = selected(documents, budget["spec"]["selector"], namespace(budget))
        if len(chosen) != 1:
            yield f"{name} selects the pods of {[pod.name for pod in chosen]}"
        for pod in chosen:
            if budget["spec"].get("maxUnavailable") != 1 or pod.owner["spec"].get("replicas", 2) < 2:
                yield f"{name} keeps a node of {pod.name} from being drained, or guards nothing"
    for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        found = [d for d in of_kind(documents, target["kind"]) if d["metadata"]["name"] == target["name"]]
        if len(found) != 1 or "replicas" in found[0]["spec"]:
            yield f"HorizontalPodAutoscaler {scaler['metadata']['name']}: {target['name']} is not there or has a fixed number"
    for ingress in of_kind(documents, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                service = service_named(documents, namespace(ingress), backend["name"])
                if service is None or backend["port"]["name"] not in [port["name"] for port in service["spec"]["ports"]]:
                    yield f"Ingress {ingress['metadata']['name']}: no Service {backend['name']} with that port"
    for pod in pods(documents):
        if any("--data-dir=/data" in container.get("args", []) for container in pod.containers):
            if pod.owner["kind"] != "StatefulSet" or pod.owner["spec"].get("replicas") != 1:
                yield f"{pod.name} runs MyTSDB otherwise than as one replica of a StatefulSet"


def monitors(documents: list[dict], _external: External):
    for monitor in of_kind(documents, "ServiceMonitor"):
        chosen = [s for s in of_kind(documents, "Service") if matches(monitor["spec"]["selector"], s["metadata"]["labels"])
                  and namespace(s) == namespace(monitor)]
        for endpoint in monitor["spec"]["endpoints"]:
            if not any(endpoint["port"] in [port["name"] for port in s["spec"]["ports"]] for s in chosen):
                yield f"ServiceMonitor {monitor['metadata']['name']}: no Service with a port {endpoint['port']}"


POLICIES: list[Policy] = [
    restricted, namespaces_enforce, resources, container_ports, probes, labels, names, selectors, services, addresses,
    config_maps, images, volumes, variables, availability, monitors, networks,
]


def problems(documents: list[dict], external: External = External()) -> list[str]:
    return [f"{policy.__name__}: {problem}" for policy in POLICIES for problem in policy(documents, external)]
