"""fnmodel.yaml: every problem at once, with its line."""

import re
from pathlib import Path

import pytest

from fnmodel.batch.job import JobRequest
from fnmodel.cli import orders
from fnmodel.config import Parity, RolloutConfig, SlimConfig, find, json_schema, load
from fnmodel.errors import ConfigError, UsageError
from fnmodel.release.alias import AliasState
from fnmodel.release.rollout import shift
from fnmodel.schedule import check_schedule

GOOD = "name: churn\nmodel: model.joblib\n"


def problems(text: str, folder: Path) -> list[str]:
    """Return what `load` says of a file with this text."""
    path = folder / "fnmodel.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "modle: x\n", "line 3: unknown key 'modle'; did you mean 'model'?"),
        (GOOD + "image:\n  pyton: '3.13'\n", "line 4: unknown key 'image.pyton'; did you mean 'py"),
        (GOOD + "name: again\n", "line 3: key 'name' stands twice"),
        (GOOD + "function: {memory: 64}\n", "line 3: function.memory: Input should be greater"),
        (GOOD + "function: {tracing: otlp}\n", "needs a collector"),
        (GOOD + "function: {otel: {OTEL_TRACES_SAMPLER: x}}\n", "`tracing: otlp` only"),
        (GOOD + "function: {tracing: otlp, otel: {AWS_REGION: x}}\n", "'AWS_REGION' is none of"),
        ("model: m\n", "line 1: name: Field required"),
        ("name: Churn\nmodel: m\n", "line 1: name: String should match pattern"),
        ("name: churn\nmodel: [\n", "line 3: "),
        ("- a\n", "line 1: expected keys and values"),
        ("", "line 1: expected keys and values"),
        (GOOD + "batch:\n- {name: aa, input: in/, output: in/x/}\n", "must not lie inside"),
        (GOOD + "batch:\n- {name: aa, input: in, output: out/}\n", "ends with '/'"),
        (GOOD + "batch:\n- {name: aa, input: s3://b/, output: out/}\n", "stage's bucket"),
        (GOOD + "batch:\n- {name: aa, input: i/, output: o/, schedule: x}\n", "is not a schedule"),
    ],
)  # fmt: skip
def test_a_problem_is_named_with_its_line(text: str, expected: str, tmp_path: Path) -> None:
    """Unknown keys come with a guess, wrong values with the rule."""
    found = problems(text, tmp_path)

    assert any(expected in problem for problem in found), found


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Three mistakes in one file are three lines of one error."""
    text = "name: churn\nmodle: x\nfunction: {memory: 1}\nimage: {python: '2.7'}\n"

    assert len(problems(text, tmp_path)) == 4  # the fourth: `model` is missing


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project can be named from anywhere."""
    (tmp_path / "fnmodel.yaml").write_text(GOOD + "gates: {sample: held_out.csv}\n")
    monkeypatch.chdir("/")

    assert load(find(tmp_path)).model == tmp_path / "model.joblib"
    assert load(find(tmp_path)).gates.sample == tmp_path / "held_out.csv"


def test_a_stage_is_chosen_by_flag_then_environment_then_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`local` needs no declaration; another unknown stage is refused with the known ones."""
    path = tmp_path / "fnmodel.yaml"
    path.write_text(GOOD + "stage: staging\nstages: {production: {}, rehearsal: {cloud: local}}\n")
    project = load(path)

    assert project.stage_of(None)[0] == "staging"
    assert project.stage_of(None, local=True)[0] == "local"
    assert project.stage_of("rehearsal")[1].cloud == "local"
    assert project.stage_of("production")[1].cloud == "aws"
    assert project.stage_of("production", local=True)[1].cloud == "local"
    monkeypatch.setenv("FNMODEL_STAGE", "production")
    assert project.stage_of(None)[0] == "production"
    assert project.stage_of("staging")[0] == "staging"
    with pytest.raises(UsageError, match="no stage 'prod'") as caught:
        project.stage_of("prod")
    assert "production" in caught.value.hint


@pytest.mark.parametrize(
    "expression",
    ["rate(1 minute)", "rate(5 hours)", "cron(0 3 * * ? *)", "cron(0/15 8-17 ? * MON-FRI *)",
     "cron(0 0 L * ? *)", "cron(0 12 ? * 6#3 2030)", "at(2030-01-31T06:00:00)"],
)  # fmt: skip
def test_a_schedule_of_aws_is_accepted(expression: str) -> None:
    """What EventBridge Scheduler takes is taken."""
    check_schedule(expression)


@pytest.mark.parametrize(
    "expression",
    ["", "whenever", "rate(5 minute)", "rate(1 minutes)", "rate(0 minutes)", "rate(5 seconds)",
     "cron(0 3 * * *)", "cron(0 3 * * * *)", "cron(0 3 ? * ? *)", "cron(60 3 * * ? *)",
     "cron(0 25 * * ? *)", "cron(0 3 * FOO ? *)", "at(2030-02-31T06:00:00)", "at(tomorrow)"],
)  # fmt: skip
def test_a_schedule_that_aws_refuses_is_refused_here(expression: str) -> None:
    """Emulators accept these; AWS does not."""
    with pytest.raises(ValueError, match=r"is not|has \d+ fields|write|exactly|day is out|month"):
        check_schedule(expression)


def test_the_schema_describes_every_key() -> None:
    """The JSON Schema of the file names all keys."""
    assert {"name", "model", "sample", "batch", "stages"} <= set(json_schema()["properties"])


def test_what_init_converted_is_what_deploy_asks_for(tmp_path: Path) -> None:
    """A file that says nothing of parity and gates asks for the same conversion: it is cached."""
    (tmp_path / "fnmodel.yaml").write_text(GOOD)
    project = load(tmp_path / "fnmodel.yaml")

    assert orders.conversion(project.served["churn"]) == orders.conversion_of(
        project.model, project.sample, project.target, Parity(), SlimConfig()
    )


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("{}", "iam"),
        ("{cloud: local}", "public"),
        ("{cloud: local, access: {iam: true}}", "iam"),
        ("{access: {api_key: {}}}", "api_key"),
        ("{access: {public: true, health: public}}", "public"),
        ("{access: {jwt: {issuer: 'https://id.example/', audience: [a]}}}", "jwt"),
    ],
)
def test_a_stage_in_aws_is_closed_unless_it_says_otherwise(
    tmp_path: Path, text: str, mode: str
) -> None:
    """IAM by default in AWS, everybody on this machine in the embedded cloud."""
    path = tmp_path / "fnmodel.yaml"
    path.write_text(f"name: churn\nmodel: m.pkl\nstages:\n  some: {text}\n")
    project = load(path)

    assert project.stage_of("some")[1].callers.mode == mode
    assert project.stage_of("dev")[1].callers.mode == "iam"
    assert project.stage_of(None, local=True)[1].callers.mode == "public"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{access: {}}", "exactly one of iam, jwt, api_key and public; none of them"),
        ("{access: {iam: true, public: true}}", "iam and public is written"),
        ("{access: {iam: false}}", "stages.some.access.iam"),
        ("{access: {publik: true}}", "did you mean 'public'?"),
        ("{access: {jwt: {issuer: 'https://a.example'}}}", "audience: Field required"),
        ("{access: {jwt: {issuer: 'https://a.example', audience: []}}}", "at least 1 item"),
        ("{access: {jwt: {issuer: 'http://a.example', audience: [a]}}}", "the provider's URL"),
        ("{access: {jwt: {issuer: 'http://127.0.0.1:1', audience: [a]}}}", "over https only"),
        ("{access: {jwt: {issuer: 'https://a.example?x', audience: [a]}}}", "the provider's URL"),
        ("{cors: {origins: []}}", "at least 1 item"),
        *(
            (f"{{cors: {{origins: [{origin!r}]}}}}", "is not an origin")
            for origin in (
                "*", "null", "https://*.example", "https://a.example/", "http://a.example",
                "a.example", "https://A.example", "https://a.example/path", "file://",
                "https://a.example:x", "", "https://user@a.example",
                "http://localhost.evil.example", "https://-a.example",
            )
        ),
    ],
)  # fmt: skip
def test_access_that_means_nothing_or_too_much_is_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    """Two kinds, none, a wildcard, `null`: each is told with its line."""
    path = tmp_path / "fnmodel.yaml"
    path.write_text(f"name: churn\nmodel: m.pkl\nstages:\n  some: {text}\n")

    with pytest.raises(ConfigError, match=re.escape(problem)):
        load(path)


TWO = "name: shop\nmodels:\n  aa: {model: m}\n"
SEVERAL = """\
name: shop
models:
  add_sub: {model: add_sub.onnx}
  churn:
    model: churn.joblib
    sample: rows.csv
    gates: {sample: held_out.csv}
"""


def test_several_models_are_read_in_their_order(tmp_path: Path) -> None:
    """Each has what stands at the top level where there is one; the first one is the default."""
    (tmp_path / "fnmodel.yaml").write_text(SEVERAL)
    project = load(tmp_path / "fnmodel.yaml")

    assert list(project.served) == ["add_sub", "churn"]
    assert project.served["churn"].sample == tmp_path / "rows.csv"
    assert project.served["churn"].gates.sample == tmp_path / "held_out.csv"
    assert project.model_name(None) == "add_sub"
    assert project.model_name("churn") == "churn"
    with pytest.raises(UsageError, match="no model 'sub'") as caught:
        project.model_name("sub")
    assert "add_sub, churn" in caught.value.hint


def test_one_model_is_served_by_the_project_s_name(tmp_path: Path) -> None:
    """It has all that the top level says of it."""
    (tmp_path / "fnmodel.yaml").write_text(GOOD + "target: y\nslim: {goal: size}\n")
    project = load(tmp_path / "fnmodel.yaml")
    [(name, one)] = project.served.items()

    assert (name, one.model, one.target) == ("churn", tmp_path / "model.joblib", "y")
    assert one.slim.goal == "size"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SEVERAL + "model: x\n", "line 2: models: `model` of one model beside it; move that under"),
        (SEVERAL + "target: y\nslim: {goal: size}\n", "line 2: models: `target`, `slim` of one"),
        ("name: shop\nmodels: {}\n", "line 2: models: there is no model; write `model: FILE`, or"),
        ("name: shop\n", "line 1: models: there is no model; write `model: FILE`, or several as"),
        (TWO + "  A b: {model: m}\n", "line 4: models.A b: String"),
        ("name: shop\nmodels:\n  a/b: {model: m}\n", "line 3: models.a/b: String should match"),
        (TWO + "  aa: {model: m}\n", "line 4: key 'aa' stands twice"),
        (TWO + "  bb: {modle: m}\n", "unknown key 'models.bb.modle'; did you mean 'mo"),
        ("name: shop\nmodels:\n  aa: {sample: m}\n", "line 3: models.aa.model: Field required"),
        (SEVERAL + "batch:\n- {name: aa, input: i/, output: o/, model: xx}\n", "is: add_sub"),
        (GOOD + "batch:\n- {name: aa, input: i/, output: o/, model: x1}\n", "there is: churn"),
    ],
)  # fmt: skip
def test_what_several_models_may_not_be(text: str, expected: str, tmp_path: Path) -> None:
    """Names are segments of paths; one form or the other; each mistake with its line."""
    found = problems(text, tmp_path)

    assert any(expected in problem for problem in found), found


JOB = "batch:\n- {name: aa, input: i/, output: o/, "


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("timezone: Europe/Berln", "line 4: batch.0.timezone: 'Europe/Berln' is not an IANA"),
        ("format: parqet", "line 4: batch.0.format"),
        ("format: parquet, compression: gzip", "parquet files are compressed inside"),
        ("results: arrow, results_compression: gzip", "can be of `none` or `zstd`, not gzip"),
        ("window: 1441", "line 4: batch.0.window"),
        ("late: 0", "line 4: batch.0.late"),
        ("part_rows: 10", "line 4: batch.0.part_rows"),
        ("overlap: maybe", "line 4: batch.0.overlap"),
        ("formats: csv", "unknown key 'batch.0.formats'; did you mean 'format'?"),
    ],
)
def test_a_batch_job_that_means_nothing_is_refused(keys: str, message: str, tmp_path: Path) -> None:
    """A problem of a job names its line and key."""
    (tmp_path / "fnmodel.yaml").write_text(GOOD + JOB + keys + "}\n")

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "fnmodel.yaml")

    assert message in str(caught.value.problems) + caught.value.message


@pytest.mark.parametrize(
    ("keys", "layers"),
    [
        ("", ()),
        ("format: jsonl, compression: gzip", ()),
        ("format: parquet, results_compression: zstd", ("arrow",)),
        ("results: arrow", ("arrow",)),
        ("compression: zstd", ("zstd",)),
        ("format: parquet, results: csv, results_compression: zstd", ("arrow", "zstd")),
    ],
)
def test_a_batch_job_says_what_its_image_needs(
    keys: str, layers: tuple[str, ...], tmp_path: Path
) -> None:
    """Only what a job names is in the image."""
    (tmp_path / "fnmodel.yaml").write_text(GOOD + JOB + keys + "}\n")

    (job,) = load(tmp_path / "fnmodel.yaml").batch

    assert job.layers == layers


def test_the_event_of_a_job_is_one_that_the_image_takes(tmp_path: Path) -> None:
    """Each setting of a job arrives; what is as by default is not sent."""
    keys = (
        "format: jsonl, compression: gzip, results: csv, results_compression: gzip, keep: [id], "
        "probabilities: false, part_rows: 5000, concurrency: 2, overlap: skip"
    )
    (tmp_path / "fnmodel.yaml").write_text(GOOD + JOB + keys + "}\n")
    (job,) = load(tmp_path / "fnmodel.yaml").batch

    request = JobRequest.from_event(job.event("bucket", "2030-01-01T00:00:00Z", "arn"))

    for name in ("format", "compression", "results", "results_compression", "probabilities",
                 "part_rows", "concurrency", "overlap", "keep"):  # fmt: skip
        assert getattr(request, name) == getattr(job, name)
    plain = job.model_copy(update={name: type(job).model_fields[name].default for name in (
        "format", "compression", "results", "results_compression", "probabilities", "part_rows",
        "concurrency", "overlap", "keep",
    )})  # fmt: skip
    assert len(plain.event("bucket", "2030-01-01T00:00:00Z", "arn")) == 8


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("strategy: canary\n  percent: 0.001", "greater than or equal to 0.01"),
        ("strategy: linear\n  percent: 0.5\n  bake: 1s", "a rollout may have 100 steps"),
        ("strategy: steps\n  steps: [{percent: 99.995}]", "a step's percent may be 99.99, or 100"),
        ("strategy: steps\n  steps: [{percent: 5, approve: true}]", "`deploy` itself takes"),
        ("strategy: steps\n  steps: [{percent: 50}, {percent: 5}]", "a larger percent"),
        ("strategy: canary\n  bake: 2d", "the deadline is before that"),
        ("strategy: all-at-once\n  analysis: {max_latency_ratio: 2}", "serve side by side"),
        ("strategy: steps\n  steps: [{percent: 100}]\n  analysis: {max_latency_ratio: 2}", "below"),
    ],
)
def test_a_rollout_that_cannot_be_is_refused(keys: str, message: str, tmp_path: Path) -> None:
    """Before anything is deployed; shares are what Lambda can tell apart."""
    [problem] = problems(f"name: churn\nmodel: m.onnx\nrollout:\n  {keys}\n", tmp_path)

    assert message in problem


@pytest.mark.parametrize("section", ["alarms", "watch"])
@pytest.mark.parametrize("address", ["ops", "a@b@c.example", "ops@example.", "o ps@example.com"])
def test_what_is_no_address_is_refused_wherever_mail_is_sent(
    section: str, address: str, tmp_path: Path
) -> None:
    """Alarms and alerts go to topics of SNS alike."""
    text = f"name: churn\nmodel: m.onnx\n{section}: {{email: ['{address}']}}\n"
    [problem] = problems(text, tmp_path)

    assert f"{section}.email: {address!r} is no e-mail address" in problem


@pytest.mark.parametrize(
    ("keys", "mode", "shadow"),
    [
        ("analysis: {replay: when-thin}", "when-thin", 0),
        ("analysis: {replay: off}", "off", 0),
        ("analysis: {replay: {mode: always, requests: 20, rate: 0.5}}\n  shadow: 50", "always", 50),
    ],
)
def test_a_replay_is_a_word_or_has_limits(
    keys: str, mode: str, shadow: int, tmp_path: Path
) -> None:
    """YAML reads a bare `off` as false; both are off."""
    text = f"{GOOD}rollout:\n  strategy: canary\n  {keys}\n"
    (tmp_path / "fnmodel.yaml").write_text(text)
    plan = orders.rollout(load(tmp_path / "fnmodel.yaml").rollout)

    assert plan is not None
    assert (plan.replays.mode, plan.replays.shadow) == (mode, shadow)
    assert plan.replays.any == (mode != "off" or shadow > 0)


@pytest.mark.parametrize("percent", [1.0, 7.0, 33.333, 50.0, 99.99])
def test_a_linear_rollout_has_the_steps_that_its_config_counts(percent: float) -> None:
    """Each is a share that Lambda can give."""
    config = RolloutConfig(strategy="linear", percent=percent, bake="60s")
    plan = orders.rollout(config)

    assert plan is not None
    assert config.planned == 60 * len(plan.steps)
    for step in plan.steps:
        assert shift(AliasState("1"), "2", step.percent).candidate == "2"
