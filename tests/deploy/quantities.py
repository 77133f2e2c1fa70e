"""Kubernetes' quantities as numbers: `512Mi` as bytes, `250m` as CPUs."""

import re

FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def bytes_of(quantity: str | int) -> float:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|k|M|G|T|)", str(quantity))
    if found is None:
        raise ValueError(f"{quantity!r} is no quantity of bytes")
    return float(found[1]) * FACTORS[found[2]]


def cpus_of(quantity: str | float) -> float:
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
