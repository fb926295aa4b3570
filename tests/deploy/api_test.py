"""Tests of template.yaml with Api On: routes, sign-in, roles, thumbnails and the bus with the outcomes."""

import json
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

from template_test import (
    FUNCTION_MAY,
    KEEPERS,
    PHOTOS,
    ROOT,
    TEMPLATE,
    allowed,
    expand,
    listed,
    of_type,
    run,
    statements,
    tool,
)

# Routes that need no token. Everything else needs one.
OPEN = {
    "GET /",
    "GET /assets/{path+}",
    "GET /livez",
    "GET /readyz",
    "GET /health",
    "GET /ping",
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/{path+}",
    "GET /problems/{path+}",
}
ROLES = {"reader", "uploader", "reviewer", "admin"}

# All actions of the API function's role, with their resources. docs/permissions.md gives the reasons.
API_MAY = {
    ("s3:GetObject", "${Bucket.Arn}/*"),
    ("s3:GetObjectVersion", "${Bucket.Arn}/*"),
    ("s3:PutObject", "${Bucket.Arn}/*"),
    ("s3:ListBucket", "Bucket.Arn"),
    ("s3:GetObject", "${Thumbnails.Arn}/*"),
    ("s3:PutObject", "${Thumbnails.Arn}/*"),
    ("s3:ListBucket", "Thumbnails.Arn"),
    ("dynamodb:DeleteItem", "Predictions.Arn"),
    ("dynamodb:GetItem", "Predictions.Arn"),
    ("dynamodb:PutItem", "Predictions.Arn"),
    ("dynamodb:Query", "Predictions.Arn"),
    ("dynamodb:UpdateItem", "Predictions.Arn"),
    ("dynamodb:Query", "${Predictions.Arn}/index/ByNight"),
    ("dynamodb:Query", "${Predictions.Arn}/index/ToReview"),
    ("dynamodb:BatchGetItem", "Ledger.Arn"),
    ("dynamodb:DeleteItem", "Ledger.Arn"),
    ("dynamodb:PutItem", "Ledger.Arn"),
    ("dynamodb:UpdateItem", "Ledger.Arn"),
    ("dynamodb:Query", "${Ledger.Arn}/index/Rejections"),
    ("logs:CreateLogStream", "ApiLogGroup.Arn"),
    ("logs:PutLogEvents", "ApiLogGroup.Arn"),
}
# The same of the pipes' role. IAM does not support resources for ListStreams.
PIPE_MAY = {
    ("dynamodb:DescribeStream", "Ledger.StreamArn"),
    ("dynamodb:GetRecords", "Ledger.StreamArn"),
    ("dynamodb:GetShardIterator", "Ledger.StreamArn"),
    ("dynamodb:ListStreams", "*"),
    ("events:PutEvents", "EventBus.Arn"),
    ("sqs:SendMessage", "OutcomeFailureQueue.Arn"),
}


@pytest.fixture(scope="module")
def stack() -> dict:
    return expand(api="On")


def properties(stack: dict, name: str) -> dict:
    return stack["Resources"][name]["Properties"]


@pytest.mark.parametrize("api", ["Off", "On"])
def test_lints_pass_with_api_off_and_on(tmp_path, api):
    """The template with this default, and what CloudFormation gets after the expansion."""
    default = '  Api:\n    Type: String\n    Default: "Off"'
    text = TEMPLATE.read_text()
    assert default in text
    source = tmp_path / "template.yaml"
    source.write_text(text.replace(default, default.replace("Off", api)))
    run(tool("sam"), "validate", "--lint", "--template", str(source))
    expanded = expand(api=api)
    del expanded["Delivery"]
    file = tmp_path / "expanded.json"
    file.write_text(json.dumps(expanded))
    # With Api Off, its parameters, conditions and mapping have no use.
    unused = ("W2001", "W7001", "W8001")
    run(tool("cfn-lint"), "--ignore-checks", *unused, "--regions", "eu-west-1", "--", str(file))


def test_the_template_can_be_deployed_without_a_bucket():
    """`aws cloudformation deploy` refuses a larger template, unless --s3-bucket names a bucket for it."""
    assert TEMPLATE.stat().st_size <= 51_200


def references(node) -> set[str]:
    """The logical ids that `node` refers to."""
    if isinstance(node, list):
        return {name for value in node for name in references(value)}
    if not isinstance(node, dict):
        return set()
    found = set()
    for key, value in node.items():
        if key == "Ref":
            found.add(value)
        elif key == "Fn::GetAtt":
            found.add(listed(value)[0].split(".")[0])
        elif key == "Fn::Sub":
            text, given = value if isinstance(value, list) else (value, {})
            found |= set(re.findall(r"\$\{([\w:]+)[.}]", text)) - given.keys() | references(given)
        else:
            found |= references(value)
    return found


@pytest.mark.parametrize("api", ["Off", "On"])
def test_every_reference_exists_and_there_is_no_cycle(api):
    stack = expand(api=api)
    resources = stack["Resources"]
    graph = {}
    for name, resource in resources.items():
        used = references(resource) | set(listed(resource.get("DependsOn", [])))
        used = {other for other in used if not other.startswith("AWS::")} - stack["Parameters"].keys()
        # With Api Off this finds whatever forgot its condition.
        assert used <= resources.keys(), name
        graph[name] = used
    assert len(list(TopologicalSorter(graph).static_order())) == len(resources)
    assert {name for name in references(stack["Outputs"]) if not name.startswith("AWS::")} <= (
        resources.keys() | stack["Parameters"].keys()
    )


def test_with_api_off_there_is_nothing_of_the_api():
    resources = expand()["Resources"]
    services = {resource["Type"].split("::")[1] for resource in resources.values()}
    assert services == {"CloudWatch", "CodeDeploy", "DynamoDB", "IAM", "Lambda", "Logs", "S3", "SQS"}
    assert len(resources) == 27
    assert "CorsConfiguration" not in resources["Bucket"]["Properties"]
    assert "StreamSpecification" not in resources["Ledger"]["Properties"]
    # What Api adds changes no resource that holds data, beside the stream and the CORS rules.
    on = expand(api="On")["Resources"]
    for name in of_type({"Resources": resources}, *KEEPERS):
        more = on[name]["Properties"].keys() - resources[name]["Properties"].keys()
        assert more <= {"CorsConfiguration", "StreamSpecification"}, name


def routes(stack: dict, api: str) -> dict[str, dict]:
    found = [route["Properties"] for route in of_type(stack, "AWS::ApiGatewayV2::Route").values()]
    return {route["RouteKey"]: route for route in found if route["ApiId"] == {"Ref": api}}


def test_only_the_listed_routes_are_open(stack):
    people = routes(stack, "PeopleApi")
    assert people.keys() == OPEN | {"$default"}
    default = people.pop("$default")
    assert default["AuthorizationType"] == "JWT"
    assert default["AuthorizerId"] == {"Ref": "PeopleAuthorizer"}
    for route in people.values():
        assert route.keys() == {"ApiId", "RouteKey", "Target"}
    assert routes(stack, "MachineApi").keys() == {"$default"}
    assert len(of_type(stack, "AWS::ApiGatewayV2::Route")) == len(OPEN) + 2
    # API Gateway answers preflights itself if an API has CORS rules. Ours have none: the page is of the same origin.
    for api in of_type(stack, "AWS::ApiGatewayV2::Api").values():
        assert api["Properties"].keys() == {"Name", "ProtocolType"}


@pytest.mark.parametrize("kind", ["People", "Machine"])
def test_both_apis_invoke_the_alias(stack, kind):
    integration = properties(stack, f"{kind}Integration")
    assert integration["IntegrationUri"] == {"Ref": "ApiFunctionAliaslive"}
    assert (integration["IntegrationType"], integration["PayloadFormatVersion"]) == ("AWS_PROXY", "2.0")
    for route in routes(stack, f"{kind}Api").values():
        assert route["Target"] == {"Fn::Sub": f"integrations/${{{kind}Integration}}"}
    permission = properties(stack, f"{kind}Permission")
    assert permission["FunctionName"] == {"Ref": "ApiFunctionAliaslive"}
    assert permission["Principal"] == "apigateway.amazonaws.com"
    execute = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}"
    assert permission["SourceArn"] == {"Fn::Sub": f"{execute}:${{{kind}Api}}/*"}
    stage = properties(stack, f"{kind}Stage")
    # `rawPath` has the name of any other stage.
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    assert stage["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": {"Ref": "ApiRate"},
        "ThrottlingBurstLimit": {"Ref": "ApiBurst"},
    }


def test_access_logs_have_no_token_path_or_query(stack):
    for kind in ("People", "Machine"):
        settings = properties(stack, f"{kind}Stage")["AccessLogSettings"]
        assert settings["DestinationArn"] == {"Fn::GetAtt": ["ApiAccessLogGroup", "Arn"]}
        assert settings["Format"] == {"Fn::FindInMap": ["AccessLog", "Line", "Format"]}
    line = json.loads(stack["Mappings"]["AccessLog"]["Line"]["Format"])
    assert set(line.values()) == {
        "$context.requestId",
        "$context.requestTime",
        "$context.apiId",
        "$context.httpMethod",
        "$context.routeKey",
        "$context.status",
        "$context.responseLength",
        "$context.responseLatency",
        "$context.authorizer.claims.sub",
        "$context.error.message",
    }
    for group in of_type(stack, "AWS::Logs::LogGroup").values():
        assert group["Properties"]["RetentionInDays"] == {"Ref": "LogDays"}


def test_people_sign_in_with_the_user_pool(stack):
    authorizer = properties(stack, "PeopleAuthorizer")
    assert authorizer["ApiId"] == {"Ref": "PeopleApi"}
    assert authorizer["AuthorizerType"] == "JWT"
    assert authorizer["IdentitySource"] == ["$request.header.Authorization"]
    issuer = {"Fn::GetAtt": ["UserPool", "ProviderURL"]}
    assert authorizer["JwtConfiguration"] == {"Issuer": issuer, "Audience": [{"Ref": "UserPoolClient"}]}
    pool = stack["Resources"]["UserPool"]
    assert (pool["DeletionPolicy"], pool["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert pool["Properties"]["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}
    assert pool["Properties"]["DeletionProtection"] == "ACTIVE"
    groups = of_type(stack, "AWS::Cognito::UserPoolGroup").values()
    assert {group["Properties"]["GroupName"] for group in groups} == ROLES
    client = properties(stack, "UserPoolClient")
    assert client["GenerateSecret"] is False
    # Neither the implicit grant nor passwords in a request.
    assert client["AllowedOAuthFlows"] == ["code"]
    assert client["ExplicitAuthFlows"] == ["ALLOW_REFRESH_TOKEN_AUTH"]
    assert client["CallbackURLs"] == client["LogoutURLs"] == [{"Fn::Sub": "${PeopleApi.ApiEndpoint}/"}]


def test_the_bucket_accepts_uploads_of_the_page_only(stack):
    (rule,) = properties(stack, "Bucket")["CorsConfiguration"]["CorsRules"]
    assert rule.pop("MaxAge") == 3600
    assert rule == {
        "AllowedOrigins": [{"Fn::GetAtt": ["PeopleApi", "ApiEndpoint"]}],
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": ["content-type", "if-none-match", "x-amz-meta-*", "x-amz-checksum-sha256"],
        "ExposedHeaders": ["x-amz-version-id", "ETag"],
    }


def test_the_api_has_its_own_function_and_capacity(stack):
    function, photos = properties(stack, "ApiFunction"), properties(stack, "Function")
    assert function["FunctionName"] == {"Fn::Sub": "${AWS::StackName}-api"}
    assert function["Code"] == photos["Code"]
    assert function["Role"] == {"Fn::GetAtt": ["ApiFunctionRole", "Arn"]}
    assert function["LoggingConfig"] == {"LogGroup": {"Ref": "ApiLogGroup"}}
    # API Gateway waits for 30 seconds.
    assert function["Timeout"] == 29
    assert function["MemorySize"] == {"Ref": "ApiMemory"}
    reserved = ["ApiReservesConcurrency", {"Ref": "ApiReservedConcurrency"}, {"Ref": "AWS::NoValue"}]
    assert function["ReservedConcurrentExecutions"] == {"Fn::If": reserved}
    assert stack["Parameters"]["ApiReservedConcurrency"]["Default"] > 0
    # Its settings of records are those of the photos' function.
    ours, theirs = (properties["Environment"]["Variables"] for properties in (function, photos))
    assert theirs.items() <= ours.items()
    more = {"PHOTOS_BUCKET", "THUMBNAILS_BUCKET", "API_KEYS", "OIDC_ISSUER", "OIDC_CLIENT_ID"}
    assert ours.keys() - theirs.keys() == more


def test_the_code_reads_the_settings(stack):
    code = "".join(file.read_text() for file in (ROOT / "src").rglob("*.rs"))
    variables = properties(stack, "ApiFunction")["Environment"]["Variables"].keys() - {"RELEASE"}
    for variable in variables:
        assert f'"{variable}"' in code, variable
    for metric in ("Requests", "Latency", "4xx", "5xx"):
        assert f'"{metric}"' in code, metric
        assert f'"{metric}"' in json.dumps(properties(stack, "ApiDashboard")).replace("\\", "")


def test_keys_come_from_the_parameter_store(stack):
    keys = properties(stack, "ApiFunction")["Environment"]["Variables"]["API_KEYS"]
    assert keys == {"Fn::If": ["HasApiKeys", {"Fn::Sub": "{{resolve:ssm:${ApiKeysParameter}}}"}, ""]}
    pattern = stack["Parameters"]["ApiKeysParameter"]["AllowedPattern"]
    assert re.fullmatch(pattern, "") is not None and re.fullmatch(pattern, "/moth-classifier/api-keys")
    # The pipeline's role reads parameters below /<stack's name>/.
    assert not re.fullmatch(pattern, "api-keys") and not re.fullmatch(pattern, "/api-keys")


def test_alarms_watch_the_takeover_of_a_new_version(stack):
    group = properties(stack, "ApiFunctionDeploymentGroup")
    ours, theirs = group.pop("AlarmConfiguration"), dict(properties(stack, "FunctionDeploymentGroup"))
    del theirs["AlarmConfiguration"]
    assert group == theirs
    watch = [{"Name": {"Ref": alarm}} for alarm in ("Api5xxAlarm", "ApiErrorsAlarm")]
    assert ours == {"Fn::If": ["IsWatched", {"Enabled": True, "Alarms": watch}, {}]}
    for name, metric in (("Api5xxAlarm", ("MothClassifier", "5xx")), ("ApiErrorsAlarm", ("AWS/Lambda", "Errors"))):
        alarm = properties(stack, name)
        assert (alarm["Namespace"], alarm["MetricName"]) == metric
        assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Fn::Sub": "${AWS::StackName}-api"}}]


def role(stack: dict, name: str) -> set[tuple[str, str]]:
    properties = stack["Resources"][name]["Properties"]
    assert "ManagedPolicyArns" not in properties
    return allowed(statements(properties["Policies"]))


def test_the_roles_have_the_listed_permissions_and_no_others(stack):
    assert role(stack, "ApiFunctionRole") == API_MAY
    assert role(stack, "PipeRole") == PIPE_MAY
    assert role(stack, "FunctionRole") == FUNCTION_MAY
    assert len(of_type(stack, "AWS::IAM::Role")) == 4
    assert not of_type(stack, "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
    (trust,) = properties(stack, "PipeRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_wildcards_are_for_objects_in_a_bucket(stack):
    found = allowed(statements(stack["Resources"]))
    wild = {(action, resource) for action, resource in found if "*" in action + resource}
    assert wild - {("dynamodb:ListStreams", "*")} == {
        ("s3:GetObject", PHOTOS + "/*"),
        ("s3:GetObjectVersion", PHOTOS + "/*"),
        ("s3:GetObject", "${Bucket.Arn}/*"),
        ("s3:GetObjectVersion", "${Bucket.Arn}/*"),
        ("s3:PutObject", "${Bucket.Arn}/*"),
        ("s3:GetObject", "${Thumbnails.Arn}/*"),
        ("s3:PutObject", "${Thumbnails.Arn}/*"),
    }


@pytest.mark.parametrize(("heading", "may"), [("The function of the API", API_MAY), ("The pipes", PIPE_MAY)])
def test_the_page_lists_the_permissions(heading, may):
    table = (ROOT / "docs/permissions.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    places = {
        "photos": ["${Bucket.Arn}/*"],
        "their bucket": ["Bucket.Arn"],
        "thumbnails and exports": ["${Thumbnails.Arn}/*"],
        "both buckets": ["Bucket.Arn", "Thumbnails.Arn"],
        "predictions": ["Predictions.Arn"],
        "ledger": ["Ledger.Arn"],
        "the three indexes": [
            "${Predictions.Arn}/index/ByNight",
            "${Predictions.Arn}/index/ToReview",
            "${Ledger.Arn}/index/Rejections",
        ],
        "its log group": ["ApiLogGroup.Arn"],
        "stream of the ledger": ["Ledger.StreamArn"],
        "*": ["*"],
        "bus": ["EventBus.Arn"],
        "queue of lost outcomes": ["OutcomeFailureQueue.Arn"],
    }
    rows = re.findall(r"^\| (\w[\w-]*:[^|]+) \| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)
    assert {(action, on) for actions, place in rows for action in actions.split(", ") for on in places[place]} == may


def test_thumbnails_are_private_encrypted_and_exports_expire(stack):
    bucket = stack["Resources"]["Thumbnails"]
    photos = properties(stack, "Bucket")
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    for same in ("BucketEncryption", "PublicAccessBlockConfiguration", "OwnershipControls"):
        assert bucket["Properties"][same] == photos[same]
    assert bucket["Properties"]["BucketName"] == {"Fn::Sub": "${AWS::StackName}-thumbnails-${AWS::AccountId}"}
    (rule,) = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    assert (rule["Prefix"], rule["ExpirationInDays"]) == ("exports/", 1)
    (statement,) = properties(stack, "ThumbnailsPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    # A notification here would invoke a function for each thumbnail.
    assert "NotificationConfiguration" not in bucket["Properties"]


# An item of each kind, as the ledger writes it, with the attributes that some items of the kind lack.
COUNTED = {
    "LedgerKey": {"S": "object/3f0c2f6e-5d0a-5c5e-9a55-000000000001"},
    "Status": {"S": "COUNTED"},
    "CommitId": {"S": "1b671a64-40d5-491e-99b0-da01ff1f3341"},
    "CommittedAt": {"S": "2026-11-20T18:04:33.120Z"},
    "Bucket": {"S": "moths-photos-111122223333"},
    "ObjectKey": {"S": 'field-1/"quoted" \\ name.jpg'},
    "VersionId": {"S": "3HL4kqtJlcpXroDTDmJ"},
    "PredictionDate": {"S": "2026-11-20"},
    "ClassPredictionID": {"S": "FAW-3f0c2f6e-5d0a-5c5e-9a55-000000000001"},
    "ClassName": {"S": "FAW"},
    "ModelVersion": {"S": "1f0c5a92bb03"},
    "Count_ClassName": {"N": "17"},
}
REJECTED = {name: COUNTED[name] for name in ("LedgerKey", "CommitId", "CommittedAt", "Bucket", "ObjectKey")} | {
    "Status": {"S": "REJECTED"},
    "Reason": {"S": "the PNG file is cut off: upload it again"},
    "RejectedOn": {"S": "2026-11-20"},
    "RejectedAt": {"S": "2026-11-20T18:04:33.120Z#3f0c2f6e-5d0a-5c5e-9a55-000000000001"},
}
SOMETIMES = {name: COUNTED[name] for name in ("VersionId", "PredictionDate")}
COUNTER = {"LedgerKey": {"S": "count/2026-11-20/FAW"}, "Issued": {"N": "17"}}


def inserted(item: dict, event: str = "INSERT") -> dict:
    return {"eventName": event, "dynamodb": {"Keys": {"LedgerKey": item["LedgerKey"]}, "NewImage": item}}


def matches(pattern, event) -> bool:
    """EventBridge's rules for a pattern with exact values and prefixes."""
    if isinstance(pattern, dict):
        return all(key in event and matches(value, event[key]) for key, value in pattern.items())
    return any(event.startswith(rule["prefix"]) if isinstance(rule, dict) else event == rule for rule in pattern)


def rendered(template: str, event: dict) -> dict:
    """EventBridge's rules for an input template that is JSON: a path without quotes becomes the JSON of its value. This
    is stricter than EventBridge, which does not say what a path without a value becomes."""

    def value(path: re.Match) -> str:
        node = event
        for step in path[1].split("."):
            node = node[step]
        return json.dumps(node)

    return json.loads(re.sub(r"<\$\.([\w.]+)>", value, template))


def test_attributes_of_the_outcomes_are_those_of_the_ledger():
    code = (ROOT / "src/ledger/item.rs").read_text()
    for name in COUNTED.keys() | REJECTED.keys():
        assert f'"{name}"' in code, name


@pytest.mark.parametrize(
    ("pipe", "item", "type"),
    [("RecordedPipe", COUNTED, "Photo recorded"), ("RejectedPipe", REJECTED, "Photo rejected")],
)
def test_each_outcome_reaches_the_bus_once(stack, pipe, item, type):
    pipe = properties(stack, pipe)
    assert pipe["Source"] == {"Fn::GetAtt": ["Ledger", "StreamArn"]}
    assert properties(stack, "Ledger")["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"}
    assert pipe["Target"] == {"Fn::GetAtt": ["EventBus", "Arn"]}
    target = pipe["TargetParameters"]
    assert target["EventBridgeEventBusParameters"] == {"Source": "moth-classifier", "DetailType": type}
    (rule,) = pipe["SourceParameters"]["FilterCriteria"]["Filters"]
    pattern = json.loads(rule["Pattern"])
    other = REJECTED if item is COUNTED else COUNTED
    deleted = item | {"Status": {"S": "DELETED"}}
    assert matches(pattern, inserted(item))
    # Not the other outcome, a counter, a change by people, or the copy of a deleted record.
    for event in (inserted(other), inserted(COUNTER), inserted(item, "MODIFY"), inserted(deleted)):
        assert not matches(pattern, event)

    optional = {} if item is COUNTED else SOMETIMES
    for image in (item, item | optional):
        detail = rendered(target["InputTemplate"], inserted(image))
        expected = {"id": "LedgerKey", "status": "Status", "bucket": "Bucket", "key": "ObjectKey", "at": "CommittedAt"}
        if item is COUNTED:
            expected |= {"versionId": "VersionId", "date": "PredictionDate", "className": "ClassName"}
            expected |= {"classPredictionId": "ClassPredictionID", "modelVersion": "ModelVersion"}
            assert detail.pop("count") == "17"
        else:
            expected |= {"date": "RejectedOn", "reason": "Reason"}
            assert detail.pop("item") == image
        assert detail == {name: image[attribute]["S"] for name, attribute in expected.items()}


def test_an_outcome_that_the_bus_refuses_does_not_block_the_stream(stack):
    for pipe in ("RecordedPipe", "RejectedPipe"):
        source = properties(stack, pipe)["SourceParameters"]["DynamoDBStreamParameters"]
        assert source["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["OutcomeFailureQueue", "Arn"]}}
        assert source["MaximumRetryAttempts"] > 0 and 0 < source["MaximumRecordAgeInSeconds"] < 24 * 3600
        assert source["OnPartialBatchItemFailure"] == "AUTOMATIC_BISECT"
        # PutEvents accepts ten events.
        assert source["BatchSize"] <= 10
        assert source["StartingPosition"] == "TRIM_HORIZON"
    alarm = properties(stack, "OutcomesAlarm")
    assert alarm["Dimensions"][0]["Value"] == {"Fn::GetAtt": ["OutcomeFailureQueue", "QueueName"]}


def test_the_outputs_name_what_people_need(stack):
    more = stack["Outputs"].keys() - expand()["Outputs"].keys()
    assert more == {"PeopleApiUrl", "MachineApiUrl", "UserPoolId", "EventBusName", "ApiFunctionAlias"}


def test_the_pages_use_the_outputs():
    page = Path(ROOT / "docs/deploy.md").read_text()
    for output in re.findall(r"OutputKey=='(\w+)'", page):
        source = (
            yaml_parse(TEMPLATE.read_text())["Outputs"] | yaml_parse((ROOT / "pipeline.yaml").read_text())["Outputs"]
        )
        assert output in source, output
