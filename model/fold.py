"""Folds the scale and shift of batch normalization into the weights of the convolution before it.

After a convolution with a bias, as in Keras's ResNet-50, tf2onnx leaves a multiplication and an addition per channel.
Folding them halves the passes over memory. The network's output stays the same up to rounding.
"""

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper


def fold_convolutions(model: ModelProto) -> int:
    """Changes `model` in place, and returns the number of removed nodes."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept_outputs = {value.name for value in graph.output}
    consumers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)

    folded: set[str] = set()  # output names, which are unique in a graph
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        if any(name not in constants for name in conv.input[1:]):
            continue
        original = numpy_helper.to_array(constants[conv.input[1]])
        weights = original.astype(np.float64)
        channels = len(weights)
        bias = np.zeros(channels)
        if len(conv.input) > 2:
            bias = numpy_helper.to_array(constants[conv.input[2]]).astype(np.float64)
        changed = False
        while len(following := consumers.get(conv.output[0], [])) == 1 and conv.output[0] not in kept_outputs:
            node = following[0]
            affine = per_channel(node, conv.output[0], constants, channels)
            if affine is None:
                break
            scale, shift = affine
            weights *= scale.reshape(-1, 1, 1, 1)
            bias = bias * scale + shift
            changed = True
            folded.add(node.output[0])
            conv.output[0] = node.output[0]
        if changed:
            names = [f"{conv.output[0]}/{part}" for part in ("weights", "bias")]
            for name, values in zip(names, (weights, bias), strict=True):
                graph.initializer.append(numpy_helper.from_array(values.astype(original.dtype), name))
            del conv.input[1:]
            conv.input.extend(names)

    # The convolution now has the output name of the folded node. Remove the node.
    replace_all(graph.node, [node for node in graph.node if node.op_type == "Conv" or node.output[0] not in folded])
    used = {name for node in graph.node for name in node.input}
    replace_all(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    return len(folded)


def per_channel(node: NodeProto, data: str, constants: dict, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Scale and shift that `node` applies to each channel of its input `data`, or None if it does anything else."""
    ones, zeros = np.ones(channels), np.zeros(channels)
    if node.op_type in ("Mul", "Add"):
        others = [name for name in node.input if name != data]
        if len(others) != 1 or others[0] not in constants:
            return None
        values = numpy_helper.to_array(constants[others[0]]).astype(np.float64)
        # In ONNX's layout the channel is the second dimension. Only (C,1,1), (1,C,1,1) and scalars act per channel.
        if values.size != 1 and (values.ndim not in (3, 4) or values.shape[-3] != channels or values.size != channels):
            return None
        values = np.broadcast_to(values.reshape(-1), channels)
        return (values, zeros) if node.op_type == "Mul" else (ones, values)
    if node.op_type == "BatchNormalization" and all(name in constants for name in node.input[1:]):
        gamma, beta, mean, variance = (numpy_helper.to_array(constants[n]).astype(np.float64) for n in node.input[1:])
        epsilon = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "epsilon"), 1e-5)
        scale = gamma / np.sqrt(variance + epsilon)
        return scale, beta - mean * scale
    return None


def replace_all(field, items: list) -> None:
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)
