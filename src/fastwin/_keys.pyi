class KeyTable:
    """Slots of the keys of one set of key columns; used by `_core` only."""

    kinds: tuple[int, ...]
    max_keys: int
    def __init__(self, kinds: tuple[int, ...], max_keys: int) -> None: ...
    def __len__(self) -> int: ...
