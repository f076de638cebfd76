"""Which pre-training objective makes the best embeddings of CIFAR-10, with the encoder, the images seen and the optimiser the same?

    jaxemb train experiments/jepa/objectives.py:mae                 one field of the experiment, `objective`, changes
    jaxemb train experiments/jepa/objectives.py:simclr --seed 1
    jaxemb compare runs/objectives_*

The setting of cifar10.py in fewer steps. Nothing was tuned for any of them but I-JEPA: the learning rate is I-JEPA's, and 64 images
a step are few for methods that compare the images of a batch.
Masked methods see crops and flips; those with two views also change colours. Results: README.md beside this file.
"""

from typing import Any

from jaxemb import Experiment, Optim
from jaxemb.contrastive import NTXent
from jaxemb.data import Flip, Images, RandomResizedCrop
from jaxemb.data.images import STATISTICS
from jaxemb.evals import KNN, Collapse, LiDAR, RankMe, Ridge
from jaxemb.experiment import replace
from jaxemb.layers import FeedForward, Projector
from jaxemb.masks import FixedBlocks, RandomPatches
from jaxemb.nn import Aggregation, Attention, Block, Decoder, Patches, Predictor, Transformer
from jaxemb.objectives import BYOL, DMTJEPA, IJEPA, MAE, Classify, Data2Vec, HardPatches, LeJEPA, SimCLR, VICReg
from jaxemb.posemb import SinCos
from jaxemb.views import CropViews

STEPS = 3_000
block = Block(Attention(4, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
encoder = Transformer(
    stem=Patches(8, kernel_init="xavier"),
    width=128,
    depth=4,
    blocks=(block,),
    pos=SinCos(axes=2),
)
masked: dict[str, Any] = {
    "encoder": encoder,
    "predictor": Predictor(width=64, depth=2, blocks=(block,), kernel_init="xavier"),
    "masks": FixedBlocks(targets=3, size=(2, 2), context=6),
    "loss_name": "l2",
    "joint": True,
}
head = Aggregation(heads=4, mlp=FeedForward(activation="gelu_tanh", kernel_init="xavier"), kernel_init="xavier")
pixels: dict[str, Any] = {
    "encoder": encoder,
    "decoder": Decoder(width=64, depth=2, blocks=(block,), kernel_init="xavier"),
    "masks": RandomPatches(0.625),
}
mean, std = STATISTICS["cifar10"]
views: dict[str, Any] = {"encoder": encoder, "projector": Projector((512, 512, 128)), "views": CropViews(mean=mean, std=std)}

main = ijepa = Experiment(
    name="objectives_ijepa",
    objective=IJEPA(**masked, target_layers=4),
    data=Images("cifar10", valid_share=0.0, augment=(RandomResizedCrop(scale=(0.3, 1.0)), Flip())),
    optim=Optim("adamw", lr=2e-3, lr_start=2e-4, lr_final=2e-5, warmup=0.1, decay=0.05, clip=3.0),
    ema=(0.99, 1.0),
    steps=STEPS,
    batch=64,
    evals={
        "knn": KNN(every=1500),
        "probe": Ridge(every=1500),
        "rankme": RankMe(samples=5_000, every=1500),
        "collapse": Collapse(every=1500),
        "lidar": LiDAR(every=1500),
    },
    save_every=1500,
    log_every=100,
)
ijepa_last = replace(main, name="objectives_ijepa_last", objective=IJEPA(**masked))
sigreg = replace(main, name="objectives_sigreg", objective=IJEPA(**masked, target_layers=4, sigreg=0.02))
data2vec = replace(main, name="objectives_data2vec", objective=Data2Vec(encoder=encoder))
dmt = replace(main, name="objectives_dmt", objective=DMTJEPA(**masked, head=head))
mae = replace(main, name="objectives_mae", objective=MAE(**pixels))
supervised = replace(main, name="objectives_supervised", objective=Classify(encoder=encoder, classes=10))
hard = replace(main, name="objectives_hard", objective=HardPatches(**pixels))


def compared(name: str, objective: Any) -> Experiment:
    """Views are made from images as they are. RankMe is of the projector's output, as its paper has it, as well."""
    evals = {**main.evals, "rankme_projector": RankMe(of="project", samples=5_000, every=1500)}
    return replace(main, name=f"objectives_{name}", objective=objective, data=Images("cifar10", valid_share=0.0), evals=evals)


simclr = compared("simclr", SimCLR(**views, contrast=NTXent(0.2)))
vicreg = compared("vicreg", VICReg(**views))
lejepa = compared("lejepa", LeJEPA(**views, slices=256))
byol = compared("byol", BYOL(**views, predictor=Projector((512, 128))))
