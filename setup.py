"""Builds the Cython extensions; everything else is in pyproject.toml.

FASTWIN_DEBUG=1     Cython checks on (bounds, initialised), hardly any optimisation
FASTWIN_SANITIZE=1  address and undefined-behaviour sanitizers (see ci/sanitize)
"""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("FASTWIN_DEBUG", "") == "1"
SANITIZE = os.environ.get("FASTWIN_SANITIZE", "") == "1"

# The one place for compiler directives; the checked build turns the checks back on.
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "nonecheck": False,  # with it, Cython 3.3 takes no `self.x += y` where the GIL is released
    "overflowcheck": False,
    "cdivision": True,
    "embedsignature": True,
}

# Not -ffast-math: it breaks NaN, -0.0 and the order of float sums.
COMPILE = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing"]
LINK: list[str] = []
if DEBUG:
    COMPILE = ["-O1", "-g", "-UNDEBUG", "-DFASTWIN_DEBUG=1", "-fno-strict-aliasing"]
if SANITIZE:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g", "-O1"]
    COMPILE, LINK = [*flags, "-fno-strict-aliasing"], flags[:1]
if sys.platform.startswith("linux"):
    COMPILE.append("-fvisibility=hidden")

MODULES = ["_keys", "_store", "_rows", "_core", "_ingest"]

setup(
    ext_modules=cythonize(
        [
            Extension(f"fastwin.{name}", [f"src/fastwin/{name}.pyx"], extra_compile_args=COMPILE, extra_link_args=LINK)
            for name in MODULES
        ],
        include_path=["src"],
        compiler_directives=DIRECTIVES,
        force=DEBUG or SANITIZE,
    )
)
