"""Lines: every row of a database as a sentence with its length in tokens, written and measured once for all contexts."""

from functools import cached_property

from pydisp.holobench.database.sentences import sentences_of
from pydisp.holobench.database.tables import Database

_PAGE = 4096  # sentences a call of the tokenizer


class Lines:
    """The sentences of one database for one tokenizer.

    Args:
        tokenizer: a fast transformers tokenizer. seed: of the wordings.
    """

    def __init__(self, database: Database, tokenizer, seed: int):
        self.database, self.tokenizer, self.seed = database, tokenizer, seed
        self._texts: dict[str, list[str]] = {}
        self._tokens: dict[str, list[int]] = {}
        self.hopeless: set[tuple] = set()  # what `draft` has tried in vain on so many tokens of these sentences
        self._children: dict[tuple[str, str], tuple[list, dict]] = {}

    def texts(self, table: str) -> list[str]:
        """The sentence of each row."""
        if table not in self._texts:
            self._texts[table] = sentences_of(self.database.table(table), self.seed)
        return self._texts[table]

    def tokens(self, table: str) -> list[int]:
        """The tokens of each sentence and its line break, between other sentences."""
        if table not in self._tokens:
            texts = self.texts(table)
            counts: list[int] = []
            for start in range(0, len(texts), _PAGE):
                framed = [f".\n{text}\n" for text in texts[start : start + _PAGE]]
                ids = self.tokenizer(framed, add_special_tokens=False, verbose=False)["input_ids"]
                counts += [len(one) - self._frame for one in ids]
            self._tokens[table] = counts
        return self._tokens[table]

    @cached_property
    def _frame(self) -> int:
        return len(self.tokenizer(".\n", add_special_tokens=False)["input_ids"])

    def children(self, table: str, column: str) -> tuple[list, dict]:
        """The values of a column that refers to other rows, in the order of their first row, and the rows of each value."""
        if (table, column) not in self._children:
            found: dict = {}
            for number, value in enumerate(self.database.table(table).values(column)):
                if value is not None:
                    found.setdefault(value, []).append(number)
            self._children[table, column] = list(found), found
        return self._children[table, column]

    def total(self, tables) -> int:
        """The tokens of all rows of some tables."""
        return sum(sum(self.tokens(table)) for table in tables)
