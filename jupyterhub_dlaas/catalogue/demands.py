"""What an environment asks of the machine: a server's size, and on which nodes of a cluster it may run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jupyterhub_dlaas.catalogue.base import Model
from jupyterhub_dlaas.catalogue.fields import Bytes, Cores, LabelKey, LabelValue, Title


class Guarantee(Model):
    """What a server gets in any case."""

    cpu: Cores | None = None
    """Cores."""
    memory: Bytes | None = None
    """Bytes, or a number with K, M, G, T (powers of 1024)."""


class Resources(Model):
    """The size of a server: its limits, and what is guaranteed."""

    display_name: Title | None = None
    """Shown to users; the size's name unless given."""
    cpu: Cores | None = None
    """Cores; the hub's default unless given."""
    memory: Bytes | None = None
    """Bytes, or a number with K, M, G, T (powers of 1024); the hub's default unless given."""
    gpu: Annotated[int, Field(ge=0, le=64)] = 0
    """Whole GPUs."""
    guarantee: Guarantee = Guarantee()
    """What is reserved; nothing unless given."""

    @model_validator(mode="after")
    def _guaranteed(self) -> Self:
        for name in ("cpu", "memory"):
            limit, guaranteed = getattr(self, name), getattr(self.guarantee, name)
            if limit is not None and guaranteed is not None and guaranteed > limit:
                raise ValueError(f"guarantee.{name} is more than the limit {name}")
        return self


class Toleration(Model):
    """A taint that servers bear, by Kubernetes' own rules."""

    key: LabelKey | None = None
    """The taint's key; none, with operator Exists: every taint, which only a trusted VO may bear."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """`Equal`: the taint with this value; `Exists`: with any value."""
    value: LabelValue = ""
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; every effect unless given."""

    @model_validator(mode="after")
    def _operator(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists is for every value: leave value out, or use the operator Equal")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("operator Equal needs a key: name the taint's key")
        return self

    @property
    def taint(self) -> str:
        """What it bears, as a grant names it: `key=value`, or `key` for every value."""
        return f"{self.key}={self.value}" if self.operator == "Equal" else self.key or ""
