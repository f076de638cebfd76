"""What stands for a model, and for a collection of texts, where an evaluation is tested."""

import json
import zlib

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.split import Split
from jaxemb.ops.maxsim import Matrices


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


class Words:
    """A model of texts: a text is the sum of the fixed random vectors of its words. It notes what it was asked."""

    def __init__(self, width=64):
        self.width, self.asked = width, []

    def encode_texts(self, texts, *, role, prompt, tokens=False):
        self.asked.append((role, prompt, len(texts)))
        if tokens:
            return Matrices([np.stack([self.word(w) for w in t.split()]).astype(np.float32) for t in texts])
        return np.stack([sum((self.word(w) for w in t.split()), np.zeros(self.width)) for t in texts]).astype(np.float32)

    def word(self, word):
        return np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.width)


class Tokens(Words):
    """A vector a word, in any case."""

    def encode_texts(self, texts, *, role, prompt, tokens=False):
        return super().encode_texts(texts, role=role, prompt=prompt, tokens=True)


def write_collection(folder, documents, queries, qrels, split="test"):
    """A folder in BEIR's layout: texts by id, and the lines of the judgements."""
    folder.mkdir(exist_ok=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps(text if isinstance(text, dict) else {"_id": i, "text": text}) for i, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    return str(folder)


class Angles:
    """A text "30 2" is the vector of length 2 at 30 degrees."""

    def __init__(self, **own):
        vars(self).update(own)

    def encode_texts(self, texts, *, role, prompt):
        angle, length = np.array([[float(x) for x in text.split()] for text in texts]).T
        return (length[:, None] * np.stack([np.cos(np.radians(angle)), np.sin(np.radians(angle))], 1)).astype(np.float32)
