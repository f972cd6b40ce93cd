"""A model with weights, and where it pays activations, in whole numbers of eight bits.

Two well-kept quantisers make candidates: that of ONNX Runtime, and NNCF where it is installed.
Images and numbers are quantised statically, with ranges seen on training rows; texts by ONNX
Runtime dynamically, with ranges of each text by itself. What stands before and behind the model
stays as it is. Weights have 7 bits by ONNX Runtime: processors without VNNI add products of 8 bits
up to numbers that they cannot hold (ONNX Runtime's page "Quantize ONNX models", reduce_range).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from ftkit.exported.inputs import reader_of
from ftkit.shipping.onnx_file import Parts

log = logging.getLogger(__name__)
Inputs = dict[str, np.ndarray]
CALIBRATION = 128
"""Training rows, evenly spread, on which ranges are seen."""


class _Calibration(CalibrationDataReader):
    def __init__(self, batches: Sequence[Inputs]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> Any:
        return next(self.batches, None)


def model_inputs(parts: Parts, rows: Sequence[Any], folder: Path) -> list[Inputs]:
    """Return what the model itself is given for rows as people have them, in batches.

    Args:
        folder: with what lies beside the file, such as the tokenizer.
    """
    batches = [inputs for _, inputs in reader_of(parts.about, folder)(rows)]
    if parts.before is None:
        return batches
    before = parts.before(True)
    session = _session(before.SerializeToString())
    (name,) = (one.name for one in before.graph.output)
    return [{name: session.run([name], inputs)[0]} for inputs in batches]


def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options)


def candidates(
    parts: Parts, batches: Sequence[Inputs], for_openvino: bool
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield smaller models, each with the name of what made it.

    Args:
        batches: inputs of training rows.
        for_openvino: only what OpenVINO reads: operations between a pair that make whole numbers
            of numbers and numbers of whole numbers.
    """
    texts = parts.about.reads in ("text", "words")
    with tempfile.TemporaryDirectory() as scratch, _silent():
        source, prepared, out = (Path(scratch) / name for name in ("a.onnx", "b.onnx", "c.onnx"))
        onnx.save(parts.body, str(source))
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        how: dict[str, Any] = {
            "per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8
        }  # fmt: skip
        if texts and not for_openvino:
            quantize_dynamic(prepared, out, **how)
            yield "onnxruntime, dynamic", onnx.load(str(out))
        else:
            how |= {"activation_type": QuantType.QUInt8, "quant_format": QuantFormat.QDQ}
            quantize_static(prepared, out, _Calibration(batches), **how)
            yield "onnxruntime, static", onnx.load(str(out))
        if find_spec("nncf") is not None:
            yield "nncf", _by_nncf(parts.body, batches, texts)


def _by_nncf(body: onnx.ModelProto, batches: Sequence[Inputs], texts: bool) -> onnx.ModelProto:
    import nncf

    found: onnx.ModelProto = nncf.quantize(
        body,
        nncf.Dataset(list(batches)),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(batches),
        model_type=nncf.ModelType.TRANSFORMER if texts else None,
    )
    return found


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what the quantisers print and log away from the terminal."""
    before, handlers = logging.root.manager.disable, list(logging.root.handlers)
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
        logging.root.handlers[:] = handlers  # NNCF adds one, and each line would come twice


def as_int8(parts: Parts, body: onnx.ModelProto) -> Parts:
    """Return the parts of a file with this smaller model."""
    return Parts(parts.before, body, replace(parts.about, precision="int8"))
