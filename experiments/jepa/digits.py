"""Does I-JEPA learn anything on 1 437 handwritten digits of 8x8 pixels?

    jaxemb train experiments/jepa/digits.py
    jaxemb train experiments/jepa/digits.py:supervised
    jaxemb compare runs/digits runs/digits_supervised

Hardly, which is why the demo is another one: results in README.md beside this file.
"""

from jaxemb import Experiment, Optim
from jaxemb.data import Digits
from jaxemb.evals import KNN, FewShot, RankMe, RawInputs, Ridge
from jaxemb.experiment import replace
from jaxemb.layers import FeedForward
from jaxemb.masks import FixedBlocks
from jaxemb.nn import Attention, Block, Patches, Predictor, Transformer
from jaxemb.objectives import IJEPA, Classify

block = Block(Attention(4, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
encoder = Transformer(
    stem=Patches(2, kernel_init="xavier"),
    width=64,
    depth=4,
    blocks=(block,),
)
main = Experiment(
    name="digits",
    objective=IJEPA(
        encoder=encoder,
        predictor=Predictor(width=32, depth=2, blocks=(block,), kernel_init="xavier"),
        masks=FixedBlocks(targets=3, size=(2, 2), context=6),
        loss_name="l2",
        joint=True,
    ),
    data=Digits(valid_share=0.0),
    optim=Optim("adamw", lr=2e-3, lr_start=2e-4, lr_final=2e-5, warmup=0.1, decay=0.05, clip=3.0),
    ema=(0.99, 1.0),
    steps=2_000,
    batch=64,
    evals={
        "knn": KNN(every=500),
        "probe": Ridge(every=500),
        "few": FewShot(every=500),
        "rankme": RankMe(every=500),
        "pixels_knn": RawInputs(of=KNN()),
        "pixels_probe": RawInputs(of=Ridge()),
        "pixels_few": RawInputs(of=FewShot()),
    },
)
supervised = replace(main, name="digits_supervised", objective=Classify(encoder=encoder, classes=10), steps=500)
