"""Runs the containers of one pod as processes of this machine, in the order and under the rules of a kubelet.

Input: a pod as a manifest has it. Programs, arguments and variables are the manifest's; replaced are only what a container
has for itself and this machine has once: volumes become folders, ports become free ones, addresses become 127.0.0.1.

Rules: init containers one after the other; one that runs once must end with 0 before the next begins; a sidecar (restartPolicy
Always) must pass its startup probe. Then the main containers. The pod is Ready when all init containers are done, the sidecars
and main containers run and pass their readiness probes. Not here: restarting what failed; a failure is told instead.

Source: Kubernetes' documentation of pod lifecycle, init containers and sidecar containers.
"""

import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from harness import Process, wait_for

# What the image starts where a container has no command of its own; a test compares it with the Dockerfile.
ENTRYPOINT = ["mytsdb"]
RUN_SECONDS_MAX = 300


class ContainerFailed(Exception):
    """A container that has to end well did not."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Rehearsal:
    def __init__(
        self,
        spec: dict,
        config_maps: dict[str, dict[str, str]],
        programs: Path,
        variables: dict[str, str] | None = None,
        addresses: dict[str, str] | None = None,
    ):
        """`variables` replace those of the containers that have them; `config_maps` maps names to data; `addresses` says what
        `service:port` is on this machine."""
        self.spec = spec
        self.programs = programs
        self.variables = variables or {}
        self.addresses = addresses or {}
        self.folder = Path(tempfile.mkdtemp(prefix="mytsdb-pod-"))
        self.volumes = {name: self.make_volume(name, config_maps) for name in self.volume_names()}
        containers = self.spec.get("initContainers", []) + self.spec["containers"]
        self.ports = {p["containerPort"]: free_port() for c in containers for p in c.get("ports", [])}
        self.running: dict[str, Process] = {}
        self.is_initialized = False

    def volume_names(self) -> set[str]:
        containers = self.spec.get("initContainers", []) + self.spec["containers"]
        return {mount["name"] for container in containers for mount in container.get("volumeMounts", [])}

    def make_volume(self, name: str, config_maps: dict[str, dict[str, str]]) -> Path:
        folder = self.folder / "volumes" / name
        folder.mkdir(parents=True)
        source = next((volume for volume in self.spec.get("volumes", []) if volume["name"] == name), {})
        if "configMap" in source:
            for key, text in config_maps[source["configMap"]["name"]].items():
                (folder / key).write_text(self.with_addresses(text))
        return folder

    def with_addresses(self, text: str) -> str:
        for service, address in self.addresses.items():
            text = text.replace(service, address)
        return text

    def localize(self, text: str, container: dict) -> str:
        """The same argument or value on this machine."""
        if any(service in text for service in self.addresses):
            return self.with_addresses(text)
        for mount in container.get("volumeMounts", []):
            text = re.sub(rf"(^|=){re.escape(mount['mountPath'])}(?=/|$)", rf"\g<1>{self.volumes[mount['name']]}", text)
        text = text.replace("0.0.0.0:", "127.0.0.1:")
        return re.sub(r"(?<=[:=])(\d{4,5})$", lambda found: str(self.ports.get(int(found[1]), found[1])), text)

    def command(self, container: dict) -> list[str]:
        program, *rest = container.get("command", ENTRYPOINT) + container.get("args", [])
        own = self.programs / program
        found = str(own) if own.exists() else shutil.which(program)
        if found is None:
            raise ContainerFailed(f"{container['name']}: there is no program {program} in {self.programs}")
        return [found, *(self.localize(str(argument), container) for argument in rest)]

    def environment(self, container: dict) -> dict[str, str]:
        own = {v["name"]: self.localize(v["value"], container) for v in container.get("env", []) if "value" in v}
        fields = {"metadata.name": "pod-0", "metadata.namespace": "default", "spec.nodeName": "node", "status.hostIP": "127.0.0.1"}
        for variable in container.get("env", []):
            if "fieldRef" in variable.get("valueFrom", {}):
                own[variable["name"]] = fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        own |= {name: value for name, value in self.variables.items() if name in own or name not in os.environ}
        return {"PATH": os.environ["PATH"], "MYTSDB_HTTP_HOST": "127.0.0.1"} | own

    def run_once(self, container: dict) -> str:
        done = subprocess.run(
            self.command(container), env=self.environment(container), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=RUN_SECONDS_MAX, check=False,
        )
        if done.returncode:
            raise ContainerFailed(f"{container['name']} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        return done.stdout + done.stderr

    def start(self, container: dict) -> None:
        log = self.folder / f"{container['name']}.log"
        self.running[container["name"]] = Process(self.command(container), log, self.environment(container))

    def probe(self, container: dict, kind: str) -> bool:
        """One attempt, as a kubelet makes it: 200 to 399 is a success. Without such a probe it is one, too."""
        action = container.get(kind, {}).get("httpGet")
        if action is None:
            return True
        port = next(p["containerPort"] for p in container["ports"] if action["port"] in (p["name"], p["containerPort"]))
        timeout = container[kind].get("timeoutSeconds", 1)
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=timeout)
        try:
            connection.request("GET", action["path"])
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()

    def initialize(self, before_each=lambda container: None) -> dict[str, str]:
        """All init containers; returns what those that run once wrote. `before_each` is told which one comes."""
        written = {}
        for container in self.spec.get("initContainers", []):
            before_each(container)
            if container.get("restartPolicy") == "Always":
                self.start(container)
                self.wait_started(container)
            else:
                written[container["name"]] = self.run_once(container)
        self.is_initialized = True
        return written

    def start_main(self) -> None:
        for container in self.spec["containers"]:
            self.start(container)
            self.wait_started(container)

    def wait_started(self, container: dict) -> None:
        probe = container.get("startupProbe", {})

        def has_started() -> bool:
            self.running[container["name"]].check_alive()
            return self.probe(container, "startupProbe")

        seconds = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
        wait_for(f"the startup probe of {container['name']}", has_started, min(seconds, 120))

    def is_ready(self) -> bool:
        lasting = [c for c in self.spec.get("initContainers", []) if c.get("restartPolicy") == "Always"] + self.spec["containers"]
        return self.is_initialized and all(
            container["name"] in self.running and self.running[container["name"]].child.poll() is None
            and self.probe(container, "readinessProbe")
            for container in lasting
        )

    def stop(self) -> None:
        """Main containers first, then sidecars in the reverse order of their start."""
        for name in reversed(list(self.running)):
            self.running.pop(name).stop()
        self.is_initialized = False

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)
