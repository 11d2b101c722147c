"""The process that converts: python -m mlflow_model_server.onnx MODEL_DIR [BYTES].

What it imports gets into no server, and where it crashes or needs too much memory, only it ends.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from mlflow_model_server.runtime import cgroup, site_packages
from mlflow_model_server.settings import Settings


def main(model_dir: Path, max_bytes: int | None) -> None:
    """Converts the prepared model, and writes the note of what became of it."""
    if max_bytes is not None:
        cgroup.limit_memory(max_bytes)
    settings = Settings(model_dir=model_dir)
    site_packages.use_packages(settings.onnx_packages)
    site_packages.use_packages(settings.packages)
    warnings.simplefilter("ignore")
    # Imported here: what is installed for the model goes before the image's own packages.
    from mlflow_model_server.onnx.convert import convert_prepared

    convert_prepared(settings).write(settings.converted)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None)
