"""How far beyond its training length does a small causal language model go, with each positional embedding?

    jaxemb train experiments/posemb/language.py:alibi --set data.path=shakespeare.txt
    jaxemb train experiments/posemb/language.py:none --set data.path=shakespeare.txt --set seed=1 --run runs/language_none_1

A byte-level decoder trained on windows of 64 bytes, and its perplexity in windows of 64 to 512 of the text's last tenth, without
tuning. Any plain-text file serves; the figures in README.md beside this file are of 1.1 MB of Shakespeare.
"""

from jaxemb import Experiment, Optim
from jaxemb.data import Text
from jaxemb.evals import Extrapolate, Perplexity
from jaxemb.layers import FeedForward
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives import NextToken
from jaxemb.posemb import FIRE, ALiBi, LearnableFourier, Learned, NoPos, PosEmb, RelativeBuckets, Rotary, SeqPE, SinCos

LENGTH = 64


block = Block(Attention(2, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))


def experiment(name: str, pos: PosEmb) -> Experiment:
    """The same model and budget, one field changed."""
    encoder = Transformer(
        stem=Tokens(256, std=1.0),
        pos=pos,
        width=64,
        depth=3,
        blocks=(block,),
        causal=True,
    )
    return Experiment(
        name=f"language_{name}",
        objective=NextToken(encoder=encoder, tied=False),
        data=Text(length=LENGTH, valid_share=0.0),
        optim=Optim("adamw", lr=2e-3, lr_final=2e-4, warmup=100, decay=0.05, clip=1.0),
        steps=1_000,
        batch=32,
        evals={"longer": Extrapolate(of=Perplexity(tokens=50_000), field="length", factors=(1.0, 2.0, 4.0, 8.0))},
        save_every=1_000,
    )


main = rotary = experiment("rotary", Rotary())
none = experiment("none", NoPos())
learned = experiment("learned", Learned(shape=(LENGTH,)))
sincos = experiment("sincos", SinCos(axes=1))
fourier = experiment("fourier", LearnableFourier())
alibi = experiment("alibi", ALiBi())
fire = experiment("fire", FIRE(length=LENGTH / 4))  # the paper's 512 of 2048, from memory
t5 = experiment("t5", RelativeBuckets(causal=True, buckets=32, max_distance=LENGTH))
seqpe = experiment(
    "seqpe",
    SeqPE(
        axes=1, limit=1_000, way="scalar", project="single", pivots=16, candidates=16, windows=8, samples=32, origins=8, pool=160
    ),
)
