"""I-JEPA from ViT-B/16 to ViT-g/16 as the paper trains them (Assran et al., CVPR 2023): 224 px, batches of 2048, bfloat16.

    jaxemb show experiments/scale/ijepa.py:vit_h
    jaxemb compile experiments/scale/ijepa.py:vit_h --topology v5e:8x8
    jaxemb train experiments/scale/ijepa.py:vit_h --set data.path=/data/imagenet

Optimiser, masks and augmentation are those of the released ViT-H/14 (ImageNet-1k, 300 epochs); ViT-B and ViT-L have 600 epochs.
ViT-g sees ImageNet-22k, 44 passes; its warm-up, a tenth of that, is our guess. Everything that is trained, its average and its
moments are cut over all devices, and a layer keeps its input alone for the gradient. Of ViT-g no width can be cut into more than
128 equal parts (1408 = 11 x 128): on 256 devices set mesh={"data": 2, "fsdp": 128}.
"""

from jaxemb import Experiment, Optim, nn
from jaxemb.data import ImageFolder, RandomResizedCrop
from jaxemb.masks import MultiBlock
from jaxemb.nn import Attention, Block, Predictor, Transformer
from jaxemb.objectives import IJEPA

BATCH = 2048
AN_EPOCH = {"imagenet": 1_281_167 // BATCH, "imagenet22k": 14_197_122 // BATCH}
"""Updates."""
lean = {"scan": True, "remat": "full"}


def ijepa(
    name: str, encoder: Transformer, *, heads: int, depth: int, epochs: int, warmup: int, data: str = "imagenet"
) -> Experiment:
    """`heads` and `depth` of the predictor, which is 384 wide in all sizes; its heads are as many as the encoder's."""
    return Experiment(
        name=f"scale_{name}",
        objective=IJEPA(
            encoder=encoder,
            predictor=Predictor(width=384, depth=depth, blocks=(Block(Attention(heads)),), **lean),
            masks=MultiBlock(),
        ),
        data=ImageFolder(data, size=224, augment=(RandomResizedCrop(scale=(0.3, 1.0)),), workers=16),
        optim=Optim("adamw", lr=1e-3, lr_start=2e-4, lr_final=1e-6, warmup=warmup * AN_EPOCH[data], decay=(0.04, 0.4)),
        ema=(0.996, 1.0),
        steps=epochs * AN_EPOCH[data],
        batch=BATCH,
        mesh={"fsdp": -1},
        sharding="fsdp",
        save_every=1_000,
    )


fields = {"dtype": "bfloat16", **lean}
main = ijepa("vit_b", nn.vit_b(16, **fields), heads=12, depth=6, epochs=600, warmup=40)
sizes = {
    "vit_b": main,
    "vit_l": ijepa("vit_l", nn.vit_l(16, **fields), heads=16, depth=12, epochs=600, warmup=40),
    "vit_h": ijepa("vit_h", nn.vit_h(14, **fields), heads=16, depth=12, epochs=300, warmup=40),
    "vit_g": ijepa("vit_g", nn.vit_g(16, **fields), heads=16, depth=16, epochs=44, warmup=4, data="imagenet22k"),
}
