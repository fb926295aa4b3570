"""The pipeline: linted, its roles held to what they need, and what CodeBuild runs, run."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse
from template_test import ROOT, TEMPLATE, expand, listed, name, of_type, run, statements, tool

PIPELINE = ROOT / "pipeline.yaml"
BUILDSPEC = ROOT / "buildspec.yml"
DOCKERFILE = ROOT / "Dockerfile"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "sha256:" + "ab" * 32


def test_cfn_lint_finds_nothing():
    run(tool("cfn-lint"), "--regions", "eu-west-1", "--", "pipeline.yaml")


def test_hadolint_finds_nothing():
    run(tool("hadolint"), "Dockerfile")


@pytest.fixture(scope="module")
def pipeline() -> dict:
    return yaml_parse(PIPELINE.read_text())


@pytest.fixture(scope="module")
def buildspec() -> dict:
    return yaml.safe_load(BUILDSPEC.read_text())


def commands(buildspec: dict) -> list[str]:
    return [command for phase in buildspec["phases"].values() for command in phase["commands"]]


def test_every_command_is_bash(buildspec):
    assert buildspec["env"]["shell"] == "bash"
    assert len(commands(buildspec)) > 5
    for command in commands(buildspec):
        checked = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True)
        assert checked.returncode == 0, command + checked.stderr


def test_it_runs_the_gate_with_the_rust_of_the_image(buildspec):
    assert "bash .ci/run" in commands(buildspec)
    (toolchain,) = re.findall(r"--default-toolchain ([\d.]+)", BUILDSPEC.read_text())
    (image,) = re.findall(r"ARG RUST=\S+/rust:([\d.]+)-", DOCKERFILE.read_text())
    (manifest,) = re.findall(r'rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text())
    assert toolchain == image
    assert image.startswith(manifest + ".")


def test_bases_are_named_by_digest():
    bases = re.findall(r"^ARG (RUST|BASE)=(\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(bases) == 2
    for _, base in bases:
        assert re.fullmatch(r"public\.ecr\.aws/\S+:\S+@sha256:[0-9a-f]{64}", base)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)) == {"${RUST}", "${BASE}"}


def build(folder: Path, buildspec: dict, pushed: bool, parameters: str = "{}") -> tuple[list[str], dict]:
    """Runs the phase `build` with an `aws` and a `docker` that note how they are called. Gives the calls and
    parameters.json."""
    calls, is_pushed = folder / "calls", folder / "pushed"
    calls.touch()
    if pushed:
        is_pushed.touch()
    for tool_name, does in {
        "aws": f'case $1-$2 in ecr-get-login-password) echo secret;; '
               f'ecr-describe-images) [ -e {is_pushed} ] && echo {DIGEST};; *) exit 9;; esac',
        "docker": f'case $1 in login) [ "$(cat)" = secret ];; push) touch {is_pushed};; esac',
    }.items():
        stub = folder / tool_name
        stub.write_text(f'#!/bin/sh\necho "{tool_name} $*" >> {calls}\n{does}\n')
        stub.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "REPOSITORY_URI": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/moths",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": COMMIT,
        "STACK_PARAMETERS": parameters,
    }
    # As CodeBuild does it: one shell for all, and an end after the first command that fails.
    script = "\n".join(f"{command}\n[ $? -eq 0 ] || exit 1" for command in buildspec["phases"]["build"]["commands"])
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return calls.read_text().splitlines(), json.loads((folder / "parameters.json").read_text())


def test_a_commit_is_built_tested_and_pushed_by_its_tag(buildspec, tmp_path):
    calls, parameters = build(tmp_path, buildspec, pushed=False, parameters='{"Delivery":"Queue"}')
    image = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/moths:{COMMIT}"
    docker = [call for call in calls if call.startswith("docker ")]
    assert [call.split()[1] for call in docker] == ["login", "build", "run", "push"]
    assert docker[0].endswith("--password-stdin 111122223333.dkr.ecr.eu-west-1.amazonaws.com")
    assert f"--build-arg REVISION={COMMIT} --tag {image} ." in docker[1]
    # Lambda takes neither an index nor another architecture.
    assert "--platform linux/amd64" in docker[1] and "--provenance=false" in docker[1]
    assert "--read-only" in docker[2] and docker[2].endswith(f"{image} classify --self-test")
    assert docker[3] == f"docker push {image}"
    uri = image.split(":")[0] + "@" + DIGEST
    assert parameters == {"Parameters": {"Delivery": "Queue", "ImageUri": uri}}
    pattern = yaml_parse(TEMPLATE.read_text())["Parameters"]["ImageUri"]["AllowedPattern"]
    assert re.fullmatch(pattern, uri)


def test_a_commit_that_was_pushed_is_not_built_again(buildspec, tmp_path):
    calls, parameters = build(tmp_path, buildspec, pushed=True)
    assert [call.split()[1] for call in calls if call.startswith("docker ")] == ["login"]
    assert parameters["Parameters"]["ImageUri"].endswith("@" + DIGEST)


def test_a_failed_self_test_pushes_nothing(buildspec, tmp_path):
    broken = json.loads(json.dumps(buildspec).replace("docker run", "false docker run"))
    with pytest.raises(AssertionError):
        build(tmp_path, broken, pushed=False)
    assert "docker push" not in (tmp_path / "calls").read_text()


def test_stages_hand_on_what_the_buildspec_leaves(pipeline, buildspec):
    stages = pipeline["Resources"]["Pipeline"]["Properties"]["Stages"]
    assert [stage["Name"] for stage in stages] == ["Source", "Build", "Deploy"]
    prepare, deploy = (action["Configuration"] for action in stages[2]["Actions"])
    for file in ("TemplatePath", "TemplateConfiguration"):
        artifact, path = prepare[file].split("::")
        assert {"Name": artifact} in stages[1]["Actions"][0]["OutputArtifacts"]
        assert path in buildspec["artifacts"]["files"]
    assert (prepare["ActionMode"], deploy["ActionMode"]) == ("CHANGE_SET_REPLACE", "CHANGE_SET_EXECUTE")
    assert prepare["ChangeSetName"] == deploy["ChangeSetName"]
    project = pipeline["Resources"]["Build"]["Properties"]
    given = {variable["Name"] for variable in project["Environment"]["EnvironmentVariables"]}
    used = set(re.findall(r"(?:\$\{?|environ\[.)([A-Z_]{2,})", BUILDSPEC.read_text()))
    assert used - {"HOME", "CODEBUILD_RESOLVED_SOURCE_VERSION"} == given
    assert project["Environment"]["PrivilegedMode"] is True
    assert project["Cache"]["Modes"] == ["LOCAL_DOCKER_LAYER_CACHE", "LOCAL_CUSTOM_CACHE"]


def test_images_are_immutable_scanned_and_kept(pipeline):
    images = pipeline["Resources"]["Images"]
    properties = images["Properties"]
    assert images["DeletionPolicy"] == "Retain"
    assert properties["ImageTagMutability"] == "IMMUTABLE"
    assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
    policy = properties["LifecyclePolicy"]["LifecyclePolicyText"]["Fn::Sub"].replace("${KeptImages}", "50")
    assert [rule["selection"]["tagStatus"] for rule in json.loads(policy)["rules"]] == ["untagged", "any"]
    (statement,) = properties["RepositoryPolicyText"]["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert "aws:SourceArn" in statement["Condition"]["ArnLike"]


# Actions that take no resource: https://docs.aws.amazon.com/service-authorization/latest/reference/
NO_RESOURCE = {"ecr:GetAuthorizationToken", "cloudwatch:DescribeAlarms", "logs:DescribeLogGroups"}


def test_roles_name_their_actions_and_stay_with_the_stack(pipeline):
    roles = of_type(pipeline | {"Delivery": None}, "AWS::IAM::Role")
    assert set(roles) == {"BuildRole", "PipelineRole", "DeployRole"}
    found = statements({name: role for name, role in pipeline["Resources"].items() if "IAM" in role["Type"]})
    allowed = [s for s in found if "Resource" in s]
    assert len(allowed) > 20
    for statement in allowed:
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            assert "*" not in action
            for resource in listed(statement["Resource"]):
                if resource == "*":
                    assert action in NO_RESOURCE
                    continue
                if "Ref" in resource:
                    assert resource["Ref"] == "ConnectionArn"
                    continue
                ours = "${StackName}" in name(resource) or "Fn::GetAtt" in resource
                assert ours or statement["Sid"] in (
                    "ExpandTheTemplate", "EncryptTables", "QueueMapping", "HowACanaryGoes"), resource
    trusted = {role: resource["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
               for role, resource in pipeline["Resources"].items() if resource["Type"] == "AWS::IAM::Role"}
    for trust in trusted.values():
        assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert {role: trust["Principal"]["Service"].split(".")[0] for role, trust in trusted.items()} == {
        "BuildRole": "codebuild", "PipelineRole": "codepipeline", "DeployRole": "cloudformation",
        "SourceRuleRole": "events"}


def test_nobody_deletes_photos_or_records_or_hands_on_other_roles(pipeline):
    for statement in statements(pipeline["Resources"]):
        if statement["Effect"] == "Deny":
            continue
        for action in listed(statement["Action"]):
            assert action not in ("s3:DeleteObject", "s3:DeleteObjectVersion", "dynamodb:DeleteTable", "dynamodb:DeleteItem")
            if action == "iam:PassRole":
                assert statement["Condition"]["StringEquals"]["iam:PassedToService"]


# How CloudFormation begins to make a resource of each type.
MAKES = {
    "AWS::CloudWatch::Alarm": "cloudwatch:PutMetricAlarm",
    "AWS::CloudWatch::Dashboard": "cloudwatch:PutDashboard",
    "AWS::CodeDeploy::Application": "codedeploy:CreateApplication",
    "AWS::CodeDeploy::DeploymentGroup": "codedeploy:CreateDeploymentGroup",
    "AWS::DynamoDB::Table": "dynamodb:CreateTable",
    "AWS::IAM::Policy": "iam:PutRolePolicy",
    "AWS::IAM::Role": "iam:CreateRole",
    "AWS::Lambda::Alias": "lambda:CreateAlias",
    "AWS::Lambda::EventInvokeConfig": "lambda:PutFunctionEventInvokeConfig",
    "AWS::Lambda::EventSourceMapping": "lambda:CreateEventSourceMapping",
    "AWS::Lambda::Function": "lambda:CreateFunction",
    "AWS::Lambda::Permission": "lambda:AddPermission",
    "AWS::Lambda::Version": "lambda:PublishVersion",
    "AWS::Logs::LogGroup": "logs:CreateLogGroup",
    "AWS::S3::Bucket": "s3:CreateBucket",
    "AWS::S3::BucketPolicy": "s3:PutBucketPolicy",
    "AWS::SQS::Queue": "sqs:CreateQueue",
    "AWS::SQS::QueuePolicy": "sqs:SetQueueAttributes",
}


def test_the_deploy_role_can_make_what_the_template_has(pipeline):
    may = {action for statement in statements(pipeline["Resources"]["DeployRole"]) for action in listed(statement["Action"])}
    expanded = [resource for delivery in ("Direct", "Queue") for resource in expand(delivery)["Resources"].values()]
    assert {MAKES[resource["Type"]] for resource in expanded} <= may
    # And no more kinds than it has.
    assert set(MAKES) == {resource["Type"] for resource in expanded}


def test_the_deploy_role_knows_names_as_the_template_gives_them(pipeline):
    resources = expand("Queue")["Resources"]
    role = json.dumps(pipeline["Resources"]["DeployRole"])
    given = {
        "function:": resources["Function"]["Properties"]["FunctionName"],
        "dashboard/": resources["Dashboard"]["Properties"]["DashboardName"],
        "s3:::": resources["Bucket"]["Properties"]["BucketName"],
        "log-group:": resources["LogGroup"]["Properties"]["LogGroupName"],
    }
    for prefix, value in given.items():
        text = "${AWS::StackName}" if value == {"Ref": "AWS::StackName"} else value["Fn::Sub"]
        assert prefix + text.replace("AWS::StackName", "StackName") + '"' in role
