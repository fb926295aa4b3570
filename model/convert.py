"""Converts a classifier from TensorFlow to ONNX."""

from pathlib import Path

from fold import fold_convolutions
from saved_model import Classifier, ModelError, first_line, quiet

OPSET = 17


def convert(classifier: Classifier, kind: str, shown: Path):
    sides = {"NHWC": (classifier.height, classifier.width, 3), "NCHW": (3, classifier.height, classifier.width)}
    with quiet():
        import tensorflow as tf
        import tf2onnx

        spec = tf.TensorSpec((None, *sides[classifier.layout]), tf.float32, name="image")
        batch = classifier.function.structured_input_signature[1][classifier.input_name].shape[0]
        if batch is not None:
            spec = tf.TensorSpec((batch, *spec.shape[1:]), tf.float32, name="image")
        serve = tf.function(lambda image: classifier.function(**{classifier.input_name: image})[classifier.output_name])
        try:
            model, _ = tf2onnx.convert.from_function(serve, input_signature=[spec], opset=OPSET)
            keep_constants(model, serve.get_concrete_function(spec))
        except Exception as error:
            raise ModelError(f"{shown}: cannot be converted to ONNX: {first_line(error)}") from error
    rename_output(model, kind)
    fold_convolutions(model)
    for value in (*model.graph.input, *model.graph.output):
        if batch is None:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


def keep_constants(model, function) -> None:
    """Turns captured constants, such as those of Keras's Normalization, into initializers. The converter makes them
    inputs of the model."""
    import onnx
    import tensorflow as tf

    constants = {inner.name: outer for outer, inner in function.graph.captures if outer.dtype != tf.resource}
    for value in [value for value in model.graph.input if value.name in constants]:
        model.graph.initializer.append(onnx.numpy_helper.from_array(constants[value.name].numpy(), value.name))
        model.graph.input.remove(value)


def rename_output(model, name: str) -> None:
    output = model.graph.output[0]
    for node in model.graph.node:
        for index, produced in enumerate(node.output):
            if produced == output.name:
                node.output[index] = name
        for index, taken in enumerate(node.input):
            if taken == output.name:
                node.input[index] = name
    output.name = name
