class Store:
    """Records by slot, in numpy memory that is zero, and not paged in, where no record is."""

    def __init__(self, stride: int, append_only: bool = False) -> None: ...
