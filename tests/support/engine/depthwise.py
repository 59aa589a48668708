"""A small network of depthwise blocks, in every format, with BatchNorm and without."""

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper, shape_inference
from torch import nn

SHAPE = (1, 3, 12, 12)
CHANNELS = (8, 16, 16)
USEFUL = 0.4
"""The share of the channels that count in each block."""


def network(*, norms=True, seed=0):
    """Return blocks of a depthwise and a pointwise layer, in which few channels count."""
    torch.manual_seed(seed)
    layers = _layer(nn.Conv2d(3, CHANNELS[0], 3, padding=1, bias=not norms), norms)
    for inputs, outputs in zip(CHANNELS, (*CHANNELS[1:], 16), strict=True):
        depthwise = nn.Conv2d(
            inputs, inputs, 3, padding=1, groups=inputs, bias=not norms
        )
        pointwise = nn.Conv2d(inputs, outputs, 1, bias=not norms)
        with torch.no_grad():
            pointwise.weight[:, int(USEFUL * inputs) :] *= 0.02
        layers += [*_layer(depthwise, norms), *_layer(pointwise, norms)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return nn.Sequential(*layers).eval()


def _layer(convolution, norms):
    if not norms:
        return [convolution, nn.ReLU6()]
    norm = nn.BatchNorm2d(convolution.out_channels)
    nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    return [convolution, norm, nn.ReLU6()]


def saved(folder, suffix, *, norms=True):
    """Return the path of the network in the format of a suffix: .onnx, .pt or .pt2."""
    module = network(norms=norms)
    path = folder / f"depthwise{suffix}"
    example = torch.zeros(SHAPE)
    if suffix == ".onnx":
        onnx.save(as_onnx(module), path)
    elif suffix == ".pt":
        torch.jit.trace(module, example).save(path)
    else:
        torch.export.save(torch.export.export(module, (example,)), path)
    return path


def as_onnx(module):
    """Return the network as an ONNX model, with the shapes of all values declared."""
    nodes, weights = [], []
    value = "x"

    def add(op, arrays, **attributes):
        nonlocal value
        number = len(nodes)
        names = [f"w{number}_{at}" for at in range(len(arrays))]
        for name, array in zip(names, arrays, strict=True):
            weights.append(numpy_helper.from_array(array.detach().numpy(), name))
        output = "y" if op == "Gemm" else f"v{number}"
        nodes.append(
            helper.make_node(op, [value, *names], [output], f"n{number}", **attributes)
        )
        value = output

    for layer in module:
        if isinstance(layer, nn.Conv2d):
            arrays = (
                [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
            )
            pads = [*layer.padding, *layer.padding]
            add("Conv", arrays, group=layer.groups, pads=pads)
        elif isinstance(layer, nn.BatchNorm2d):
            statistics = [layer.running_mean, layer.running_var]
            add("BatchNormalization", [layer.weight, layer.bias, *statistics])
        elif isinstance(layer, nn.ReLU6):
            add("Clip", [torch.tensor(0.0), torch.tensor(6.0)])
        elif isinstance(layer, nn.Linear):
            add("Gemm", [layer.weight, layer.bias], transB=1)
        else:
            add("Flatten" if isinstance(layer, nn.Flatten) else "GlobalAveragePool", [])
    graph = helper.make_graph(
        nodes,
        "depthwise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    return shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=opset, ir_version=9)
    )
