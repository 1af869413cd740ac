"""Official schema files: which forms are on, and installing the file of a form that no package ships."""

import hashlib
from pathlib import Path

from app.cli.actions.accounts import in_store
from app.cli.output import print_json, stdout_console
from app.cli.tables import print_table
from app.schema_files import LATE_FORMS_SECONDS, form_statuses, recognise_file
from app.settings import load_settings
from app.store.audit.acts import Act
from app.store.installed_schemas import InstalledSchemas
from app.store.store import Store


def list_schemas(*, as_json: bool) -> None:
    """Print each form of the catalog, whether it is on, and where its root file comes from."""
    settings = load_settings()
    found = form_statuses(settings.schema_dir, InstalledSchemas(settings.blob_url, settings.data_dir))
    if as_json:
        print_json(
            [
                {
                    "form": one.code,
                    "schema_version": one.schema_version,
                    "on": one.is_on,
                    "source": one.source,
                    "file": one.file,
                    "sha256": one.sha256,
                    "problem": one.problem,
                }
                for one in found
            ]
        )
        return
    print_table(
        stdout_console(),
        ("Form", "Schema", "On", "From", "Official file", "SHA-256"),
        [
            (
                one.code,
                one.schema_version,
                "yes" if one.is_on else "no",
                one.source or one.problem or f"install it: ksefd schema install {one.file}",
                one.file,
                one.sha256,
            )
            for one in found
        ],
    )


def install_schema(path: Path, *, as_json: bool) -> None:
    """Store an official schema file for all processes and print its form. Raises ConfigurationError for any other file."""
    found = recognise_file(path)

    async def work(store: Store) -> None:
        await store.blobs.put(found.key, found.content)
        details = {"form": found.form_code, "sha256": hashlib.sha256(found.content).hexdigest()}
        await store.audit.record_alone(act=Act.SCHEMA_INSTALLED, object=found.key, details=details)

    in_store(load_settings(), work)
    if as_json:
        print_json({"form": found.form_code, "file": found.key})
        return
    print_table(
        stdout_console(),
        ("Form", "Stored as", "Used"),
        [
            (
                found.form_code,
                found.key,
                f"by running processes within {LATE_FORMS_SECONDS:.0f} seconds, without a restart",
            )
        ],
    )
