import numpy as np
import pytest
from fakes import Fake

from jaxemb.config import ConfigError
from jaxemb.evals.accuracy import Accuracy
from jaxemb.evals.labels import NoLabels


def heads(logits):
    """A model with a head, whose embeddings nobody may ask for."""
    return Fake(logits=logits)


LABELS = np.array([0, 1, 2, 1], np.int32)
ROWS = {"images": np.eye(4, 3, dtype=np.float32), "labels": LABELS}  # the last row is (0, 0, 0): a tie, which goes to class 0


def test_share_of_rows_whose_highest_logit_is_their_class(known):
    assert Accuracy().run(heads(lambda a: a["images"]), known(ROWS, ROWS)) == {"top1": 0.75}
    assert Accuracy().run(heads(lambda a: -a["images"]), known(ROWS, ROWS)) == {"top1": 0.0}


def test_another_label_and_a_limit(known):
    rows = {**ROWS, "size": np.zeros(4, np.int32)}
    seen = []
    model = heads(lambda a: (seen.append(len(a["images"])), a["images"])[1])
    assert Accuracy(label="size", test=3).run(model, known(rows, rows))["top1"] <= 1 and seen == [3]


def test_rows_without_a_label_are_left_out(known):
    rows = {**ROWS, "labels": np.array([0, -1, 2, -1], np.int32)}
    assert Accuracy().run(heads(lambda a: a["images"]), known(rows, rows)) == {"top1": 1.0}


def test_what_cannot_be_scored_is_named(known):
    data = known(ROWS, ROWS)
    with pytest.raises(ConfigError, match="label='size' is not in the data; valid: labels"):
        Accuracy(label="size").run(heads(lambda a: a["images"]), data)
    with pytest.raises(ConfigError, match="no 'logits'"):
        Accuracy().run(Fake(lambda a: a["images"]), data)
    with pytest.raises(ConfigError, match=r"has classes up to 2, the head gives logits of shape \(2,\)"):
        Accuracy().run(heads(lambda a: a["images"][:, :2]), data)
    with pytest.raises(ConfigError, match="the logits are not finite"):
        Accuracy().run(heads(lambda a: a["images"] * np.nan), data)
    with pytest.raises(NoLabels, match="the data have no classes"):
        Accuracy().run(heads(lambda a: a["images"]), known(ROWS, {**ROWS, "labels": np.full(4, -1, np.int32)}))
