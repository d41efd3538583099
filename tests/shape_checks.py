"""The run-time type checker that `conftest.py` puts around every annotated function of the project."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

# As static checkers have it, an int may stand where a float is asked for (PEP 484).
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
