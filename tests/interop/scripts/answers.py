"""Puts one call to the fake through botocore's own model: answers.py TOKEN_FILE OPERATION [NAME=VALUE ...].

Prints what botocore understood: the answer without its secrets, or the error as [class, code, status, message].
"""

import json
import sys

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

token = json.load(open(sys.argv[1]))
operation = sys.argv[2]
given = dict(argument.split("=", 1) for argument in sys.argv[3:])
config = Config(region_name="eu-west-1", signature_version=UNSIGNED, retries={"total_max_attempts": 1})
session = botocore.session.get_session()
if operation == "create_token":
    client = session.create_client("sso-oidc", config=config)
    arguments = {key: token[key] for key in ("clientId", "clientSecret", "refreshToken")}
    arguments["grantType"] = "refresh_token"
else:
    client = session.create_client("sso", config=config)
    arguments = {"accessToken": token["accessToken"]}
try:
    answer = getattr(client, operation)(**{**arguments, **given})
    answer["RequestId"] = bool(answer.pop("ResponseMetadata").get("RequestId"))
    print(json.dumps(answer, default=str))
except ClientError as error:
    said, meta = error.response["Error"], error.response["ResponseMetadata"]
    print(json.dumps([type(error).__name__, said["Code"], meta["HTTPStatusCode"], said["Message"]]))
