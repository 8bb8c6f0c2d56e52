"""OpenVINO, imported so that it tells its makers nothing.

Its import alone sends an event to them, by a process forked beside the threads that are at work here. Without the
package that sends, which counts as not installed meanwhile, OpenVINO has a stub in its place.
"""

import sys

_SENDER = "openvino_telemetry"

if _SENDER in sys.modules:
    import openvino
else:
    sys.modules[_SENDER] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[_SENDER]

__all__ = ["openvino"]
