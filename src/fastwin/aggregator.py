"""The windows as a library: push events, poll closed windows. Does no I/O and reads no clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fastwin._core import FATES, NEVER, OUT_KINDS, PaneGroup
from fastwin._plan import MAX_SPAN, GroupPlan, plan_groups, result_schema
from fastwin._results import record_batch, reverse_runs
from fastwin.coerce import BadRows, batches, coerce_batch
from fastwin.errors import ConfigError, FastwinError, LimitError
from fastwin.expressions import compile_where
from fastwin.fields import Field, parse_fields
from fastwin.units import TICKS_PER_SECOND, Duration, parse_duration
from fastwin.windows import Window, check_window

__all__ = ["SETTLED", "Aggregator"]

SETTLED: Final = int(np.iinfo(np.int64).min)
"""Settle time of a row that no window holds."""

_LIMIT_US: Final = 1 << 62
_UNSEEN: Final = int(NEVER)
_NO_OTHERS: Final = int(np.iinfo(np.int64).max)
_READS_VALUE: Final = frozenset(OUT_KINDS.values()) - {OUT_KINDS["key"], OUT_KINDS["events"]}

Columns = list[tuple[int, int, int, int, int]]


class _Turn:
    """Lets one call at a time into the core, which works with the GIL released; the others wait.

    A call from inside another one, as of a signal handler, would wait for itself: it is an error. So is every call
    after one that an exception cut short: what it left is the state at no event.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._broken = False

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise FastwinError("an aggregator is called again inside one of its calls, as by a signal handler")
        self._lock.acquire()
        if self._broken:
            self._lock.release()
            raise FastwinError("an exception cut an earlier call of this aggregator short: its state is of no use")
        self._owner = threading.get_ident()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What fastwin raises on purpose is raised where all is counted.
        self._broken = kind is not None and not issubclass(kind, FastwinError)
        self._owner = None
        self._lock.release()


class Aggregator:
    """Windows over events: `push` them, `poll` what event time has closed.

    The same events in the same order give the same rows, bit for bit, however they are cut into batches. The GIL is
    released during the work; a call from another thread waits its turn. After an exception from the middle of the work
    (no memory, an interrupt) every call raises `FastwinError`: make a new one and read the stream again.

    Args:
        fields: declared fields of an event, name to type (``string bool int64 float64 timestamp[s|ms|us|ns]``).
        time: the field that is the event time, a timestamp.
        windows: what `tumbling` and `sliding` return, each with a name of its own.
        where: SQL condition; events for which it is not true are counted as filtered (they still tell the time).
        max_keys: keys that the open windows of one set of key columns may hold at a time.
        on_max_keys: what becomes of an event with one key more: ``drop`` counts it as invalid (reason ``max_keys``),
            ``fail`` raises `LimitError`.
        max_future: with it, and a `now` given to `push`, events later than now + max_future are counted as future.
        partitions: number of partitions; the watermark is the least of theirs.
        first_rev: first revision, of all windows or by window name.
        resume: the `progress` of an earlier run, µs: windows that had closed by then are closed from the start.

    Raises:
        ConfigError: one line for each rule that is broken.
    """

    def __init__(
        self,
        fields: Mapping[str, str],
        time: str,
        windows: Sequence[Window],
        *,
        where: str | None = None,
        max_keys: int = 1_000_000,
        on_max_keys: Literal["drop", "fail"] = "drop",
        max_future: Duration | None = None,
        partitions: int = 1,
        first_rev: int | Mapping[str, int] = 1,
        resume: int | None = None,
    ) -> None:
        self._fields: tuple[Field, ...] = parse_fields(fields, time)
        _check(windows, self._fields, max_keys, on_max_keys, partitions)
        self._time = time
        self._windows = tuple(windows)
        self._where: Callable[[pa.RecordBatch], pa.BooleanArray] | None = (
            compile_where(where, self._fields) if where is not None else None
        )
        self._fail_on_keys = on_max_keys == "fail"
        self._max_future = None if max_future is None else parse_duration(max_future)
        by_name = {field.name: field for field in self._fields}
        unit = TICKS_PER_SECOND[by_name[time].unit]
        durations = [d for w in windows for d in (w.size, w.every, w.grace, w.offset)]
        # Windows finer than the field's unit: time is counted in microseconds instead.
        self._ticks = unit if all(d * unit % 1_000_000 == 0 for d in durations) else 1_000_000
        self._scale = self._ticks // unit
        reach = max(w.size + w.grace + w.every for w in windows) * self._ticks // 1_000_000
        # Far enough from the ends of 64 bits that no bound of a window wraps, in ticks or in µs.
        self._limit = min(_LIMIT_US * self._ticks // 1_000_000, _NO_OTHERS - 4 * reach)
        self.schemas: dict[str, pa.Schema] = {w.name: result_schema(w, by_name) for w in windows}
        """Schema of each window's result rows."""
        self._plans: list[GroupPlan] = plan_groups(windows, by_name, self._ticks)
        self._value_kinds = [plan.value_kinds(by_name) for plan in self._plans]
        self._key_kinds = [plan.key_kinds(by_name) for plan in self._plans]
        self._groups = [
            self._group(plan, kinds, max_keys, first_rev)
            for plan, kinds in zip(self._plans, self._key_kinds, strict=True)
        ]
        self._counting_nulls: list[set[int]] = [set() for _ in self._plans]
        self._seen = [_UNSEEN] * partitions
        self._idle = [False] * partitions
        self._progress = _UNSEEN
        self._events = dict.fromkeys(("read", "windowed", "late", "future", "invalid", "filtered", "rows"), 0)
        self._reasons: dict[str, int] = {}
        self._rows = dict.fromkeys(self.schemas, 0)
        self._turn = _Turn()
        if resume is not None:
            self._move(resume * self._ticks // 1_000_000)

    def push(
        self, data: Any, *, partition: int = 0, now: int | None = None, settle: bool = False
    ) -> npt.NDArray[np.int64] | None:
        """Take the events of `data`, in their order.

        Args:
            data: pyarrow RecordBatch or Table, any object with ``__arrow_c_array__`` or ``__arrow_c_stream__``, or a
                dict of numpy arrays of one length; see `fastwin.coerce.coerce_batch` for the types that serve.
            partition: which partition they come from.
            now: wall clock, µs since the epoch; see `max_future`.
            settle: return for each row its settle time in µs: nothing needs the event any more once `progress` has
                reached it and all that was polled until then is written. `SETTLED` for a row that no window holds.

        Raises:
            SchemaError: a column's type cannot serve as the declared one; nothing of that batch was taken.
            LimitError: `max_keys` with ``on_max_keys="fail"``.
        """
        self._check_partition(partition)
        self._idle[partition] = False
        times = []
        for batch in batches(data):
            events, bad = coerce_batch(batch, self._fields)
            with self._turn:
                times.append(self._push(events, bad, partition, now, settle))
        if not settle:
            return None
        return np.concatenate(times) if times else np.empty(0, np.int64)  # type: ignore[arg-type]

    def poll(self) -> dict[str, pa.RecordBatch]:
        """Return the rows of the windows that closed since the last poll, by window name; none has no entry."""
        results: dict[str, pa.RecordBatch] = {}
        with self._turn:
            self._poll(results)
        return {window.name: results[window.name] for window in self._windows if window.name in results}

    def open(self, name: str) -> pa.RecordBatch:
        """Return the rows of the open windows as they stand; `rev` is the next one of the window.

        Raises:
            KeyError: no window has that name.
        """
        for group, plan in zip(self._groups, self._plans, strict=True):
            for position, index in enumerate(plan.windows):
                if self._windows[index].name == name:
                    with self._turn:
                        buffer, counts = group.open_rows(position)
                    newest_first = record_batch(buffer.take(), self.schemas[name])
                    return reverse_runs(newest_first, counts)
        raise KeyError(f"no window is named {name!r}; there are {', '.join(self.schemas)}")

    def finish(self) -> dict[str, pa.RecordBatch]:
        """Close every window that holds an event, and return all rows not yet polled."""
        with self._turn:
            for group in self._groups:
                group.finish()
        return self.poll()

    def idle(self, partition: int, idle: bool = True) -> None:
        """Say that a partition is quiet: it does not hold the watermark back until it is pushed to again."""
        self._check_partition(partition)
        with self._turn:
            self._idle[partition] = idle
            self._move(self._least(-1))

    def advance(self, time: int) -> None:
        """Move event time on to `time` (µs) without an event, as when the source is quiet: closes windows."""
        with self._turn:
            self._move(time * self._ticks // 1_000_000)

    @property
    def progress(self) -> int | None:
        """Event time so far, µs: the least of the greatest event times of the partitions that are not idle.

        A window closes when progress - grace reaches its end. None before every such partition has shown an event.
        """
        return None if self._progress == _UNSEEN else self._progress * 1_000_000 // self._ticks

    @property
    def unpolled(self) -> int:
        """Rows of closed windows that `poll` has not returned yet."""
        return sum(len(buffer) for group in self._groups for buffer in group.rows)

    @property
    def open_panes(self) -> int:
        """Panes that hold the state of open windows."""
        return sum(group.n_panes for group in self._groups)

    @property
    def counters(self) -> dict[str, Any]:
        """Where every event went: read = windowed + late + future + invalid + filtered.

        Also ``rows`` polled, ``invalid_reasons``, ``overflows`` (integer sums that did not fit, given as null) and, by
        window, ``rows``, ``late`` (events that all its windows were closed to, whatever others took), ``keys_rejected``
        (events with a key more than `max_keys`) and ``next_rev``.
        """
        windows = {}
        overflows = 0
        for group, plan in zip(self._groups, self._plans, strict=True):
            for index, late, rev in zip(plan.windows, group.late, group.revs, strict=True):
                name = self._windows[index].name
                rejected = group.rejected
                windows[name] = {"rows": self._rows[name], "late": late, "keys_rejected": rejected, "next_rev": rev}
            overflows += sum(buffer.overflows for buffer in group.rows)
        return {
            **self._events,
            "invalid_reasons": dict(self._reasons),
            "overflows": overflows,
            "windows": {name: windows[name] for name in self.schemas},
        }

    def _check_partition(self, partition: int) -> None:
        if not 0 <= partition < len(self._seen):
            raise ConfigError(f"partition: it is 0 to {len(self._seen) - 1}; found {partition!r}")

    def _group(
        self, plan: GroupPlan, key_kinds: tuple[int, ...], max_keys: int, first_rev: int | Mapping[str, int]
    ) -> PaneGroup:
        states = []
        for index in plan.windows:
            window = self._windows[index]
            size, every, grace, offset = (
                d * self._ticks // 1_000_000 for d in (window.size, window.every, window.grace, window.offset)
            )
            rev = first_rev if isinstance(first_rev, int) else first_rev.get(window.name, 1)
            states.append((size, every, grace, offset % every, rev))
        return PaneGroup(
            plan.width,
            plan.origin,
            states,
            key_kinds,
            max_keys,
            plan.prims,
            len(plan.values),
            plan.fused,
            plan.columns,
            max(1_000_000 // self._ticks, 1),
            max(self._ticks // 1_000_000, 1),
            MAX_SPAN,
        )

    def _poll(self, results: dict[str, pa.RecordBatch]) -> None:
        for group, plan in zip(self._groups, self._plans, strict=True):
            for buffer, index in zip(group.rows, plan.windows, strict=True):
                if len(buffer):
                    name = self._windows[index].name
                    results[name] = record_batch(buffer.take(), self.schemas[name])
                    self._rows[name] += results[name].num_rows
                    self._events["rows"] += results[name].num_rows

    def _push(
        self, batch: pa.RecordBatch, bad: BadRows, partition: int, now: int | None, settle: bool
    ) -> npt.NDArray[np.int64] | None:
        total = batch.num_rows
        self._events["read"] += total
        settled = np.full(total, SETTLED, np.int64) if settle else None
        if total == 0:
            return settled
        batch, ticks, rows = self._valid(batch, bad, now)
        n = batch.num_rows
        if n == 0:
            return settled
        keep = None
        if self._where is not None:
            keep = self._where(batch).fill_null(False).to_numpy(zero_copy_only=False)
            self._events["filtered"] += n - int(np.count_nonzero(keep))
        fate = np.zeros(n, np.uint8)
        # Only the partition that is pushed to moves; what the others have shown bounds how far time can move with it.
        others = self._least(partition)
        for index, group in enumerate(self._groups):
            keys, values = self._columns(index, batch)
            group.push(
                n, ticks.ctypes.data, 0 if keep is None else keep.ctypes.data, fate.ctypes.data, keys, values,
                self._seen[partition], others, self._progress,
            )  # fmt: skip
        self._seen[partition] = max(self._seen[partition], int(ticks.max()))
        self._progress = max(self._progress, min(self._seen[partition], others))
        windowed = self._count_fates(fate, keep)
        if settled is not None:
            times = np.where(windowed, self._settle_times(ticks), SETTLED)
            settled[slice(None) if rows is None else rows] = times
        return settled

    def _valid(
        self, batch: pa.RecordBatch, bad: BadRows, now: int | None
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], npt.NDArray[np.intp] | None]:
        """Return the valid events, their ticks, and which rows they are (None: all)."""
        column = batch.column(self._time)
        ticks = _words(column)
        n = len(ticks)
        future_from = self._limit
        if now is not None and self._max_future is not None:
            future_from = min(self._limit, (now + self._max_future) * self._ticks // 1_000_000)
        # Bounds in the field's own unit, so that the common case needs no other array.
        if (
            not bad
            and column.null_count == 0
            and int(ticks.max()) <= future_from // self._scale
            and int(ticks.min()) >= -(self._limit // self._scale)
        ):
            return batch, ticks if self._scale == 1 else ticks * self._scale, None
        wrong = np.zeros(n, np.bool_)
        reasons = dict(bad)
        reasons["missing_time"] = ~column.is_valid().to_numpy(zero_copy_only=False)
        limit = self._limit // self._scale
        reasons["bad_time"] = (ticks > limit) | (ticks < -limit)
        for reason, mask in reasons.items():
            new = mask & ~wrong
            wrong |= new
            self._count_invalid(reason, int(np.count_nonzero(new)))
        future = ~wrong & (ticks > future_from // self._scale)
        self._events["future"] += int(np.count_nonzero(future))
        rows = np.flatnonzero(~(wrong | future))
        batch = batch.take(pa.array(rows))
        return batch, _words(batch.column(self._time)) * self._scale, rows

    def _columns(self, index: int, batch: pa.RecordBatch) -> tuple[Columns, Columns]:
        plan, group, counting = self._plans[index], self._groups[index], self._counting_nulls[index]
        keys = [_column(kind, batch.column(name)) for kind, name in zip(self._key_kinds[index], plan.by, strict=True)]
        values = []
        for position, (kind, name) in enumerate(zip(self._value_kinds[index], plan.values, strict=True)):
            column = batch.column(name)
            values.append(_column(kind, column))
            if column.null_count and position not in counting:
                counting.add(position)
                offset = group.count_nulls(position)
                for buffer, columns in zip(group.rows, plan.columns, strict=True):
                    columns[:] = [
                        (*column_plan[:4], offset)
                        if column_plan[2] == position and column_plan[0] in _READS_VALUE
                        else column_plan
                        for column_plan in columns
                    ]
                    buffer.define(columns)
        return keys, values

    def _count_fates(self, fate: npt.NDArray[np.uint8], keep: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
        windowed = (fate & FATES["windowed"]).astype(np.bool_)
        inside = int(np.count_nonzero(windowed))
        self._events["windowed"] += inside
        outside = len(fate) - inside if keep is None else int(np.count_nonzero(keep)) - inside
        if outside:
            lost = fate[~windowed]
            rejected = int(np.count_nonzero(lost & FATES["rejected"]))
            beyond = int(np.count_nonzero((lost & FATES["beyond"]) & ~(lost & FATES["rejected"])))
            self._count_invalid("max_keys", rejected)
            self._events["future"] += beyond
            self._events["late"] += outside - rejected - beyond
            if rejected and self._fail_on_keys:
                raise LimitError(
                    f"max_keys: the open windows may hold {self._groups[0].keys.max_keys} keys; {rejected} events have "
                    'a key more. Raise max_keys, or choose on_max_keys = "drop"'
                )
        return windowed

    def _count_invalid(self, reason: str, n: int) -> None:
        if n:
            self._events["invalid"] += n
            self._reasons[reason] = self._reasons.get(reason, 0) + n

    def _settle_times(self, ticks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the µs of event time at which the last window of each event closes."""
        latest = np.full(len(ticks), SETTLED, np.int64)
        for window in self._windows:
            size, every, grace, offset = (
                d * self._ticks // 1_000_000 for d in (window.size, window.every, window.grace, window.offset)
            )
            ends = (ticks + size - offset) // every * every + (offset + grace)
            np.maximum(latest, ends, out=latest)
        # Nanoseconds are divided and never multiplied: today's times a million is past 64 bits.
        over = self._ticks // 1_000_000
        return latest // over if over else latest * (1_000_000 // self._ticks)

    def _least(self, except_partition: int) -> int:
        """Return the least of the greatest ticks of the other partitions that are not idle."""
        others = [
            seen
            for partition, (seen, idle) in enumerate(zip(self._seen, self._idle, strict=True))
            if partition != except_partition and not idle
        ]
        if not others:
            return _NO_OTHERS if except_partition >= 0 else _UNSEEN
        return min(others)

    def _move(self, progress: int) -> None:
        if progress == _UNSEEN:
            return
        progress = max(min(progress, self._limit), -self._limit)
        if progress > self._progress:
            self._progress = progress
            for group in self._groups:
                group.close(progress)


def _check(
    windows: Sequence[Window], fields: tuple[Field, ...], max_keys: int, on_max_keys: str, partitions: int
) -> None:
    problems: list[str] = []
    if not windows:
        problems.append("windows: there is at least one; found none")
    names = [window.name for window in windows]
    for index, window in enumerate(windows):
        if window.name in names[:index]:
            problems.append(f"windows[{index}].name: a name is used once; found {window.name!r} again")
        problems += [f"windows[{index}].{path}: {rule}" for path, rule in check_window(window, fields)]
    if max_keys < 1:
        problems.append(f"max_keys: it is at least 1; found {max_keys!r}")
    if on_max_keys not in ("drop", "fail"):
        problems.append(f"on_max_keys: it is drop or fail; found {on_max_keys!r}")
    if partitions < 1:
        problems.append(f"partitions: there is at least 1; found {partitions!r}")
    if problems:
        raise ConfigError(*problems)


def _words(column: pa.Array) -> npt.NDArray[np.int64]:
    """Return the values of an int64 or timestamp column, nulls as whatever is there, without a copy."""
    data = column.buffers()[1]
    if data is None:
        return np.zeros(len(column), np.int64)
    return np.frombuffer(data, np.int64, len(column), column.offset * 8)


def _column(kind: int, column: pa.Array) -> tuple[int, int, int, int, int]:
    buffers = column.buffers()
    valid = buffers[0].address if column.null_count and buffers[0] is not None else 0
    if len(buffers) == 3:
        data = buffers[2].address if buffers[2] is not None else 0
        return kind, valid, data, buffers[1].address, column.offset
    return kind, valid, buffers[1].address, 0, column.offset
