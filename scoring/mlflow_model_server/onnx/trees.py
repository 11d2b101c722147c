"""Trees in a model that computes in double: scikit-learn's compare numbers as float32. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def compare_as_float32(model: Any) -> None:
    """Has the trees of an ONNX model of doubles see float32, and the rest of it double, in place.

    skl2onnx gives them doubles, but ONNX keeps their thresholds as float32: 2.51 would be more than
    a threshold of 2.51. And it takes their sums for doubles, while ONNX' are float32.
    """
    from onnx import TensorProto

    nodes = [part for node in model.graph.node for part in _parts(node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    sums = {node.output[0] for node in nodes if node.name.endswith(_BACK)}
    for output in model.graph.output:
        if output.name in sums:
            output.type.tensor_type.elem_type = TensorProto.DOUBLE


_BACK = "_back_to_double"


def _parts(node: Any) -> Iterator[Any]:
    """A node, and of trees the conversions before and after it."""
    from onnx import TensorProto, helper

    if not node.op_type.startswith("TreeEnsemble"):
        yield node
        return
    # A classifier's first output is labels.
    input_name, output_name = node.input[0], node.output[-1]
    node.input[0], node.output[-1] = f"{node.name}_single", f"{node.name}_sums"
    yield helper.make_node("Cast", [input_name], [node.input[0]], to=TensorProto.FLOAT)
    yield node
    yield helper.make_node(
        "Cast", [node.output[-1]], [output_name], name=f"{node.name}{_BACK}", to=TensorProto.DOUBLE
    )
