"""Domains: what generated databases are about.

Each has three tables that refer to each other and two that nothing refers to, so that a question on some tables leaves others for filler. A sentence
names its table, tells each column once and is short: a small model reads some hundred of them.
"""

from pydisp.holobench.database.domains.clinic import CLINIC
from pydisp.holobench.database.domains.league import LEAGUE
from pydisp.holobench.database.domains.railway import RAILWAY
from pydisp.holobench.database.domains.school import SCHOOL
from pydisp.holobench.database.domains.shop import SHOP
from pydisp.holobench.database.drawn_table import DrawnTable

DOMAINS: dict[str, tuple[DrawnTable, ...]] = {"shop": SHOP, "school": SCHOOL, "railway": RAILWAY, "clinic": CLINIC, "league": LEAGUE}
DEFAULT = "shop"
