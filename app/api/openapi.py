"""Writes the OpenAPI description: `python -m app.api.openapi --write` makes schemas/openapi.json."""

import json
import sys
from pathlib import Path

from app.api.application import create_app
from app.settings import Settings


def openapi_text() -> str:
    """Return the text of schemas/openapi.json; it does not depend on the settings."""
    description = create_app(Settings()).openapi()
    return json.dumps(description, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    """Print the description, or write it to its file with `--write`."""
    text = openapi_text()
    if "--write" in sys.argv[1:]:
        Path("schemas/openapi.json").write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
