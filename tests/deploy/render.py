"""From sources to manifests: kustomize and both majors of Helm, as a user runs them.

Input: a folder, or a chart with arguments. Output: documents as Python values. Errors: `RenderError` with what the program said.
"""

import functools
import os
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
PROGRAMS = ROOT / ".tools/kubernetes"
HELM_MAJORS = ("helm", "helm3") if (PROGRAMS / "helm3").exists() else ("helm",)
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SECONDS_MAX = 60


class RenderError(Exception):
    """The program refused; the text is what it wrote to its standard error."""


def run(arguments: list[str]) -> str:
    """Standard output of a program that needs no cluster: its home is empty, so that no setting of this machine counts."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": os.environ["PATH"], "KUBECONFIG": "/dev/null"}
        done = subprocess.run(
            arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
    if done.returncode:
        raise RenderError(done.stderr)
    return done.stdout


def documents(text: str) -> list[dict]:
    return [document for document in yaml.load_all(text, LOADER) if document]


@functools.cache
def kustomize_text(folder: Path) -> str:
    return run([str(PROGRAMS / "kubectl"), "kustomize", str(folder)])


def kustomize(folder: Path) -> list[dict]:
    """A new copy each time, so that tests may change it."""
    return documents(kustomize_text(folder))


@functools.cache
def helm_text(chart: str, release: str, namespace: str, arguments: tuple[str, ...], program: str = "helm") -> str:
    command = [str(PROGRAMS / program), "template", release, str(DEPLOY / "helm" / chart), "--namespace", namespace]
    return run([*command, *arguments])


def helm(chart: str, *arguments: str, release: str = "test", namespace: str = "test", program: str = "helm") -> list[dict]:
    return documents(helm_text(chart, release, namespace, arguments, program))


def notes(chart: str, *arguments: str, release: str = "test") -> str:
    """What `helm install` tells at the end. Only a dry run renders it, and only with the manifest."""
    command = [str(PROGRAMS / "helm"), "install", release, str(DEPLOY / "helm" / chart), "--dry-run=client", *arguments]
    return run(command).partition("\nNOTES:\n")[2]
