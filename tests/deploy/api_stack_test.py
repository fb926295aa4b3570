"""Tests of sign-in on the emulator of AWS: the template's APIs, routes, user pool and client, with a function that says
what it gets.

The emulator has HTTP APIs with JWT authorizers, Cognito with its login page, dynamic references to Parameter Store, and
CORS rules of S3. It verifies tokens only if the package `cryptography` is in its environment. It delivers from pipes to
SNS and Step Functions, not to a bus, so api_test.py renders the input templates instead.
"""

import base64
import hashlib
import io
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from api_test import OPEN
from stack_test import Cloud, until
from template_test import expand

PASSWORD = "Correct-horse-9"
# A function that answers with its request's path, its user's groups, and whether there was a token.
ECHO = f"""#!{sys.executable}
import json, os, urllib.request

api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as invocation:
        event = json.load(invocation)
        id = invocation.headers["Lambda-Runtime-Aws-Request-Id"]
    claims = event["requestContext"].get("authorizer", {{}}).get("jwt", {{}}).get("claims", {{}})
    body = {{"version": event["version"], "path": event["rawPath"], "groups": claims.get("cognito:groups")}}
    answer = {{"statusCode": 200, "body": json.dumps(body)}}
    urllib.request.urlopen(api + id + "/response", json.dumps(answer).encode()).close()
"""
# What the emulator does not support, or the tests do not need.
LEFT_OUT = ("AWS::CodeDeploy", "AWS::CloudWatch", "AWS::Pipes")


def template() -> str:
    """The expanded template with the function above."""
    expanded = expand(api="On")
    del expanded["Delivery"]
    resources = expanded["Resources"]
    for name, resource in list(resources.items()):
        if resource["Type"].startswith(LEFT_OUT) or name == "CodeDeployServiceRole":
            del resources[name]
        resource.pop("UpdatePolicy", None)
    for name in ("Function", "ApiFunction"):
        resources[name]["Properties"] |= {
            "PackageType": "Zip",
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Code": {"S3Bucket": "packages", "S3Key": "bootstrap.zip"},
        }
    resources["QueueMapping"]["Properties"]["ScalingConfig"]["MaximumConcurrency"] = 10
    # The emulator's user pools have no ProviderURL.
    issuer = {"Fn::Sub": "https://cognito-idp.${AWS::Region}.amazonaws.com/${UserPool}"}
    resources["PeopleAuthorizer"]["Properties"]["JwtConfiguration"]["Issuer"] = issuer
    resources["ApiFunction"]["Properties"]["Environment"]["Variables"]["OIDC_ISSUER"] = issuer
    return json.dumps(expanded)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def request(url: str, method: str = "GET", body: bytes | None = None, **headers: str):
    """The status, headers and body of an answer."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with OPENER.open(urllib.request.Request(url, body, headers, method=method), timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class Api:
    """A stack with Api On, and one user in the group reviewer."""

    def __init__(self, cloud: Cloud):
        self.cloud = cloud
        services = ("cloudformation", "s3", "ssm", "cognito-idp", "lambda")
        self.cloudformation, self.s3, ssm, self.users, self.functions = map(cloud.client, services)
        self.s3.create_bucket(Bucket="packages")
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as file:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o755 << 16
            file.writestr(entry, ECHO)
        self.s3.put_object(Bucket="packages", Key="bootstrap.zip", Body=package.getvalue())
        ssm.put_parameter(Name="/moths/api-keys", Type="String", Value="camera-1:uploader:" + "0" * 64)
        parameters = {
            "ImageUri": "111122223333.dkr.ecr.us-east-1.amazonaws.com/moths@sha256:" + "0" * 64,
            "Release": "1795249542 test",
            "Api": "On",
            "ApiKeysParameter": "/moths/api-keys",
        }
        self.cloudformation.create_stack(
            StackName="moths",
            TemplateBody=template(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        until(self.is_ready, what="the stack is deployed")
        self.pool = self.outputs["UserPoolId"]
        (client,) = self.users.list_user_pool_clients(UserPoolId=self.pool)["UserPoolClients"]
        self.client = client["ClientId"]
        self.users.admin_create_user(UserPoolId=self.pool, Username="ada@example.org", MessageAction="SUPPRESS")
        self.users.admin_set_user_password(
            UserPoolId=self.pool, Username="ada@example.org", Password=PASSWORD, Permanent=True
        )
        self.users.admin_add_user_to_group(UserPoolId=self.pool, Username="ada@example.org", GroupName="reviewer")

    def is_ready(self) -> bool:
        (stack,) = self.cloudformation.describe_stacks(StackName="moths")["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        assert "ROLLBACK" not in stack["StackStatus"] and "FAILED" not in stack["StackStatus"], stack
        return stack["StackStatus"] == "CREATE_COMPLETE"

    def call(self, path: str, method: str = "GET", api: str = "PeopleApiUrl", **headers: str):
        """The status and body of a request. The emulator serves an API at a path of its own."""
        id = self.outputs[api].split("//")[1].split(".")[0]
        url = f"{self.cloud.url}/_aws/execute-api/{id}/$default{path}"
        body = b"{}" if method in ("POST", "PUT") else None
        status, _, answer = request(url, method, body, **headers)
        return status, answer

    def sign_in(self) -> dict:
        """The tokens of an Authorization Code flow with PKCE, through Cognito's login page."""
        verifier = "v" * 64
        digest = hashlib.sha256(verifier.encode()).digest()
        home = self.outputs["PeopleApiUrl"] + "/"
        query = {
            "client_id": self.client,
            "redirect_uri": home,
            "response_type": "code",
            "scope": "openid email",
            "state": "s",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        status, _, page = request(f"{self.cloud.url}/oauth2/authorize?{urllib.parse.urlencode(query)}")
        assert status == 200, page
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.decode()))
        fields |= query | {"username": "ada@example.org", "password": PASSWORD}
        status, headers, page = request(f"{self.cloud.url}/login", "POST", urllib.parse.urlencode(fields).encode())
        assert status in (302, 303), page
        assert headers["Location"].startswith(home)
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["Location"]).query)["code"][0]
        exchange = {"grant_type": "authorization_code", "client_id": self.client, "redirect_uri": home, "code": code}

        form = urllib.parse.urlencode(exchange | {"code_verifier": verifier}).encode()
        status, _, answer = request(f"{self.cloud.url}/oauth2/token", "POST", form)
        assert status == 200, answer
        return json.loads(answer)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("api-cloud"))
    yield Api(cloud)
    cloud.stop()


@pytest.fixture(scope="module")
def token(api) -> str:
    token = api.sign_in()["access_token"]
    header = json.loads(decoded(token.split(".")[0]))
    assert header["kid"] != "ministack-key-1", "install cryptography into the environment of ministack"
    return token


@pytest.mark.parametrize("route", sorted(OPEN))
def test_open_routes_need_no_token(api, route):
    method, path = route.replace("{path+}", "a/b").split()
    status, answer = api.call(path, method)
    assert status == 200, answer
    assert json.loads(answer) == {"version": "2.0", "path": path, "groups": None}
    # Any other method of the path needs a token.
    for other in ("POST", "PUT", "DELETE", "PATCH", "HEAD"):
        assert api.call(path, other)[0] == 401, other


@pytest.mark.parametrize(
    "path", ["/v1/records", "/v1/classify", "/metrics", "/docs-not", "/assetsx", "/livez/x", "/nothing"]
)
def test_everything_else_needs_a_token(api, path, token):
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}):
        assert api.call(path, **headers)[0] == 401
    status, answer = api.call(path, Authorization=f"Bearer {token}")
    assert status == 200 and json.loads(answer)["path"] == path
    assert "reviewer" in json.loads(answer)["groups"]


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_forged_and_expired_tokens_are_refused(api, token):
    header, payload, signature = token.split(".")
    claims = json.loads(decoded(payload))
    keys = api.cloud.folder / "state/cognito-pool-keys"
    of_the_pool = load_pem_private_key((keys / f"{api.pool}-access.pem").read_bytes(), password=None)
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def signed(key=of_the_pool, **changes) -> str:
        text = header + "." + encoded(json.dumps(claims | changes).encode())
        return text + "." + encoded(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))

    def status(token: str) -> int:
        return api.call("/v1/records", Authorization=f"Bearer {token}")[0]

    assert status(token) == status(signed()) == 200
    now, admin = int(time.time()), {"cognito:groups": ["admin"]}
    elsewhere = claims["iss"].replace(api.pool, "us-east-1_Elsewhere")
    unsigned = encoded(json.dumps(json.loads(decoded(header)) | {"alg": "none"}).encode())
    for forged in (
        signed(exp=now - 1),
        signed(nbf=now + 600),
        signed(iss=elsewhere),
        signed(client_id="another"),
        signed(foreign),
        signed(foreign, **admin),
        f"{header}.{encoded(json.dumps(claims | admin).encode())}.{signature}",
        f"{header}.{payload}.",
        f"{unsigned}.{payload}.",
    ):
        assert status(forged) == 401


def test_tokens_of_other_clients_and_pools_are_refused(api):
    flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH"]

    def token(pool: str) -> str:
        client = api.users.create_user_pool_client(UserPoolId=pool, ClientName="other", ExplicitAuthFlows=flows)
        answer = api.users.admin_initiate_auth(
            UserPoolId=pool,
            ClientId=client["UserPoolClient"]["ClientId"],
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": "ada@example.org", "PASSWORD": PASSWORD},
        )
        return answer["AuthenticationResult"]["AccessToken"]

    assert api.call("/v1/records", Authorization=f"Bearer {token(api.pool)}")[0] == 401
    pool = api.users.create_user_pool(PoolName="other", UsernameAttributes=["email"])["UserPool"]["Id"]
    api.users.admin_create_user(UserPoolId=pool, Username="ada@example.org", MessageAction="SUPPRESS")
    api.users.admin_set_user_password(UserPoolId=pool, Username="ada@example.org", Password=PASSWORD, Permanent=True)
    assert api.call("/v1/records", Authorization=f"Bearer {token(pool)}")[0] == 401


def test_the_api_for_machines_leaves_the_check_to_the_function(api):
    for headers in ({}, {"Authorization": "Bearer mk_some-key"}):
        status, answer = api.call("/v1/classify", "POST", "MachineApiUrl", **headers)
        assert status == 200 and json.loads(answer) == {"version": "2.0", "path": "/v1/classify", "groups": None}


def test_the_function_gets_the_hashes_of_the_keys(api):
    function = api.functions.get_function_configuration(FunctionName="moths-api", Qualifier="live")
    variables = function["Environment"]["Variables"]
    assert variables["API_KEYS"] == "camera-1:uploader:" + "0" * 64
    assert variables["OIDC_CLIENT_ID"] == api.client
    assert function["Version"] != "$LATEST"


def test_the_photos_bucket_allows_uploads_from_the_page_only(api):
    rules = api.s3.get_bucket_cors(Bucket=api.outputs["BucketName"])["CORSRules"]
    assert [rule["AllowedOrigins"] for rule in rules] == [[api.outputs["PeopleApiUrl"]]]
    with pytest.raises(api.s3.exceptions.ClientError):
        api.s3.get_bucket_cors(Bucket=api.outputs["BucketName"].replace("photos", "thumbnails"))
