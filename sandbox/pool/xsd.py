"""The official FA(3) schema, compiled from the files that the `ksef-client` package carries, without a network.

The files include each other by their public address; a resolver answers those addresses from the same folder.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lxml import etree

FA3_NAMESPACE = "http://crd.gov.pl/wzor/2025/06/25/13775/"
FA3_SCHEMA_NAME = "Schemat_FA(3)_v1-0E.xsd"
"""The schema's name on receipts."""
_MAIN = "schemat_FA(3)_v1-0E.xsd"


class _FromFolder(etree.Resolver):
    """Resolver that reads every schema address from one folder, by file name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def resolve(  # type: ignore[override]  # the stubs know neither the argument names nor the result
        self, system_url: str, public_id: str, context: object
    ) -> object:
        """Return the file of that name; a missing file stops the compilation."""
        name = system_url.rsplit("/", 1)[-1]
        return self.resolve_filename(str(self._folder / name), context)  # type: ignore[attr-defined]


@cache
def fa3_schema() -> etree.XMLSchema:
    """Compile the schema, once for each process (about a second)."""
    folder = schema_folder()
    parser = etree.XMLParser(no_network=True, resolve_entities=False)
    parser.resolvers.add(_FromFolder(folder))
    return etree.XMLSchema(etree.parse(str(folder / _MAIN), parser))


def schema_folder() -> Path:
    """Return the installed package's folder of official files, without importing the package."""
    spec = find_spec("ksef_client")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the ksef-client package, which carries the official schema files, is not installed")
    return Path(spec.submodule_search_locations[0]) / "documents" / "fa3" / "schemas"
