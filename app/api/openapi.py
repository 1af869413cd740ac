"""The written form of the OpenAPI document: `python -m app.api.openapi --write` makes schemas/openapi.json."""

import json
import sys
from pathlib import Path

from app.api.application import create_app
from app.settings import Settings


def written_document() -> str:
    """Give the document as it stands in schemas/openapi.json; the settings have no influence on it."""
    document = create_app(Settings()).openapi()
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Print the document, or write it to its file with `--write`."""
    text = written_document()
    if "--write" in sys.argv[1:]:
        Path("schemas/openapi.json").write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
