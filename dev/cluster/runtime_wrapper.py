"""A container runtime that asks runc for no more than this machine can give.

An engine asks for every capability when a container is privileged. Where root itself lacks
CAP_SYS_RESOURCE (some virtual machines), runc then fails with "unable to apply caps", and a
negative OOM score can't be set either. This takes both out of what the engine wrote, and hands over
to runc. It is copied into the cache and run by the engine, so it stands alone.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

MISSING_CAPABILITY = "CAP_SYS_RESOURCE"
RUNC = "runc"


def soften_process(process: dict[str, Any]) -> None:
    """Take out of a process what can't be had here."""
    for names in process.get("capabilities", {}).values():
        names[:] = [name for name in names if name != MISSING_CAPABILITY]
    if process.get("oomScoreAdj", 0) < 0:
        process["oomScoreAdj"] = 0


def option(arguments: list[str], *names: str) -> str | None:
    """Return the value of a command line option, given as `--name value` or `--name=value`."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names:
            if equals:
                return value
            return arguments[position + 1] if position + 1 < len(arguments) else None
    return None


def soften_file(path: Path, *, whole: bool) -> None:
    """Rewrite a bundle's configuration, or the process file of an exec."""
    content = json.loads(path.read_text())
    soften_process(content.get("process", {}) if whole else content)
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(json.dumps(content))
    draft.replace(path)


def soften(arguments: list[str]) -> None:
    """Rewrite the file that this command line makes runc read, if any."""
    if "exec" in arguments:
        if process := option(arguments, "--process", "-p"):
            soften_file(Path(process), whole=False)
    elif "create" in arguments or "run" in arguments:
        bundle = option(arguments, "--bundle", "-b") or "."
        soften_file(Path(bundle) / "config.json", whole=True)


def main() -> None:
    """Soften, then become runc."""
    soften(sys.argv[1:])
    os.execvp(RUNC, [RUNC, *sys.argv[1:]])


if __name__ == "__main__":
    main()
