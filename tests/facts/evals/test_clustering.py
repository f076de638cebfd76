"""Clusters of labelled texts."""

import pytest
from fakes import Words

from jaxemb.config import ConfigError
from jaxemb.data.text import Text
from jaxemb.evals.clustering import Clustering
from jaxemb.preprocess.base import DataError

DATA = Text(length=16)
TOPICS = [(f"{word} {i % 3}", word) for i in range(8) for word in ("wing", "cell", "stone")]


def file(tmp_path, rows, name="texts.csv"):
    (tmp_path / name).write_text("".join(f"{text},{label}\n" for text, label in rows))
    return str(tmp_path / name)


def test_topics_of_one_word_are_clusters(tmp_path):
    got = Clustering(path=file(tmp_path, TOPICS), draws=2).run(Words(), DATA)
    assert got["v_measure"] > 0.7 and got["texts"] == 24
    lost = Clustering(path=file(tmp_path, [(text, i % 3) for i, (text, _) in enumerate(sorted(TOPICS))]), draws=2)
    assert lost.run(Words(), DATA)["v_measure"] < 0.3
    assert Clustering(path=file(tmp_path, TOPICS), draws=2, texts=9).run(Words(), DATA)["v_measure"] > 0.4


def test_what_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds 2 texts of 1 labels; at least 2 labels are needed"):
        Clustering(path=file(tmp_path, [("a", "x"), ("b", "x")])).run(Words(), DATA)
    with pytest.raises(ConfigError, match="Clustering.texts must be at least 2"):
        Clustering(path="texts.csv", texts=1)
