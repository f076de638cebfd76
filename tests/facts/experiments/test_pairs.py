"""experiments/text/pairs.py: a file of one's own by one override."""

import json

from jaxemb.config import from_json, override, to_json
from jaxemb.contrastive import InfoNCE
from jaxemb.experiment import defined
from jaxemb.train.setup import example_batch


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
