"""The OpenVINO library, imported without its telemetry.

``import openvino`` reports the import to its vendor over the network, from a thread that stays,
unless the user has opted out. Software that watches doors must not. Where the package
``openvino_telemetry`` is absent OpenVINO does without, so it is hidden while OpenVINO is imported.
Import OpenVINO through this module.
"""

import sys
from typing import Any, cast

_modules = cast("dict[str, Any]", sys.modules)
_hide = "openvino" not in _modules and "openvino_telemetry" not in _modules
if _hide:
    _modules["openvino_telemetry"] = None
try:
    import openvino as ov
    from openvino.preprocess import ColorFormat, PrePostProcessor
finally:
    if _hide:
        del _modules["openvino_telemetry"]

__all__ = ["ColorFormat", "PrePostProcessor", "ov"]
