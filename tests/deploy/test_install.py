"""deploy/install.sh with programs that only note how they are called: what it needs, in which order, and what it says."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from render import DEPLOY, ROOT

SCRIPT = DEPLOY / "install.sh"
# What a fake does: notes its arguments; `kind get clusters` tells what was created.
FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0") $*" in
  "kind get clusters") cat "$CLUSTERS" 2>/dev/null ;;
  "kind create cluster"*) echo mytsdb >"$CLUSTERS" ;;
  "kind delete cluster"*) rm -f "$CLUSTERS" ;;
  "docker info") exit "${DOCKER_INFO:-0}" ;;
  *"rollout status"*) exit "${ROLLOUT:-0}" ;;
esac
exit 0
"""
SYSTEM = ["bash", "sh", "env", "dirname", "basename", "cat", "rm", "grep", "awk", "sed", "tail", "wc", "curl", "echo", "sleep"]


class Install(unittest.TestCase):
    def setUp(self) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = Path(self.temporary.name)
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        for name in SYSTEM:
            found = subprocess.run(["which", name], capture_output=True, text=True, check=False).stdout.strip()
            if found:
                (self.bin / name).symlink_to(found)
        # No port is taken on a fake machine: the script asks through bash's /dev/tcp, so ports that are free are mapped.
        self.script = self.folder / "deploy/install.sh"
        self.script.parent.mkdir()
        self.script.write_text(SCRIPT.read_text().replace('host_ports="9090 3000 4317 4318"', 'host_ports="1 2 3"'))
        self.script.chmod(0o755)
        (self.folder / "deploy/kind").symlink_to(DEPLOY / "kind")

    def fake(self, *names: str) -> None:
        for name in names:
            (self.bin / name).write_text(FAKE)
            (self.bin / name).chmod(0o755)

    def call(self, *arguments: str, **variables: str) -> tuple[int, str, list[str]]:
        calls = self.folder / "calls"
        calls.write_text("")
        environment = {"PATH": str(self.bin), "CALLS": str(calls), "CLUSTERS": str(self.folder / "clusters"), **variables}
        done = subprocess.run(["bash", str(self.script), *arguments], env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr, calls.read_text().splitlines()

    def test_what_is_missing_is_named_with_where_to_get_it(self):
        for present, missing, link in [([], "docker", "docs.docker.com"), (["docker"], "kind", "kind.sigs.k8s.io"),
                                       (["kind"], "kubectl", "kubernetes.io"), (["kubectl"], "make", "packages")]:
            self.fake(*present)
            status, said, calls = self.call("install")
            self.assertEqual(status, 1)
            self.assertIn(f"{missing} is missing", said)
            self.assertIn(link, said)
            self.assertFalse([call for call in calls if "create" in call or "apply" in call])

    def test_a_daemon_that_does_not_answer_is_told(self):
        self.fake("docker", "kind", "kubectl", "make")
        status, said, _ = self.call("install", DOCKER_INFO="1")
        self.assertEqual(status, 1)
        self.assertIn("docker does not answer", said)

    def test_install_twice_makes_one_cluster_and_waits_for_everything(self):
        self.fake("docker", "kind", "kubectl", "make")
        for is_second in (False, True):
            status, said, calls = self.call("install")
            self.assertEqual(status, 0, said)
            created = [call for call in calls if call.startswith("kind create cluster")]
            self.assertEqual(len(created), 0 if is_second else 1)
            applied = [index for index, call in enumerate(calls) if " apply " in call]
            waited = [index for index, call in enumerate(calls) if "rollout status" in call]
            self.assertEqual(len(applied), 1)
            self.assertIn("--context kind-mytsdb apply --server-side", calls[applied[0]])
            self.assertIn("deploy/kind/overlays/seeded", calls[applied[0]])
            self.assertIn("statefulset/mytsdb", calls[waited[0]])
            self.assertEqual(len(waited), 11)
            self.assertGreater(min(waited), applied[0])
            loaded = [call.split()[3] for call in calls if call.startswith("kind load docker-image")]
            self.assertEqual(loaded, ["mytsdb:0.1.0", "demo-app/sender:0.1.0", "demo-app/receiver:0.1.0", "demo-app/loadgen:0.1.0"])

    def test_it_waits_for_every_workload_of_the_overlay(self):
        from model import of_kind
        from render import kustomize
        self.fake("docker", "kind", "kubectl", "make")
        _, _, calls = self.call("install")
        waited = {(c.split("--namespace ")[1].split()[0], c.split("rollout status ")[1].split()[0]) for c in calls if "rollout status" in c}
        workloads = of_kind(kustomize(DEPLOY / "kind/overlays/seeded"), "Deployment", "StatefulSet", "DaemonSet")
        self.assertEqual(waited, {(w["metadata"]["namespace"], f"{w['kind'].lower()}/{w['metadata']['name']}") for w in workloads})

    def test_images_of_the_overlay_are_those_that_are_loaded_or_public(self):
        from model import pods
        from render import kustomize
        images = {c["image"] for pod in pods(kustomize(DEPLOY / "kind/overlays/seeded")) for c in pod.containers}
        public = {image for image in images if image.startswith(("otel/", "grafana/"))}
        self.assertEqual(images - public, {"mytsdb:0.1.0", *(f"demo-app/{name}:0.1.0" for name in ("sender", "receiver", "loadgen"))})

    def test_a_pod_that_does_not_become_ready_ends_it_with_advice(self):
        self.fake("docker", "kind", "kubectl", "make")
        status, said, _ = self.call("install", ROLLOUT="1")
        self.assertEqual(status, 1)
        self.assertIn("statefulset/mytsdb in mytsdb is not ready", said)

    def test_bad_choices_are_refused(self):
        self.fake("docker", "kind", "kubectl", "make")
        for arguments, variables, message in [
            (["install"], {"OVERLAY": "other"}, "allowed is seeded or persistent"),
            (["install"], {"IMAGE_ARCHIVE": "/nonexistent"}, "IMAGE_ARCHIVE=/nonexistent is not there"),
            (["explode"], {}, "given: 'explode'"),
            ([], {}, "say install"),
        ]:
            status, said, _ = self.call(*arguments, **variables)
            self.assertEqual(status, 1, arguments)
            self.assertIn(message, said)

    def test_what_needs_a_cluster_says_so(self):
        self.fake("kind", "kubectl")
        for command in ("status", "seed-logs", "port-forward"):
            status, said, _ = self.call(command)
            self.assertEqual(status, 1)
            self.assertIn("there is no cluster mytsdb", said)

    def test_uninstall_twice_is_fine(self):
        self.fake("kind")
        (self.folder / "clusters").write_text("mytsdb\n")
        status, _, calls = self.call("uninstall")
        self.assertEqual(status, 0)
        self.assertIn("kind delete cluster --name mytsdb", calls)
        status, said, _ = self.call("uninstall")
        self.assertEqual(status, 0)
        self.assertIn("nothing to do", said)

    def test_verify_without_a_server_says_what_to_do(self):
        status, said, _ = self.call("verify", MYTSDB_URL="http://127.0.0.1:1")
        self.assertEqual(status, 1)
        self.assertIn("does not answer", said)

    def test_make_has_every_command(self):
        text = (ROOT / "Makefile").read_text()
        self.assertIn("install status seed-logs port-forward verify uninstall:\n\tdeploy/install.sh $@", text)
        self.assertTrue(os.access(SCRIPT, os.X_OK))
