"""``python -m fastwin``."""

from fastwin.cli import main

main()
