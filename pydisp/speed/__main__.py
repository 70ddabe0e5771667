"""A process of its own for the peak of one model: `python -m pydisp.speed RECIPE`, as `pydisp.speed.memory.peak_mib` starts it."""

import sys

from pydisp.speed.memory import print_peak

print_peak(sys.argv[1])
