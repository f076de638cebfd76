"""What stands for a model where an evaluation is tested."""

from jaxemb.config import ConfigError
from jaxemb.data.split import Split


class Fake:
    """Fake(embed, logits=..., features=...): each a function of arrays."""

    def __init__(self, embed=None, **others):
        self.methods = {**({"encode": embed} if embed else {}), **others}

    def encode(self, rows, *, role="document", of="encode"):
        return self._ask(rows, of)

    def score(self, rows, *, of="logits"):
        return self._ask(rows, of)

    def _ask(self, rows, method):
        if method not in self.methods:
            raise ConfigError(f"Fake has no {method!r}")
        return self.methods[method](rows[:] if isinstance(rows, Split) else rows)
