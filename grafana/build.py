#!/usr/bin/env python3
"""Writes dashboards/*.json from boards/*.py.

usage: grafana/build.py           writes the files
       grafana/build.py --check   compares only; exit code 1 and the names of files that differ

Needs nothing but Python 3.10 or newer.
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import boards  # noqa: E402 (needs the path above)
from model import to_json  # noqa: E402

FOLDER = HERE / "dashboards"


def built() -> dict[Path, str]:
    """Path and text of each dashboard."""
    found = {}
    for module in pkgutil.iter_modules(boards.__path__):
        dashboard = importlib.import_module(f"boards.{module.name}").DASHBOARD
        found[FOLDER / f"{dashboard.uid}.json"] = json.dumps(to_json(dashboard), indent=2, ensure_ascii=False) + "\n"
    return found


def differing() -> list[str]:
    """Names of files that are not what would be written, or that nothing would write."""
    files = built()
    wrong = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    wrong += [path for path in FOLDER.glob("*.json") if path not in files]
    return sorted(path.name for path in wrong)


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        wrong = differing()
        print("\n".join(f"{name} differs: run grafana/build.py" for name in wrong) or "all dashboards are as built")
        return 1 if wrong else 0
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for path, text in built().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(HERE.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
