"""Names that become those of folders, files and figures."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jaxemb import packages
from jaxemb.config import ConfigError
from jaxemb.evals.base import Eval

NAME = re.compile(r"[^\W_][\w.,+=-]{0,99}")
LETTERS = "valid: up to 100 letters, digits and _ . , + = -, the first a letter or digit"


def check_names(name: str, evals: Mapping[str, Eval]) -> None:
    """Of an experiment or a recipe, and of its evaluations, with when they run."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"name={packages.shorten(name)}: it names the run folder; {LETTERS}")
    for key, e in evals.items():
        if not NAME.fullmatch(key):
            raise ConfigError(f"evals: {packages.shorten(key)} names files and figures; {LETTERS}")
        if e.every < 1 and e.every != -1:
            raise ConfigError(f"evals.{key}.every must be at least 1, or -1 for the end alone, not {e.every}")
