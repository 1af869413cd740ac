"""Compiles the official XSD files of a form, from memory only."""

from collections.abc import Mapping
from typing import Any

from lxml import etree

from app.forms.xsd.schema_order import usual_values_first

_XSD_SCHEMA = "{http://www.w3.org/2001/XMLSchema}schema"


class UnusableSchemaError(ValueError):
    """The given files do not make a complete schema of the form."""


def compile_schema(files: Mapping[str, bytes], namespace: str, *, as_published: bool = False) -> etree.XMLSchema:
    """Return the schema of a namespace, made of `files` (content by file name) and of nothing else.

    Long lists are reordered, usual values first, which changes no verdict and saves time; not with `as_published`.

    An import or include is resolved by the last part of its address, whether that is a URL or a path. Raises UnusableSchemaError when
    it is not among the files, since neither the network nor the disk is used, and when no file, or more than one, describes the
    namespace. The result may be used by one thread at a time.
    """
    resolver = _Resolver(files, as_published=as_published)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    parser.resolvers.add(resolver)
    roots = []
    for name, content in files.items():
        try:
            root = etree.fromstring(content, parser, base_url=f"schema:{name}")
        except etree.XMLSyntaxError as error:
            raise UnusableSchemaError(f"{name} is not well-formed XML: {error}") from error
        if not as_published:
            usual_values_first(root)
        if root.tag == _XSD_SCHEMA and root.get("targetNamespace") == namespace:
            roots.append(root)
    if len(roots) != 1:
        raise UnusableSchemaError(f"{len(roots)} of the schema files describe {namespace}; there must be exactly one.")
    try:
        schema = etree.XMLSchema(roots[0])
    except (etree.XMLSchemaParseError, UnusableSchemaError) as error:
        missing = f" Not among the files: {', '.join(resolver.missing)}." if resolver.missing else ""
        raise UnusableSchemaError(f"The schema files do not fit together: {error}{missing}") from error
    if resolver.missing:
        # libxml2 treats an import that cannot be found as a mere warning; for us the schema is then incomplete.
        raise UnusableSchemaError(f"Not among the schema files: {', '.join(resolver.missing)}.")
    return schema


class _Resolver(etree.Resolver):
    """Resolves imports and includes from memory, and refuses all others."""

    def __init__(self, files: Mapping[str, bytes], *, as_published: bool) -> None:
        self._files = files
        self._as_published = as_published
        self.missing: list[str] = []

    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:  # type: ignore[override]
        # lxml passes the context as well; its stubs leave it out.
        name = system_url.replace("\\", "/").rsplit("/", 1)[-1]
        content = self._files.get(name)
        if content is None:
            self.missing.append(system_url)
            raise UnusableSchemaError(f"{system_url} is not among the schema files.")
        if not self._as_published:
            root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
            usual_values_first(root)
            content = etree.tostring(root)
        return self.resolve_string(content, context, base_url=system_url)
