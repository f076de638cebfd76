"""An index in a folder with what its rows are: one that is saved takes the place of another when it is whole."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.files import FileError
from jaxemb.index import Exact
from jaxemb.io.searchable import Searchable, load_searchable

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def searchable(name):
    return Searchable(Exact().build(X), [f"{name} {i}" for i in range(3)], ["a", "b", "c"])


@pytest.mark.parametrize("at", ["jaxemb.io.searchable.digest", "jaxemb.index.files.digest"])
def test_where_saving_ends_early_what_was_there_stays(tmp_path, monkeypatch, at):
    def ends(file):
        raise KeyboardInterrupt

    searchable("old").save(tmp_path / "kept")
    with monkeypatch.context() as m:
        m.setattr(at, ends)
        for name in ("kept", "new"):
            with pytest.raises(KeyboardInterrupt):
                searchable("new").save(tmp_path / name)
    assert [f.name for f in tmp_path.iterdir()] == ["kept"]
    assert load_searchable(tmp_path / "kept").where[0] == "old 0"
    searchable("new").save(tmp_path / "kept")
    assert [f.name for f in tmp_path.iterdir()] == ["kept"]
    assert load_searchable(tmp_path / "kept").where[0] == "new 0"


def test_only_an_index_is_replaced_a_whole_one_or_the_beginning_of_one(tmp_path):
    searchable("a").save(tmp_path / "kept")
    for name in ("index.json", "texts.jsonl", "search.json"):
        (tmp_path / "kept" / name).unlink()
    searchable("b").save(tmp_path / "kept")
    assert load_searchable(tmp_path / "kept").where[0] == "b 0"
    (tmp_path / "kept" / "NOTES.md").write_text("mine")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "texts.jsonl").write_text("mine")
    for name in ("kept", "own"):
        with pytest.raises(ConfigError, match="holds other things than an index"):
            searchable("c").save(tmp_path / name)


def test_an_index_that_is_cut_off_is_to_be_saved_again(tmp_path):
    searchable("a").save(tmp_path)
    content = (tmp_path / "index.safetensors").read_bytes()
    (tmp_path / "index.safetensors").write_bytes(content[:-9])
    with pytest.raises(FileError, match="tensors end beyond: save the index again$"):
        load_searchable(tmp_path)
