"""The software bill of materials of a wheel: CycloneDX 1.6, JSON.

python release/sbom.py dist/edge_segmentation-0.1.0-py3-none-any.whl [--to sbom.json]

It names the wheel with its hash, the libraries that it asks for (those of extras as optional) with the releases that
are installed here, and the bundled engines with their hashes and licences. The same wheel and libraries give the same
bytes where SOURCE_DATE_EPOCH is set.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import uuid
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from email.message import Message
from email.parser import Parser
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

LICENCES = LicenseFactory()


def bill_of(wheel: Path) -> str:
    """The JSON text.

    Raises:
        ValueError: the file is no wheel.
    """
    content = wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        if not names:
            raise ValueError(f"{wheel}: is no wheel, expected a dist-info/METADATA")
        about = Parser().parsestr(archive.read(names[0]).decode("utf-8"))
        engines = list(_engines(archive))
    root = Component(
        name=about["Name"],
        version=about["Version"],
        type=ComponentType.APPLICATION,
        licenses=[LICENCES.make_from_string(about["License-Expression"])],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(content).hexdigest())],
        purl=PackageURL("pypi", None, about["Name"], about["Version"]),
        bom_ref=about["Name"],
    )
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(content).hexdigest()))
    bom.metadata.component = root
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        bom.metadata.timestamp = datetime.fromtimestamp(int(epoch), timezone.utc)
    components = [*_libraries(about), *engines]
    bom.components.update(components)
    bom.register_dependency(root, components)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _libraries(about: Message) -> Iterator[Component]:
    """What the wheel asks for: by name, with the extras that need it and the release that is installed here, if any."""
    asked: dict[str, list[Requirement]] = {}
    for text in about.get_all("Requires-Dist", []):
        requirement = Requirement(text)
        if requirement.name != about["Name"] and 'extra == "dev"' not in text:
            asked.setdefault(requirement.name, []).append(requirement)
    for name, requirements in sorted(asked.items()):
        is_base = any(one.marker is None or "extra" not in str(one.marker) for one in requirements)
        version = _installed(name)
        yield Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            scope=ComponentScope.REQUIRED if is_base else ComponentScope.OPTIONAL,
            purl=PackageURL("pypi", None, name.lower(), version),
            properties=[Property(name="edge:asked", value=str(one)) for one in requirements],
            bom_ref=name,
        )


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _engines(archive: zipfile.ZipFile) -> Iterator[Component]:
    for path in sorted(
        name for name in archive.namelist() if name.startswith("edge/engines/") and name.endswith("card.json")
    ):
        content = archive.read(path)
        card = json.loads(content)
        yield Component(
            name=card["name"],
            version=card["created"],
            type=ComponentType.MACHINE_LEARNING_MODEL,
            description=card["description"],
            licenses=[LICENCES.make_with_name(card["licence"])],
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(content).hexdigest())],
            properties=[
                Property(name=f"edge:{graph['file']}", value=graph["sha256"])
                for graph in card["graphs"]
                if not graph["delta"]
            ],
            bom_ref=path,
        )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--to", type=Path, help="default: standard output")
    given = parser.parse_args()
    text = bill_of(given.wheel)
    if given.to:
        given.to.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
