"""experiments/text/pairs.py: a file of one's own by one override."""

import json

import jax
import numpy as np
from pretrained import WIDTH, bert, chain

from experiments.text.pairs import experiment as of_folder
from jaxemb.config import from_json, override, to_json
from jaxemb.contrastive import InfoNCE
from jaxemb.data.text_pairs import TextPairs
from jaxemb.experiment import defined
from jaxemb.io.embedder import Embedder
from jaxemb.io.origin import Origin
from jaxemb.train.setup import example_batch
from jaxemb.train.sharding import make_mesh
from jaxemb.train.start import first_state


def test_one_override_changes_the_file_and_another_one_the_loss(tmp_path):
    found = defined("experiments/text/pairs.py")
    file = tmp_path / "my.jsonl"
    file.write_text("\n".join(json.dumps({"question": f"q {i}", "answer": f"a {i}"}) for i in range(30)))
    for experiment in {id(e): e for e in found.values()}.values():
        own = override(experiment, [f"data.path={file}", "objective.contrast=jaxemb.contrastive.sigmoid:Sigmoid()"])
        batch = next(own.data.batches(8, seed=0))
        assert batch["query"]["tokens"].shape[0] == 8 and batch.keys() == example_batch(own).keys()
        assert type(own.objective.contrast).__name__ == "Sigmoid" and isinstance(experiment.objective.contrast, InfoNCE)
        assert from_json(to_json(own)) == own


def test_the_pairs_beside_it_are_enough_for_a_batch():
    small = defined("experiments/text/pairs.py")["small"]
    assert [len(small.data.split(name)) for name in ("train", "valid", "test")] == [195, 21, 24]
    assert next(small.data.batches(small.batch, seed=0))["positive_id"].shape == (small.batch,)


def test_what_a_folder_has_after_its_pooling_is_trained_and_written_again(tmp_path):
    """A Normalize that is lost makes dot products of an index something else than cosines, and no error says so."""
    dense = {"in_features": WIDTH, "out_features": 6, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True}
    source, mesh = (
        chain(bert(tmp_path / "source"), ("Pooling", pooling), ("Dense", dense), ("Normalize", {})),
        make_mesh({"data": 1}),
    )
    experiment = of_folder(str(source), data=TextPairs("own.jsonl", length=8, folder=str(source)))
    state = first_state(experiment, mesh, (said := []).append)
    count = len(jax.tree.leaves(state.params))
    assert said[0].startswith(f"{count} of {count} parameters")
    run = Embedder(experiment.objective, {"params": state.params}, experiment.data.preprocess, mesh=mesh)
    experiment.init.keep(tmp_path)
    run.origin = Origin.read(tmp_path)
    assert run.save_pretrained(tmp_path / "out") is None
    kinds = [m["type"].rpartition(".")[2] for m in json.loads((tmp_path / "out" / "modules.json").read_text())]
    assert kinds == ["Transformer", "Pooling", "Dense", "Normalize"]
    z = [Embedder.from_pretrained(folder, mesh=mesh).encode(["the cat sat", "a dog"]) for folder in (source, tmp_path / "out")]
    np.testing.assert_allclose(z[1], z[0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(z[0], axis=1), 1, atol=1e-6)
