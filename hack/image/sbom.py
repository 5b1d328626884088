"""Write what is in the image as CycloneDX JSON. Runs inside it while it is built, so it uses the standard library only.

Python packages are read from their metadata, those of the base from the database of dpkg or apk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]
_NAME = "flowgauge"


def document(root: Path, base: str, epoch: int) -> dict[str, Any]:
    """Return the SBOM of the environment that runs this, on the system below `root`; the same for the same content."""
    python = list(_python_packages())
    system = [*_debian(root), *_alpine(root)]
    interpreter = _component("platform", "python", platform.python_version(), "pkg:generic/python")
    components = sorted([*python, *system, interpreter], key=lambda item: str(item["bom-ref"]))
    subject = next(item for item in python if item["name"] == _NAME)
    content = json.dumps(components, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z"),
            "component": {
                "type": "container",
                "bom-ref": "image",
                "name": _NAME,
                "version": subject["version"],
                "licenses": subject["licenses"],
            },
            "properties": [{"name": "flowgauge:base", "value": base}],
        },
        "components": components,
        "dependencies": list(_dependencies(subject["bom-ref"], python)),
        # What lies in a base outside of its packages is not seen.
        "compositions": [
            {"aggregate": "complete" if system else "incomplete", "assemblies": ["image"]}
        ],
    }


def _component(kind: str, name: str, version: str, purl: str, qualifiers: str = "") -> Component:
    full = f"{purl}@{quote(version, safe='~.-+:')}{qualifiers}"
    return {"type": kind, "bom-ref": full, "name": name, "version": version, "purl": full}


def _python_packages() -> Iterator[Component]:
    for found in metadata.distributions():
        name = _normal(found.metadata["Name"])
        yield _component("library", name, found.version, f"pkg:pypi/{name}") | _licences(
            found.metadata
        )


def _licences(fields: metadata.PackageMetadata) -> Component:
    expression, text = _field(fields, "License-Expression"), _field(fields, "License")
    classified = [
        entry.rpartition(" :: ")[2]
        for entry in fields.get_all("Classifier") or []
        if entry.startswith("License ::")
    ]
    if expression:
        return {"licenses": [{"expression": expression}]}
    # Some packages put the whole text there.
    named = [text] if text and "\n" not in text else classified
    return {"licenses": [{"license": {"name": name}} for name in named]} if named else {}


def _field(fields: metadata.PackageMetadata, name: str) -> str:
    # What it gives for a name that is not there depends on the version of Python.
    return str(fields[name]).strip() if name in fields else ""


def _dependencies(subject: str, python: list[Component]) -> Iterator[dict[str, Any]]:
    refs = {item["name"]: item["bom-ref"] for item in python}
    yield {"ref": "image", "dependsOn": [subject]}
    for found in metadata.distributions():
        name = _normal(found.metadata["Name"])
        wanted = {
            _normal(re.split(r"[^\w.-]", text, maxsplit=1)[0]) for text in found.requires or []
        }
        yield {
            "ref": refs[name],
            "dependsOn": sorted(refs[item] for item in wanted if item in refs),
        }


def _debian(root: Path) -> Iterator[Component]:
    whole = root / "var/lib/dpkg/status"
    single = sorted((root / "var/lib/dpkg/status.d").glob("*"))
    # Distroless bases keep sums of files beside the packages.
    texts = [
        file.read_text(encoding="utf-8") for file in single if not file.name.endswith(".md5sums")
    ]
    if whole.is_file():
        texts += whole.read_text(encoding="utf-8").split("\n\n")
    distribution = _release(root).get("ID", "debian")
    for text in texts:
        fields = dict(re.findall(r"^([\w-]+): *(.*)$", text, re.MULTILINE))
        if "Package" in fields and "installed" in fields.get("Status", "installed").split():
            yield _component(
                "library",
                fields["Package"],
                fields["Version"],
                f"pkg:deb/{distribution}/{quote(fields['Package'], safe='')}",
                f"?arch={fields['Architecture']}",
            )


def _alpine(root: Path) -> Iterator[Component]:
    file = root / "lib/apk/db/installed"
    for text in file.read_text(encoding="utf-8").split("\n\n") if file.is_file() else []:
        fields = dict(re.findall(r"^(\w):(.*)$", text, re.MULTILINE))
        if "P" in fields:
            purl = f"pkg:apk/alpine/{quote(fields['P'], safe='')}"
            yield _component("library", fields["P"], fields["V"], purl, f"?arch={fields['A']}")


def _release(root: Path) -> Mapping[str, str]:
    file = root / "etc/os-release"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return {key: value.strip('"') for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Write the SBOM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--base-env", default="BASE", help="variable that names the base image")
    options = parser.parse_args()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    made = document(options.root, os.environ.get(options.base_env, "unknown"), epoch)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
