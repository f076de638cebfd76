"""Where do the targets of DMT-JEPA help over I-JEPA's own? A search: one change at a time from a pair of experiments.

    jaxemb train experiments/jepa/dmt.py:cifar10_dmt              every name below; seed 0, and more where it looks well
    jaxemb compare runs/dmt_* --csv results/dmt_search.csv
    jaxemb doctor runs/dmt_cifar10_dmt                            why: position shortcut, variance of targets, use of the context

On CIFAR-10 as in objectives.py, with 16 patches (`cifar10_`) or 64 (`small_`), and on drawn scenes whose patches are classified one
by one (`textures_`), what the method was made for. Log and findings: README.md beside this file.
"""

import dataclasses
from typing import Any

from experiments.jepa.objectives import block, encoder, head, masked
from experiments.jepa.objectives import main as objectives
from jaxemb import Experiment
from jaxemb.data import Textures
from jaxemb.evals import KNN, Collapse, DensePatches, Ridge
from jaxemb.experiment import replace
from jaxemb.masks import FixedBlocks, MultiBlock
from jaxemb.nn import Patches, Predictor, Transformer
from jaxemb.objectives import DMTJEPA, IJEPA
from jaxemb.posemb import SinCos

STEPS = 2_000
judged = {"knn": KNN(every=1000), "probe": Ridge(every=1000), "collapse": Collapse(every=1000)}
base = replace(objectives, steps=STEPS, save_every=STEPS, evals=judged)
search: dict[str, Experiment] = {}


def dmt(**fields: Any) -> DMTJEPA:
    """With the head of objectives.py, unless `fields` have another."""
    return DMTJEPA(**{"head": head, **fields})


def add(name: str, experiment: Experiment, objective: Any, **changes: Any) -> None:
    """An entry of the search. `changes` are of the experiment."""
    search[name] = replace(experiment, name=f"dmt_{name}", objective=objective, **changes)


# CIFAR-10, 16 patches: I-JEPA passes the gate here.
add("cifar10_ijepa", base, IJEPA(**masked))
add("cifar10_dmt", base, dmt(**masked))
variants: dict[str, dict[str, Any]] = {
    "k1": {"neighbours": 1},
    "k8": {"neighbours": 8},  # all around: similarity no longer chooses
    "no_wrap": {"wrap": False},
    "shallow": {"head": replace(head, depth=1)},
    "no_target_head": {"target_head": False},
    "no_context_head": {"context_head": False},
    "self": {"head": replace(head, kind="self")},
    "four_layers": {"target_layers": 4},
    "sigreg": {"sigreg": 0.02},
    "released": {"start": "released"},
    "zero": {"start": "zero"},  # without the mean that all targets of an image share
    "zero_sigreg": {"start": "zero", "sigreg": 0.02},
    "larger_context": {"masks": FixedBlocks(targets=2, size=(2, 2), context=8)},
    "smaller_targets": {"masks": FixedBlocks(targets=6, size=(1, 1), context=6)},
}
for name, changes in variants.items():
    add(f"cifar10_dmt_{name}", base, dmt(**{**masked, **changes}))
add("cifar10_ijepa_larger_context", base, IJEPA(**{**masked, "masks": variants["larger_context"]["masks"]}))
add("cifar10_ijepa_smaller_targets", base, IJEPA(**{**masked, "masks": variants["smaller_targets"]["masks"]}))
slow = dataclasses.replace(base.optim, lr=5e-4, lr_start=5e-5)
add("cifar10_dmt_slow", base, dmt(**masked), optim=slow)
add("cifar10_ijepa_slow", base, IJEPA(**masked), optim=slow)
add("cifar10_dmt_long", base, dmt(**masked), steps=7_000)  # as many as cifar10.py
add("cifar10_dmt_ema999", base, dmt(**masked), ema=(0.999, 1.0))
add("cifar10_dmt_ema9", base, dmt(**masked), ema=(0.9, 1.0))

# CIFAR-10, 64 patches: a 3x3 window is an eighth of the image instead of a half.
small = replace(encoder, stem=Patches(4, kernel_init="xavier"))
blocks = MultiBlock(min_keep=4, context_tokens=32)
for kind, cls in (("ijepa", IJEPA), ("dmt", DMTJEPA)):
    add(f"small_{kind}", base, cls(**{**masked, "encoder": small, "masks": blocks}), steps=1_000)

# Textures: 64 patches of 4x4 pixels, each with a label of its own.
scenes = Transformer(
    stem=Patches(4, kernel_init="xavier"),
    width=64,
    depth=4,
    blocks=(block,),
    pos=SinCos(axes=2),
)
dense = replace(
    base,
    data=Textures(),  # as they are: a crop would change periods, a flip angles
    evals={"dense": DensePatches(every=400), "collapse": Collapse(every=500)},
    steps=1_200,
)
patches = {
    **masked,
    "encoder": scenes,
    "predictor": Predictor(width=48, depth=2, blocks=(block,), kernel_init="xavier"),
    "masks": blocks,
}
add("textures_ijepa", dense, IJEPA(**patches))
add("textures_dmt", dense, dmt(**patches))
add("textures_dmt_zero", dense, dmt(**patches, start="zero"))
add("textures_dmt_window5", dense, dmt(**patches, window=5, neighbours=8))
add("textures_dmt_no_context_head", dense, dmt(**patches, context_head=False))
add("textures_ijepa_sigreg", dense, IJEPA(**patches, sigreg=0.02))
add("textures_dmt_sigreg", dense, dmt(**patches, sigreg=0.02))
add("textures_ijepa_slow", dense, IJEPA(**patches), optim=slow)
add("textures_dmt_slow", dense, dmt(**patches), optim=slow)

# The same scenes at 64 pixels: a patch of 8x8 shows a whole period of every grating.
larger = replace(dense, data=Textures(size=64), steps=3_000, evals={**dense.evals, "dense": DensePatches(every=1_000)})
coarse = {**patches, "encoder": replace(scenes, stem=Patches(8, kernel_init="xavier"))}
add("textures64_ijepa", larger, IJEPA(**coarse))
add("textures64_ijepa_four_layers", larger, IJEPA(**coarse, target_layers=4))
add("textures64_dmt", larger, dmt(**coarse))

main = search["cifar10_dmt"]
