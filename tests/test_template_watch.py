"""The part of the template that watches and retrains: there where it is asked for, with its rights.

What `watch:` says comes to the function in one variable, and no secret does.
"""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from release_cases import JOBS, PUBLIC

from fnmodel.config import CaptureConfig, Project, WatchConfig
from fnmodel.errors import UsageError
from fnmodel.provision.template import render
from fnmodel.provision.watching import Watching
from fnmodel.shipped import shipped

TEXT = shipped("template.yaml").read_text("utf-8")
CAPTURE = CaptureConfig(rate=1, subject="who", fields={"name": "drop", "free": "keep"})
PIPELINE = [{"name": "train", "run": "python train.py"}, {"name": "ship", "deploy": "staging"}]


def watching(**said: Any) -> Watching:
    project = Project.model_validate(
        {
            "name": "churn", "model": "m.pkl", "capture": CAPTURE.model_dump(),
            "pipeline": PIPELINE, "watch": said, "stages": {"staging": {}},
        }
    )  # fmt: skip
    found = Watching.of(project.watch, project.capture, None, "1.2.3")
    assert found is not None
    return found


def body(watch: Watching | None, *, serving: bool = True) -> Any:
    return json.loads(
        render(TEXT, JOBS, access=PUBLIC, capture=CAPTURE, watch=watch, serving=serving)
    )


def statements(template: Any, role: str) -> dict[str, Any]:
    [policy] = template["Resources"][role]["Properties"]["Policies"]
    return {one["Sid"]: one for one in policy["PolicyDocument"]["Statement"]}


RETRAIN = {"source": "s3://code/churn.zip", "policies": ["arn:aws:iam::123456789012:policy/ship"]}
WHOLE = watching(
    email=["a@b.example", "c@d.example"],
    webhook={"url": "https://hooks.example/x", "secret": "ssm:/churn/hook"},
    retrain=RETRAIN,
)


def test_a_stage_that_captures_nothing_has_no_watch() -> None:
    """Nor has one before its first version has passed its gate."""
    assert Watching.of(WatchConfig(), CaptureConfig(), None, "1") is None
    off = {"name": "xy", "model": "m", "capture": {"rate": 1}, "watch": False}
    project = Project.model_validate(off)
    assert Watching.of(project.watch, project.capture, None, "1") is None
    for template in (body(None), body(WHOLE, serving=False)):
        assert not [name for name in template["Resources"] if name.startswith(("Watch", "Retrain"))]
        assert not {"WatchFunction", "AlertTopic"} & template["Outputs"].keys()


def test_retraining_is_there_only_where_it_is_asked_for() -> None:
    """Without it the watch may not even look into the ledger."""
    template = body(watching())

    assert not [name for name in template["Resources"] if name.startswith("Retrain")]
    rights = statements(template, "WatchRole")
    assert "DecideOnRetraining" not in rights
    assert "ReadSecret" not in rights
    assert not any(name.startswith("WatchEmail") for name in template["Resources"])


def test_the_watch_may_do_what_it_does_and_nothing_else() -> None:
    """No statement is about everything, and the ledger is open to its decisions only."""
    template = body(WHOLE)
    for role in ("WatchRole", "RetrainRole", "RetrainRuleRole"):
        for name, one in statements(template, role).items():
            actions = one["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                assert re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action), (role, name)
            assert one["Resource"] != "*", (role, name)
    rights = statements(template, "WatchRole")
    assert rights["KeepWindows"]["Resource"] == {"Fn::Sub": "${Bucket.Arn}/watch/*"}
    assert rights["ReadCapturedRows"]["Action"] == "s3:GetObject"
    assert rights["ReadSecret"]["Resource"]["Fn::Sub"].endswith(":parameter/churn/hook")
    for role, name in (("WatchRole", "DecideOnRetraining"), ("RetrainRole", "SayHowItEnded")):
        condition = statements(template, role)[name]["Condition"]
        assert condition == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["retrain"]}}
    assert rights["RaiseEvents"]["Condition"] == {"StringEquals": {"events:source": "fnmodel"}}


def test_the_function_hears_what_the_project_says_and_no_secret() -> None:
    """Times in seconds; fields that captured rows cannot tell of by name."""
    variables = body(WHOLE)["Resources"]["WatchFunction"]["Properties"]["Environment"]["Variables"]
    said = json.loads(variables["FNMODEL_WATCH"])

    assert said["unkept"] == ["name", "who"]
    assert said["retrain"]["cooldown"] == 7 * 86_400
    assert said["webhook"] == {
        "url": "https://hooks.example/x", "secret": "ssm:/churn/hook", "inside": False,
    }  # fmt: skip
    assert "whsec" not in json.dumps(variables)


def test_the_pipeline_is_started_by_this_stage_s_events_only() -> None:
    """The rule names the stage, the source comes from where the project says."""
    resources = body(WHOLE)["Resources"]
    pattern = resources["RetrainRule"]["Properties"]["EventPattern"]
    assert pattern["detail"]["data"]["endpoint"] == [{"Fn::Sub": "fnmodel-${Project}-${Stage}"}]
    project = resources["RetrainProject"]["Properties"]
    assert (project["Source"]["Type"], project["Source"]["Location"]) == ("S3", "code/churn.zip")
    spec = json.loads(project["Source"]["BuildSpec"])
    assert spec["phases"]["build"]["commands"] == ["fnmodel run"]
    assert "fnmodel==1.2.3" in spec["phases"]["install"]["commands"][0]

    github = body(watching(retrain={"source": "https://github.com/a/b"}))
    assert "ReadSource" not in statements(github, "RetrainRole")
    git = "https://git-codecommit.eu-central-1.amazonaws.com/v1/repos/churn"
    commit = statements(body(watching(retrain={"source": git})), "RetrainRole")["ReadSource"]
    assert (commit["Action"], commit["Resource"]["Fn::Sub"].rpartition(":")[2]) == (
        "codecommit:GitPull", "churn",
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"watch\.retrain\.source"):
        body(watching(retrain={}))


def test_in_the_embedded_cloud_the_pipeline_runs_where_the_project_is() -> None:
    """It needs no source, and its webhook may be on this machine."""
    local = replace(
        watching(
            retrain={}, webhook={"url": "http://127.0.0.1:80/", "secret": "secretsmanager:hook"}
        ),
        folder="/home/me/churn",
    )
    template = body(local)
    project = template["Resources"]["RetrainProject"]["Properties"]

    assert project["Source"]["Type"] == "NO_SOURCE"
    assert {"Name": "FNMODEL_PROJECT", "Value": "/home/me/churn"} in project["Environment"][
        "EnvironmentVariables"
    ]
    secret = statements(template, "WatchRole")["ReadSecret"]
    assert secret["Action"] == "secretsmanager:GetSecretValue"
    variables = template["Resources"]["WatchFunction"]["Properties"]["Environment"]["Variables"]
    assert json.loads(variables["FNMODEL_WATCH"])["webhook"]["inside"] is True


def test_the_rendered_template_passes_cfn_lint(tmp_path: Path) -> None:
    """With all of it, and with the least."""
    bodies = []
    for number, watch in enumerate((WHOLE, watching())):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(body(watch)))
        bodies.append(str(path))
    linter = Path(sys.executable).with_name("cfn-lint")
    result = subprocess.run([linter, *bodies], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout.strip()) == (0, "")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"webhook": {"url": "http://hooks.example/", "secret": "ssm:/x"}}, "url"),
        ({"webhook": {"url": "https://h.example/", "secret": "whsec_AAAA"}}, "secret"),
        ({"email": ["nobody"]}, "e-mail"),
        ({"retrain": {"policies": ["everything"]}}, "ARN"),
        ({"remind": "5m"}, "remind"),
    ],
)
def test_what_cannot_be_is_refused(said: Any, word: str) -> None:
    """A secret itself is none of the forms that are taken."""
    with pytest.raises(ValueError, match=word):
        watching(**said)
