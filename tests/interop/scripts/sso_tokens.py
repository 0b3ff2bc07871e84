"""Uses the SSO token of every profile in turn, as botocore's own token provider does, until its input ends:
sso_tokens.py WINDOW [PROFILE=WINDOW ...].

botocore refreshes below 15 minutes. The tokens here live for seconds, so that window is scaled down to WINDOW seconds,
or to a profile's own; every third time it is a whole life for profiles without one of their own. Nothing else of
botocore is changed. Prints how often it used a token, and its errors.
"""

import collections
import json
import random
import sys
import threading
import time

import botocore.session
from botocore.tokens import SSOTokenProvider

default = float(sys.argv[1])
own = {name: float(window) for name, window in (pair.split("=") for pair in sys.argv[2:])}
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

session = botocore.session.get_session()
providers = {name: SSOTokenProvider(session, profile_name=name) for name in session.full_config["profiles"]}
errors = collections.Counter()
used = 0
while not ended.is_set():
    name = random.choice(list(providers))
    any_time = name not in own and random.randrange(3) == 0
    providers[name]._REFRESH_WINDOW = 10**6 if any_time else own.get(name, default)
    try:
        providers[name].load_token().get_frozen_token()
        used += 1
    except Exception as error:
        errors[f"{name}: {type(error).__name__}: {error}"] += 1
    time.sleep(0.03)
print(json.dumps({"used": used, "errors": errors}))
