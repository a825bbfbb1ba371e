from typing import Any, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from typing_extensions import Buffer

from fastwin.fields import Field

__all__ = ["Decoder"]

@final
class Decoder:
    def __new__(
        cls,
        fields: tuple[Field, ...],
        time: str,
        *,
        max_depth: int = 64,
        max_bytes: int = 4 << 20,
        max_text: int = 2**31 - 1,
    ) -> Decoder: ...
    def append_json(self, payload: bytes) -> bool: ...
    def append_fields(self, pairs: list[bytes]) -> bool: ...
    def append_entries(self, entries: list[Any], field: bytes | None) -> None: ...
    def feed_ndjson(self, data: Buffer, final: bool = False) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def row_entry(self) -> npt.NDArray[np.int64]: ...
    @property
    def trimmed(self) -> int: ...
    def take(self) -> pa.RecordBatch: ...
    def take_invalid(self) -> dict[str, int]: ...
