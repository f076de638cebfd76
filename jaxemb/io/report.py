"""What `encode(..., report=True)` says beside the vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxemb.config import fields


class Report(NamedTuple):
    """What was done to the inputs."""

    rows: int
    rows_cut: int
    """That were longer than `max_length`."""
    tokens: int
    """That the model saw; 0 where inputs are no text."""
    tokens_lost: int
    """That were cut off."""
    padding: float
    """Share of the computed places that hold no token of an input."""
    max_length: int | None
    prompt: str
    """What went before each text."""
    prompt_tokens: int
    """Tokens of a prompt that the pooling leaves out."""
    pooling: str
    dtype: str
    """Of the computation."""
    width: int
    """Of an embedding."""
    precision: str
    seconds: float
    """Of the whole call, compilation included."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        rate = f"{self.tokens_per_second:,.0f} tokens/s" if self.tokens else f"{self.rows / max(self.seconds, 1e-9):,.1f} rows/s"
        lines = [
            f"{self.rows:,} rows of {self.width} numbers, {self.precision}, computed in {self.dtype}; {self.seconds:.1f} s, {rate}"
        ]
        if self.max_length is not None:
            share = self.tokens_lost / max(self.tokens + self.tokens_lost, 1)
            lines.append(
                f"{self.rows_cut:,} rows cut to {self.max_length} tokens, {self.tokens_lost:,} of "
                f"{self.tokens + self.tokens_lost:,} tokens lost ({share:.1%}); {self.padding:.1%} padding"
            )
            left_out = f", {self.prompt_tokens} tokens of a row left out of the pooling" if self.prompt_tokens else ""
            lines.append(f"prompt {self.prompt!r}{left_out}; pooling {self.pooling}")
        return "\n".join(lines)


def brief(part: Any) -> str:
    """A part of a model in a few words: its class, and what is not as usual."""
    if part is None:
        return "the model's own"
    own = {name: value for name, f in fields(type(part)).items() if (value := getattr(part, name)) != f.default}
    shown = (f"{k}={v!r}" if isinstance(v, str | int | float | None) else f"{k}=..." for k, v in own.items())
    return f"{type(part).__name__}({', '.join(shown)})"
