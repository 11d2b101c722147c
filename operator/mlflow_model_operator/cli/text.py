"""A view of a resource as plain text. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlflow_model_operator.cli.table import fields, table

Json = dict[str, Any]

WAITS = {
    "Gates": "the model version has the tags in spec.rollout.gates",
    "Pods": "the new revision has enough ready pods for the next weight",
    "Route": "the gateway has accepted the route with the current weights",
    "Stable": "the old revision has a ready pod",
    "Hold": "the hold time of the step is over",
    "Resume": "someone resumes the rollout: kubectl mmd resume {name} -n {namespace}",
    "Shadow": "a pod of the old revision reports that it sends copies",
    "Analysis": "there are enough measurements, or someone resumes it",
}


def status_text(view: Json) -> str:
    """All that a person needs to know of a rollout, in four parts."""
    parts = [_summary(view), _revisions(view["revisions"]), _steps(view), _conditions(view)]
    return "\n\n".join(part for part in parts if part) + "\n"


def history_text(history: Iterable[Json], stable: str) -> str:
    """The last rollouts, the newest first; `stable` is the name of the revision that serves."""
    newest_first = list(reversed(list(history)))
    serving = next((entry for entry in newest_first if entry["revision"] == stable), None)
    rows = [
        (
            entry.get("modelVersion", ""),
            entry["revision"] + (" (serves)" if entry is serving else ""),
            entry.get("trigger", ""),
            entry.get("verdict", ""),
            entry.get("at", ""),
        )
        for entry in newest_first
    ]
    return table(("VERSION", "REVISION", "TRIGGER", "VERDICT", "AT"), rows) + "\n"


def steps_text(steps: Iterable[Json]) -> str:
    """The schedule of a rollout, as a table."""
    rows = [
        (str(index), _share(step), _until(step), step.get("state", ""))
        for index, step in enumerate(steps, start=1)
    ]
    rows.append(("end", "100 %", "-", ""))
    if not any(state for *_, state in rows):
        return table(("STEP", "WEIGHT", "UNTIL"), [row[:-1] for row in rows])
    return table(("STEP", "WEIGHT", "UNTIL", "STATE"), rows)


def _share(step: Json) -> str:
    """Its share of the requests; of one that gets copies only, those."""
    return f"copies of {step['shadow']} %" if step.get("shadow") else f"{step['weight']} %"


def seconds_text(seconds: float) -> str:
    """A duration as people write it.

    >>> seconds_text(120.0), seconds_text(5400.0), seconds_text(1.5)
    ('2m', '1h30m', '1.5s')
    """
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number:g}{unit}" for number, unit in parts if number) or "0s"


def _summary(view: Json) -> str:
    rollout, ready = view["rollout"], view.get("ready")
    waits = WAITS.get(rollout.get("waitingFor", ""), "")
    return fields(
        [
            ("Name", f"{view['namespace']}/{view['name']}"),
            ("Model", view.get("model", "")),
            ("URL", view.get("url", "")),
            ("Ready", f"{ready['status']} ({ready['reason']})" if ready else "not reported yet"),
            ("Rollout", _phase(rollout)),
            ("Waits until", waits.format(name=view["name"], namespace=view["namespace"])),
            ("Message", rollout.get("message", "") or (ready or {}).get("message", "")),
            (
                "Note",
                "" if view["isCurrent"] else "the operator has not processed the current spec yet",
            ),
        ]
    )


def _phase(rollout: Json) -> str:
    if not rollout.get("phase"):
        return "not reported yet"
    since = f" since {rollout['startedAt']}" if rollout.get("startedAt") else ""
    trigger = f" (trigger: {rollout['trigger']})" if rollout.get("trigger") else ""
    return f"{rollout['phase']}{since}{trigger}"


def _revisions(revisions: list[Json]) -> str:
    rows = [
        (
            revision["revision"],
            revision.get("modelVersion", ""),
            revision["role"],
            f"{revision['weight']} %",
            f"{revision['readyPods']}/{revision.get('pods', '?')}",
        )
        for revision in revisions
    ]
    return table(("REVISION", "VERSION", "ROLE", "WEIGHT", "PODS"), rows) if rows else ""


def _steps(view: Json) -> str:
    steps = view["rollout"]["steps"]
    if not steps:
        return "No steps: a new revision receives all requests as soon as it is ready."
    return steps_text(steps)


def _until(step: Json) -> str:
    if "until" in step:
        return str(step["until"])
    if step["seconds"]:
        return f"{seconds_text(step['seconds'])} have passed"
    return "pods send copies" if step.get("shadow") else "the gateway applies it"


def _conditions(view: Json) -> str:
    """All but the summary, which stands above; what stands there is not said again."""
    above = {view["rollout"].get("message"), (view.get("ready") or {}).get("message")}
    rows = [
        (
            entry["type"],
            entry["status"],
            entry.get("reason", ""),
            "see above" if entry.get("message") in above else entry.get("message", ""),
        )
        for entry in view["conditions"]
        if entry["type"] != "Ready"
    ]
    return table(("CONDITION", "STATUS", "REASON", "MESSAGE"), rows) if rows else ""
