"""Say how much ``pip install`` puts on the disk: a distribution and all that it requires.

Run as ``python -m benchmarks._peers_footprint NAME``, with any interpreter; it prints JSON: ``mb`` in millions
of bytes and the number of ``distributions``. Compiled bytecode is not counted, and of a distribution that is
installed editable the files of its package are.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from importlib import metadata
from pathlib import Path

__all__ = ("main", "requirements")

_NAME = re.compile(r"([\w.-]+)\s*(?:\[([\w.,\s-]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w.-]+)['"]""")


def requirements(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Return the names of all that is installed because of a distribution, itself included.

    Markers of other platforms need no evaluation: what they require is not installed here.
    """
    found: set[str] = set()
    waiting = [(name, extras)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        try:
            distribution = metadata.distribution(wanted[0])
        except metadata.PackageNotFoundError:
            continue
        found.add(re.sub(r"[-_.]+", "-", wanted[0]).lower())
        for line in distribution.requires or ():
            requirement, _, marker = line.partition(";")
            extra = _EXTRA.search(marker)
            match = _NAME.match(requirement)
            if match and (extra is None or extra[1] in wanted[1]):
                more = frozenset(part.strip() for part in (match[2] or "").split(",")) - {""}
                waiting.append((match[1], more))
    return found


def _size_bytes(name: str) -> int:
    """Return the size of a distribution's files."""
    distribution = metadata.distribution(name)
    files = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
    if '"editable": true' in (distribution.read_text("direct_url.json") or ""):
        spec = importlib.util.find_spec(name)
        for place in spec.submodule_search_locations or () if spec else ():
            files += Path(place).rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc")


def main() -> None:
    """Print the footprint of the distribution that is named."""
    names = requirements(sys.argv[1])
    if not names:
        raise SystemExit(f"{sys.argv[1]} is not installed here")
    footprint = {"mb": sum(map(_size_bytes, names)) / 1e6, "distributions": len(names)}
    print(json.dumps(footprint))


if __name__ == "__main__":
    main()
