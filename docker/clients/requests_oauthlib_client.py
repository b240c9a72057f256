# SPDX-License-Identifier: Apache-2.0
# Python with requests-oauthlib (Debian: python3-requests-oauthlib). It insists on https, at the API too: for a try without,
# set OAUTHLIB_INSECURE_TRANSPORT=1.
import os

from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

session = OAuth2Session(client=BackendApplicationClient(os.environ["KEY_ID"], scope=["data:read"]))
session.fetch_token(os.environ["ISSUER"] + "/oauth2/token",
                    auth=HTTPBasicAuth(os.environ["KEY_ID"], os.environ["KEY_SECRET"]))
answer = session.get(os.environ["API"] + "/things")
answer.raise_for_status()
print(answer.text)
