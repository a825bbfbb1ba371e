"""Where events come from: `open_source` and the contract that every source keeps."""

from __future__ import annotations

from fastwin.config import RedisSource as RedisConfig
from fastwin.config import SourceConfig
from fastwin.fields import Field
from fastwin.sources.base import UNHELD, Chunk, Source, Times

__all__ = ["UNHELD", "Chunk", "Source", "Times", "open_source"]


def open_source(
    config: SourceConfig, fields: tuple[Field, ...], time: str, *, pipeline: str, once: bool = False
) -> Source:
    """Return the source that `config`, the ``[source]`` table of a pipeline file, asks for; it is not opened yet.

    Args:
        config: the table, checked.
        fields: the declared fields of an event.
        time: the field that holds the time.
        pipeline: the name of the pipeline; part of the names under which progress is stored.
        once: a broker is read up to where it is now, not for ever.

    Raises:
        ConfigError: something that only the source itself can check is wrong.
    """
    if isinstance(config, RedisConfig):
        from fastwin.sources.redis import RedisSource

        return RedisSource(config, fields, time, pipeline=pipeline, once=once)
    from fastwin.sources.file import FileSource

    return FileSource(config, fields, time)
