"""A question at a scale and its finished runs: what planning, executing and publishing share."""

from experiments.analysis import table
from experiments.analysis.frames import DataFrame
from experiments.engine import estimate, results, schedule, trial
from experiments.engine.jobs import Job, together
from experiments.engine.results import Folders, Store
from experiments.engine.schedule import Due, Plan
from experiments.engine.trial import Spec
from experiments.questions.question import Question


class Study:
    def __init__(
        self,
        question: Question,
        name: str,
        scale: str,
        folders: Folders,
        *,
        text: str = "",
        only: str = "",
        wandb: str = "disabled",
        of_any_machine: bool = False,
    ):
        """`text` is the folder of the text, if it is not downloaded; `only` chooses runs; for `of_any_machine`, see
        `Store`.

        Raises ValueError for a grid, a probe, a choice or a table that cannot be used; nothing has been written.
        """
        self.question, self.name, self.scale, self.folders = question, name, scale, folders
        self._text, self._only, self._wandb = text, only, wandb
        self.store = Store(folders, of_any_machine)
        everything = self.whole()
        each = [due.alone for due in (*everything.runs, *everything.waiting)]
        self.alone, self.all_alone = any(each), all(each)  # measure time
        self.clock = estimate.Clock(timed=self.alone)
        self.learn(self.store)

    @property
    def title(self) -> str:
        return f"{self.name} at {self.scale}" if self.scale else self.name

    def learn(self, store: Store) -> None:
        """Takes in how long runs took."""
        for record in store:
            self.clock.learn(record)

    def plan(self) -> Plan:
        """What is due now, of the chosen runs."""
        self.store.refresh()
        return schedule.plan(self.question, self.scale, self.store.finished, text=self._text, only=self._only)

    def whole(self) -> Plan:
        """What is due now, of all runs."""
        return schedule.plan(self.question, self.scale, self.store.finished, text=self._text)

    def jobs(self, due: list[Due], slots: int) -> list[Job]:
        """Rows that do not count, because they are damaged or of another machine, give way: a job asks only whether
        there are some."""
        self.store.refresh()
        for one in due:
            rows = self.folders.run(one) / trial.ROWS
            if rows.exists() and not self.store.record(one):
                rows.replace(rows.with_name(trial.BEFORE))
        return together(due, self._spec, slots)

    def workdir(self, due: Due) -> str:
        return str(self.folders.run(due).absolute())

    def _spec(self, due: Due) -> Spec:
        config = due.config.to_dict()
        mirrored = {"mode": self._wandb, "group": "-".join(filter(None, (self.name, self.scale))), "name": due.key.name}
        config["wandb"] = {**config["wandb"], **mirrored}
        columns = results.columns_of(due)
        return Spec(str(due.key), self.workdir(due), config, columns, due.probes, self.scale == "smoke")

    def table(self) -> tuple[list[Due], DataFrame]:
        """(finished runs, their rows), in the plan's order."""
        records = [(due, record) for due in self.whole().runs if (record := self.store.record(due))]
        return [due for due, _ in records], table.of_rows(row for _, record in records for row in record.rows)

    def all_finished(self) -> str:
        """What to say if nothing is left to run, and how to run everything again."""
        if self.folders.published:
            return "every run is finished (--fresh runs them again beside, and says what moved)"
        places = dict.fromkeys(str(folder) for folder in self.folders[:2] if folder and folder.exists())
        return f"every run is finished, in {self.folders.runs} (to run them again, remove {' and '.join(places)})"
