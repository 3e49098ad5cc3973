"""Building blocks of the custom resource: the base model, durations with bounds, and rules.

A rule that spans fields is stated twice, as CEL for the API server and as a check for everybody who
has no API server at hand. Both stand side by side in one ``Rule``, so that nobody edits only one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pdscale.model.units import DURATION_PATTERN, parse_duration

LIST_TYPE: Final = "x-kubernetes-list-type"
LIST_KEYS: Final = "x-kubernetes-list-map-keys"
VALIDATIONS: Final = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """One cross-field rule. ``says`` is a CEL expression that makes the message from real values.

    ``check`` returns the same message, or None when the rule holds. ``field`` is the field to blame,
    relative to the model that carries the rule. A rule without CEL is one that the schema says otherwise.
    """

    cel: str | None
    says: str | None
    check: Callable[[Any], str | None]
    field: str | None = None

    @property
    def schema(self) -> dict[str, str]:
        parts = {"rule": self.cel, "messageExpression": self.says}
        path = {"fieldPath": f".{self.field}"} if self.field else {}
        return {name: text for name, text in parts.items() if text} | path


class Model(BaseModel):
    """Base of all models: camelCase outside, no coercion, unknown fields ignored.

    A newer object must be readable by an older operator during a rolling upgrade; whoever wants typos
    refused passes ``extra="forbid"`` to ``model_validate``.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found = handler(schema)
        stated = [rule.schema for rule in cls.rules if rule.cel]
        if stated:
            handler.resolve_ref_schema(found)[VALIDATIONS] = stated
        return found

    @model_validator(mode="after")
    def _obey(self) -> Self:
        complaints = [text for rule in self.rules if (text := rule.check(self)) is not None]
        if complaints:
            raise PydanticCustomError("rule", "{text}", {"text": "; ".join(complaints)})
        return self

    def dump(self) -> dict[str, Any]:
        """As Kubernetes stores it: optional means absent, never null."""
        return self.model_dump(by_alias=True, exclude_none=True)


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a duration. CEL's ``duration()`` reads every text that our pattern lets through."""

    least: str
    most: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found = handler(schema)
        found[VALIDATIONS] = [
            _bound(f">= duration('{self.least}')", f"at least {self.least}"),
            _bound(f"<= duration('{self.most}')", f"at most {self.most}"),
        ]
        return found

    def _check(self, text: str) -> str:
        seconds = parse_duration(text)
        if seconds < parse_duration(self.least):
            raise _beyond(f"at least {self.least}", text)
        if seconds > parse_duration(self.most):
            raise _beyond(f"at most {self.most}", text)
        return text


def _bound(comparison: str, words: str) -> dict[str, str]:
    return {
        "rule": f"duration(self) {comparison}",
        "messageExpression": f"'must be {words}, got ' + self",
    }


def _beyond(words: str, text: str) -> PydanticCustomError:
    # The API server's messages carry the field's path, so this one leaves it out as well.
    return PydanticCustomError("bound", "{text}", {"text": f"must be {words}, got {text}"})


# 24 characters bound the cost of CEL; the longest sensible text is like 167h59m59s999ms.
Duration = Annotated[str, StringConstraints(pattern=DURATION_PATTERN, max_length=24)]
