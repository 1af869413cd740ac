"""Comparison of an OpenAPI file with an older one, separately for requests and answers.

In requests (parameters, bodies) the server may accept more, never less. In answers it may keep or add members, never remove
one, change its type, or omit a required one. `breaks` returns one line for each breach.

Additions without a break are operations, optional parameters, media types, error statuses, members of answers, and a second
success status, which clients get only on request. A new value of an enumeration in an answer is a break, because generated
clients refuse the whole answer; `GROWING` names the enumerations whose readers must expect new values.

Four ways to say more about the same requests and answers are no breaks. A closed list of an answer may become an open one with the
same values. A parameter may lose null, which it could never send. A header may be a text instead of a list of texts, which it
separates by commas. A form that was described as bytes may be described by its parts.
"""

import json
import operator
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

Schema: TypeAlias = dict[str, Any]
Direction: TypeAlias = Literal["request", "answer"]

OPEN_VALUES: Final = "x-extensible-enum"
"""A list of values that may grow. As an answer to clients that know a closed list, it counts as the values that it names."""
GROWING: Final = frozenset({"EventType"})
"""Schemas whose enumeration may get new values: docs/webhooks.md asks receivers to ignore unknown types."""
WIDER_PATTERNS: Final = frozenset({(r"^[^\x00-\x1f\x7f]*$", r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")})
"""Pairs of patterns of which the second matches all that the first does."""
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_BOUNDS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), operator.ge),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), operator.le),
    **dict.fromkeys(("format", "multipleOf"), operator.eq),
    "pattern": lambda sent, taken: sent == taken or (sent, taken) in WIDER_PATTERNS,
}
"""Bound -> whether the sender's value lies within the reader's value."""
_OTHER_TYPE: Final = "another type"


def breaks(old: Schema, new: Schema) -> list[str]:
    """Return the changes that may break a client of the old API, one line each, in the order of the old file."""
    return list(_Comparison(old, new).operations())


class _Comparison:
    """One comparison of two files; it stores the pairs of named schemas that it has compared."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new
        self._open: set[tuple[str, str, Direction]] = set()

    def operations(self) -> Iterator[str]:
        """Compare every operation of the old file."""
        for path, item in self._old["paths"].items():
            for method in (name for name in _METHODS if name in item):
                place = f"{method.upper()} {path}"
                after = self._new["paths"].get(path, {}).get(method)
                if after is None:
                    yield f"{place}: the operation was removed"
                    continue
                yield from self._parameters(place, item[method], after)
                yield from self._request_body(place, item[method].get("requestBody"), after.get("requestBody"))
                yield from self._answers(place, item[method]["responses"], after["responses"])
                if after.get("security") and not item[method].get("security"):
                    yield f"{place}: credentials are now required"

    def _parameters(self, place: str, old: Schema, new: Schema) -> Iterator[str]:
        before, after = _parameters_of(old), _parameters_of(new)
        for key, parameter in before.items():
            at = f"{place}: {key[0]} parameter {key[1]}"
            if key not in after:
                yield f"{at}: removed"
                continue
            if after[key].get("required") and not parameter.get("required"):
                yield f"{at}: required, was optional"
            before_schema, after_schema = _without_null(parameter.get("schema", {})), after[key].get("schema", {})
            if not (key[0] == "header" and _is_list_of_texts(before_schema) and after_schema.get("type") == "string"):
                yield from self._schema(at, before_schema, after_schema, "request")
        for key, parameter in after.items():
            if key not in before and parameter.get("required"):
                yield f"{place}: {key[0]} parameter {key[1]}: new and required"

    def _request_body(self, place: str, old: Schema | None, new: Schema | None) -> Iterator[str]:
        if new is None:
            if old is not None:
                yield f"{place}: the body was removed"
            return
        if new.get("required") and not (old and old.get("required")):
            yield f"{place}: a body is required, was optional"
        if old is not None:
            yield from self._content(f"{place}: body", old["content"], new["content"], "request")

    def _answers(self, place: str, old: Schema, new: Schema) -> Iterator[str]:
        for status, before in old.items():
            at = f"{place}: answer {status}"
            if status not in new:
                if status < "4":
                    yield f"{at}: removed"
                continue
            for name, header in before.get("headers", {}).items():
                after = new[status].get("headers", {}).get(name)
                if after is None:
                    yield f"{at}: header {name}: removed"
                else:
                    yield from self._schema(
                        f"{at}: header {name}", header.get("schema", {}), after.get("schema", {}), "answer"
                    )
            yield from self._content(at, before.get("content", {}), new[status].get("content", {}), "answer")

    def _content(self, place: str, old: Schema, new: Schema, direction: Direction) -> Iterator[str]:
        for media, before in old.items():
            if media in new and direction == "request" and _describes_form(media, before, new[media]):
                continue
            if media in new:
                at = f"{place}: {media}"
                yield from self._schema(at, before.get("schema", {}), new[media].get("schema", {}), direction)
            else:
                yield f"{place}: {media}: removed"

    def _schema(self, place: str, old: Schema, new: Schema, direction: Direction) -> Iterator[str]:
        """Compare two schemas; each variant of the sender must be one that the receiver accepts."""
        pair = (str(old.get("$ref", id(old))), str(new.get("$ref", id(new))), direction)
        if pair in self._open:
            return
        self._open.add(pair)
        before, after = _variants(self._old, old), _variants(self._new, new)
        sent, taken = (before, after) if direction == "request" else (after, before)
        for one in sent:
            pairs = [(one, other) if direction == "request" else (other, one) for other in taken]
            found = [list(self._pair(place, first, second, direction)) for first, second in pairs]
            yield from min(found, key=lambda reasons: (bool(reasons), _is_other_type(reasons), len(reasons)))
        # The pair is stored only during the recursion, so that the same pair at another place is reported there too.
        self._open.discard(pair)

    def _pair(self, place: str, old: Schema, new: Schema, direction: Direction) -> Iterator[str]:
        """Compare two schemas without alternatives."""
        sent, taken = (old, new) if direction == "request" else (new, old)
        kind, expected = sent.get("type"), taken.get("type")
        if expected is not None and kind != expected and not (kind == "integer" and expected == "number"):
            yield f"{place}: {_OTHER_TYPE}: was {old.get('type', 'anything')}, is {new.get('type', 'anything')}"
            return
        yield from _narrowed(place, sent, taken, direction)
        yield from self._members(place, old, new, direction)
        if "items" in taken:
            yield from self._schema(f"{place}[]", old.get("items", {}), new.get("items", {}), direction)
        more_sent, more_taken = sent.get("additionalProperties", True), taken.get("additionalProperties", True)
        if isinstance(more_taken, dict) and isinstance(more_sent, dict):
            of_old, of_new = old["additionalProperties"], new["additionalProperties"]
            yield from self._schema(f"{place}.*", of_old, of_new, direction)
        elif more_taken is not True and more_sent is True and (direction == "request" or isinstance(more_taken, dict)):
            yield f"{place}: other members: were {_more(old)}, are {_more(new)}"

    def _members(self, place: str, old: Schema, new: Schema, direction: Direction) -> Iterator[str]:
        members = new.get("properties", {})
        for name, before in old.get("properties", {}).items():
            if name not in members:
                yield f"{place}.{name}: removed"
                continue
            yield from self._schema(f"{place}.{name}", before, members[name], direction)
        was, now = set(old.get("required", ())), set(new.get("required", ()))
        if direction == "request":
            yield from (f"{place}.{name}: required, was optional" for name in sorted(now - was))
        else:
            yield from (f"{place}.{name}: optional, was always there" for name in sorted((was - now) & members.keys()))


def _is_other_type(reasons: list[str]) -> bool:
    return len(reasons) == 1 and _OTHER_TYPE in reasons[0]


def _narrowed(place: str, sent: Schema, taken: Schema, direction: Direction) -> Iterator[str]:
    """Compare values and bounds: those of the sender must lie within those of the receiver."""
    if "enum" in taken:
        names = ("enum", OPEN_VALUES) if direction == "answer" else ("enum",)
        named: list[Any] = next((sent[name] for name in names if name in sent), ["any value"])
        extra = [value for value in named if value not in taken["enum"]]
        if extra and not (direction == "answer" and sent.get("title") in GROWING):
            verb = "no longer taken" if direction == "request" else "new in answers"
            yield f"{place}: {verb}: {', '.join(map(str, extra))}"
    for name, is_within in _BOUNDS.items():
        if name in taken and not (name in sent and is_within(sent[name], taken[name])):
            yield f"{place}: {name}: {taken[name]} on the side that reads, {sent.get(name, 'none')} on the other"


def _more(schema: Schema) -> str:
    return "refused" if schema.get("additionalProperties") is False else str(schema.get("additionalProperties", "free"))


def _without_null(parameter: Schema) -> Schema:
    """Return the schema of a parameter without null, which a query or a header cannot send."""
    variants = [variant for variant in parameter.get("anyOf", ()) if variant != {"type": "null"}]
    return {**parameter, "anyOf": variants} if variants else parameter


def _is_list_of_texts(parameter: Schema) -> bool:
    variants = parameter.get("anyOf", [parameter])
    return all(one.get("type") == "array" and one.get("items") == {"type": "string"} for one in variants)


def _describes_form(media: str, old: Schema, new: Schema) -> bool:
    """Return whether a form that was described as bytes only is now described by its parts, none of which it demands."""
    after = new.get("schema", {})
    free = not after.get("required") and after.get("additionalProperties", True) is True
    is_bytes = old.get("schema") == {"type": "string", "format": "binary"}
    return media == "multipart/form-data" and is_bytes and after.get("type") == "object" and free


def _parameters_of(operation: Schema) -> dict[tuple[str, str], Schema]:
    return {(item["in"], item["name"].lower()): item for item in operation.get("parameters", ())}


def _variants(document: Schema, schema: Schema) -> list[Schema]:
    """Return a schema as alternatives of one type each, with references resolved and `allOf` joined."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _variants(document, {"title": name, **document["components"]["schemas"][name]})
    if "allOf" in schema:
        joined: Schema = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            for found in _variants(document, part):
                joined = {**found, **joined}
                joined["properties"] = {**found.get("properties", {}), **joined.get("properties", {})}
                joined["required"] = [*found.get("required", ()), *joined.get("required", ())]
        return _variants(document, joined)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return [variant for part in schema[key] for variant in _variants(document, part)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": one} for one in schema["type"]]
    if "const" in schema:
        return [{**schema, "enum": [schema["const"]]}]
    return [schema]


def main(old: Path, new: Path) -> int:
    """Print the breaks between two files and return the exit code."""
    found = breaks(json.loads(old.read_text(encoding="utf-8")), json.loads(new.read_text(encoding="utf-8")))
    print("\n".join(found) or "no break")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
