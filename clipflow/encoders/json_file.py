"""JSON files of a checkpoint."""

import json
from pathlib import Path
from typing import Any

from clipflow.errors import EncoderError


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file, nothing if there is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise EncoderError(f"{path} cannot be read as JSON.", "Download the checkpoint again.") from error
    if not isinstance(content, dict):
        raise EncoderError(f"{path} is not a JSON object.", "Download the checkpoint again.")
    return content
