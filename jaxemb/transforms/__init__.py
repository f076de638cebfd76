"""Maps of embeddings that are fitted in closed form."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.transforms.base import Merge as Merge
    from jaxemb.transforms.base import Transform as Transform
    from jaxemb.transforms.merge import Average as Average
    from jaxemb.transforms.merge import Dare as Dare
    from jaxemb.transforms.merge import Fisher as Fisher
    from jaxemb.transforms.merge import Slerp as Slerp
    from jaxemb.transforms.merge import TaskArithmetic as TaskArithmetic
    from jaxemb.transforms.merge import Ties as Ties
    from jaxemb.transforms.self_positioning import SelfPositioning as SelfPositioning
    from jaxemb.transforms.whitening import Whitening as Whitening
else:
    __getattr__, __dir__ = attach(__name__)
