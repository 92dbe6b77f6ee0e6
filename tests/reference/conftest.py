"""Makes the benchmarks importable, which read the shared networks and cases, however pytest is started."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
