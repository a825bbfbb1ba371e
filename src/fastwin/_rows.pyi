import numpy as np
import numpy.typing as npt

Column = tuple[int, bool, int, int, int]
"""OutKind, whether it is text, which key column, offset in the record, offset of the null counter or -1."""

class RowBuffer:
    """Rows of one window's results."""

    overflows: int
    def __init__(self, columns: list[Column]) -> None: ...
    def __len__(self) -> int: ...
    def define(self, columns: list[Column]) -> None:
        """Set kinds and offsets anew, after the records got a new layout; rows already held stay."""
    def take(
        self,
    ) -> tuple[
        int,
        npt.NDArray[np.int64],  # window_start, µs
        npt.NDArray[np.int64],  # window_end, µs
        npt.NDArray[np.int64],  # rev
        list[
            tuple[
                npt.NDArray[np.int64],  # words (floats as their bits); of a text column the ends of the texts, bytes
                npt.NDArray[np.uint8],  # valid, 0 or 1
                npt.NDArray[np.uint8],  # bytes of the texts
            ]
        ],
    ]:
        """Return ``(rows, window_start, window_end, rev, [(words, valid, bytes), ...])`` and start anew."""
