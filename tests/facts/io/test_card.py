from jaxemb.io.card import card


def test_a_model_of_vectors_is_shown_with_vectors():
    none = {"published": False, "base": None, "run": None}
    text = card("codes", [("inputs", "vectors of 24 numbers")], inputs=["vectors"], **none)
    assert 'z = model.encode(np.load("vectors.npy"))' in text and "import numpy as np" in text
    assert "numpy" not in card("photos", [], inputs=["images"], **none)
