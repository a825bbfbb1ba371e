"""What a figure was measured on: machine, versions, revision of the source."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

__all__ = ["describe", "peak_memory", "steal_seconds", "versions"]

PACKAGES = ("fastwin", "numpy", "pyarrow", "duckdb", "polars", "cython")


def describe() -> dict[str, object]:
    """Return the processor, cores, memory, kernel, governor and load of this machine."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "caches": _caches(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "system": platform.platform(),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not shown",
        "virtual": "hypervisor" in (_text("/proc/cpuinfo") or ""),
        "load_average": list(os.getloadavg()),
    }


def versions() -> dict[str, str]:
    """Return Python's and the packages' versions and the git revision, with ``-dirty`` where files differ from it."""
    found = {"python": sys.version.split()[0], "revision": _revision()}
    for package in PACKAGES:
        try:
            found[package] = installed(package)
        except PackageNotFoundError:
            found[package] = "in place" if package == "fastwin" else "absent"
    return found


def peak_memory() -> int:
    """Return the most memory that this process has had resident, in bytes.

    Linux's `ru_maxrss` begins with that of the process it was forked from, so it is the last resort.
    """
    for line in (_text("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def steal_seconds() -> float | None:
    """Return the processor time that the host has taken from this machine since it started; None where not known."""
    line = (_text("/proc/stat") or "").partition("\n")[0].split()
    return int(line[8]) / os.sysconf("SC_CLK_TCK") if len(line) > 8 else None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _cpu() -> str:
    lines = (_text("/proc/cpuinfo") or "").splitlines()
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    return f"{fields['model name']} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def _caches() -> dict[str, str]:
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_text(str(index / name)) for name in ("level", "type", "size"))
        if size:
            found[f"L{level}{'' if kind == 'Unified' else (kind or '?')[0].lower()}"] = size
    return found


def _revision() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    revision = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/bench", ":!/bench/results")
    return f"{revision}{'-dirty' if changed else ''}" if revision else "unknown"
