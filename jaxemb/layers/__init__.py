"""Modules that know nothing of positions or encoders."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.layers.conv import Conv as Conv
    from jaxemb.layers.cross import CrossBlock as CrossBlock
    from jaxemb.layers.dense import Dense as Dense
    from jaxemb.layers.dense import FromHeads as FromHeads
    from jaxemb.layers.dense import ToHeads as ToHeads
    from jaxemb.layers.feedforward import Dropout as Dropout
    from jaxemb.layers.feedforward import FeedForward as FeedForward
    from jaxemb.layers.heads import DenseHead as DenseHead
    from jaxemb.layers.heads import Unit as Unit
    from jaxemb.layers.norms import BatchNorm as BatchNorm
    from jaxemb.layers.norms import LayerNorm as LayerNorm
    from jaxemb.layers.norms import NoNorm as NoNorm
    from jaxemb.layers.norms import Norm as Norm
    from jaxemb.layers.norms import RMSNorm as RMSNorm
    from jaxemb.layers.projector import Projector as Projector
    from jaxemb.layers.recurrent_binary import RecurrentBinary as RecurrentBinary
    from jaxemb.layers.token_head import TokenHead as TokenHead
else:
    __getattr__, __dir__ = attach(__name__)
