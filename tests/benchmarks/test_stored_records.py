"""The records in the repository: that their commands ask for what they hold."""

import json
import shlex
from pathlib import Path

import pytest

from benchmarks import cli, finished_runs
from benchmarks.config import recorded
from benchmarks.tasks import config_class

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
RUNS = sorted(str(path.parent.relative_to(RESULTS)) for path in RESULTS.rglob("record.json"))


@pytest.mark.parametrize("run", RUNS)
def test_the_command_of_a_record_asks_for_its_run(run, call, monkeypatch):
    record = json.loads((RESULTS / run / "record.json").read_text("utf-8"))
    asked = []
    monkeypatch.setattr(cli, "use_threads", lambda threads: None)
    monkeypatch.setattr(cli, "_train", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(cli, "_summarise", lambda record: None)
    result = call(*shlex.split(record["command"])[3:])
    assert result.exit_code == 0, result.stderr
    task, preset, model, config, seed, _, out, *_ = asked[0]
    assert (task, preset, model, seed) == tuple(record[name] for name in ("task", "preset", "model", "seed"))
    assert out == Path("benchmarks/results") / run
    # An older record does not name the options that came later.
    defaults = config_class(task, model).model_construct().model_dump(mode="json")
    held = recorded(config, model)
    assert held == {name: defaults[name] for name in held} | record["config"]
    assert recorded(finished_runs.find(RESULTS / run).config, model) == held
