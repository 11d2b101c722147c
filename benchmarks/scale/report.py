"""Results for machines (JSON) and for people (Markdown)."""

from __future__ import annotations

from benchmarks import result_files
from benchmarks.scale.measure import Result

COMPARABLE = 1000  # resources: the number that the aims, and KServe's figures, are for
# The aims, and KServe 0.20's figures, which were measured in another run on a machine of 2 cores.
ROWS = {
    "All children exist after": ("{children_after:.0f} s", "< 45 s", "92 s"),
    "All are Ready after": ("{ready_after:.0f} s", "< 75 s", "121 s"),
    "CPU of the operator": ("{cpu_seconds:.1f} s", "≤ 28 s", "28 s"),
    "Peak memory of the operator": ("{peak_mebibytes:.0f} MiB", "< 150 MiB", "173 MiB"),
    "Writes a resource": ("{writes_each:.2f}", "≤ 8", "11"),
    "Reads a resource": ("{reads_each:.2f}", "≤ 2", "14"),
    "Writes in {idle_seconds:.0f} idle seconds": ("{idle_writes}", "0", "0"),
    "Writes after a restart": ("{restart_writes}", "0", "2,000"),
    "From a change to its Deployment": ("{change_ms:.0f} ms", "< 35 ms", "33 ms"),
}


def as_markdown(result: Result) -> str:
    """The table with the aims and KServe's figures, and how busy the machine was."""
    values = {
        **vars(result),
        "writes_each": result.writes / result.resources,
        "reads_each": result.reads / result.resources,
        "change_ms": result.change_median * 1000,
    }
    comparable = result.resources == COMPARABLE
    lines = [f"# {result.resources:,} MLflowModelDeployments", ""]
    lines += ["| | this operator |" + (" target | KServe 0.20 ¹ |" if comparable else "")]
    lines += ["|---|---:|" + ("---:|---:|" if comparable else "")]
    for what, (text, aim, kserve) in ROWS.items():
        row = f"| {what.format(**values)} | {text.format(**values)} |"
        lines.append(row + (f" {aim} | {kserve} |" if comparable else ""))
    return "\n".join([*lines, "", *_remarks(result), ""])


def write(result: Result) -> None:
    """Writes both files, named by the number of resources."""
    result_files.write(f"scale-{result.resources}", result.as_json(), as_markdown(result))


def _remarks(result: Result) -> list[str]:
    before, after = result.load_before[0], result.load_after[0]
    busy = ", ".join(
        f"{name} {seconds:.0f}"
        for name, seconds in sorted(result.cpu_seconds_by_process.items(), key=lambda one: -one[1])
        if seconds >= 0.5
    )
    other_run = "¹ Measured with 1,000 InferenceServices in another run, on a machine of 2 cores."
    return [
        *([other_run, ""] if result.resources == COMPARABLE else []),
        f"This run: {result.cores} cores, load average {before:.1f} before and {after:.1f} after; "
        f"the operator on Python {result.python}.",
        f"All resources were created after {result.created_after:.0f} s. CPU seconds until all "
        f"were Ready: {busy}; what else ran on the machine took {result.others_cpu_seconds:.0f}.",
    ]
