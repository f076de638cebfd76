"""Exported folders in sentence-transformers itself, where that is installed: the vectors are the same."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxemb.io.embedder import Embedder
from jaxemb.train.sharding import make_mesh

TORCH = os.environ.get("JAXEMB_TORCH_PYTHON", sys.executable)
"""A Python that has sentence-transformers, where it is another one than that of the tests."""
OPEN = """
import json, sys
import numpy as np
from sentence_transformers import SentenceTransformer

for folder in sys.argv[1:]:
    model = SentenceTransformer(folder, device="cpu")
    sentences = json.load(open(folder + "/sentences.json"))
    prompts = [name for name, text in model.prompts.items() if text]
    found = {"plain": model.encode(sentences)} | {name: model.encode(sentences, prompt_name=name) for name in prompts}
    np.savez(folder + "/torch.npz", **found)
"""


@pytest.fixture(scope="module")
def opened(golden, tmp_path_factory):
    """{name: (embedder, sentences, what sentence-transformers gives)} of every sentence-transformers folder, exported."""
    if subprocess.run(
        [TORCH, "-c", "import importlib.util as u; raise SystemExit(u.find_spec('sentence_transformers') is None)"]
    ).returncode:
        pytest.skip("sentence-transformers is not installed (name a Python that has it in JAXEMB_TORCH_PYTHON)")
    home, found = tmp_path_factory.mktemp("exported"), {}
    for folder in sorted(p.parent for p in (golden / "hf").glob("*/modules.json")):
        model = Embedder.from_pretrained(folder, mesh=make_mesh({"data": 1}))
        assert model.save_pretrained(home / folder.name) is None
        shutil.copy(folder / "sentences.json", home / folder.name)
        found[folder.name] = model, json.loads((folder / "sentences.json").read_text())
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [TORCH, "-c", OPEN, *(str(home / name) for name in found)],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: (*both, dict(np.load(home / name / "torch.npz"))) for name, both in found.items()}


def test_sentence_transformers_gives_the_same_vectors(opened, golden):
    assert opened
    for name, (model, sentences, there) in opened.items():
        atol = json.loads((golden / "hf" / name / "tolerances.json").read_text())["plain"]["atol"]
        for prompt, z in there.items():
            ours = model.encode(sentences, prompt_name=None if prompt == "plain" else prompt)
            np.testing.assert_allclose(z, ours, atol=atol, rtol=0, err_msg=f"{name}, {prompt}")
