"""The official schemas, compiled from the files of the `ksef-client` package and of a folder, without a network.

The files include each other by their public address; a resolver answers those addresses from the same folders.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lxml import etree

from sandbox.pool.forms import DocumentForm


class _FromFolders(etree.Resolver):
    """Resolves every schema address to a file of that name in some folders, and no other address."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders

    def resolve(  # type: ignore[override]  # the stubs have neither the argument names nor the result
        self, system_url: str, public_id: str, context: object
    ) -> object:
        """Return the file of that name; a missing file stops the compilation."""
        name = system_url.rsplit("/", 1)[-1]
        found = next((path for folder in self._folders if (path := folder / name).is_file()), self._folders[-1] / name)
        return self.resolve_filename(str(found), context)  # type: ignore[attr-defined]


@cache
def schema_of(form: DocumentForm) -> etree.XMLSchema:
    """Return the compiled schema of a form, made once a process (about a second)."""
    folders = (schema_folder(),) if form.folder is None else (Path(form.folder), schema_folder())
    parser = etree.XMLParser(no_network=True, resolve_entities=False)
    parser.resolvers.add(_FromFolders(folders))
    return etree.XMLSchema(etree.parse(str(folders[0] / form.schema_file), parser))


def schema_folder() -> Path:
    """Return the installed package's folder of official files, without importing the package."""
    spec = find_spec("ksef_client")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the ksef-client package, which carries the official schema files, is not installed")
    return Path(spec.submodule_search_locations[0]) / "documents" / "fa3" / "schemas"
