"""pyconv inside ONNX: operators for onnx.reference, a backend for its tests, and a session that runs whole networks.

>>> import numpy as np, onnx.parser
>>> from onnx.reference import ReferenceEvaluator
>>> from pyconv.interop.onnx import InferenceSession, new_ops
>>> model = onnx.parser.parse_model('''
...     <ir_version: 8, opset_import: ["" : 17]>
...     tiny (float[1, 1, 2, 2] x) => (float[1, 1, 1, 1] y) { y = GlobalAveragePool(x) }''')
>>> x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
>>> ReferenceEvaluator(model, new_ops=new_ops).run(None, {"x": x})[0].item()
1.5
>>> InferenceSession(model).run(None, {"x": x})[0].item()
1.5
"""

from .backend import Backend, BackendRep
from .oprun import new_ops
from .session import InferenceSession, run

__all__ = ["Backend", "BackendRep", "InferenceSession", "new_ops", "run"]
