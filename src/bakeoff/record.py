"""Record: the frozen base of every value that is kept, sent or hashed."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen value whose fields are checked on the way in; unknown fields are refused.

    ``allow_inf_nan`` is off: a number that JSON cannot carry is neither a reading nor a setting.

    Attributes:
        shorthands: Further keys in which a record can be written; each stands for some of the fields.
    """

    shorthands: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
