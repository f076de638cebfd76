"""Does TrAct train a ViT of 7 layers on CIFAR-10 in fewer epochs, with Adam? And the patch norms that it is compared with?

    jaxemb train experiments/tract/cifar10_vit.py                            TrAct, 4 epochs
    jaxemb train 'experiments/tract/cifar10_vit.py:vit_*' --seed 0           four stems, 1, 2 and 4 epochs; seeds 0 to 2
    jaxemb train 'experiments/tract/cifar10_vit.py:paper_*'                  12 heads, width 384, 100 and 200 epochs: for a GPU

Names: stem (`plain`, `tract`, `patchnorm`, `dualpatchnorm`), epochs. Results: README.md beside this file. As in the paper: Adam,
cosine to 0, label smoothing .1, a crop after padding by 4 (mirrored), a flip. The patches of 4x4 pixels are not stated there. For
two cores: 8x8 pixels, 4 heads, width 96.
"""

import math

from experiments.tract.cifar10_resnet import EPOCH, LAMBDA
from jaxemb import Experiment, Optim
from jaxemb.data import Flip, Images, PadCrop
from jaxemb.evals import Accuracy
from jaxemb.layers import FeedForward
from jaxemb.nn import Attention, Block, Patches, Transformer
from jaxemb.objectives import Classify
from jaxemb.posemb import Learned
from jaxemb.train.probes import Realised

RATES = {100: 1e-3, 200: 10**-3.2}
"""Of the paper, by epochs; the shorter ones here take the first."""


def stems(size: int) -> dict[str, Patches]:
    return {
        "plain": Patches(size, kernel_init="xavier"),
        "tract": Patches(size, kernel_init="xavier"),
        "patchnorm": Patches(size, kernel_init="xavier", norm="patch"),
        "dualpatchnorm": Patches(size, kernel_init="xavier", norm="dual"),
    }


def experiment(name: str, kind: str, stem: Patches, epochs: int, width: int, heads: int) -> Experiment:
    """Batch 128, cosine to 0 over the budget, accuracy on the whole test split after every epoch."""
    side = math.isqrt(32 * 32 // stem.size**2)
    encoder = Transformer(
        stem=stem,
        pos=Learned(shape=(side, side)),
        width=width,
        depth=7,
        blocks=(Block(Attention(heads, kernel_init="xavier"), FeedForward(kernel_init="xavier")),),
    )
    return Experiment(
        name=f"tract_{name}",
        objective=Classify(encoder=encoder, classes=10, smoothing=0.1),
        data=Images("cifar10", size=32, valid_share=0.0, augment=(PadCrop(4), Flip())),
        optim=Optim("adam", lr=RATES.get(epochs, 1e-3), tract=(("encoder/stem/proj", LAMBDA),) if kind == "tract" else ()),
        steps=epochs * EPOCH,
        batch=128,
        evals={"test": Accuracy(test=10_000, every=EPOCH)},
        save_every=epochs * EPOCH,
        probes={"first_layer": Realised(layer="encoder/stem/proj")},
    )


small = {f"vit_{k}_{n}": experiment(f"vit_{k}_{n}", k, stem, n, 96, 4) for k, stem in stems(8).items() for n in (1, 2, 4)}
paper = {
    f"paper_{k}_{n}": experiment(f"vit_paper_{k}_{n}", k, stem, n, 384, 12) for k, stem in stems(4).items() for n in (100, 200)
}
main = small["vit_tract_4"]
