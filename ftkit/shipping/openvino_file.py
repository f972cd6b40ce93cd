"""The same graph as files of OpenVINO: a .xml with the operations, a .bin with the weights."""

from __future__ import annotations

import json
from pathlib import Path

import openvino

from ftkit.errors import ModelError
from ftkit.exported.about import KEY
from ftkit.shipping.onnx_file import told


def convert(onnx_file: Path, xml_file: Path) -> None:
    """Write a file of ONNX as files of OpenVINO, with what it says of itself.

    Weights stay float32: OpenVINO would make them float16.

    Raises:
        ModelError: OpenVINO does not take it.
    """
    try:
        model = openvino.convert_model(str(onnx_file))
    except Exception as error:  # its errors have no class in common but this one
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"OpenVINO cannot read the model ({reason}); use --to onnx") from error
    # as a text in a text: OpenVINO writes attributes of XML, which keep no line breaks
    model.set_rt_info(json.dumps(told(onnx_file)[KEY]), KEY)
    openvino.save_model(model, str(xml_file), compress_to_fp16=False)
