"""Probes of labelled texts."""

import pytest
from fakes import Words

from jaxemb.config import ConfigError
from jaxemb.data.text import Text
from jaxemb.evals.probe import Logistic, Ridge
from jaxemb.evals.rankme import RankMe
from jaxemb.evals.text_classification import TextClassification
from jaxemb.preprocess.base import DataError

DATA = Text(length=16)
TOPICS = [(f"{word} {i % 3}", word) for i in range(8) for word in ("wing", "cell", "stone")]


def file(tmp_path, rows, name):
    (tmp_path / name).write_text("".join(f"{text},{label}\n" for text, label in rows))
    return str(tmp_path / name)


def test_a_probe_learns_the_topics(tmp_path):
    train, test = file(tmp_path, TOPICS, "train.csv"), file(tmp_path, [("wing 9", "wing"), ("the stone", "stone")], "test.csv")
    for probe in (Logistic(), Ridge(label="topic")):
        assert TextClassification(path=test, train_path=train, of=probe).run(Words(), DATA) == {"top1": 1.0}
    swapped = file(tmp_path, [("wing 9", "stone"), ("the stone", "wing")], "swapped.csv")
    assert TextClassification(path=swapped, train_path=train).run(Words(), DATA) == {"top1": 0.0}


def test_what_is_refused(tmp_path):
    train, test = file(tmp_path, TOPICS, "train.csv"), file(tmp_path, [("a", "moon"), ("b", "wing")], "test.csv")
    with pytest.raises(DataError, match="no text of .*train.csv has the label 'moon'"):
        TextClassification(path=test, train_path=train).run(Words(), DATA)
    with pytest.raises(ConfigError, match="must learn labels, as Logistic and Ridge do, not RankMe"):
        TextClassification(path=test, train_path=train, of=RankMe())
