"""Manifests against the schemas of Kubernetes' API, as `kubernetes-validate --strict` does it, but with schemas read once.

Input: documents and a version. Output: sentences about what is wrong. The schemas are those of the package kubernetes-validate.
"""

import functools
import json
import re

import importlib_resources
import jsonschema
from referencing import Registry, Resource

VERSIONS = ["1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
# Kinds of operators, which Kubernetes itself does not know.
FOREIGN = {"ServiceMonitor"}
SCHEMAS = importlib_resources.files("kubernetes_validate") / "kubernetes-json-schema"


@functools.cache
def folder_of(version: str):
    """The folder with the strict schemas of a minor version."""
    pattern = re.compile(rf"v{re.escape(version)}(\.\d+)?-local-strict")
    found = [folder for folder in SCHEMAS.iterdir() if pattern.fullmatch(folder.name)]
    assert len(found) == 1, f"{len(found)} folders of schemas for {version}"
    return found[0]


def read(version: str, name: str):
    return Resource.from_contents(json.loads((folder_of(version) / name).read_text()))


@functools.cache
def definitions(version: str) -> Registry:
    return (read(version, "_definitions.json") @ Registry()).crawl()


@functools.cache
def validator(version: str, kind: str, api_version: str):
    """None for kinds that the version does not have."""
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    try:
        schema = read(version, f"{kind.lower()}-{name}.json")
    except FileNotFoundError:
        return None
    return jsonschema.validators.Draft202012Validator(schema.contents, registry=schema @ definitions(version))


def problems(documents: list[dict], version: str) -> list[str]:
    """Empty if everything is as the version's API wants it."""
    found = []
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] in FOREIGN:
            continue
        check = validator(version, document["kind"], document["apiVersion"])
        if check is None:
            found.append(f"{name}: {version} has no {document['apiVersion']} {document['kind']}")
            continue
        found += [f"{name} in {version}: {error.json_path}: {error.message}" for error in check.iter_errors(document)]
    return found
