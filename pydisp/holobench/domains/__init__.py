"""Domains: what generated databases are about.

Each has three tables that refer to each other and two that nothing refers to, so that a question on some tables leaves others for filler. A sentence
names its table, tells each column once and is short: a small model reads some hundred of them.
"""

from pydisp.holobench.domains.clinic import CLINIC
from pydisp.holobench.domains.league import LEAGUE
from pydisp.holobench.domains.railway import RAILWAY
from pydisp.holobench.domains.school import SCHOOL
from pydisp.holobench.domains.shop import SHOP
from pydisp.holobench.drawn_table import DrawnTable

DOMAINS: dict[str, tuple[DrawnTable, ...]] = {"shop": SHOP, "school": SCHOOL, "railway": RAILWAY, "clinic": CLINIC, "league": LEAGUE}
DEFAULT = "shop"
