"""What manifests say about pods: the few questions that every policy asks.

Input: documents. Output: pods with their containers, labels and volumes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}


@dataclass(frozen=True)
class Pod:
    """The pods of one workload."""

    owner: dict
    labels: dict
    spec: dict

    @property
    def name(self) -> str:
        return f"{self.owner['kind']} {namespace(self.owner)}/{self.owner['metadata']['name']}"

    @property
    def containers(self) -> list[dict]:
        """Init containers first, as they run."""
        return self.spec.get("initContainers", []) + self.spec["containers"]

    @property
    def lasting(self) -> list[dict]:
        """Those that run as long as the pod does: main containers and sidecars."""
        sidecars = [c for c in self.spec.get("initContainers", []) if c.get("restartPolicy") == "Always"]
        return sidecars + self.spec["containers"]

    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for c in self.containers for port in c.get("ports", []) if "name" in port}


def namespace(document: dict) -> str:
    return document["metadata"].get("namespace", "")


def of_kind(documents: list[dict], *kinds: str) -> list[dict]:
    return [document for document in documents if document["kind"] in kinds]


def pods(documents: list[dict]) -> Iterator[Pod]:
    for owner in of_kind(documents, *WORKLOADS):
        template = owner["spec"]["template"]
        yield Pod(owner, template["metadata"].get("labels", {}), template["spec"])


def matches(selector: dict, labels: dict) -> bool:
    """A selector of labels; expressions are not used here, so they match nothing and are noticed."""
    if selector.get("matchExpressions"):
        return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def selected(documents: list[dict], selector: dict, in_namespace: str) -> list[Pod]:
    return [pod for pod in pods(documents) if namespace(pod.owner) == in_namespace and matches(selector, pod.labels)]
