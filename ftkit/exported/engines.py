"""What runs an exported file: ONNX Runtime or OpenVINO, each behind the same two questions.

Threads do not wait awake (`allow_spinning`): on a machine where others work they would take the
time that they wait for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ftkit.errors import MachineError, ModelError
from ftkit.exported.about import KEY
from ftkit.machine.threads import usable_cores

Arrays = Mapping[str, np.ndarray]


class Engine(Protocol):
    """A file that has been loaded."""

    metadata: Mapping[str, str]
    """What the file says of itself, by name."""

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs by name. Several threads may call this at once."""


class OnnxRuntime:
    """A .onnx file in ONNX Runtime, on the CPU."""

    name = "onnxruntime"

    def __init__(self, file: Path, threads: int | None = None) -> None:
        """Load the file.

        Args:
            threads: that one answer may use; see `usual_threads`.

        Raises:
            MachineError: the package is missing.
            ModelError: the file is damaged.
        """
        require(self.name)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usual_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no class in common but this one
            raise ModelError(f"{file} cannot be loaded: {_line(error)}") from None
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs by name."""
        return dict(zip(self.outputs, self.session.run(self.outputs, dict(inputs)), strict=True))


class OpenVino:
    """A .xml file, and the .bin file beside it, in OpenVINO, on the CPU."""

    name = "openvino"

    def __init__(self, file: Path, threads: int | None = None) -> None:
        """Load the files; see `OnnxRuntime`."""
        require(self.name)
        import openvino

        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # some processors would take bfloat16
            "INFERENCE_NUM_THREADS": threads or usual_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            model = core.read_model(str(file))
            self.compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"{file} cannot be loaded: {_line(error)}") from None
        about = model.get_rt_info(KEY).astype(str) if model.has_rt_info(KEY) else ""
        self.metadata = {KEY: json.loads(about)} if about else {}
        self.outputs = [output.get_any_name() for output in self.compiled.outputs]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs by name."""
        found = self.compiled.create_infer_request().infer(dict(inputs))
        return {name: np.array(found[name]) for name in self.outputs}


ENGINES: dict[str, Any] = {".onnx": OnnxRuntime, ".xml": OpenVino}
"""By the suffix of the file."""


EXTRAS = {
    **dict.fromkeys(("openvino", "nncf"), "openvino"),
    **dict.fromkeys(("starlette", "uvicorn", "prometheus_client"), "serve"),
}
"""The extra of ftkit that brings a package, where it is not `export`."""


def usual_threads() -> int:
    """Return how many threads one answer uses: OMP_NUM_THREADS, as torch does, or all cores."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) > 0 else usable_cores()


def require(package: str) -> None:
    """Refuse what needs a package that is not installed.

    Raises:
        MachineError: so it is.
    """
    if find_spec(package) is None:
        extra = EXTRAS.get(package, "export")
        raise MachineError(f"the package {package} is missing: pip install 'ftkit[{extra}]'")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
