"""Tests of the pipeline: lints, the permissions of its roles, and the script that CodeBuild runs."""

import json
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse

from template_test import ROOT, TEMPLATE, expand, listed, name, run, statements, tool

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
    scripts = [ROOT / ".ci/run", ROOT / ".ci/push"]
    # CodeBuild runs each command in a shell of its own, so each must be complete.
    for command in commands(buildspec) + [script.read_text() for script in scripts]:
        checked = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True)
        assert checked.returncode == 0, command + checked.stderr
    assert commands(buildspec)[-2:] == ["bash .ci/run", "bash .ci/push"]


def test_the_gate_and_the_image_use_the_same_rust():
    (toolchain,) = re.findall(r"--default-toolchain ([\d.]+)", BUILDSPEC.read_text())
    (image,) = re.findall(r"ARG RUST=\S+/rust:([\d.]+)-", DOCKERFILE.read_text())
    (manifest,) = re.findall(r'rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text())
    (pinned,) = re.findall(r'channel = "([\d.]+)"', (ROOT / "rust-toolchain.toml").read_text())
    assert toolchain == image == pinned
    assert image.startswith(manifest + ".")


def test_base_images_are_pinned_by_digest():
    bases = re.findall(r"^ARG (RUST|BASE)=(\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(bases) == 2
    for _, base in bases:
        assert re.fullmatch(r"public\.ecr\.aws/\S+:\S+@sha256:[0-9a-f]{64}", base)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)) == {"${RUST}", "${BASE}"}


NO_STACK = "echo 'Stack with id moths does not exist' >&2; exit 254"


def push(folder: Path, pushed: bool = False, parameters: str = "{}", self_test: int = 0, stack: str = NO_STACK):
    """Runs a copy of `.ci/push` with stand-ins for `aws` and `docker`. Returns the result and the calls of `docker`."""
    calls, is_pushed = folder / "calls", folder / "pushed"
    calls.touch()
    if pushed:
        is_pushed.touch()
    for tool_name, does in {
        "aws": f"case $1-$2 in ecr-get-login-password) echo secret;; "
        f"ecr-describe-images) [ -e {is_pushed} ] && echo {DIGEST};; "
        f'cloudformation-describe-stacks) [ "$4" = moths ]; {stack};; *) exit 9;; esac',
        "docker": f'case $1 in login) [ "$(cat)" = secret ];; run) exit {self_test};; push) touch {is_pushed};; esac',
    }.items():
        stub = folder / tool_name
        stub.write_text(f'#!/bin/sh\necho "{tool_name} $*" >> {calls}\n{does}\n')
        stub.chmod(0o755)
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/push", folder / ".ci")
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "REPOSITORY_URI": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/moths",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": COMMIT,
        "STACK_NAME": "moths",
        "STACK_PARAMETERS": parameters,
    }
    done = subprocess.run(["bash", folder / ".ci/push"], env=environment, capture_output=True, text=True)
    return done, [call for call in calls.read_text().splitlines() if call.startswith("docker ")]


def test_a_commit_is_built_tested_and_pushed_with_its_tag(tmp_path):
    done, docker = push(tmp_path, parameters='{"Delivery":"Queue"}')
    assert done.returncode == 0, done.stderr
    image = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/moths:{COMMIT}"
    assert [call.split()[1] for call in docker] == ["build", "run", "login", "push"]
    assert f"--build-arg REVISION={COMMIT} --tag {image} ." in docker[0]
    # Lambda accepts neither an image index nor another architecture.
    assert "--platform linux/amd64" in docker[0] and "--provenance=false" in docker[0]
    assert "--read-only" in docker[1] and docker[1].endswith(f"{image} classify --self-test")
    assert docker[2].endswith("--password-stdin 111122223333.dkr.ecr.eu-west-1.amazonaws.com")
    assert docker[3] == f"docker push {image}"
    uri = image.split(":")[0] + "@" + DIGEST
    parameters = json.loads((tmp_path / "parameters.json").read_text())["Parameters"]
    release = parameters.pop("Release")
    assert parameters == {"Delivery": "Queue", "ImageUri": uri, "Indexes": "3"}
    template = yaml_parse(TEMPLATE.read_text())["Parameters"]
    assert re.fullmatch(template["ImageUri"]["AllowedPattern"], uri)
    assert re.fullmatch(template["Release"]["AllowedPattern"], release) and release.endswith(COMMIT)


def test_a_commit_that_was_pushed_is_not_built_again(tmp_path):
    done, docker = push(tmp_path, pushed=True)
    assert done.returncode == 0 and docker == []
    assert json.loads((tmp_path / "parameters.json").read_text())["Parameters"]["ImageUri"].endswith("@" + DIGEST)


def test_a_failed_self_test_pushes_nothing(tmp_path):
    done, docker = push(tmp_path, self_test=1)
    assert done.returncode != 0
    assert [call.split()[1] for call in docker] == ["build", "run"]


def test_parameters_that_are_not_json_fail_the_build(tmp_path):
    done, _ = push(tmp_path, parameters="{oops}")
    assert done.returncode != 0 and "JSONDecodeError" in done.stderr


@pytest.mark.parametrize(
    ("stack", "steps"),
    [
        (NO_STACK, ["3", "3"]),
        ({"StackStatus": "REVIEW_IN_PROGRESS"}, ["3", "3"]),
        # Stacks of a version without indexes, and of an update that stopped after the first index.
        ({"StackStatus": "UPDATE_COMPLETE", "Outputs": [{"OutputKey": "BucketName", "OutputValue": "b"}]}, ["1", "3"]),
        ({"StackStatus": "UPDATE_COMPLETE", "Outputs": [{"OutputKey": "Indexes", "OutputValue": "0"}]}, ["1", "3"]),
        ({"StackStatus": "UPDATE_COMPLETE", "Outputs": [{"OutputKey": "Indexes", "OutputValue": "1"}]}, ["2", "3"]),
        ({"StackStatus": "UPDATE_COMPLETE", "Outputs": [{"OutputKey": "Indexes", "OutputValue": "2"}]}, ["2", "3"]),
        ({"StackStatus": "UPDATE_COMPLETE", "Outputs": [{"OutputKey": "Indexes", "OutputValue": "3"}]}, ["3", "3"]),
    ],
)
def test_each_update_adds_at_most_one_index(tmp_path, stack, steps):
    said = stack if isinstance(stack, str) else f"echo '{json.dumps({'Stacks': [stack]})}'"
    done, _ = push(tmp_path, pushed=True, stack=said)
    assert done.returncode == 0, done.stderr
    written = [
        json.loads((tmp_path / file).read_text())["Parameters"] for file in ("parameters-first.json", "parameters.json")
    ]
    assert [parameters.pop("Indexes") for parameters in written] == steps
    assert written[0] == written[1]


def test_only_the_pipeline_sets_the_number_of_indexes(tmp_path):
    done, _ = push(tmp_path, pushed=True, parameters='{"Indexes":"1"}')
    assert done.returncode != 0 and "the pipeline sets it" in done.stderr


def test_a_stack_that_cannot_be_read_fails_the_build(tmp_path):
    done, _ = push(tmp_path, pushed=True, stack="echo AccessDenied >&2; exit 254")
    assert done.returncode != 0 and "AccessDenied" in done.stderr
    assert not (tmp_path / "parameters.json").exists()


def test_stages_pass_on_the_artifacts_of_the_buildspec(pipeline, buildspec):
    stages = pipeline["Resources"]["Pipeline"]["Properties"]["Stages"]
    assert [stage["Name"] for stage in stages] == ["Source", "Build", "Deploy"]
    actions = stages[2]["Actions"]
    assert [action["RunOrder"] for action in actions] == [1, 2, 3, 4]
    configurations = [action["Configuration"] for action in actions]
    for prepare, deploy, parameters in (
        [*configurations[:2], "parameters-first.json"],
        [*configurations[2:], "parameters.json"],
    ):
        for file in ("TemplatePath", "TemplateConfiguration"):
            artifact, path = prepare[file].split("::")
            assert {"Name": artifact} in stages[1]["Actions"][0]["OutputArtifacts"]
            assert path in buildspec["artifacts"]["files"]
        assert path == parameters
        assert (prepare["ActionMode"], deploy["ActionMode"]) == ("CHANGE_SET_REPLACE", "CHANGE_SET_EXECUTE")
        assert prepare["ChangeSetName"] == deploy["ChangeSetName"]
    project = pipeline["Resources"]["Build"]["Properties"]
    given = {variable["Name"] for variable in project["Environment"]["EnvironmentVariables"]}
    used = set(re.findall(r"(?:\$\{?|environ\[.)([A-Z_]{2,})", (ROOT / ".ci/push").read_text()))
    assert used - {"CODEBUILD_RESOLVED_SOURCE_VERSION"} == given
    assert project["Environment"]["PrivilegedMode"] is True
    # target must not be cached. Unpacked sources may have older times than it, and cargo would not rebuild them.
    assert not [path for path in buildspec["cache"]["paths"] if "target" in path]


def test_images_are_immutable_scanned_and_kept(pipeline):
    images = pipeline["Resources"]["Images"]
    properties = images["Properties"]
    assert images["DeletionPolicy"] == "RetainExceptOnCreate"
    assert properties["ImageTagMutability"] == "IMMUTABLE"
    assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
    policy = properties["LifecyclePolicy"]["LifecyclePolicyText"]["Fn::Sub"].replace("${KeptImages}", "50")
    assert [rule["selection"]["tagStatus"] for rule in json.loads(policy)["rules"]] == ["untagged", "any"]
    (statement,) = properties["RepositoryPolicyText"]["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert "aws:SourceArn" in statement["Condition"]["ArnLike"]


# IAM's actions and their resources, from the data of cfn-lint.
SERVICES = json.loads(files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text())


def takes_a_resource(action: str) -> bool:
    service, verb = action.split(":")
    return bool(SERVICES[service]["Actions"][verb.lower()].get("Resources"))


def test_roles_list_their_actions_and_are_limited_to_the_stack(pipeline):
    found = statements({key: role for key, role in pipeline["Resources"].items() if "IAM" in role["Type"]})
    allowed = [statement for statement in found if "Resource" in statement]
    assert len(allowed) > 20
    for statement in allowed:
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            assert "*" not in action
            # A statement grants nothing if its action does not support its resource.
            assert takes_a_resource(action) == (statement["Resource"] != "*"), action
            for resource in listed(statement["Resource"]):
                if resource == "*" or "Ref" in resource:
                    continue
                ours = "${StackName}" in name(resource) or "Fn::GetAtt" in resource
                assert ours or statement["Sid"] in OTHERS, resource
    mappings = [s for s in allowed if "EventSourceMapping" in str(s["Action"]) and "Get" not in str(s["Action"])]
    assert [list(s["Condition"]["ArnLike"]) for s in mappings] == [["lambda:FunctionArn"]] * 2
    trusted = {
        key: resource["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
        for key, resource in pipeline["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    for trust in trusted.values():
        assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert {key: trust["Principal"]["Service"].split(".")[0] for key, trust in trusted.items()} == {
        "BuildRole": "codebuild",
        "PipelineRole": "codepipeline",
        "DeployRole": "cloudformation",
        "SourceRuleRole": "events",
    }


# Statements on resources that are not named after the stack: AWS's transform, key, deployment configurations and the
# role of API Gateway, resources with a random id, and reading alarms.
OTHERS = {
    "HttpApis",
    "RoleOfApiGateway",
    "ChangeUserPool",
    "TagUserPool",
    "ExpandTheTemplate",
    "EncryptTables",
    "HowACanaryGoes",
    "ChangeQueueMapping",
    "ReadQueueMapping",
    "ReadAlarms",
}


def test_no_role_deletes_photos_or_records_or_passes_any_role(pipeline):
    for statement in statements(pipeline["Resources"]):
        if statement["Effect"] == "Deny":
            continue
        for action in listed(statement["Action"]):
            assert action not in (
                "s3:DeleteObject",
                "s3:DeleteObjectVersion",
                "dynamodb:DeleteTable",
                "dynamodb:DeleteItem",
                "cognito-idp:DeleteUserPool",
            )
            if action == "iam:PassRole":
                assert statement["Condition"]["StringEquals"]["iam:PassedToService"]


# The action with which CloudFormation creates a resource of each type.
MAKES = {
    "AWS::ApiGatewayV2::Api": "apigateway:POST",
    "AWS::ApiGatewayV2::Authorizer": "apigateway:POST",
    "AWS::ApiGatewayV2::Integration": "apigateway:POST",
    "AWS::ApiGatewayV2::Route": "apigateway:POST",
    "AWS::ApiGatewayV2::Stage": "apigateway:POST",
    "AWS::CloudWatch::Alarm": "cloudwatch:PutMetricAlarm",
    "AWS::CloudWatch::Dashboard": "cloudwatch:PutDashboard",
    "AWS::CodeDeploy::Application": "codedeploy:CreateApplication",
    "AWS::CodeDeploy::DeploymentGroup": "codedeploy:CreateDeploymentGroup",
    "AWS::Cognito::UserPool": "cognito-idp:CreateUserPool",
    "AWS::Cognito::UserPoolClient": "cognito-idp:CreateUserPoolClient",
    "AWS::Cognito::UserPoolDomain": "cognito-idp:CreateUserPoolDomain",
    "AWS::Cognito::UserPoolGroup": "cognito-idp:CreateGroup",
    "AWS::DynamoDB::Table": "dynamodb:CreateTable",
    "AWS::Events::EventBus": "events:CreateEventBus",
    "AWS::IAM::Role": "iam:CreateRole",
    "AWS::Lambda::Alias": "lambda:CreateAlias",
    "AWS::Lambda::EventInvokeConfig": "lambda:PutFunctionEventInvokeConfig",
    "AWS::Lambda::EventSourceMapping": "lambda:CreateEventSourceMapping",
    "AWS::Lambda::Function": "lambda:CreateFunction",
    "AWS::Lambda::Permission": "lambda:AddPermission",
    "AWS::Lambda::Version": "lambda:PublishVersion",
    "AWS::Logs::LogGroup": "logs:CreateLogGroup",
    "AWS::Pipes::Pipe": "pipes:CreatePipe",
    "AWS::S3::Bucket": "s3:CreateBucket",
    "AWS::S3::BucketPolicy": "s3:PutBucketPolicy",
    "AWS::SQS::Queue": "sqs:CreateQueue",
    "AWS::SQS::QueuePolicy": "sqs:SetQueueAttributes",
}


def deploying(pipeline: dict) -> list[dict]:
    """The statements of the deploy role."""
    policy = pipeline["Resources"]["DeployApiPolicy"]["Properties"]
    assert policy["Roles"] == [{"Ref": "DeployRole"}]
    return statements([pipeline["Resources"]["DeployRole"], policy])


def test_the_policies_of_the_deploy_role_fit_into_the_limits(pipeline):
    """IAM counts the characters without white space, of all inline policies of a role or of one managed policy."""
    roles = pipeline["Resources"]
    longest = {"AWS::Partition": "aws-us-gov", "AWS::Region": "ap-southeast-7", "AWS::AccountId": "1" * 12}
    longest |= {"StackName": "s" * 29, "Images.Arn": "a" * 100}

    def written(node) -> str:
        text = json.dumps(node, separators=(",", ":"))
        text = re.sub(r'\{"Fn::Sub":("[^"]*")\}', r"\1", text)
        text = re.sub(r'\{"(?:Fn::GetAtt|Ref)":\[?"([\w.]+)[^}]*\}', r'"${\1}"', text).replace(
            "${Images}", "${Images.Arn}"
        )
        return re.sub(r"\$\{([^}]+)\}", lambda name: longest[name[1]], text)

    (inline,) = roles["DeployRole"]["Properties"]["Policies"]
    assert len(written(inline["PolicyDocument"])) <= 10_240
    assert len(written(roles["DeployApiPolicy"]["Properties"]["PolicyDocument"])) <= 6_144


def test_the_deploy_role_can_create_all_resources_of_the_template(pipeline):
    may = {action for statement in deploying(pipeline) for action in listed(statement["Action"])}
    expanded = [
        resource
        for delivery in ("Direct", "Queue")
        for api in ("Off", "On")
        for resource in expand(delivery, api=api)["Resources"].values()
    ]
    assert {MAKES[resource["Type"]] for resource in expanded} <= may
    # MAKES has no type that the template does not use.
    assert set(MAKES) == {resource["Type"] for resource in expanded}


def test_the_deploy_role_is_limited_to_the_names_of_the_template(pipeline):
    resources = expand("Queue", api="On")["Resources"]
    role = json.dumps(deploying(pipeline))
    given = [
        ("function:", "FunctionName", "Function", "ApiFunction"),
        ("dashboard/", "DashboardName", "Dashboard", "ApiDashboard"),
        ("s3:::", "BucketName", "Bucket", "Thumbnails"),
        ("log-group:", "LogGroupName", "LogGroup", "ApiLogGroup", "ApiAccessLogGroup"),
        ("event-bus/", "Name", "EventBus"),
    ]
    for prefix, property, *keys in given:
        for value in (resources[key]["Properties"][property] for key in keys):
            text = "${AWS::StackName}" if value == {"Ref": "AWS::StackName"} else value["Fn::Sub"]
            assert prefix + text.replace("AWS::StackName", "StackName") + '"' in role
    for pipe in ("RecordedPipe", "RejectedPipe"):
        assert resources[pipe]["Properties"]["Name"]["Fn::Sub"].startswith("${AWS::StackName}-")
    assert "pipe/${StackName}-*" in role
    tag = {"moth-classifier": {"Ref": "AWS::StackName"}}
    assert resources["UserPool"]["Properties"]["UserPoolTags"] == tag
    for statement in deploying(pipeline):
        if "cognito-idp" in str(statement["Action"]) and statement["Sid"] != "ReadDomain":
            conditions = {key: value for test in statement["Condition"].values() for key, value in test.items()}
            assert conditions.keys() <= {"aws:RequestTag/moth-classifier", "aws:ResourceTag/moth-classifier"}
            assert list(conditions.values()) == [{"Ref": "StackName"}] * len(conditions)


def test_the_deploy_role_hands_roles_only_to_the_services_that_get_one(pipeline):
    resources = expand("Queue", api="On")["Resources"]
    trusted = {
        service
        for resource in resources.values()
        if resource["Type"] == "AWS::IAM::Role"
        for statement in resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        for service in listed(statement["Principal"]["Service"])
    }
    (passing,) = [s for s in deploying(pipeline) if s.get("Action") == "iam:PassRole"]
    assert set(passing["Condition"]["StringEquals"]["iam:PassedToService"]) == trusted


def test_the_pipeline_passes_any_parameter_to_the_stack(tmp_path):
    given = {"Api": "On", "ApiKeysParameter": "/moths/api-keys"}
    done, _ = push(tmp_path, pushed=True, parameters=json.dumps(given))
    assert done.returncode == 0, done.stderr
    parameters = json.loads((tmp_path / "parameters.json").read_text())["Parameters"]
    assert given.items() <= parameters.items()
    assert parameters.keys() <= yaml_parse(TEMPLATE.read_text())["Parameters"].keys()
