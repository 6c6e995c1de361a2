"""What makes an interface of the demonstration: what is asked and answered, out of which table, how fresh, in whose words.

What must not go in here: the interfaces (interfaces.py) and what a provider of the catalogue is (catalogue.py).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from broker.demo.departments import DEPARTMENTS, SHAPES, Department
from broker.demo.vocabulary import STYLES
from broker.model.catalogue import Freshness


class Rhythm(NamedTuple):
    """How often a resource changes at its owner, and what follows for the use of an answer."""

    update_cycle: Literal["real-time", "daily", "weekly", "monthly", "yearly"]
    freshness: Freshness


def _fresh(ttl: int, revalidate: int, error: int, negative: int = 60) -> Freshness:
    return Freshness(
        cacheable=True,
        ttl_s=ttl,
        negative_ttl_s=negative,
        stale_while_revalidate_s=revalidate,
        stale_if_error_s=error,
    )


RHYTHMS: dict[str, Rhythm] = {
    "live": Rhythm("real-time", Freshness()),  # credit, death, debts, seizures: never an old answer
    "moment": Rhythm("real-time", Freshness(cacheable=True, ttl_s=1, stale_if_error_s=600, jitter_ratio=0.0)),
    "people": Rhythm("daily", _fresh(3600, 600, 86_400)),
    "daily": Rhythm("daily", _fresh(1800, 300, 43_200)),
    "weekly": Rhythm("weekly", _fresh(3600, 600, 86_400)),
    "monthly": Rhythm("monthly", _fresh(6 * 3600, 3600, 3 * 86_400)),
    "yearly": Rhythm("yearly", _fresh(12 * 3600, 3600, 7 * 86_400, negative=300)),
}


class Question(NamedTuple):
    """One interface.

    A word is a column of the city (tables.py) and has its type in the vocabulary. In `asked`, a plain word finds the record and
    a word after ``+`` is only compared with it (the answer then has ``<word>_match``); the first word is the subject. In
    `answered`, a word with ``?`` may be empty.
    """

    id: str
    title: str
    department: str
    asked: str
    answered: str
    source: str
    rhythm: str
    where: str = ""  # a constant condition on the source
    latest: str = ""  # of several records, the one in which this is last

    @property
    def keys(self) -> list[str]:
        """Arguments that find the record; the first is the subject."""
        return [word for word in self.asked.split() if not word.startswith("+")]

    @property
    def compared(self) -> list[str]:
        """Arguments that are only compared with the record."""
        return [word[1:] for word in self.asked.split() if word.startswith("+")]

    @property
    def answer(self) -> dict[str, bool]:
        """Fields of the answer, and whether each is always there."""
        words = {word.rstrip("?"): not word.endswith("?") for word in self.answered.split()}
        return words | {f"{word}_match": True for word in self.compared}

    @property
    def owner(self) -> Department:
        """The department that answers."""
        return DEPARTMENTS[self.department]

    def name(self, word: str) -> str:
        """Return what the department calls a word."""
        return STYLES[self.owner.style](word)

    def path(self, word: str) -> str:
        """Return where in a record of the department a field is."""
        within = SHAPES[self.owner.shape].within if self.owner.shape else ""
        return f"{within}.{self.name(word)}" if within else self.name(word)

    @property
    def query(self) -> str:
        """The question to the city: its columns have the department's names, its parameters are the arguments."""
        columns = ", ".join(self._column(word) for word in self.answer)
        conditions = [f"{key} = :{key}" for key in self.keys] + ([self.where] if self.where else [])
        order = f" ORDER BY {self.latest} DESC LIMIT 1" if self.latest else ""
        return f"SELECT {columns} FROM {self.source} WHERE {' AND '.join(conditions)}{order}"  # noqa: S608 - our own words

    def _column(self, word: str) -> str:
        asked = word.removesuffix("_match")
        value = f"CASE WHEN {asked} = :{asked} THEN '1' ELSE '0' END" if asked in self.compared else word
        return value if value == self.name(word) else f"{value} AS {self.name(word)}"
