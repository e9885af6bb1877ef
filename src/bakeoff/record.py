"""Record: the frozen base of every value that is kept, sent or hashed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict

# For records that are read by a process with another working folder.
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]


class Record(BaseModel):
    """A frozen value whose fields are checked on the way in; unknown fields are refused.

    ``allow_inf_nan`` is off: a number that JSON cannot carry is neither a reading nor a setting.

    Attributes:
        shorthands: Further keys in which a record can be written; each stands for some of the fields.
    """

    shorthands: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values, checked like any other record.

        Args:
            **changes: New values by the name of their field.

        Raises:
            pydantic.ValidationError: A name is not a field, or a value does not fit.
        """
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**kept | changes)
