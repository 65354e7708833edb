"""The settings of what users choose by name, such as a head, and what their values may be.

They are plain dataclasses, so that heads import without pydantic; params.yaml is checked by the
marks on their fields, which pydantic reads.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Options:
    """The section of params.yaml with the name of what is chosen; a subclass has its keys."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class Check:
    """A mark on an option's type, which raises ValueError for values that are not allowed."""

    def __call__(self, value: Any) -> Any:
        """Return the value, if it is allowed."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core.core_schema import no_info_after_validator_function

        return no_info_after_validator_function(self, handler(source))


@dataclass(frozen=True)
class OneOf(Check):
    """A name in a registry."""

    names: Collection[str]

    def __call__(self, value: str) -> str:
        if value not in self.names:
            raise ValueError(f"{value!r} is unknown: choose from {', '.join(self.names)}")
        return value


@dataclass(frozen=True)
class AtLeast(Check):
    """A number that is not below another."""

    lowest: float

    def __call__(self, value: float) -> float:
        if value < self.lowest:
            raise ValueError(f"{value:g} is below {self.lowest:g}")
        return value
