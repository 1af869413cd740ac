"""The schema of FA(3)."""

from collections.abc import Mapping

from lxml import etree

from app.forms.xsd import schema

FA3_NAMESPACE = "http://crd.gov.pl/wzor/2025/06/25/13775/"


def compile_schema(files: Mapping[str, bytes], *, as_published: bool = False) -> etree.XMLSchema:
    """Return the schema of FA(3), made of its official files (content by name); see `app.forms.xsd.schema`."""
    return schema.compile_schema(files, FA3_NAMESPACE, as_published=as_published)
