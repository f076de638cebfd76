"""Strings are texts, the rest are images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pretrained import tokenizer

from jaxemb.preprocess.base import DataError, Preprocess
from jaxemb.preprocess.hf_images import PretrainedImages
from jaxemb.preprocess.hf_text import PretrainedText
from jaxemb.preprocess.texts_and_images import TextsAndImages

PRE = TextsAndImages(text=PretrainedText(length=8, learned=tokenizer(), prompts={"query": "the "}), images=PretrainedImages(size=4))
X = np.zeros((4, 4, 3), np.uint8)


def test_each_kind_has_its_arrays():
    assert set(PRE(["the cat"])) == {"tokens", "mask"} and set(PRE([X])) == {"images"}
    assert PRE.are_texts(["a", X, Path("a.png"), Image.fromarray(X), np.str_("b")]).tolist() == [True, False, False, False, True]
    assert PRE.length == 8 and PRE.prompts == {"query": "the "} and set(PRE.spec) == {"text", "image"}
    with pytest.raises(DataError, match="a batch has texts or images, not both"):
        PRE(["a", X])


def test_files_and_state(tmp_path):
    (tmp_path / "a.txt").write_text("the cat\n")
    Image.fromarray(X).save(tmp_path / "a.png")
    assert PRE.read(tmp_path / "a.txt") == (["the cat"], [])
    assert PRE.read(tmp_path / "a.png") == ([tmp_path / "a.png"], [str(tmp_path / "a.png")])
    PRE.save(tmp_path / "saved")
    assert Preprocess.load(tmp_path / "saved") == PRE
