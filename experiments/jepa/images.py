"""I-JEPA on your own photos: any folder of image files, at any depth.

    jaxemb train experiments/jepa/images.py --set data.path=my_photos
    jaxemb encode runs/images my_photos embeddings.npy

Where every image lies in a sub-folder, the sub-folders are the classes of the k-NN and probe evaluations; else these are left
out, and RankMe alone tells whether the features collapse. Files that cannot be read are named and skipped. A tenth of the files
is held out for evaluation (or `test`, `val` beside `train`, where there are such folders).

The setting is that of cifar10.py on images of 64 pixels, 16 patches each. With more images and an accelerator raise
`data.size`, `steps`, `batch`, and take an encoder of jaxemb/nn/presets.py:

    ... --set data.size=224 --set objective.encoder.stem.size=16 --set objective.encoder.width=384 --set objective.encoder.depth=12
    ... --set objective.masks=jaxemb.masks.multi_block:MultiBlock --set objective.joint=false --set objective.loss_name=smooth_l1
"""

from jaxemb import Experiment, Optim
from jaxemb.data import Flip, ImageFolder, RandomResizedCrop
from jaxemb.evals import KNN, RankMe, Ridge
from jaxemb.layers import FeedForward
from jaxemb.masks import FixedBlocks
from jaxemb.nn import Attention, Block, Patches, Predictor, micro
from jaxemb.objectives import IJEPA

block = Block(Attention(kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
main = Experiment(
    name="images",
    objective=IJEPA(
        encoder=micro(16, stem=Patches(16, kernel_init="xavier"), blocks=(block,)),
        predictor=Predictor(width=64, depth=2, blocks=(block,), kernel_init="xavier"),
        masks=FixedBlocks(targets=3, size=(2, 2), context=6),
        loss_name="l2",
        joint=True,
        target_layers=4,
    ),
    data=ImageFolder("my_photos", size=64, augment=(RandomResizedCrop(scale=(0.3, 1.0)), Flip())),
    optim=Optim("adamw", lr=2e-3, lr_start=2e-4, lr_final=2e-5, warmup=0.1, decay=0.05, clip=3.0),
    ema=(0.99, 1.0),
    steps=4_000,
    batch=64,
    evals={"knn": KNN(every=1000), "probe": Ridge(every=1000), "rankme": RankMe(samples=5_000, every=1000)},
)
