"""lm-eval: the model `pydisp` (a pruned folder, a dense model, a GGUF file or `demo`), and running tasks offline.

pydisp eval DIR --tasks pydisp_pythondoc                      # a task that comes with pydisp, in a folder `tasks` of the package
pydisp eval DIR --tasks my_task --include-path tasks/
lm_eval run --model pydisp --model_args pretrained=DIR ...       # if lm-eval finds plug-ins by entry point
lm_eval run --model hf --model_args pretrained=DIR,trust_remote_code=True ...    # stock lm-eval, through the folder's shim
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pydisp  # makes pydisp_* models loadable
from pydisp.distribution import install_command
from pydisp.gguf import is_gguf
from pydisp.hub_bars import hub_as_ours
from pydisp.integrations.token_log_likelihood import TokenLogLikelihood
from pydisp.integrations.toolken_generation import ToolkenGeneration
from pydisp.loading import (
    choose_device,
    choose_dtype,
    displayed_name,
    load_config,
    load_model,
    load_tokenizer,
    load_whole,
    resolved_name,
    stored_dtype,
    weights_to_load,
)
from pydisp.progress import on_stderr
from pydisp.transformers_bars import as_ours

try:
    from lm_eval import utils
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
except ImportError as error:
    raise ImportError(f"evaluation on tasks needs lm-eval; install it with: {install_command('eval')}") from error

import torch
from torch import Tensor
from tqdm import tqdm


@register_model("pydisp")
class PydispLM(HFLM):
    """HFLM for the names that pydisp knows: a folder, a GGUF file, a hub name, or `demo`; float32 by default on a CPU.

    Log-likelihoods are floats that also carry the loss of each token (`TokenLogLikelihood`), for metrics that use it.

    Args:
        toolkens: a folder of `pydisp toolken train` for this model: it calls these tools while it generates. toolken_mode: how it decides.
        say: a function that receives the progress of loading the model.
    """

    def __init__(
        self,
        pretrained: str,
        device: str | None = None,
        dtype: str | None = "auto",
        toolkens: str | None = None,
        toolken_mode: str = "calibrated",
        say: Callable[[str], None] = on_stderr,
        **kwargs,
    ):
        source = {key: kwargs[key] for key in ("revision", "trust_remote_code") if kwargs.get(key)}
        chosen = choose_device(None if device in (None, "None") else device)
        config = load_config(pretrained, **source)
        computed = choose_dtype(None if dtype in (None, "auto") else str(dtype), chosen, stored_dtype(config))
        if getattr(config, "pydisp", None):  # lm-eval does not know the pruned families
            kwargs.setdefault("backend", "causal")
        if is_gguf(pretrained):  # transformers would keep the weights packed
            model = load_model(pretrained, device=chosen, dtype=computed, say=say, **source)
            super().__init__(pretrained=model, tokenizer=load_tokenizer(pretrained, **source), **kwargs)
        else:
            if not getattr(config, "is_encoder_decoder", False):
                weights_to_load(pretrained, **source)  # refuses what would take all memory
            placed = dict(device=str(chosen), dtype=str(computed).removeprefix("torch."))
            with as_ours(say, title=f"loading {displayed_name(pretrained)}", unit="tensor"):
                super().__init__(pretrained=resolved_name(pretrained), **placed, **kwargs)
        if toolkens is not None and self.mixed_precision_dtype is not None:
            raise ValueError("mixed_precision_dtype goes without toolkens; choose a dtype instead, or leave the toolkens out.")
        self.with_toolkens = None if toolkens is None else ToolkenGeneration(self.model, self.tokenizer, str(toolkens), toolken_mode)

    def _create_model(self, pretrained, *args, **kwargs) -> None:
        """As in HFLM, but files that lack a weight, or have one too many, are refused."""
        auto_class = self.AUTO_MODEL_CLASS
        self.AUTO_MODEL_CLASS = SimpleNamespace(from_pretrained=lambda place, **options: load_whole(auto_class, place, place, **options))
        try:
            super()._create_model(pretrained, *args, **kwargs)
        finally:
            self.AUTO_MODEL_CLASS = auto_class

    def _model_generate(self, context, max_length: int, stop: list[str], **generation_kwargs) -> Tensor:
        """As in HFLM, with tools where there are toolkens."""
        if self.with_toolkens is None:
            return super()._model_generate(context, max_length, stop, **generation_kwargs)
        options = dict(generation_kwargs)
        if not options.get("temperature"):  # as in HFLM: no temperature, or 0, is greedy
            options.pop("temperature", None)
            options.setdefault("do_sample", False)
        options = options | {"max_length": max_length, "pad_token_id": self.tokenizer.pad_token_id, "use_cache": True}
        return self.with_toolkens(context, stop=stop, **options)

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = False, override_bs: int | None = None) -> list[tuple[float, bool]]:
        """As in HFLM: each request is ((context, continuation) or None, context tokens, continuation tokens).

        Requests that read the same tokens (the one-token choices of a question) share a row of the batch.
        """
        if self.backend != "causal":
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        rows: dict[tuple[int, ...], list[int]] = {}
        for number, (_, context, continuation) in enumerate(requests):
            rows.setdefault(tuple((context + continuation)[-(self.max_length + 1) : -1]), []).append(number)
        longest_first = sorted(rows, key=lambda row: (-len(row), row))  # so that a batch too large for memory fails at once
        answers: list[tuple[float, bool] | None] = [None] * len(requests)
        with tqdm(total=len(requests), disable=disable_tqdm or self.rank != 0, desc="Running loglikelihood requests") as bar:
            for batch in _batches(longest_first, override_bs or self._rows_per_batch(requests)):
                for row, log_probabilities in zip(batch, self._log_probabilities(batch), strict=True):
                    for number in rows[row]:
                        text, _, continuation = requests[number]
                        scored = self._select_cont_toks(log_probabilities, contlen=len(continuation), inplen=len(log_probabilities))
                        answers[number] = self._answer(scored, continuation)
                        if text is not None:  # None: a window of a longer text, whose result is cached as a whole
                            self.cache_hook.add_partial("loglikelihood", text, answers[number])
                        bar.update()
        return answers

    def _rows_per_batch(self, requests) -> int:
        if self.batch_size != "auto":
            return int(self.batch_size)
        longest = max(range(len(requests)), key=lambda number: len(requests[number][1]) + len(requests[number][2]), default=0)
        return self._detect_batch_size(requests, longest)

    def _log_probabilities(self, rows: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Log-probabilities (tokens, vocabulary) of each row's own tokens, without those that a prompt-tuned model puts in front."""
        width = max(map(len, rows))
        inputs = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.device)
        logits = self._model_call(inputs)
        log_probabilities = torch.log_softmax(logits, dim=-1, dtype=self.softmax_dtype)
        return [values[: len(values) - (width - len(row))] for values, row in zip(log_probabilities, rows, strict=True)]

    @staticmethod
    def _answer(log_probabilities: Tensor, tokens: Sequence[int]) -> tuple[TokenLogLikelihood, bool]:
        wanted = torch.tensor(tokens, device=log_probabilities.device)
        chosen = log_probabilities.gather(-1, wanted[:, None])[:, 0]
        is_greedy = bool((log_probabilities.argmax(-1) == wanted).all())
        return TokenLogLikelihood(float(chosen.sum()), (-chosen).tolist(), tokens), is_greedy

    def loglikelihood_rolling(self, requests, disable_tqdm: bool = False) -> list[float]:
        """As in HFLM: each text is scored in windows of the model's length, every token once."""
        texts = [self._windows(*request.args) for request in requests]
        answers = iter(self._loglikelihood_tokens([window for windows in texts for window in windows], disable_tqdm=disable_tqdm))
        results = []
        for request, windows in zip(requests, texts, strict=True):
            results.append(TokenLogLikelihood.joined([answer for answer, _ in islice(answers, len(windows))]))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, results[-1])
        return results

    def _windows(self, text: str) -> list[tuple[None, list[int], list[int]]]:
        windows = utils.get_rolling_token_windows(
            token_list=self.tok_encode(text), prefix_token=self.prefix_token_id, max_seq_len=self.max_length, context_len=1
        )
        return [(None, *utils.make_disjoint_window(window)) for window in windows]


def _batches(rows: list, size: int) -> Iterator[list]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def packaged_task_folders() -> list[Path]:
    """Every folder `tasks` of the installed package; lm-eval finds the tasks in them by name."""
    return sorted(path for path in Path(pydisp.__file__).parent.rglob("tasks") if path.is_dir())


def evaluate_tasks(
    model: str,
    tasks: Sequence[str],
    *,
    include_paths: Sequence[str | os.PathLike] = (),
    limit: int | None = None,
    batch_size: int = 1,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    model_args: dict | None = None,
    metadata: dict | None = None,
    apply_chat_template: bool | str = False,
    say: Callable[[str], None] = on_stderr,
) -> dict:
    """Run tasks of lm-eval. Returns: {"model", "results": {task: {metric: value}}, "n_samples"}; None for a
    value that is not finite.

    Args:
        model: a name that `pydisp.loading` knows.
        tasks: names of tasks, groups or tags. They are looked up in `include_paths`, then in this package, then in lm-eval. Reading the
            hundreds of tasks of lm-eval takes half a minute, so it is done only if a name is not in the first two.
        include_paths: folders with your own tasks; a later folder overrides an earlier one.
        model_args: further arguments of HFLM, such as {"max_length": 512}.
        metadata: values from which tasks are made, such as {"max_seq_lengths": [4096]}; the model's name ("pretrained") and arguments are
            among them, as in lm-eval.
        apply_chat_template: whether to put prompts into the tokenizer's chat template; or the name of one of several templates.
        say: a function that receives progress lines; what lm-eval itself would show or print does not appear.
    Raises: ValueError for no task or an empty name, a limit or batch size below 1, `pretrained` among model_args, an unknown
        task, or a chat template that the tokenizer lacks, FileNotFoundError for a folder that does not exist,
        TypeError for an argument that the model does not take. Only the last is raised after the model is loaded.
    """
    from lm_eval import simple_evaluate

    from pydisp.integrations.lm_eval_bars import lm_eval_as_ours

    _check_options(tasks, limit, batch_size, model_args or {})
    manager = _task_manager(tasks, include_paths, {"pretrained": model, **(model_args or {}), **(metadata or {})}, say)
    source = dict(trust_remote_code=trust_remote_code, **({"revision": revision} if revision else {}))
    if apply_chat_template and not load_tokenizer(model, **source).chat_template:
        raise ValueError(f"the tokenizer of {displayed_name(model)} has no chat template; leave --apply-chat-template out.")
    options = dict(device=device, dtype=dtype or "auto", batch_size=batch_size) | source | (model_args or {})
    lm = PydispLM(model, say=say, **options)
    with hub_as_ours(say, data_sets=True), lm_eval_as_ours(say):
        scores = simple_evaluate(model=lm, tasks=list(tasks), task_manager=manager, limit=limit, apply_chat_template=apply_chat_template)
    results = {
        task: {name: value if math.isfinite(value) else None for name, value in values.items() if isinstance(value, int | float)}
        for task, values in scores["results"].items()
    }
    return {"model": displayed_name(model), "results": results, "n_samples": scores["n-samples"]}


def _check_options(tasks: Sequence[str], limit: int | None, batch_size: int, model_args: dict) -> None:
    if not tasks or not all(name.strip() for name in tasks):
        raise ValueError("the name of a task is empty; name one or more tasks, such as pydisp_pythondoc.")
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more.")
    if "pretrained" in model_args:
        raise ValueError(f"the model's arguments have pretrained={model_args['pretrained']}, but the model is named already; leave it out.")


def _task_manager(tasks: Sequence[str], include_paths: Sequence[str | os.PathLike], metadata: dict | None, say: Callable[[str], None]):
    from lm_eval.tasks import TaskManager

    for path in include_paths:
        if not Path(path).is_dir():
            raise FileNotFoundError(f"there is no folder {path} of tasks; give one with --include-path.")
    folders = [str(path) for path in (*packaged_task_folders(), *(Path(path).resolve() for path in include_paths))]
    manager = TaskManager(include_path=folders, include_defaults=False, metadata=metadata)
    if all(name in manager.all_tasks for name in tasks):
        return manager
    say("reading the tasks of lm-eval, about 30 s")
    manager = TaskManager(include_path=folders, metadata=metadata)
    unknown = [name for name in tasks if name not in manager.all_tasks]
    if unknown:
        raise ValueError(f"lm-eval knows no task {unknown[0]!r}; `lm_eval ls tasks` lists them, --include-path adds a folder of your own.")
    return manager
