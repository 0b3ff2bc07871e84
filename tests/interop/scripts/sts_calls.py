"""Calls STS GetCallerIdentity N times in one process: sts_calls.py PROFILE N. Prints the accounts as JSON."""

import json
import sys

import boto3
from botocore.config import Config

profile, count = sys.argv[1], int(sys.argv[2])
sts = boto3.Session(profile_name=profile).client("sts", config=Config(retries={"total_max_attempts": 1}))
print(json.dumps([sts.get_caller_identity()["Account"] for _ in range(count)]))
