"""Writes conv.txt: what PyTorch gives for convolutions and pooling. Run: python conv.py > conv.txt

A line `case <operation> <options>` begins a case; then follow, one a line, the shapes of the arguments
(`x`, `w`, `b`) and shape and values of the result (`y`) and of the gradients (`dx`, `dw`, `db`) of sum(y * ct).
Arguments are not stored: element i of argument number s is ((7 i + 5 s) mod 17 - 8) / 4, with s = 0 for x,
1 for w, 2 for b and 3 for ct. Hence many are equal, and maxima have ties.
"""

import torch
import torch.nn.functional as F


def fill(s, shape):
    n = torch.Size(shape).numel()
    return ((torch.arange(n, dtype=torch.float64) * 7 + 5 * s) % 17 - 8).div(4).reshape(shape)


def show(name, t):
    print(name, ",".join(map(str, t.shape)), ":", " ".join(repr(v) for v in t.detach().flatten().tolist()))


def case(name, x, w=None, b=None, **options):
    print("case", name, " ".join(f"{k}={','.join(map(str, v))}" for k, v in options.items()))
    options = {k: v[0] if k == "groups" else tuple(v) for k, v in options.items()}
    args = [fill(s, shape).requires_grad_() for s, shape in enumerate([x, w, b]) if shape is not None]
    names = [n for n, shape in zip("xwb", [x, w, b]) if shape is not None]
    for n, shape in zip(names, [x, w, b]):
        print(n, ",".join(map(str, shape)))
    y = getattr(F, name)(*args, **options)
    grads = torch.autograd.grad((y * fill(3, y.shape)).sum(), args)
    show("y", y)
    for n, g in zip(names, grads):
        show("d" + n, g)


case("conv1d", [2, 4, 9], [6, 4, 3], [6])
case("conv1d", [2, 4, 9], [6, 2, 3], [6], stride=[2], padding=[2], dilation=[2], groups=[2])
case("conv1d", [4, 9], [4, 1, 5], stride=[3], padding=[4], groups=[4])
case("conv2d", [2, 3, 6, 5], [4, 3, 3, 3], [4])
case("conv2d", [2, 3, 6, 5], [4, 3, 1, 1], [4])
case("conv2d", [2, 4, 7, 6], [6, 2, 3, 2], [6], stride=[2, 1], padding=[1, 2], dilation=[1, 2], groups=[2])
case("conv2d", [3, 5, 5], [2, 3, 2, 3], stride=[2, 2])
case("conv_transpose1d", [2, 3, 4], [3, 2, 3], [2], stride=[2], padding=[1], output_padding=[1])
case("conv_transpose2d", [2, 4, 3, 3], [4, 2, 3, 2], [4], stride=[2, 3], padding=[1, 0], output_padding=[1, 2], groups=[2])
case("conv_transpose2d", [4, 3, 4], [4, 2, 2, 2], dilation=[2, 1])
case("max_pool2d", [2, 3, 6, 7], kernel_size=[2, 3])
case("max_pool2d", [2, 7, 7], kernel_size=[3, 3], stride=[2, 2], padding=[1, 1])
case("avg_pool2d", [2, 3, 6, 7], kernel_size=[2, 3])
case("avg_pool2d", [2, 7, 7], kernel_size=[3, 2], stride=[2, 1], padding=[1, 1])
