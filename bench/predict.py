"""Prediction with the article's network beside ONNX Runtime and PyTorch, alternating.

    python bench/predict.py [--quick] [--threads 2]

One call with 256, 1,000 and 1 images, from images to probabilities. Ours takes uint8 and converts
inside the clock; the peers get float32 made beforehand.
"""

import shutil
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import _common
import numpy as np


def onnx_bytes(weights: dict[str, np.ndarray]) -> bytes:
    """The network as ONNX: (n, 1, 28, 28) float32 to logits and probabilities (n, 10)."""
    from onnx import TensorProto, checker, helper, numpy_helper

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
    outputs = ("logits", "probs")
    graph = helper.make_graph(
        nodes,
        "article",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, ["n", 10]) for o in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return model.SerializeToString()


def timed(call: Callable[[], Any], seconds: float) -> Callable[[], float]:
    """A contestant: as many calls as fill `seconds`; their mean."""
    call()
    start = time.perf_counter()
    call()
    repeats = max(1, round(seconds / (time.perf_counter() - start)))

    def run() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats

    return run


def main() -> None:
    options = _common.arguments(__doc__.splitlines()[0])
    import onnxruntime
    import torch

    import ambigmnist as am

    machine = _common.setup(options.threads)
    images, labels = _common.load_data(2_000)
    model = am.CNN(preset="fast", epochs=1, validation_split=0.0, threads=options.threads)
    model.fit(images, labels, verbose=False)
    weights = _common.weights_of(model)

    networks = {"PyTorch": _common.torch_network(weights).eval()}
    net = networks["PyTorch"]
    if not options.quick and shutil.which("c++"):
        networks["torch.compile"] = torch.compile(net, dynamic=False)
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(
        onnx_bytes(weights), session_options, providers=["CPUExecutionProvider"]
    )

    def contestants(n: int) -> dict[str, Callable[[], np.ndarray]]:
        raw, x = images[:n], _common.torch_images(images[:n])
        planar = {"x": np.ascontiguousarray(x.numpy())}

        def in_torch(network: torch.nn.Module) -> np.ndarray:
            with torch.inference_mode():
                return torch.softmax(network(x), dim=1).numpy()

        return {
            "ambigmnist": lambda: model.predict_proba(raw),
            "ONNX Runtime": lambda: session.run(["probs"], planar)[0],
        } | {name: partial(in_torch, network) for name, network in networks.items()}

    logits = model.logits(images[:1000])
    x = _common.torch_images(images[:1000])
    with torch.inference_mode():
        _common.check_equal("logits, PyTorch", logits, net(x).numpy(), 1e-4)
    (theirs,) = session.run(["logits"], {"x": np.ascontiguousarray(x.numpy())})
    _common.check_equal("logits, ONNX Runtime", logits, theirs, 1e-4)

    results = []
    for n in (256, 1000, 1):
        calls = contestants(n)
        ours = calls["ambigmnist"]()
        for name, call in calls.items():
            if name != "ambigmnist":
                _common.check_equal(f"probabilities of {n}, {name}", ours, call(), 1e-4)
        share = 0.1 if options.quick else 0.4
        clocks = {name: timed(call, share) for name, call in calls.items()}
        seconds = _common.alternate(clocks, options.rounds)
        results.append(_common.summarise(f"prediction, {n} image(s) a call", n, seconds))
    _common.write(options, "predict", machine, results)


if __name__ == "__main__":
    main()
