"""What is due: trials, a grid that goes on beyond its edge, then reports seed by seed."""

import types

import pytest

from experiments.engine import schedule
from experiments.questions.question import Probing, Run, Tuning, over_seeds

CONFIG = "configs/recall.py:gru"
FIXED = [run for system in ("a", "b") for run in over_seeds(Run(CONFIG, {"system": system}), 2)]


def tuned(**options):
    return over_seeds(Run(CONFIG, {"system": "a"}, tuning=Tuning((0.1, 0.2), **options)), 2)


def score(losses):
    return lambda due: losses.get(round(due.tuned, 6))


def described(plan):
    return [(due.role, due.key.name, due.key.seed, due.tuned) for due in plan.due]


def test_reports_go_seed_by_seed():
    assert described(schedule.plan(FIXED, score({}))) == [
        ("report", "a", 0, None),
        ("report", "b", 0, None),
        ("report", "a", 1, None),
        ("report", "b", 1, None),
    ]


def test_reports_wait_for_all_trials_of_their_cell():
    plan = schedule.plan(tuned() + FIXED[2:], score({0.1: 1.0}))
    assert described(plan)[:2] == [("tune", "a", 1000, 0.1), ("tune", "a", 1000, 0.2)]
    assert [due.key.name for due in plan.due[2:]] == ["b", "b"] and len(plan.waiting) == 2


def test_the_grid_goes_on_where_the_best_lies_on_its_edge():
    plan = schedule.plan(tuned(), score({0.1: 2.0, 0.2: 1.0}))
    assert [due.tuned for due in plan.due] == pytest.approx([0.1, 0.2, 0.4]) and plan.waiting
    plan = schedule.plan(tuned(), score({0.1: 2.0, 0.2: 1.0, 0.4: 3.0}))
    assert [due.tuned for due in plan.due if due.role == "report"] == [0.2, 0.2]
    plan = schedule.plan(tuned(), score({0.1: 1.0, 0.2: 2.0}))
    assert [due.tuned for due in plan.due] == pytest.approx([0.05, 0.1, 0.2])
    plan = schedule.plan(tuned(extensions=0), score({0.1: 1.0, 0.2: 2.0}))
    assert [due.tuned for due in plan.due if due.role == "report"] == [0.1, 0.1]


def test_text_is_read_where_it_lies_and_that_is_no_part_of_the_run(tmp_path):
    on_text = Run("configs/multi30k.py:gru", {"system": "text"})
    plan = schedule.plan(schedule.with_text([on_text, *FIXED], str(tmp_path)), score({}))
    (here,) = (due for due in plan.due if "dir" in due.config.data)
    (elsewhere,) = schedule.plan([on_text], score({})).due
    assert here.config.data.dir == str(tmp_path) and elsewhere.config.data.dir == ""
    assert here.key.name == "text"
    assert str(tmp_path) not in str([due.overrides for due in plan.due])


def test_extensions_end():
    falling = score({0.1: 5.0, 0.2: 4.0, 0.4: 3.0, 0.8: 2.0, 1.6: 1.0})
    plan = schedule.plan(tuned(), falling)
    assert {due.tuned for due in plan.due if due.role == "report"} == {0.8}


def test_a_trial_that_diverged_is_the_worst():
    plan = schedule.plan(tuned(extensions=0), score({0.1: 2.0, 0.2: float("nan")}))
    assert {due.tuned for due in plan.due if due.role == "report"} == {0.1}


def test_accuracy_is_best_when_high():
    plan = schedule.plan(tuned(extensions=0, metric="token_accuracy"), score({0.1: 0.2, 0.2: 0.9}))
    assert {due.tuned for due in plan.due if due.role == "report"} == {0.2}


def test_what_is_chosen_reaches_the_config_and_trials_have_their_own_values():
    plan = schedule.plan(
        tuned(extensions=0, overrides={"steps": 5, "schedule.warmup_steps": 0}), score({0.1: 1.0, 0.2: 2.0})
    )
    trial, *_, report = plan.due
    assert (trial.config.steps, trial.config.seed) == (5, 1000)
    assert (report.config.steps, report.config.optimizer.learning_rate, report.config.seed) == (600, 0.1, 1)


def question(runs, probes=()):
    module = types.ModuleType("asked")
    module.runs, module.PROBES = lambda scale: runs, probes
    return module


def test_what_a_grid_may_not_have():
    with pytest.raises(ValueError, match="a with seed 0 twice"):
        schedule.grid(question([FIXED[0], FIXED[0]]), "smoke")
    with pytest.raises(ValueError, match="seed = 1000 is used for tuning"):
        schedule.grid(question([Run(CONFIG, {"system": "a"}, seed=1000, tuning=Tuning((0.1,)))]), "smoke")
    with pytest.raises(ValueError, match="axis = 'value' is a column"):
        schedule.grid(question([Run(CONFIG, {"value": "a"})]), "smoke")
    with pytest.raises(ValueError, match="does not take these overrides"):
        schedule.plan([Run(CONFIG, {"system": "a"}, overrides={"model.depth": 3})], score({}))
    with pytest.raises(ValueError, match="steps = 0 is too small"):
        schedule.plan([Run(CONFIG, {"system": "a"}, overrides={"steps": 0})], score({}))
    with pytest.raises(ValueError, match="probe = 'acuracy' is not known"):
        schedule.grid(question([], [Probing("acuracy")]), "smoke")
    with pytest.raises(ValueError, match="at = 'later' is no moment"):
        schedule.grid(question([Run(CONFIG, {}, probes=(Probing("exposure", at=("later",)),))]), "smoke")


def test_a_run_may_ask_for_probes_of_its_own():
    asked = question([], [Probing("exposure")])
    run = Run(CONFIG, {"system": "a"}, tuning=Tuning((0.1, 0.2), extensions=0), probes=(Probing("bleu"),))
    trial, _, report = schedule.plan([run], score({0.1: 1.0, 0.2: 2.0})).due
    assert schedule.probes_of(asked, trial) == ()
    assert [probing.probe for probing in schedule.probes_of(asked, report)] == ["exposure", "bleu"]


def test_what_measures_time_runs_alone():
    timed = Probing("exposure", alone=True)
    assert schedule.alone(question([], [timed]), FIXED)
    assert schedule.alone(question([]), [*FIXED, Run(CONFIG, {"system": "c"}, probes=(timed,))])
    assert not schedule.alone(question([], [Probing("exposure")]), FIXED)


def test_a_probe_may_ask_some_runs_alone():
    asked = question(FIXED, (Probing("exposure", only={"system": "a"}), Probing("accuracy_by_distance")))
    a, b, *_ = schedule.plan(FIXED, score({})).due
    assert [one.probe for one in schedule.probes_of(asked, a)] == ["exposure", "accuracy_by_distance"]
    assert [one.probe for one in schedule.probes_of(asked, b)] == ["accuracy_by_distance"]
    assert schedule.probes_of(asked, a._replace(role="tune")) == ()


def test_only():
    assert {run.name for run in schedule.select(FIXED, "b")} == {"b"}
    assert {run.name for run in schedule.select(FIXED, "system=a")} == {"a"}
    lstm = [Run(CONFIG, {"task": "recall", "system": f"LSTM, bias {bias}"}) for bias in (0, 1)]
    assert schedule.select(lstm, "task=recall,system=LSTM, bias 0") == lstm[:1]
    with pytest.raises(ValueError, match="--only = c matches no run; there are a, b"):
        schedule.select(FIXED, "c")


def test_names_are_fit_for_folders():
    assert Run(CONFIG, {"task": "recall", "system": "LSTM, bias 0"}).name == "recall-lstm-bias-0"
