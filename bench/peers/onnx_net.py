"""ONNX Runtime: every graph optimisation; predicts only."""

from collections.abc import Callable

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

from . import Recipe, Weights, as_float


def model_bytes(weights: Weights) -> bytes:
    """The network as ONNX: (n, 1, 28, 28) float32 to probabilities (n, 10)."""
    # Its layers hold channels before pixels: the rows of the first dense layer follow.
    dense1 = weights["dense1_w"].reshape(5, 5, 64, 256).transpose(2, 0, 1, 3).reshape(1600, 256)
    tensors = weights | {
        "conv1_w": weights["conv1_w"].transpose(3, 2, 0, 1),
        "conv2_w": weights["conv2_w"].transpose(3, 2, 0, 1),
        "dense1_w": dense1,
    }
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["x", "conv1_w", "conv1_b"], ["c1"]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], **pool),
        helper.make_node("Conv", ["p1", "conv2_w", "conv2_b"], ["c2"]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p2"], **pool),
        helper.make_node("Flatten", ["p2"], ["f"]),
        helper.make_node("Gemm", ["f", "dense1_w", "dense1_b"], ["d1"]),
        helper.make_node("Relu", ["d1"], ["r3"]),
        helper.make_node("Gemm", ["r3", "dense2_w", "dense2_b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probs"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "article",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return model.SerializeToString()


class Onnx:
    def __init__(self, recipe: Recipe, weights: Weights, rates: np.ndarray, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(
            model_bytes(weights), options, providers=["CPUExecutionProvider"]
        )

    def predictor(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        x = {"x": np.ascontiguousarray(as_float(images)[:, None])}
        return lambda: self.session.run(["probs"], x)[0]
