"""One file for each system, all with the same names.

label    how tables call it
version  its version, a string
run      (query, events) -> a function without arguments that is timed and returns the answer, as a table of Arrow or
         anything with `__arrow_c_stream__`. What `run` itself does (loading, sorting into the system's own form) is not
         timed. Raises `Unsupported` where the system has no way of its own.

Every system uses one thread.
"""
