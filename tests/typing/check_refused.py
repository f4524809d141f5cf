"""See whether mypy and pyright refuse what they should in refused.py, and whether a reader sees why.

Of each line that ends in ``#: words``, and of no other, both must have something to say, with those words in it
and in no more than `MOST` characters: a message in which the mistake is hard to find is a fault, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PROGRAM = Path(__file__).with_name("refused.py")
MOST = 1_000
COMMANDS = {"mypy": ("--strict", "--output=json"), "pyright": ("--outputjson",)}


def said_by(checker: str) -> dict[int, str]:
    """Return what a type checker says of each line that it reports."""
    command = [sys.executable, "-m", checker, *COMMANDS[checker], str(PROGRAM)]
    output = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False).stdout
    said: dict[int, str] = {}
    if checker == "mypy":
        for found in map(json.loads, output.splitlines()):
            text = f"{said.get(found['line'], '')} {found['message']} {found['hint'] or ''}"
            said[found["line"]] = text.strip()
    else:
        for found in json.loads(output)["generalDiagnostics"]:
            line = found["range"]["start"]["line"] + 1
            said[line] = f"{said.get(line, '')} {found['message']}".strip()
    return said


def faults(said: Mapping[int, str]) -> Iterator[str]:
    """Yield what is wrong with what a type checker says."""
    for number, line in enumerate(PROGRAM.read_text(encoding="utf-8").splitlines(), start=1):
        words, text = line.partition("#: ")[2].split(", "), said.get(number, "")
        if not words[0]:
            if text:
                yield f"{number}: is right, and yet: {text}"
        elif missing := [word for word in words if word not in text]:
            yield f"{number}: nothing of {missing} in: {text or 'silence'}"
        elif len(text) > MOST:
            yield f"{number}: {len(text):,} characters, more than {MOST:,}: {text}"


def main() -> int:
    """Print the faults, or how many mistakes were refused in how many characters."""
    code = 0
    for checker in COMMANDS:
        said = said_by(checker)
        found = [*faults(said)]
        print(*found, sep="\n", end="\n" * bool(found))  # noqa: T201
        longest = max(map(len, said.values()), default=0)
        print(f"{checker} refuses {len(said)} lines in at most {longest} characters each")  # noqa: T201
        code |= bool(found) or not said
    return code


if __name__ == "__main__":
    sys.exit(main())
