import os
import sys
from pathlib import Path

# Before Ray is imported, and for its processes too: nothing is reported to anybody, and what the workers
# import is this checkout.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1] / "unit")]
)
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
