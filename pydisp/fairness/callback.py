"""FrequencyLossCallback: transformers' Trainer logs the loss of rare and frequent tokens of a held-out text.

callback = FrequencyLossCallback(FrequencyProbe(tokenizer, ["heldout.txt"], counts_text=["train.txt"]))
trainer = Trainer(model, ..., callbacks=[callback])
trainer.train()
callback.history        # [{"step": 0, "loss": 9.7, "loss_head": 9.6, "loss_tail": 9.7, ...}, {"step": 500, ...}, ...]
"""

from transformers import TrainerCallback

from pydisp.arguments import Kind, optional, takes, whole
from pydisp.fairness.frequency_probe import FrequencyProbe

PREFIX = "frequency/"


class FrequencyLossCallback(TrainerCallback):
    """Measures at the start, every `every` steps and at the end.

    Args:
        probe: what is measured.
        every: optimizer steps between two measurements. A measurement is a forward pass of the probe's windows (8,192 tokens by default).
        trainer: if it is given, `trainer.log` receives the figures under `frequency/…`, and with it all its integrations; else they stand
            in `history` and in the trainer's own log history only.
    Raises: ValueError for fewer than 1 step.
    """

    @takes(
        probe=Kind("give a FrequencyProbe", callable, error=TypeError),
        every=whole(1),
        trainer=optional(Kind("give a Trainer of transformers", lambda value: hasattr(value, "log"), error=TypeError)),
    )
    def __init__(self, probe: FrequencyProbe, *, every: int = 500, trainer=None):
        self.probe, self.every, self.trainer = probe, every, trainer
        self.history: list[dict[str, float]] = []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self._measure(state, model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % self.every == 0:
            self._measure(state, model)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self._measure(state, model)

    def _measure(self, state, model) -> None:
        if self.history and self.history[-1]["step"] == state.global_step:
            return
        figures = self.probe(model)  # on every process: a model in shards needs them all
        self.history.append({"step": state.global_step, **figures})
        if not state.is_world_process_zero:
            return
        named = {f"{PREFIX}{name}": value for name, value in figures.items()}
        if self.trainer is not None:
            asked = self.trainer.control.should_log  # a log sets it to False, and the Trainer's own of this step would be lost
            self.trainer.log(named)
            self.trainer.control.should_log = asked
        else:
            state.log_history.append({**named, "step": state.global_step})
