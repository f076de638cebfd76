"""CuBERT: pieces of Python source (text_cubert_tokens.json) and the pointer head (text_cubert_pointer.npz)."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.layers.dense import Dense
from jaxemb.ops.pointer import location_loss, pointer_log_probs, repair_loss
from jaxemb.preprocess.python_tokens import python_tokens


def test_pieces_of_python_source(golden):
    if not (file := golden / "text_cubert_tokens.json").is_file():
        pytest.skip(f"no {file.name} in {golden}")
    for case in json.loads(file.read_text()):
        assert python_tokens(case["code"]) == case["tokens"], case["code"]
        assert python_tokens(case["code"], comments=True) == case["tokens_with_comments"], case["code"]


def test_pointers(load, precision):
    arrays = load("text_cubert_pointer.npz")
    hidden, kernel = precision.array(arrays["hidden"]), precision.array(arrays["W"])
    logits = Dense(kernel.shape[1], use_bias=False).apply({"params": {"kernel": kernel}}, hidden)
    precision.check(logits, arrays["logits"], "logits")
    candidates, repairs = jnp.asarray(arrays["candidate_mask"]), jnp.asarray(arrays["repair_mask"] > 0)
    log_probs = pointer_log_probs(precision.array(arrays["logits"]), candidates)
    precision.check(jnp.exp(log_probs), arrays["probs_masked"], "probs_masked")
    multiplied = pointer_log_probs(precision.array(arrays["logits"]), candidates, "multiply")
    precision.check(jnp.exp(multiplied), arrays["probs_reference"], "probs_reference")
    error = jnp.asarray(arrays["loc_onehot"].argmax(1).astype(np.int32))
    precision.check(location_loss(log_probs, error), arrays["loc_ce_masked"], "loc_ce_masked")
    precision.check(repair_loss(log_probs, repairs, each=False), arrays["repair_nll_masked"], "repair_nll_masked")
    precision.check(repair_loss(log_probs, repairs), arrays["repair_sum_log_masked"], "repair_sum_log_masked")
