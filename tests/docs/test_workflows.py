"""The workflows for continuous integration are valid YAML and call what exists. They are not run here."""

import re

import yaml
from conftest import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_ci_runs_the_command_of_ci_on_every_supported_python():
    workflow = yaml.safe_load((WORKFLOWS / "ci.yml").read_text())
    assert ".ci/run" in [step.get("run") for step in steps(workflow)] and (ROOT / ".ci" / "run").is_file()
    oldest = re.search(r'requires-python = ">=([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
    assert oldest and workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == [oldest[1], "3.11", "3.12"]


def test_wheels_are_built_for_tags_and_published_by_nobody():
    workflow = yaml.safe_load((WORKFLOWS / "wheels.yml").read_text())
    assert workflow[True]["push"] == {"tags": ["v*"]}  # YAML reads the key `on` as true
    used = [step["uses"].partition("@")[0] for step in steps(workflow) if "uses" in step]
    assert "pypa/cibuildwheel" in used and not [action for action in used if "publish" in action]
    assert workflow["permissions"] == {"contents": "read"}
