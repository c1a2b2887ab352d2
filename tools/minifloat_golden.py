#!/usr/bin/env python3
"""tests/quant/golden/minifloat.json: float32 numbers (as bits) and what ml_dtypes rounds them to, saturated as OCP says.

  minifloat_golden.py OUT.json

e4m3 and e5m2 are also checked against torch's float8 dtypes, which must agree. Runs in a venv with ml_dtypes and torch.
"""
import json
import sys

import ml_dtypes
import numpy
import torch

FORMATS = {"e4m3": (ml_dtypes.float8_e4m3fn, 448), "e5m2": (ml_dtypes.float8_e5m2, 57344),
           "e3m2": (ml_dtypes.float6_e3m2fn, 28), "e2m3": (ml_dtypes.float6_e2m3fn, 7.5),
           "e2m1": (ml_dtypes.float4_e2m1fn, 6)}
TORCH = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}

random = numpy.random.default_rng(0)
x = random.standard_normal(600) * 2.0 ** random.integers(-20, 17, 600)
near = []  # of every format's codes: values, midpoints, and what is beside them
for dtype, top in FORMATS.values():
    values = numpy.arange(256, dtype=numpy.uint8).view(ml_dtypes.float8_e4m3fn).astype(numpy.float32)
    picked = random.choice(values[numpy.isfinite(values)], 40)
    grid = numpy.clip(picked, -top, top).astype(dtype).astype(numpy.float32)
    near += [grid, grid * 1.0625, grid * 1.125, grid * 1.25, numpy.nextafter(grid * 1.125, 0)]
x = numpy.concatenate([x] + near).astype(numpy.float32)
result = {"inputs": [int(b) for b in x.view(numpy.int32)], "values": {}}
for name, (dtype, top) in FORMATS.items():
    inside = numpy.clip(x, -top, top)
    rounded = inside.astype(dtype).astype(numpy.float32)
    if name in TORCH:
        assert (torch.from_numpy(inside).to(TORCH[name]).float().numpy() == rounded).all()
    result["values"][name] = [float(v) for v in rounded + 0.0]
with open(sys.argv[1], "w") as file:
    json.dump(result, file, separators=(",", ":"))
    file.write("\n")
