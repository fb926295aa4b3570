"""Tests of template.yaml: lints, and the template as AWS SAM expands it, for both ways of delivery.

The tests here are those with Api Off. api_test.py has those with Api On.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER as SCHEMAS
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = ROOT / "template.yaml"
PHOTOS = "arn:${AWS::Partition}:s3:::${AWS::StackName}-photos-${AWS::AccountId}"

# All actions of the function's role, with their resources. docs/permissions.md gives the reasons.
FUNCTION_MAY = {
    ("s3:GetObject", PHOTOS + "/*"),
    ("s3:GetObjectVersion", PHOTOS + "/*"),
    ("s3:ListBucket", PHOTOS),
    ("dynamodb:BatchGetItem", "Ledger.Arn"),
    ("dynamodb:PutItem", "Ledger.Arn"),
    ("dynamodb:UpdateItem", "Ledger.Arn"),
    ("dynamodb:PutItem", "Predictions.Arn"),
    ("logs:CreateLogStream", "LogGroup.Arn"),
    ("logs:PutLogEvents", "LogGroup.Arn"),
    ("sqs:SendMessage", "FailureQueue.Arn"),
    ("sqs:ReceiveMessage", "UploadQueue.Arn"),
    ("sqs:DeleteMessage", "UploadQueue.Arn"),
    ("sqs:GetQueueAttributes", "UploadQueue.Arn"),
}


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def run(*command: str) -> None:
    environment = os.environ | {"AWS_DEFAULT_REGION": "eu-west-1", "SAM_CLI_TELEMETRY": "0"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr


def test_cfn_lint_finds_nothing():
    run(tool("cfn-lint"), "--regions", "eu-west-1", "--", "template.yaml")


def test_sam_validates():
    run(tool("sam"), "validate", "--lint", "--template", "template.yaml")


@pytest.fixture(scope="module", params=["Direct", "Queue"])
def stack(request) -> dict:
    return expand(request.param)


def expand(delivery: str = "Direct", release: str = "1795249542 0123abc", api: str = "Off", **parameters: str) -> dict:
    """The template as SAM expands it, with the delivery under the key `Delivery`. Api is decided."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
    source = yaml_parse(TEMPLATE.read_text())
    image = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/moths@sha256:" + "0" * 64
    given = {"ImageUri": image, "Delivery": delivery, "Release": release, "Api": api} | parameters
    expanded = transform(source, given, Policies())
    expanded["Delivery"] = delivery
    return decide(expanded, api)


def decide(expanded: dict, api: str) -> dict:
    """The template without what CloudFormation leaves out if Api is `api`. Other conditions remain."""
    assert expanded["Conditions"]["HasApi"] == {"Fn::Equals": [{"Ref": "Api"}, "On"]}
    for section in ("Resources", "Outputs"):
        for key, entry in list(expanded[section].items()):
            if entry.get("Condition") == "HasApi":
                del entry["Condition"]
                if api == "Off":
                    del expanded[section][key]

    def is_decided(node) -> bool:
        return isinstance(node, dict) and node.get("Fn::If", [None])[0] == "HasApi"

    def resolve(node):
        if is_decided(node):
            return resolve(node["Fn::If"][1 if api == "On" else 2])
        if isinstance(node, dict):
            return {key: resolve(value) for key, value in node.items() if not is_absent(value)}
        return [resolve(value) for value in node if not is_absent(value)] if isinstance(node, list) else node

    def is_absent(node) -> bool:
        return is_decided(node) and resolve(node) == {"Ref": "AWS::NoValue"}

    return resolve(expanded)


class Policies:
    """The managed policies that SAM looks up by name."""

    def load(self) -> dict:
        return {"AWSCodeDeployRoleForLambda": "arn:aws:iam::aws:policy/service-role/AWSCodeDeployRoleForLambda"}


def of_type(stack: dict, *kinds: str) -> dict[str, dict]:
    return {name: resource for name, resource in stack["Resources"].items() if resource["Type"] in kinds}


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


def name(arn) -> str:
    """`Fn::GetAtt` as `Resource.Attribute`, `Fn::Sub` as its text."""
    if isinstance(arn, str):
        return arn
    if "Fn::GetAtt" in arn:
        return ".".join(listed(arn["Fn::GetAtt"]))
    return arn["Fn::Sub"]


def allowed(statements: list[dict]) -> set[tuple[str, str]]:
    return {
        (action, name(resource))
        for statement in statements
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
        for resource in listed(statement.get("Resource", []))
    }


def test_the_function_has_the_listed_permissions_and_no_others(stack):
    role = stack["Resources"]["FunctionRole"]["Properties"]
    assert "ManagedPolicyArns" not in role
    may = allowed([statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]])
    assert not of_type(stack, "AWS::IAM::Policy")
    assert may == FUNCTION_MAY
    assert stack["Resources"]["Function"]["Properties"]["Role"] == {"Fn::GetAtt": ["FunctionRole", "Arn"]}


def test_the_page_lists_the_permissions_of_the_function():
    table = (ROOT / "docs/permissions.md").read_text().split("## The function\n")[1].split("\n## ")[0]
    places = {
        "objects in the bucket": PHOTOS + "/*",
        "the bucket": PHOTOS,
        "ledger": "Ledger.Arn",
        "predictions": "Predictions.Arn",
        "its log group": "LogGroup.Arn",
        "failure queue": "FailureQueue.Arn",
        "upload queue": "UploadQueue.Arn",
    }
    rows = re.findall(r"^\| (\w+:[^|]+) \| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)
    listed = {(action, places[place]) for actions, place in rows for action in actions.split(", ")}
    assert listed == FUNCTION_MAY


def statements(node) -> list[dict]:
    """All policy statements below `node`."""
    if isinstance(node, dict):
        own = [node] if "Effect" in node else []
        return own + [found for value in node.values() for found in statements(value)]
    return [found for value in node for found in statements(value)] if isinstance(node, list) else []


def test_the_only_wildcard_is_for_the_objects_in_the_bucket(stack):
    found = allowed(statements(stack["Resources"]))
    assert len(found) > len(FUNCTION_MAY)
    assert {(action, resource) for action, resource in found if "*" in action + resource} == {
        ("s3:GetObject", PHOTOS + "/*"),
        ("s3:GetObjectVersion", PHOTOS + "/*"),
    }


def test_both_deliveries_target_the_alias(stack):
    alias = {"Ref": "FunctionAliaslive"}
    assert stack["Resources"]["FunctionAliaslive"]["Properties"]["Name"] == "live"
    ((permission,), (mapping,)) = (
        of_type(stack, f"AWS::Lambda::{kind}").values() for kind in ("Permission", "EventSourceMapping")
    )
    permission, mapping = permission["Properties"], mapping["Properties"]
    assert permission["FunctionName"] == alias
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert permission["SourceArn"] == {"Fn::Sub": PHOTOS}
    assert mapping["FunctionName"] == alias
    assert mapping["BatchSize"] == 10
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "MaximumConcurrency"}}
    queue = stack["Resources"]["UploadQueue"]["Properties"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["FailureQueue", "Arn"]}
    statement = stack["Resources"]["UploadQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"][0]
    assert statement["Condition"]["ArnEquals"] == {"aws:SourceArn": {"Fn::Sub": PHOTOS}}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_a_change_of_delivery_changes_only_the_notification():
    """Nothing else depends on Delivery, so the function still processes photos that wait in the other queue."""
    template = expand()
    nothing = {"Ref": "AWS::NoValue"}
    bucket = template["Resources"]["Bucket"]["Properties"]["NotificationConfiguration"]
    assert bucket["LambdaConfigurations"]["Fn::If"][::2] == ["IsDirect", nothing]
    assert bucket["LambdaConfigurations"]["Fn::If"][1][0]["Function"] == {"Ref": "FunctionAliaslive"}
    assert bucket["QueueConfigurations"]["Fn::If"][:2] == ["IsDirect", nothing]
    assert bucket["QueueConfigurations"]["Fn::If"][2][0]["Queue"] == {"Fn::GetAtt": ["UploadQueue", "Arn"]}
    assert json.dumps(template["Conditions"]).count("Delivery") == 1
    assert json.dumps(template["Resources"]).count("IsDirect") == 2
    assert '"Delivery"' not in json.dumps(template["Resources"])


# Types of the resources that hold photos, records and waiting messages.
KEEPERS = ("AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::DynamoDB::Table")


def settings() -> list[dict]:
    """For each parameter, all its allowed values, or a value that is not the default."""
    others = {"Number": "17", "String": "arn:aws:sns:eu-west-1:111122223333:other"}
    made = []
    for name, parameter in yaml_parse(TEMPLATE.read_text())["Parameters"].items():
        values = parameter.get("AllowedValues", [others[parameter["Type"]]])
        made += [{name: str(value)} for value in values if name not in ("ImageUri", "Release")]
    return [*made, {"Indexes": "0"}, {"Indexes": "1"}, {"Indexes": "2"}]


def test_no_parameter_removes_a_queue_a_table_or_the_bucket():
    before = of_type(expand(), *KEEPERS)
    assert len(before) == 5
    given = settings()
    assert len(given) > 30
    for parameters in given:
        parameters = {"Delivery": "Direct", "Api": "Off"} | parameters
        after = of_type(expand(parameters.pop("Delivery"), api=parameters.pop("Api"), **parameters), *KEEPERS)
        assert after.keys() - {"Thumbnails", "OutcomeFailureQueue"} == before.keys()
    for name, resource in before.items():
        # It exists with all parameters, and remains when the stack is deleted or the template no longer has it.
        assert "Condition" not in resource, name
        # A queue stays even if the update that created it is rolled back, because S3 may have sent messages to it.
        kept = ("Retain", "RetainExceptOnCreate") if resource["Type"] == "AWS::S3::Bucket" else ("Retain",)
        assert resource["DeletionPolicy"] in kept, name
        assert resource["UpdateReplacePolicy"] == "Retain", name
        # Properties that cannot be changed in place. A new value would make CloudFormation replace the resource.
        kind = SCHEMAS.get_resource_schema("eu-west-1", resource["Type"]).schema
        fixed = {
            path.split("/")[2]
            for path in kind["createOnlyProperties"] + kind.get("conditionalCreateOnlyProperties", [])
        }
        assert fixed
        for property in fixed & resource["Properties"].keys():
            text = json.dumps(resource["Properties"][property])
            assert "Fn::If" not in text, (name, property)
            named = set(re.findall(r'"Ref": "([^"]+)"', text)) | set(re.findall(r"\$\{([^}]+)\}", text))
            assert named <= {"AWS::StackName", "AWS::AccountId", "AWS::Partition"}, (name, property)


def test_the_processing_of_the_queue_is_unconditional(stack):
    """No parameter removes the function, its permissions, the event source mapping, or the failure destination."""
    for name in (
        "Function",
        "FunctionAliaslive",
        "FunctionRole",
        "InvokePermission",
        "UploadQueuePolicy",
        "QueueMapping",
        "FunctionEventInvokeConfig",
    ):
        found = [key for key in stack["Resources"] if key.startswith(name)]
        assert found, name
        for key in found:
            assert "Condition" not in stack["Resources"][key], key
    assert stack["Resources"]["QueueMapping"]["Properties"].get("Enabled", True) is True


def indexes(template: dict, table: str, number: int) -> dict[str, dict]:
    """The indexes of a table if the parameter Indexes is `number`."""
    conditions = {"HasIndexes": number != 0, "HasTwoIndexes": number in (2, 3), "HasLedgerIndex": number == 3}
    are = {number: {"Fn::Equals": [{"Ref": "Indexes"}, number]} for number in (0, 2, 3)}
    assert template["Conditions"]["HasIndexes"] == {"Fn::Not": [are[0]]}
    assert template["Conditions"]["HasTwoIndexes"] == {"Fn::Or": [are[2], {"Condition": "HasLedgerIndex"}]}
    assert template["Conditions"]["HasLedgerIndex"] == are[3]

    def resolve(node):
        if isinstance(node, dict) and "Fn::If" in node:
            condition, yes, no = node["Fn::If"]
            return resolve(yes if conditions[condition] else no)
        if isinstance(node, dict):
            return {key: resolve(value) for key, value in node.items()}
        if isinstance(node, list):
            return [value for value in map(resolve, node) if value != {"Ref": "AWS::NoValue"}]
        return node

    table = resolve(template["Resources"][table]["Properties"])
    keys = [table["KeySchema"]]
    found = {}
    if table["GlobalSecondaryIndexes"] != {"Ref": "AWS::NoValue"}:
        found = {index["IndexName"]: index for index in table["GlobalSecondaryIndexes"]}
        keys += [index["KeySchema"] for index in found.values()]
    # DynamoDB refuses a defined attribute that is not a key, and a key that is not defined.
    defined = [attribute["AttributeName"] for attribute in table["AttributeDefinitions"]]
    assert defined == [key["AttributeName"] for schema in keys for key in schema]
    return found


def test_each_value_of_indexes_adds_one_index():
    template = expand()
    steps = [indexes(template, "Predictions", number) for number in range(4)]
    assert [list(step) for step in steps] == [[], ["ByNight"], ["ByNight", "ToReview"], ["ByNight", "ToReview"]]
    assert steps[1]["ByNight"] == steps[2]["ByNight"]
    assert steps[2] == steps[3]
    ledger = [indexes(template, "Ledger", number) for number in range(4)]
    assert [list(step) for step in ledger] == [[], [], [], ["Rejections"]]
    code = (ROOT / "src/ledger/item.rs").read_text()
    for index in [*steps[3].values(), *ledger[3].values()]:
        names = [index["IndexName"]] + [key["AttributeName"] for key in index["KeySchema"]]
        for field, name in zip(("name", "partition_key", "sort_key"), names, strict=True):
            assert f'{field}: "{name}"' in code
        assert index["Projection"] == {"ProjectionType": "ALL"}


def test_the_ledger_forgets_only_copies_of_deleted_records(stack):
    time_to_live = stack["Resources"]["Ledger"]["Properties"]["TimeToLiveSpecification"]
    assert time_to_live["Enabled"] is True
    attribute = time_to_live["AttributeName"]
    # An object item that expired would let its photo be counted again.
    code = {path: path.read_text() for path in (ROOT / "src").rglob("*.rs")}
    [state] = [text for path, text in code.items() if path.match("records/state.rs")]
    assert f'EXPIRES_AT: &str = "{attribute}"' in state
    users = [path.name for path, text in code.items() if "EXPIRES_AT.into()" in text or f'"{attribute}"' in text]
    assert sorted(users) == ["state.rs", "transaction.rs"]


def test_the_permissions_are_created_before_the_notification(stack):
    assert stack["Resources"]["Bucket"]["DependsOn"] == ["InvokePermission", "UploadQueuePolicy"]


def test_messages_stay_hidden_for_six_timeouts(stack):
    timeouts = stack["Parameters"]["Timeout"]["AllowedValues"]
    hidden = stack["Mappings"]["VisibilityTimeout"]
    window = stack["Resources"]["QueueMapping"]["Properties"]["MaximumBatchingWindowInSeconds"]
    assert {str(timeout): {"Seconds": 6 * timeout + window} for timeout in timeouts} == hidden


def test_photos_are_private_encrypted_and_versioned(stack):
    bucket = stack["Resources"]["Bucket"]
    properties = bucket["Properties"]
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    statement = stack["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert [(s["Effect"], s["Condition"]) for s in statement] == [("Deny", {"Bool": {"aws:SecureTransport": "false"}})]


@pytest.mark.parametrize("table", ["Predictions", "Ledger"])
def test_tables_outlive_the_stack(stack, table):
    resource = stack["Resources"][table]
    properties = resource["Properties"]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["DeletionProtectionEnabled"] is True
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["SSESpecification"] == {"SSEEnabled": True}


def test_keys_and_environment_are_those_of_the_code(stack):
    code = (ROOT / "src/ledger/item.rs").read_text()
    keys = dict(re.findall(r'pub const (\w+): &str = "(\w+)";', code))
    schema = {
        table: [key["AttributeName"] for key in stack["Resources"][table]["Properties"]["KeySchema"]]
        for table in ("Predictions", "Ledger")
    }
    assert schema == {
        "Predictions": [keys["PREDICTION_DATE"], keys["CLASS_PREDICTION_ID"]],
        "Ledger": [keys["LEDGER_KEY"]],
    }
    config = (ROOT / "src/config.rs").read_text()
    documented = set(re.findall(r"/// ([A-Z_]+): ", config))
    variables = stack["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    # The function does not read RELEASE. It only makes Lambda publish a version.
    assert set(variables) - {"RELEASE"} <= documented
    assert {"PREDICTIONS_TABLE", "LEDGER_TABLE"} <= set(variables)
    assert f"Tz::{stack['Parameters']['TimeZone']['Default'].replace('/', '__')}" in config


def test_alarms_watch_the_takeover_of_a_new_version(stack):
    group = of_type(stack, "AWS::CodeDeploy::DeploymentGroup")
    (configuration,) = [g["Properties"]["AlarmConfiguration"]["Fn::If"] for g in group.values()]
    assert configuration[0] == "IsWatched" and configuration[2] == {}
    watch = (
        "ErrorsAlarm",
        "FailedAlarm",
        "SlowAlarm",
        "RejectedAlarm",
        "FailuresAlarm",
        "OldestAlarm",
        "OldestEventAlarm",
    )
    assert configuration[1] == {"Enabled": True, "Alarms": [{"Name": {"Ref": alarm}} for alarm in watch]}
    assert set(watch) <= set(of_type(stack, "AWS::CloudWatch::Alarm"))
    invoke = of_type(stack, "AWS::Lambda::EventInvokeConfig")
    (invoke,) = [config["Properties"] for config in invoke.values()]
    assert invoke["MaximumRetryAttempts"] == 2
    assert invoke["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["FailureQueue", "Arn"]}
    assert invoke["Qualifier"] == "live"


def test_metrics_are_those_of_the_code(stack):
    code = (ROOT / "src/respond/metrics.rs").read_text()
    metrics = [alarm["Properties"] for alarm in of_type(stack, "AWS::CloudWatch::Alarm").values()]
    metrics += [
        query["MetricStat"]["Metric"]
        for alarm in metrics
        for query in alarm.get("Metrics", [])
        if "MetricStat" in query
    ]
    ours = [metric["MetricName"] for metric in metrics if metric.get("Namespace") == "MothClassifier"]
    assert len(ours) == 4
    for metric in ours:
        assert f'"{metric}"' in code
    assert 'NAMESPACE: &str = "MothClassifier"' in code


def test_each_release_publishes_a_version():
    versions = [
        of_type(expand("Direct", release), "AWS::Lambda::Version")
        for release in ("1795249542 0123abc", "1795249543 0123abc")
    ]
    assert versions[0].keys() != versions[1].keys()
    function = expand("Direct")["Resources"]["Function"]["Properties"]
    assert function["Environment"]["Variables"]["RELEASE"] == {"Ref": "Release"}


def test_a_canary_is_judged_by_its_own_rejections(stack):
    (version,) = of_type(stack, "AWS::Lambda::Version")
    metrics = [
        query["MetricStat"]["Metric"]
        for query in stack["Resources"]["RejectedAlarm"]["Properties"]["Metrics"]
        if "MetricStat" in query
    ]
    assert [metric["MetricName"] for metric in metrics] == ["Rejected", "Recorded"]
    for metric in metrics:
        assert {"Name": "FunctionVersion", "Value": {"Fn::GetAtt": [version, "Version"]}} in metric["Dimensions"]
    assert '"FunctionVersion"' in (ROOT / "src/respond/metrics.rs").read_text()


def test_the_pest_alert_is_raised_once_a_day(stack):
    alarm = stack["Resources"]["PestAlarm"]["Properties"]
    assert alarm["TreatMissingData"] == "ignore"
    assert alarm["AlarmDescription"] == {"Fn::Sub": "${PestClass} reached ${PestCount} today"}
    labels = json.loads((ROOT / "model/model.json").read_text())["labels"]
    assert stack["Parameters"]["PestClass"]["Default"] in labels


def test_logs_have_a_retention(stack):
    (group,) = of_type(stack, "AWS::Logs::LogGroup").values()
    assert group["Properties"]["RetentionInDays"] == {"Ref": "LogDays"}
    assert stack["Resources"]["Function"]["Properties"]["LoggingConfig"] == {"LogGroup": {"Ref": "LogGroup"}}
