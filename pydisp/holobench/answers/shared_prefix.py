"""Shared prefix: what all prompts of a context begin with, its facts, is read once; each question is read on from there."""

from pydisp.holobench.answers.asked_items import Asked
from pydisp.modeling.cached_model import CachedModel, Past


class SharedPrefix:
    """Keeps the past of the last context, so that its questions may be in several batches."""

    def __init__(self, reader: CachedModel):
        self.reader = reader
        self._context: str | None = None
        self._past: Past | None = None

    def past(self, asked: Asked) -> Past:
        """The model after the first `asked.read` tokens of the prompt; to be read on freely."""
        past = self._prefix(asked).forked() if asked.shared else self.reader.start()
        rest = asked.prompt[asked.shared : asked.read]
        if len(rest):
            self.reader.read(past, rest[None])
        return past

    def _prefix(self, asked: Asked) -> Past:
        if self._context != asked.item.context_id:
            self._context = self._past = None  # frees the memory of the last one first
            past = self.reader.start()
            self.reader.read(past, asked.prompt[None, : asked.shared])
            self._context, self._past = asked.item.context_id, past
        return self._past
