# SPDX-License-Identifier: Apache-2.0
# Python with Authlib (Debian: python3-authlib), which asks for a new token by itself when the old one has expired.
import os

from authlib.integrations.requests_client import OAuth2Session

session = OAuth2Session(
    os.environ["KEY_ID"], os.environ["KEY_SECRET"], scope="data:read", grant_type="client_credentials",
    token_endpoint=os.environ["ISSUER"] + "/oauth2/token")
session.fetch_token()
answer = session.get(os.environ["API"] + "/things")
answer.raise_for_status()
print(answer.text)
