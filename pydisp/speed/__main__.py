"""The process that measures the peak of one model: `pydisp.speed.memory.peak_mib` starts it as `python -m pydisp.speed RECIPE`."""

import sys

from pydisp.speed.memory import print_peak

print_peak(sys.argv[1])
