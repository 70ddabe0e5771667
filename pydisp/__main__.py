"""python -m pydisp"""

from pydisp.cli import main

main()
