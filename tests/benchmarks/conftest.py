import pytest
from lxml import etree

from app.forms.fa3.schema import compile_schema
from app.schema_files import load_schema_files


@pytest.fixture(scope="session")
def fa3_schema() -> etree.XMLSchema:
    return compile_schema(load_schema_files()["FA (3)"])
