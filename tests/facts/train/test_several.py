"""A student and its guide start from a folder each, and the guide stays what it was."""

import json

import jax
import numpy as np
import pytest
from pretrained import bert
from safetensors.numpy import load_file

from jaxemb.config import ConfigError
from jaxemb.contrastive import GIST
from jaxemb.data.text_pairs import TextPairs
from jaxemb.experiment import Experiment
from jaxemb.io.pretrained import architecture
from jaxemb.nn.pooled import Pooled
from jaxemb.objectives.pairs import Pairs
from jaxemb.ops.paths import by_path
from jaxemb.train.loop import placed_step
from jaxemb.train.optim import Optim
from jaxemb.train.pretrained import FromPretrained
from jaxemb.train.several import Several
from jaxemb.train.sharding import make_mesh
from jaxemb.train.start import first_state

WORDS = "embeddings.word_embeddings.weight"


def test_a_guide_starts_from_its_folder_and_no_step_moves_it(tmp_path):
    student, guide = (bert(tmp_path / name, seed=seed) for seed, name in enumerate(("student", "guide")))
    rows = [{"query": f"the cat {w}", "positive": f"a dog {w}"} for w in ("sat", "ran", "big", "red", "on", "mat", "a", "the")]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    experiment = Experiment(
        name="guided",
        objective=Pairs(
            encoder=architecture(student).encoder.module, contrast=GIST(), guide=Pooled(architecture(guide).encoder.module)
        ),
        data=TextPairs(
            str(tmp_path / "own.jsonl"), length=8, folder=str(student), guide=str(guide), guide_length=6, valid_share=0.0
        ),
        optim=Optim("sgd", lr=0.1, schedule="constant"),
        steps=2,
        batch=4,
        init=Several((FromPretrained(str(student)), FromPretrained(str(guide), into="guide/model"))),
    )
    mesh = make_mesh({"data": 1})
    state = first_state(experiment, mesh, lambda line: None)
    tables = [load_file(folder / "model.safetensors")[WORDS] for folder in (student, guide)]
    held = {"params": state.params, **state.stats}
    for path, table in zip(("params/encoder/stem/embedding", "guide/model/encoder/stem/embedding"), tables, strict=True):
        np.testing.assert_array_equal(by_path(held)[path], table)
    experiment.init.keep(tmp_path)  # the run says what its parameters began with
    assert "student" in (tmp_path / "pretrained.json").read_text()
    before = jax.device_get(state.stats)
    batch = jax.device_put(next(experiment.data.batches(4, seed=0)), next(iter(jax.tree.leaves(state.params))).sharding)
    after, metrics = placed_step(experiment, state, mesh)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(after.stats), before)
    assert np.isfinite(metrics["loss"]) and not np.array_equal(after.params["encoder"]["stem"]["embedding"], tables[0])


def test_sources_that_have_no_place_are_refused(tmp_path):
    folder = bert(tmp_path / "student")
    shapes = {"params/encoder/stem/embedding": jax.ShapeDtypeStruct((16, 8), np.float32)}
    with pytest.raises(ConfigError, match=r"init.into='guide/model': the experiment has no arrays there; it has params"):
        FromPretrained(str(folder), into="guide/model")(shapes)
    with pytest.raises(ConfigError, match=r"Several.inits is empty"):
        Several(())
