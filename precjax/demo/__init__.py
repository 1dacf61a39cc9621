"""The demonstration: a network learns handwritten digits, then every number that it computes gets a proved error bound.

Read in the order of the run: `_run` (all of it), `_digits` (the data), `_networks`, `_training`, `_measurement` (the
only file that calls `precjax.track`), `_tables` and `_picture` (what is shown).
"""

from precjax.demo._run import run

__all__ = ["run"]
