"""Results for machines (JSON) and for people (Markdown)."""

from __future__ import annotations

import statistics

from benchmarks import result_files
from benchmarks.scoring.environments import PEERS
from benchmarks.scoring.measure import Figures, Footprint, Result
from benchmarks.scoring.servers import KINDS

# What all others are compared with.
MLFLOW = "mlflow"
# What is compared with older code of its own, if MLflow's server does not run.
BASELINE = "baseline"


def as_markdown(result: Result) -> str:
    """One table a case, with ratios to `mlflow models serve` of the same run, then the aims."""
    lines = ["# Scoring server comparison", ""]
    for case in result.options.cases:
        lines += _case(result, case)
    lines += [*_footprints(result), *_aims(result), *_remarks(result)]
    return "\n".join([*lines, ""])


def write(result: Result) -> None:
    """Writes both files, named by the day."""
    name = f"{result.machine['date']}-scoring"
    result_files.write(name, result.as_json(), as_markdown(result))


def _base(result: Result) -> str:
    return MLFLOW if MLFLOW in result.options.servers else BASELINE


def _one(result: Result, case: str, server: str, clients: int) -> Figures | None:
    wanted = (case, server, clients)
    return next((f for f in result.figures if (f.case, f.server, f.clients) == wanted), None)


def _case(result: Result, case: str) -> list[str]:
    lines = [
        f"## {case}",
        "",
        "| clients | server | requests/s | × | p50 ms | p99 ms | p99 × | CPU ms |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    digits = 1 if _base(result) == MLFLOW else 2
    for clients in result.options.clients:
        base = _one(result, case, _base(result), clients)
        for server in result.options.servers:
            one = _one(result, case, server, clients)
            if one is None:
                continue
            faster, shorter = "", ""
            if base is not None:
                faster = f"{one.per_second / base.per_second:.{digits}f}"
                shorter = f"{one.p99 / base.p99:.2f}"
            wrong = f" ({one.wrong} failed)" if one.wrong else ""
            lines.append(
                f"| {clients} | {KINDS[server].title}{wrong} | {one.per_second:,.0f} | {faster} "
                f"| {one.p50:.2f} | {one.p99:.2f} | {shorter} | {one.cpu:.3f} |"
            )
    failed = [
        f"{KINDS[server].title} could not serve it: `{' '.join(why.split())[-160:]}`"
        for server in result.options.servers
        if (why := result.failures.get(f"{case}, {server}"))
    ]
    return [*lines, "", *failed, *([""] if failed else [])]


def _footprints(result: Result) -> list[str]:
    if not result.footprints:
        return []
    lines = [
        "## Start and memory, linear model",
        "",
        "| server | ready after (median) | fastest, slowest | memory |",
        "|---|---:|---:|---:|",
    ]
    for one in result.footprints:
        middle = statistics.median(one.seconds_to_start)
        least, most = min(one.seconds_to_start), max(one.seconds_to_start)
        lines.append(
            f"| {KINDS[one.server].title} | {middle:.2f} s | {least:.2f} s, {most:.2f} s "
            f"| {one.mebibytes:.0f} MiB |"
        )
    return [*lines, ""]


def _aims(result: Result) -> list[str]:
    rows = [
        _faster(result, "linear", 8, 10),
        _shorter(result, "linear", 8, 0.1),
        _faster(result, "forest", 32, 10),
        _to_echo(result, "onnx", 8, 0.5),
        *(_p50_to_echo(result, case) for case in ("linear", "onnx", "torch")),
        *(_ahead(result, server) for server in result.options.servers if server in PEERS),
        _no_case_slower(result),
        *_lighter(result),
    ]
    head = ["## Targets", "", "| | target | actual |", "|---|---:|---:|"]
    return [*head, *(row for row in rows if row), ""]


def _faster(result: Result, case: str, clients: int, aim: float) -> str:
    ours, base = _one(result, case, "ours", clients), _one(result, case, MLFLOW, clients)
    if not ours or not base:
        return ""
    ratio = ours.per_second / base.per_second
    return f"| {case}, {clients} clients: requests/s | ≥ {aim}× | {ratio:.1f}× |"


def _shorter(result: Result, case: str, clients: int, aim: float) -> str:
    ours, base = _one(result, case, "ours", clients), _one(result, case, MLFLOW, clients)
    if not ours or not base:
        return ""
    return f"| {case}, {clients} clients: p99 | ≤ {aim}× | {ours.p99 / base.p99:.2f}× |"


def _to_echo(result: Result, case: str, clients: int, aim: float) -> str:
    ours, echo = _one(result, case, "ours", clients), _one(result, case, "echo", clients)
    if not ours or not echo:
        return ""
    ratio = ours.per_second / echo.per_second
    return f"| {case}, {clients} clients: requests/s, to the bare echo | ≥ {aim}× | {ratio:.2f}× |"


def _p50_to_echo(result: Result, case: str) -> str:
    ours, echo = _one(result, case, "ours", 1), _one(result, case, "echo", 1)
    if not ours or not echo:
        return ""
    return f"| {case}, 1 client: p50, to the bare echo | ≤ 2× | {ours.p50 / echo.p50:.1f}× |"


def _ahead(result: Result, server: str) -> str:
    """The worst case of each figure, as a ratio that is above 1 where we are ahead."""
    figures = [
        (f"{case}, {clients}", ours, other)
        for case in result.options.cases
        for clients in result.options.clients
        if (ours := _one(result, case, "ours", clients))
        and (other := _one(result, case, server, clients))
    ]
    if not figures:
        return ""
    ratios = {
        "requests/s": {name: ours.per_second / other.per_second for name, ours, other in figures},
        "CPU": {name: other.cpu / ours.cpu for name, ours, other in figures},
        "p99": {name: other.p99 / ours.p99 for name, ours, other in figures},
    }
    worst = {kind: min(cases.items(), key=lambda case: case[1]) for kind, cases in ratios.items()}
    text = "; ".join(f"{kind} {ratio:.1f}× ({case})" for kind, (case, ratio) in worst.items())
    return f"| ahead of {KINDS[server].title}, worst of all cases | ≥ 1× | {text} |"


def _no_case_slower(result: Result) -> str:
    ratios = {
        f"{case}, {clients}": ours.per_second / base.per_second
        for case in result.options.cases
        for clients in result.options.clients
        if (ours := _one(result, case, "ours", clients))
        and (base := _one(result, case, _base(result), clients))
    }
    if not ratios:
        return ""
    worst = min(ratios, key=lambda name: ratios[name])
    aim = "1" if _base(result) == MLFLOW else "0.97"
    return (
        f"| lowest of all cases ({worst} clients): requests/s | ≥ {aim}× | {ratios[worst]:.2f}× |"
    )


def _lighter(result: Result) -> list[str]:
    by_server: dict[str, Footprint] = {one.server: one for one in result.footprints}
    ours, base = by_server.get("ours"), by_server.get(MLFLOW)
    if not ours or not base:
        return []
    start = statistics.median(ours.seconds_to_start) / statistics.median(base.seconds_to_start)
    memory = ours.mebibytes / base.mebibytes
    return [
        f"| start until ready | ≤ 0.5× | {start:.2f}× |",
        f"| memory | ≤ 1× | {memory:.2f}× |",
    ]


def _remarks(result: Result) -> list[str]:
    machine, options = result.machine, result.options
    before, after = machine["load_before"][0], machine.get("load_after", [float("nan")])[0]
    return [
        f"× is the ratio to {KINDS[_base(result)].title} in the same run. {options.seconds:g} s of "
        f"load for each figure, from {options.processes} processes of each server, in "
        f"{options.rounds} rounds each in which the servers took turns; the load came from another "
        "process of the same machine, over loopback.",
        "",
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}; load average "
        f"{before:.1f} before, {after:.1f} after.",
    ]
