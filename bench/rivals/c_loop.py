"""A bare C loop, the physical reference: compiled here with `cc`, left out where there is no compiler."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.workloads import Events, Query, Unsupported

SOURCE = Path(__file__).with_suffix(".c")
COMPILER = os.environ.get("CC", "cc")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
COLUMNS = {
    "window_start": np.int64,
    "key": np.int32,
    "events": np.int64,
    "total": np.float64,
    "lowest": np.float64,
    "highest": np.float64,
}


def compiler_version() -> str:
    """Return the first line of what the compiler says of itself, or an empty string without one."""
    if shutil.which(COMPILER) is None:
        return ""
    done = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0]


label = "C loop"
version = compiler_version()


def compiled() -> ctypes.CDLL:
    """Compile and load the loop."""
    if not version:
        raise Unsupported(f"no C compiler ({COMPILER})")
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "c_loop.so"
        subprocess.run([COMPILER, *FLAGS, str(SOURCE), "-o", str(library), "-lm"], check=True)
        return ctypes.CDLL(str(library))


def run(query: Query, events: Events) -> Callable[[], pa.Table]:
    """Return the run over the arrays as they are, into arrays that are there."""
    if query.panes > 1 or events.stream.key_type != "int32" or events.stream.disorder:
        raise Unsupported("the C loop is for tumbling windows over dense int32 keys in order")
    library = compiled()
    library.tumbling.restype = ctypes.c_int64
    ts, keys, value = (events.arrays[name] for name in ("ts", "key", "value"))
    slots = events.stream.keys
    windows = int(ts[-1]) // query.size - int(ts[0]) // query.size + 1
    capacity = slots * windows
    out = {name: np.zeros(capacity, kind) for name, kind in COLUMNS.items()}
    state = np.zeros((slots + 1, 4), np.float64)
    state = state.reshape(-1)[(-state.ctypes.data // 8) % 4 :][: slots * 4]
    pointers = (ctypes.c_void_p * len(out))(*(column.ctypes.data for column in out.values()))

    def go() -> pa.Table:
        rows = library.tumbling(
            ctypes.c_void_p(ts.ctypes.data),
            ctypes.c_void_p(keys.ctypes.data),
            ctypes.c_void_p(value.ctypes.data),
            ctypes.c_int64(len(ts)),
            ctypes.c_int64(query.size),
            ctypes.c_void_p(state.ctypes.data),
            ctypes.c_int64(slots),
            pointers,
            ctypes.c_int64(capacity),
        )
        if rows < 0:
            raise ValueError("the rows of the C loop do not fit: events are not in order")
        return pa.table({name: column[:rows] for name, column in out.items()})

    return go
