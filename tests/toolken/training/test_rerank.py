"""Rerank: which positions, which candidates, and rows that choose among them."""

import pytest
import torch
from toolken_training import TOKENIZER, TOOLS, labelled, tiny

from pydisp.toolken.documentation import Documentation, DocumentationError
from pydisp.toolken.training.features import Features
from pydisp.toolken.training.fitting import FitSettings
from pydisp.toolken.training.positions import Positions
from pydisp.toolken.training.rerank import Examples, choose_examples, second_scores, second_states, train_second_rows


def written(target, logits, best, lse=None) -> tuple[Features, torch.Tensor]:
    """Features with these targets, logits of tools and largest logits of words."""
    count = len(target)
    numbers = torch.arange(count)
    positions = Positions(numbers // 2, numbers + 3, torch.tensor(target), numbers, numbers < 0)
    best = torch.tensor(best)
    lse = best + 1 if lse is None else torch.tensor(lse)
    return Features(positions, torch.zeros(count, 2), lse, best, best), torch.tensor(logits)


#            a tool, in front     a tool, third      a word, fires      a word, nearly     a word, far        a tool, second
TARGETS = [1, 0, -1, -1, -1, 2]
LOGITS = [[0.0, 5, 1, 2], [1.0, 3, 2, 2], [6.0, 1, 1, 5], [2.0, 2.5, 0, 0], [-9.0, -9, -9, -8], [4.0, 0, 3, 2]]
BEST = [4.0, 4.0, 5.0, 3.0, 5.0, 9.0]


def test_a_small_case_written_out():
    features, logits = written(TARGETS, LOGITS, BEST)
    found = choose_examples(features, logits, k=2, most=None, seed=0)
    assert found.position.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.candidates.tolist() == [[1, 3], [1, 0], [0, 3], [1, 0], [3, 0], [0, 2]]  # in the second row the gold tool is put in
    assert found.right.tolist() == [0, 1, 2, 2, 2, 1]
    assert found.fires.tolist() == [True, False, True, False, False, False]
    assert found.problem.tolist() == [0, 0, 1, 1, 2, 2] and found.place.tolist() == [3, 4, 5, 6, 7, 8]
    assert found.k == 2


def test_without_putting_in_a_missing_tool_has_no_right_candidate():
    features, logits = written(TARGETS, LOGITS, BEST)
    found = choose_examples(features, logits, k=2, most=None, seed=0, put_gold=False)
    assert found.candidates[1].tolist() == [1, 2] and found.right.tolist() == [0, -1, 2, 2, 2, 1]


#               a tool, fires   a word, at a tie  a word, fires   a word, at a tie          a word, fires
FIRING_WORDS = (
    [1, -1, -1, -1, -1],
    [[9.0, 0, 0, 0], [3.0, 3, 3, 3], [4.0, 0, 0, 0], [5.0, 4.9, 4.9, 4.9], [2.0, 0, 0, 0]],
    [0.0, 3.0, 3.5, 5.0, 1.9],
)


def test_with_a_limit_as_many_words_as_tools_those_that_fire_first():
    features, logits = written(*FIRING_WORDS)
    found = choose_examples(features, logits, k=1, most=5, seed=0)
    assert found.position.tolist() == [0, 2]  # it fires, though others have a larger probability of some tool
    assert found.candidates.tolist() == [[1], [0]]


def test_without_a_limit_every_word_where_a_tool_fires_is_there():
    features, logits = written(*FIRING_WORDS)
    found = choose_examples(features, logits, k=1, most=None, seed=0, put_gold=False)
    assert found.position.tolist() == [0, 2, 4] and found.fires.all()
    many = written([0, *[-1] * 500], [[1.0, 0]] * 501, [0.0] * 501)
    assert len(choose_examples(*many, k=1, most=None, seed=0, put_gold=False)) == 501


def test_of_words_that_do_not_fire_the_likeliest_are_taken():
    features, logits = written([0, -1, -1], [[9.0, 0], [1.0, 1], [2.0, 0]], [0.0, 3.0, 5.0], lse=[1.0, 3.1, 5.1])
    found = choose_examples(features, logits, k=1, most=None, seed=0)
    assert found.position.tolist() == [0, 1]


def test_a_limit_draws_by_the_seed_and_keeps_the_order():
    target = [0, 1] * 10 + [-1] * 10
    features, logits = written(target, torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).tolist(), [0.0] * 30)
    one, again, other = (choose_examples(features, logits, k=2, most=4, seed=seed) for seed in (0, 0, 1))
    assert len(one) == 8 and (one.right == 2).sum() == 4
    assert one.position.tolist() == again.position.tolist() == sorted(one.position.tolist()) != other.position.tolist()


def test_states_are_those_after_the_documentation_of_the_candidates(tmp_path):
    model, texts = tiny(), labelled(4)
    examples = Examples(
        torch.tensor([0, 1]),
        torch.tensor([0, 2]),
        torch.tensor([texts[0].first, 5]),
        torch.tensor([[2, 0], [1, 2]]),
        *[torch.tensor([0, 1])] * 2,
    )
    documentation = Documentation(TOKENIZER, TOOLS)
    states = second_states(model, texts, examples, documentation, tmp_path)
    for row, (problem, place, tools) in enumerate([(0, texts[0].first, [2, 0]), (2, 5, [1, 2])]):
        ids = [*texts[problem].ids[:place], *documentation.ids(tools, 10**6)]
        with torch.no_grad():
            hidden = model.model(torch.tensor([ids])).last_hidden_state[0, -1]
        torch.testing.assert_close(states[row], hidden, rtol=1e-4, atol=1e-4)


def test_prefix_and_documentation_fit_the_context_together_or_are_refused(tmp_path):
    texts = labelled(4)
    examples = Examples(*[torch.tensor([0])] * 2, torch.tensor([texts[0].first]), torch.tensor([[2, 0]]), *[torch.tensor([0])] * 2)
    least = texts[0].first + len(Documentation(TOKENIZER, TOOLS, room=0).ids([2, 0], 10**6))
    documentation = Documentation(TOKENIZER, TOOLS)
    assert second_states(tiny(context_tokens=least), texts, examples, documentation, tmp_path).shape == (1, 32)
    with pytest.raises(DocumentationError, match=f"the context has room for {least - 1 - texts[0].first} after the text"):
        second_states(tiny(context_tokens=least - 1), texts, examples, documentation, tmp_path)


def test_scores_are_products_of_the_candidates_and_reject():
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    states = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    scores = second_scores(states, rows, torch.tensor([[3, 0], [1, 2]]))
    torch.testing.assert_close(scores[0], rows[[3, 0, 4]] @ states[0])
    torch.testing.assert_close(scores[1], rows[[1, 2, 4]] @ states[1])


def sample(count: int, seed: int, tools: int = 4, k: int = 2) -> tuple[Examples, torch.Tensor]:
    """A centre of states for each tool and for REJ."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(tools + 1, 8, generator=torch.Generator().manual_seed(9)) * 2
    truth = torch.arange(count) % (tools + 1)
    candidates = torch.stack([torch.randperm(tools, generator=generator)[:k] for _ in range(count)])
    is_there = (candidates == truth[:, None]).any(1)
    candidates[:, -1] = torch.where((truth < tools) & ~is_there, truth, candidates[:, -1])
    right = torch.where(truth == tools, k, (candidates == truth[:, None]).int().argmax(1))
    numbers = torch.arange(count)
    return Examples(numbers, numbers, numbers, candidates, right, numbers >= 0), centres[truth] + torch.randn(count, 8, generator=generator)


@pytest.mark.parametrize("coordinates", ["scaled", "whitened"])
def test_second_rows_learn_to_choose_and_to_reject(coordinates):
    train, validation, test = sample(400, 0), sample(100, 1), sample(200, 2)
    fit = train_second_rows(*train, *validation, 4, FitSettings(coordinates, 0.05, batch_size=64, epochs=60), seed=0)
    assert fit.rows.shape == (5, 8) and fit.rows.dtype == torch.float32
    chosen = second_scores(test[1], fit.rows, test[0].candidates).argmax(1)
    assert (chosen == test[0].right).float().mean() > 0.9
    expected = torch.nn.functional.cross_entropy(second_scores(validation[1], fit.rows, validation[0].candidates), validation[0].right)
    assert fit.validation_loss == pytest.approx(expected.item(), rel=1e-3)


def test_examples_without_a_right_candidate_change_nothing():
    settings = FitSettings(epochs=3, batch_size=32)
    train, states = sample(100, 0)
    validation, checked = sample(50, 1)
    keep, checked_keep = torch.arange(100) % 3 > 0, torch.arange(50) % 3 > 0
    holes = [
        Examples(**{**vars(one), "right": torch.where(kept, one.right, -1)}) for one, kept in ((train, keep), (validation, checked_keep))
    ]
    one = train_second_rows(holes[0], states, holes[1], checked, 4, settings, seed=0)
    two = train_second_rows(train.kept(keep), states[keep], validation.kept(checked_keep), checked[checked_keep], 4, settings, seed=0)
    assert torch.equal(one.rows, two.rows) and one.validation_loss == two.validation_loss


@pytest.mark.parametrize("part", ["training", "validation"])
def test_examples_of_which_none_is_right_are_refused_before_fitting(part):
    parts = {"training": sample(40, 0), "validation": sample(20, 1)}
    examples, states = parts[part]
    parts[part] = Examples(**{**vars(examples), "right": torch.full_like(examples.right, -1)}), states
    with pytest.raises(ValueError, match=f"none of {len(examples)} {part} examples has the right tool among its 2 candidates, .*larger k"):
        train_second_rows(*parts["training"], *parts["validation"], 4, FitSettings(epochs=1), seed=0)
