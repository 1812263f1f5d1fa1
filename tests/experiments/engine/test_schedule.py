"""What is due: trials, a grid that goes on beyond its edge, finalists at full length, then reports cell by cell."""

import types

import pytest

from experiments.engine import schedule
from experiments.questions.question import Probing, Run, Tuning, changed, doubled, over_seeds
from models.options import flat
from training.command import cli
from training.run import identity

CONFIG = "configs/recall.py:gru"
FIXED = [run for system in ("a", "b") for run in over_seeds(Run(CONFIG, {"system": system}), 2)]
SHORT = {"steps": 5, "schedule.warmup_steps": 0}
NEVER = float("inf")


def tuned(**options):
    return over_seeds(Run(CONFIG, {"system": "a"}, tuning=Tuning((0.1, 0.2), **options)), 2)


def question(runs, probes=()):
    return types.SimpleNamespace(runs=lambda scale: runs, PROBES=probes, VERSION=1)


def finished(losses, short=None, metric="loss"):
    """Trials are finished whose value `losses` has, short ones in `short`; no report is."""

    def found(due):
        known = losses if short is None or due.config.steps != SHORT["steps"] else short
        value = known.get(round(due.tuned, 6)) if due.role == "tune" else None
        return (
            None
            if value is None
            else [{"measure": "other", "value": 0.0}, {"measure": f"best_{metric}", "value": value}]
        )

    return found


def plan(runs, losses, **options):
    return schedule.plan(question(runs), "cpu", finished(losses, **options))


def described(found):
    return [(due.role, due.key.name, due.key.seed, due.tuned) for due in found.runs]


def chosen(found):
    return {due.tuned for due in found.runs if due.role == "report"}


def test_the_seeds_of_a_cell_stay_together():
    mixed = [FIXED[0], FIXED[2], FIXED[1], FIXED[3]]
    assert [line[1:3] for line in described(plan(mixed, {}))] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_reports_wait_for_all_trials_of_their_cell():
    found = plan(tuned() + FIXED[2:], {0.1: 1.0})
    assert described(found)[:2] == [("tune", "a", 1000, 0.1), ("tune", "a", 1000, 0.2)]
    assert [due.key.name for due in found.runs[2:]] == ["b", "b"] and len(found.waiting) == 2
    assert [due.tuned for due in found.due[:1]] == [0.2]  # what is finished is not due


def test_the_grid_goes_on_until_the_best_lies_inside():
    found = plan(tuned(), {0.1: 2.0, 0.2: 1.0})
    assert [due.tuned for due in found.runs] == pytest.approx([0.1, 0.2, 0.4]) and found.waiting
    found = plan(tuned(), {0.1: 2.0, 0.2: 1.0, 0.4: 3.0})
    assert chosen(found) == {0.2} and not found.on_edge
    assert [due.tuned for due in plan(tuned(), {0.1: 1.0, 0.2: 2.0}).due] == pytest.approx([0.05])


def test_a_best_value_that_stays_on_the_edge_is_named():
    falling = {0.1: 5.0, 0.2: 4.0, 0.4: 3.0, 0.8: 2.0, 1.6: 1.0}
    found = plan(tuned(extensions=2), falling)
    assert chosen(found) == {0.8} and found.on_edge == {"a": 0.8}
    found = plan(tuned(extensions=0), {0.1: 1.0, 0.2: 2.0})
    assert chosen(found) == {0.1} and found.on_edge == {"a": 0.1}


def test_a_best_rate_of_short_trials_that_long_ones_do_not_bear_out_is_not_reported():
    """Short trials favour .4, long runs .2: the two best go on at full length, then the neighbours of the better."""
    tuning = Tuning((0.1, 0.2, 0.4, 0.8), overrides=SHORT)
    runs = over_seeds(Run(CONFIG, {"system": "a"}, tuning=tuning), 2)
    short = {0.1: 4.0, 0.2: 2.0, 0.4: 1.0, 0.8: 3.0}
    long = {0.1: 2.5, 0.2: 0.5, 0.4: 0.9, 0.8: 2.0}

    def at_full_length(found):
        return [due.tuned for due in found.runs if due.role == "tune" and due.config.steps != SHORT["steps"]]

    found = plan(runs, {}, short=short)
    assert at_full_length(found) == [0.2, 0.4] and len(found.waiting) == 2
    found = plan(runs, {0.2: long[0.2], 0.4: long[0.4]}, short=short)
    assert sorted(at_full_length(found)) == [0.1, 0.2, 0.4]  # .2 needs a neighbour on either side
    found = plan(runs, long, short=short)
    assert chosen(found) == {0.2} and not found.waiting and not found.on_edge


def test_finalists_at_full_length_go_beyond_the_grid_of_the_short_trials():
    short, long = {0.05: 3.0, 0.1: 1.0, 0.2: 2.0}, {0.05: 1.0, 0.1: 2.0, 0.2: 3.0}
    found = plan(tuned(overrides=SHORT), long, short=short)
    assert found.due[0].tuned == pytest.approx(0.025) and found.due[0].config.steps == 600
    assert chosen(plan(tuned(overrides=SHORT), long | {0.025: 2.0}, short=short)) == {0.05}


def test_a_control_follows_its_cell():
    run = Run(
        CONFIG, {"system": "a"}, overrides={"steps": 600, "every.eval": 100}, tuning=Tuning((0.1, 0.2), extensions=0)
    )
    cell = over_seeds(run, 2)
    controls = [doubled(run), changed(cell[0], "twice the rate", times=2.0)]
    found = plan([*cell, *controls], {0.1: 2.0, 0.2: 1.0})
    by_name = {due.key.name: due for due in found.runs if due.role == "report"}
    assert by_name["a-doubled-steps"].tuned == 0.2 and by_name["a-doubled-steps"].config.steps == 1200
    assert by_name["a-twice-the-rate"].config.optimizer.learning_rate == 0.4
    assert sum(due.role == "tune" for due in found.runs) == 2
    waiting = schedule.plan(question([*cell, *controls]), "cpu", finished({}), only="twice")
    assert [due.role for due in waiting.due] == ["tune", "tune"]  # of the cell that it follows
    with pytest.raises(ValueError, match="follows = 'a' is not a tuned cell"):
        schedule.grid(question(controls), "cpu")


def test_text_is_read_where_it_lies_and_that_is_no_part_of_the_run(tmp_path):
    asked = question([Run("configs/multi30k.py:gru", {"system": "text"}), *FIXED])
    found = schedule.plan(asked, "cpu", finished({}), text=str(tmp_path))
    (here,) = (due for due in found.runs if "dir" in due.config.data)
    elsewhere = schedule.plan(asked, "cpu", finished({})).runs[0]
    assert here.config.data.dir == str(tmp_path) and elsewhere.config.data.dir == ""
    assert here.key.name == "text"
    assert str(tmp_path) not in str([due.overrides for due in found.runs])


def test_a_trial_that_diverged_is_the_worst():
    assert chosen(plan(tuned(extensions=0), {0.1: 2.0, 0.2: float("nan")})) == {0.1}
    assert chosen(plan(tuned(extensions=0), {0.1: NEVER, 0.2: 2.0})) == {0.2}


def test_accuracy_is_best_when_high():
    options = {"extensions": 0, "metric": "token_accuracy"}
    assert chosen(plan(tuned(**options), {0.1: 0.2, 0.2: 0.9}, metric="token_accuracy")) == {0.2}


def test_what_is_chosen_reaches_the_config_and_short_trials_have_their_own_values():
    losses = {0.1: 1.0, 0.2: 2.0}
    found = plan(tuned(extensions=0, overrides=SHORT), losses, short=losses)
    trial, *_, report = found.runs
    assert (trial.config.steps, trial.config.seed) == (5, 1000) and trial.overrides["steps"] == 5
    assert (report.config.steps, report.config.optimizer.learning_rate, report.config.seed) == (600, 0.1, 1)


@pytest.mark.parametrize(("values", "mlp_dim"), [({}, 64), ({"model.mlp_dim": 256}, 256)])
def test_a_run_has_the_config_that_its_command_by_hand_gives(values, mlp_dim):
    where, overrides = "configs/recall.py:transformer", {"model.hidden_size": 16, "steps": 200, **values}
    words = [f"--config={where}", "--workdir=runs/never", *(f"--config.{key}={one}" for key, one in overrides.items())]
    made, by_hand = schedule.complete(where, overrides), cli.parse(words).config
    assert made.model.mlp_dim == mlp_dim and identity.differing(flat(made), flat(by_hand)) == []


def test_what_a_grid_may_not_have():
    with pytest.raises(ValueError, match="a with seed 0 twice"):
        schedule.grid(question([FIXED[0], FIXED[0]]), "smoke")
    with pytest.raises(ValueError, match="seed = 1000 is used for tuning"):
        schedule.grid(question([Run(CONFIG, {"system": "a"}, seed=1000, tuning=Tuning((0.1,)))]), "smoke")
    with pytest.raises(ValueError, match="axis = 'value' is a column"):
        schedule.grid(question([Run(CONFIG, {"value": "a"})]), "smoke")
    with pytest.raises(ValueError, match="does not take these overrides"):
        plan([Run(CONFIG, {"system": "a"}, overrides={"model.depth": 3})], {})
    with pytest.raises(ValueError, match="steps = 0 is too small"):
        plan([Run(CONFIG, {"system": "a"}, overrides={"steps": 0})], {})
    with pytest.raises(ValueError, match="probe = 'acuracy' is not known"):
        schedule.grid(question([], [Probing("acuracy")]), "smoke")
    with pytest.raises(ValueError, match="at = 'later' is not known"):
        schedule.grid(question([Run(CONFIG, {}, probes=(Probing("exposure", at=("later",)),))]), "smoke")


def test_probes_measure_reported_runs_those_they_ask_and_a_run_may_have_its_own():
    tuning = Tuning((0.1, 0.2), extensions=0)
    run = Run(CONFIG, {"system": "a"}, tuning=tuning, probes=(Probing("bleu", alone=True),))
    asked = question([run, FIXED[2]], (Probing("exposure", only={"system": "a"}), Probing("accuracy_by_distance")))
    trial, _, a, b = schedule.plan(asked, "cpu", finished({0.1: 1.0, 0.2: 2.0})).runs
    assert trial.probes == () and not trial.alone
    assert [one.probe for one in a.probes] == ["exposure", "accuracy_by_distance", "bleu"] and a.alone
    assert [one.probe for one in b.probes] == ["accuracy_by_distance"] and not b.alone


def test_only():
    assert {run.name for run in schedule.select(FIXED, "b")} == {"b"}
    assert {run.name for run in schedule.select(FIXED, "system=a")} == {"a"}
    lstm = [Run(CONFIG, {"task": "recall", "system": f"LSTM, bias {bias}"}) for bias in (0, 1)]
    assert schedule.select(lstm, "task=recall,system=LSTM, bias 0") == lstm[:1]
    with pytest.raises(ValueError, match="--only = c matches no run; there are a, b"):
        schedule.select(FIXED, "c")


def test_names_are_fit_for_folders():
    assert Run(CONFIG, {"task": "recall", "system": "LSTM, bias 0"}).name == "recall-lstm-bias-0"
