"""Runs workloads, prints a table of each and writes `bench/results/<workload>.json`."""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from bench import machine
from bench.harness import REFERENCE, Figure, load, run_case, workload_names, write_result
from bench.workloads import Case


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments name; return 1 where a system failed or gave a wrong answer."""
    names = workload_names()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--runs", type=int, default=3, help="fresh processes for each figure (default 3; publish 10)")
    parser.add_argument("--rows", type=int, help="events in a case, in the place of its own number")
    parser.add_argument("--systems", help="comma-separated, in the place of the workload's own")
    parser.add_argument("--core", type=int, help="pin every process to this core")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="directory to write to")
    options = parser.parse_args(arguments)
    for name in options.workloads:
        if name not in names:
            parser.error(f"a workload is one of {', '.join(names)}; found {name!r}")

    failed = False
    for name in options.workloads or names:
        workload = load(name)
        systems = tuple(options.systems.split(",")) if options.systems else workload.systems
        print(f"\n{workload.name} · scope: {workload.scope} · one thread · {workload.about}", flush=True)
        steal = machine.steal_seconds()
        done: dict[str, tuple[Case, dict[str, Figure]]] = {}
        for case in workload.cases:
            if options.rows:
                case = replace(case, stream=replace(case.stream, rows=options.rows))
            show = Progress(case.name, options.runs)
            figures = run_case(workload, case, systems, options.runs, options.core, show)
            show.clear()
            done[case.name] = case, figures
            print(table(case, figures), flush=True)
            failed |= any(figure.status.startswith(("failed", "wrong")) for figure in figures.values())
        after = machine.steal_seconds()
        path = write_result(workload, done, None if steal is None or after is None else after - steal, options.results)
        print(f"  -> {path}")
    return int(failed)


class Progress:
    """Says on a terminal what is running, in one line that goes away."""

    def __init__(self, case: str, runs: int) -> None:
        self.case, self.runs, self.shown = case, runs, sys.stderr.isatty()

    def __call__(self, round_: int, name: str) -> None:
        if self.shown:
            print(f"\r\x1b[K  {self.case}: round {round_} of {self.runs}, {name}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def table(case: Case, figures: dict[str, Figure]) -> str:
    """Return the figures of a case as lines of text."""
    own = figures.get(REFERENCE)
    lines = [f"  {case.name} ({case.stream.rows:,} events)"]
    for figure in figures.values():
        if not figure.seconds:
            lines.append(f"    {figure.label:<22}{figure.status}")
            continue
        middle = statistics.median(figure.seconds)
        spread = (max(figure.seconds) - min(figure.seconds)) / middle
        ratio = f"fastwin × {middle / statistics.median(own.seconds):.2f}" if own and own.seconds else ""
        lines.append(
            f"    {figure.label:<22}{case.stream.rows / middle / 1e6:9.1f} M events/s  ±{spread / 2:4.0%}"
            f"  {figure.peak_rss / 2**20:7.0f} MB  {figure.digest}  {'' if figure is own else ratio}".rstrip()
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
