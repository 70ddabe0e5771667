"""A small shop with facts, questions of all classes on it with their golds, and the forms in which a right answer can be written."""

import json
from collections import defaultdict
from decimal import Decimal

from pydisp.draws import Draws
from pydisp.holobench.items import Gold
from pydisp.holobench.scorer.scoring import write_gold

FIRST = ("Anna", "Bruno", "Carla", "Dora", "Emil", "Frida", "Gino", "Hanna")
LAST = ("Ricci", "Costa", "Neri", "Lang", "Smith", "Jones", "Berg", "Haas")
CITIES = ("Rome", "Oslo", "Bern", "Lisbon", "Vienna")
PRODUCTS = ("Oak Table", "Pine Chair", "Steel Lamp", "Wool Rug", "Glass Vase")


class Shop:
    """Customers and orders drawn from a seed."""

    def __init__(self, seed: int):
        draws = Draws(seed, "shop")
        self.names = draws.sample([f"{first} {last}" for first in FIRST for last in LAST], 12)
        self.city = {name: draws.choice(CITIES) for name in self.names}
        self.orders = [
            (
                number,
                draws.choice(self.names),
                draws.choice(PRODUCTS),
                draws.between(1, 60),
                Decimal(draws.between(500, 90000)) / 100,
                _day(draws),
            )
            for number in draws.sample(range(100, 400), 30)
        ]

    @property
    def facts(self) -> str:
        lives = [f"{name} lives in {city}." for name, city in self.city.items()]
        return "\n".join(
            lives + [f"Order {o} of {n} on {d}: {u} units of {p} for {a} euros." for o, n, p, u, a, d in self.orders]
        )  # fmt: skip

    def golds(self) -> list[tuple[str, str, Gold]]:
        """(class, question, gold), one of each class but two of "filter" and "extreme"."""
        city, units, spent, by_product = self.city[self.names[0]], defaultdict(int), defaultdict(Decimal), defaultdict(list)
        for _, name, product, count, amount, _ in self.orders:
            units[self.city[name]] += count
            spent[name] += amount
            by_product[product].append(amount)
        dearest = sorted(self.orders, key=lambda order: -order[4])
        product = self.orders[0][2]
        return [
            ("filter", f"Which customers live in {city}?",
             _gold(("name", "text"), rows=[(n,) for n in self.names if self.city[n] == city])),
            ("filter", "Which orders have more than 40 units?",
             _gold(("order_id", "identifier"), rows=[(o[0],) for o in self.orders if o[3] > 40])),
            ("count", f"How many orders of {product} are there?", _gold(("count", "integer"), rows=[(len(by_product[product]),)])),
            ("aggregate", "What is the total amount?", _gold(("total", "decimal(2)"), rows=[(float(sum(o[4] for o in self.orders)),)])),
            ("extreme", "When was the dearest order placed?", _gold(("order_date", "date"), rows=[(dearest[0][5],)])),
            ("extreme", "Who placed the dearest order, and what did it cost?",
             _gold(("name", "text"), ("amount", "decimal(2)"), rows=[(dearest[0][1], float(dearest[0][4]))])),
            ("group", "How many units did each city buy?", _gold(("city", "text"), ("units", "integer"), rows=list(units.items()))),
            ("comparison", "Which products cost more than 300 in some order?",
             _gold(("product", "text"), rows=[(p,) for p, amounts in by_product.items() if max(amounts) > 300])),
            ("top_k", "Which five orders are the dearest, the dearest first?",
             _gold(("order_id", "identifier"), ("amount", "decimal(2)"), rows=[(o[0], float(o[4])) for o in dearest[:5]])),
            ("join", "Which cities did the Oak Table go to, and when?",
             _gold(("city", "text"), ("order_date", "date"), rows=[(self.city[o[1]], o[5]) for o in self.orders if o[2] == "Oak Table"])),
            ("join_aggregate", "How much did each customer spend?",
             _gold(("name", "text"), ("spent", "decimal(2)"), rows=[(n, float(s)) for n, s in spent.items()])),
        ]  # fmt: skip


def _day(draws: Draws) -> str:
    return f"{draws.between(2018, 2024)}-{draws.between(1, 12):02}-{draws.between(1, 28):02}"


def _gold(*columns: tuple[str, str], rows: list[tuple]) -> Gold:
    return Gold(tuple(name for name, _ in columns), tuple(kind for _, kind in columns), tuple(rows))


def many_golds(shops: int = 5) -> list[tuple[str, str, Gold, Shop]]:
    """Golds of all classes from several shops."""
    return [(kind, question, gold, shop) for shop in map(Shop, range(shops)) for kind, question, gold in shop.golds()]


def written(gold: Gold) -> dict[str, str]:
    """The gold as a right answer in several forms."""
    rows = [dict(zip(gold.columns, row, strict=True)) for row in gold.rows]
    lines = write_gold(gold).splitlines()
    table = ["| " + " | ".join(gold.columns) + " |", "|" + "---|" * len(gold.columns)]
    table += ["| " + " | ".join(map(str, row)) + " |" for row in gold.rows]
    return {
        "lines": "\n".join(lines),
        "arrays": json.dumps([list(row) for row in gold.rows]),
        "objects": json.dumps(rows, indent=1, ensure_ascii=False),
        "fenced": "Here it is:\n```json\n" + json.dumps({"rows": rows}) + "\n```\nI hope this helps.",
        "table": "The rows are as follows.\n\n" + "\n".join(table) + "\n\nThese are all.",
        "bullets": "I found these:\n" + "\n".join(f"- {line}" for line in lines),
        "numbers": "\n".join(f"{place}. {line}" for place, line in enumerate(lines, 1)),
        "marked": "Let me think about 12 rows: 3, 4, 5.\n\n**Answer:**\n" + "\n".join(lines),
    }
