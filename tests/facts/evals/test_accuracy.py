import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.evals.accuracy import Accuracy
from jaxemb.evals.labels import NoLabels


class Model:
    """Stands for a model with a head: `of` gives the method by its name."""

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, arrays):
        raise AssertionError("embeddings are not asked for")

    def of(self, method):
        assert method == "logits"
        return lambda arrays: self.logits(arrays)


LABELS = np.array([0, 1, 2, 1], np.int32)
ROWS = {"images": np.eye(4, 3, dtype=np.float32), "labels": LABELS}  # the last row is (0, 0, 0): a tie, which goes to class 0


def test_share_of_rows_whose_highest_logit_is_their_class(known):
    assert Accuracy().run(Model(lambda a: a["images"]), known(ROWS, ROWS)) == {"top1": 0.75}
    assert Accuracy().run(Model(lambda a: -a["images"]), known(ROWS, ROWS)) == {"top1": 0.0}


def test_another_label_and_a_limit(known):
    rows = {**ROWS, "size": np.zeros(4, np.int32)}
    seen = []
    model = Model(lambda a: (seen.append(len(a["images"])), a["images"])[1])
    assert Accuracy(label="size", test=3).run(model, known(rows, rows))["top1"] <= 1 and seen == [3]


def test_what_cannot_be_scored_is_named(known):
    data = known(ROWS, ROWS)
    with pytest.raises(ConfigError, match="label='size' is not in the data; valid: images, labels"):
        Accuracy(label="size").run(Model(lambda a: a["images"]), data)
    with pytest.raises(ConfigError, match="needs the model's 'logits', and was given embeddings alone"):
        Accuracy().run(lambda a: a["images"], data)
    with pytest.raises(ConfigError, match=r"has classes up to 2, the head gives logits of shape \(2,\)"):
        Accuracy().run(Model(lambda a: a["images"][:, :2]), data)
    with pytest.raises(ConfigError, match="the logits are not finite"):
        Accuracy().run(Model(lambda a: a["images"] * np.nan), data)
    with pytest.raises(NoLabels, match="the data have no classes"):
        Accuracy().run(Model(lambda a: a["images"]), known(ROWS, {**ROWS, "labels": np.full(4, -1, np.int32)}))
