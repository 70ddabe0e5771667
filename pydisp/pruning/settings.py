"""PruneSettings: the settings of a pruning run, checked before anything long starts, with defaults by the size of the model."""

from dataclasses import asdict, dataclass, replace

from pydisp.arguments import SEED, SWITCH, ZERO_OR_MORE, check_fields, number, one_of, optional, whole
from pydisp.spec import SMALL_MODEL_PARAMETERS, ModelSpec, check_keep_ratio

METHODS = ("disp", "constrained", "gradient", "magnitude", "wanda", "flap", "random", "layerdrop")
STARTS = ("gradient", "wanda", "flap", "none")
SEARCHED = ("disp", "constrained")
RATE_TIMES_STEPS, MOST_RATE, LEAST_RATE = 2.4, 0.05, 0.002
_OF_A_SEARCH = {"steps", "accumulate", "learning_rate", "weight_decay", "regularization", "hypernetwork", "start", "gradient_checkpointing"}
_OF_A_START = {"start_windows", "bfloat16"}
_CHOSEN = ("steps", "batch_size", "context_tokens", "evaluation_tokens", "gradient_checkpointing", "bfloat16")  # by time, memory, processor
_OF_A_PLAN = {"method", "context_tokens", "evaluation_tokens"}
LARGE_MODEL_EVALUATION_TOKENS = (
    32_768  # of each text; the whole of WikiText-2's test text would take a small CPU longer than a short search
)


@dataclass(frozen=True)
class PruneSettings:
    """Settings of one run; None means the default for the model's size (`resolved`).

    Attributes:
        keep_ratio: share of the parameters to keep, in (0, 1).
        ratio_of: the parameters that keep_ratio refers to: `total` (tied weights once, indices not counted) or `block` (decoder layers).
        method: one of METHODS; `plan` means that a plan was given.
        steps, batch_size, context_tokens, accumulate: for a search; a step draws the gates once for accumulate x batch_size windows.
        start: what scores the features before the first step, one of STARTS; "none" starts with all of them alike.
        start_windows: windows that the start and the method `gradient` read, drawn by the seed; fewer where time is short.
        learning_rate: that of the hypernetwork's heads; its body has a tenth of it. None: by the number of steps.
        regularization: lambda in the paper, the weight of the log-ratio of kept and wanted parameters; the budget is met without it.
        hypernetwork: whether a hypernetwork makes what is added to the starting logits; if not, each is a parameter of its own.
        seed: decides the hypernetwork, the order of the windows and every draw.
        round_to: kept widths are multiples of this number.
        gradient_checkpointing: for a search; compute activations twice instead of keeping them, with the same result. None: where memory
            is short (`pydisp.pruning.estimate`).
        bfloat16: for gradients; whether the products of the model are computed in bfloat16, its weights staying as they are. None: where
            the processor multiplies it faster than the model's float32.
        evaluation_tokens: score at most so many tokens of each text, evenly over it, with both models; 0: all.
    """

    keep_ratio: float
    ratio_of: str = "total"
    method: str = "disp"
    steps: int | None = None
    batch_size: int | None = None
    context_tokens: int | None = None
    accumulate: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.05
    regularization: float = 0.0
    hypernetwork: bool = True
    start: str = "gradient"
    start_windows: int = 16
    seed: int = 0
    round_to: int | None = None
    gradient_checkpointing: bool | None = None
    bfloat16: bool | None = None
    evaluation_tokens: int | None = None

    # pydantic reads this when settings come from a file: it refuses an unknown key, and text in place of a number.
    __pydantic_config__ = {"extra": "forbid", "strict": True}

    def __post_init__(self):
        check_fields(
            self,
            keep_ratio=number("lie between 0 and 1, both excluded, such as 0.5", lambda value: True),  # its range is checked below
            ratio_of=one_of(("total", "block")),
            method=replace(one_of(METHODS), is_right=lambda value: isinstance(value, str) and value in (*METHODS, "plan")),
            start=one_of(STARTS),
            **dict.fromkeys(("steps", "batch_size", "round_to"), optional(whole(1))),
            **dict.fromkeys(("accumulate", "start_windows"), whole(1)),
            context_tokens=optional(whole(2)),
            evaluation_tokens=optional(whole(0)),
            seed=SEED,
            learning_rate=optional(ZERO_OR_MORE),
            **dict.fromkeys(("weight_decay", "regularization"), ZERO_OR_MORE),
            hypernetwork=SWITCH,
            **dict.fromkeys(("gradient_checkpointing", "bfloat16"), optional(SWITCH)),
        )
        check_keep_ratio(self.keep_ratio, self.ratio_of, may_keep_all=self.method == "plan")  # a given plan may keep everything

    def resolved(self, spec: ModelSpec, positions: int | None, *, has_bfloat16: bool = False) -> "PruneSettings":
        """These settings with every None replaced; `positions` is the longest context of the model, if it has one, and `has_bfloat16`
        says whether products in bfloat16 are faster.

        Small models (under 50 M parameters): 600 steps of 4 x 256 tokens, widths in multiples of 8. Others: 300 steps of 4 x 256 tokens,
        widths in multiples of 16. The learning rate is RATE_TIMES_STEPS / steps, so that all numbers of steps move the logits as far, but
        not above or below MOST_RATE and LEAST_RATE; a tenth of that for the full heads of models that are not small, whose logits move
        ten times as far. It warms up and then falls by a cosine to a twentieth.
        Raises: ValueError for a context longer than the model's, or a keep ratio that the never pruned parameters alone exceed.
        """
        small = spec.parameters_total < SMALL_MODEL_PARAMETERS
        defaults = {"gradient_checkpointing": False, "bfloat16": has_bfloat16, "batch_size": 4, "context_tokens": 256}
        defaults |= {"steps": 600 if small else 300, "round_to": 8 if small else 16}
        rate = min(MOST_RATE, max(LEAST_RATE, RATE_TIMES_STEPS / (self.steps or defaults["steps"])))
        defaults["learning_rate"] = rate if small else rate / 10
        if positions is not None:
            defaults["context_tokens"] = min(defaults["context_tokens"], positions)
            if self.context_tokens is not None and self.context_tokens > positions:
                raise ValueError(f"the context is {self.context_tokens} tokens, the model has {positions} positions; choose a shorter one.")
        settings = replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})
        if settings.evaluation_tokens is None:
            settings = replace(settings, evaluation_tokens=0 if small else max(LARGE_MODEL_EVALUATION_TOKENS, settings.context_tokens))
        if 0 < settings.evaluation_tokens < settings.context_tokens:
            raise ValueError(
                f"evaluation_tokens is {settings.evaluation_tokens}, one window has {settings.context_tokens}; "
                "choose at least as many, or 0 for all of each text."
            )
        if self.method != "plan":
            settings._check_reach(spec)
        return settings

    def _check_reach(self, spec: ModelSpec) -> None:
        """Refuse, before a search, a budget or a rounding with which no attention block could stay."""
        narrowest = min(spec.hidden_size, spec.middle_size)
        if self.round_to > narrowest:
            raise ValueError(
                f"widths should be multiples of {self.round_to}, but a width of the model is {narrowest}; choose a smaller --round-to."
            )
        budget = spec.block_budget(self.keep_ratio, self.ratio_of)
        least = min(c.attention(self.round_to, self.round_to) + c.either_fixed for c in spec.costs) + sum(
            c.always_fixed for c in spec.costs
        )
        if budget < least:
            raise ValueError(
                f"the keep ratio {self.keep_ratio} leaves {budget:,} parameters for the blocks, but one narrow attention block takes "
                f"{least:,}; choose a larger ratio."
            )

    def with_chosen(self, identity: dict) -> "PruneSettings":
        """These settings, with the numbers of an earlier run in place of every None that is chosen when a run starts."""
        given = {name: identity.get(name) for name in _CHOSEN if getattr(self, name) is None}
        if self.steps is None:  # the windows of the start are chosen with the steps
            given["start_windows"] = identity.get("start_windows")
        return replace(self, **{name: value for name, value in given.items() if isinstance(value, int)})

    def as_dict(self) -> dict:
        """Plain values for JSON and YAML."""
        return asdict(self)

    def in_use(self) -> dict:
        """`as_dict` without the settings that this method does not use (a search's, for other methods; nearly all, for a given plan) and
        without a limit of the evaluation and checkpointing where there are none."""
        values = self.as_dict()
        for name in ("evaluation_tokens", "gradient_checkpointing"):
            if not values[name]:
                values.pop(name)
        if self.method == "plan":
            return {name: value for name, value in values.items() if name in _OF_A_PLAN}
        unused = set() if self.method in SEARCHED else _OF_A_SEARCH | (set() if self.method == "gradient" else _OF_A_START)
        return {name: value for name, value in values.items() if name not in unused}
