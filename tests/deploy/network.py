"""Network policies: every port that they name is one of the pods they are about.

Input: documents. Output: sentences, as of any policy.
"""

from model import Pod, matches, namespace, of_kind, pods, selected

DNS = {"kubernetes.io/metadata.name": "kube-system"}
DNS_PORT = 53


def networks(documents: list[dict], external):
    for policy in of_kind(documents, "NetworkPolicy"):
        name = f"NetworkPolicy {namespace(policy)}/{policy['metadata']['name']}"
        spec = policy["spec"]
        own = selected(documents, spec["podSelector"], namespace(policy))
        if not own:
            yield f"{name} is about no pods"
        for direction, peers_key in (("ingress", "from"), ("egress", "to")):
            if direction in spec and direction.capitalize() not in spec["policyTypes"]:
                yield f"{name} has rules of {direction} without that type"
            for rule in spec.get(direction, []):
                peers = own if direction == "ingress" else peers_of(documents, rule.get(peers_key, []), namespace(policy))
                yield from ports_of(name, rule, peers, external)
                if rule.get(peers_key) and not peers_of(documents, rule[peers_key], namespace(policy)):
                    if not is_dns(rule, peers_key):
                        yield f"{name} lets nobody in or out by {rule[peers_key]}"


def ports_of(name: str, rule: dict, peers: list[Pod], external):
    known = {key for pod in peers for item in pod.ports().items() for key in item} | set(external.ports)
    for port in rule.get("ports", []):
        number = port["port"]
        if isinstance(number, int) and not 1 <= number <= 65535:
            yield f"{name}: {number} is no port"
        # To whom it may concern: without a peer, numbers of others are fine.
        if number == DNS_PORT or (isinstance(number, int) and not peers):
            continue
        if number not in known:
            yield f"{name}: none of {[pod.name for pod in peers]} has a port {number!r}"


def is_dns(rule: dict, key: str) -> bool:
    return any(peer.get("namespaceSelector", {}).get("matchLabels") == DNS for peer in rule[key])


def peers_of(documents: list[dict], peers: list[dict], home: str) -> list[Pod]:
    found = []
    for peer in peers:
        wanted = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", home)
        found += [pod for pod in pods(documents) if namespace(pod.owner) == wanted
                  and matches(peer.get("podSelector", {}), pod.labels)]
    return found
