# SPDX-License-Identifier: Apache-2.0
# A token, kept in a variable, and a request with it. Needs curl and jq. The secret comes from a file with a line
# `user = "KEY_ID:SECRET"`: on the command line, every user of the machine could read it.
set -euo pipefail
token=$(curl -sS --fail-with-body --config "$CREDENTIALS" \
    --data grant_type=client_credentials --data-urlencode 'scope=data:read' \
    "$ISSUER/oauth2/token" | jq -r .access_token)
curl -sS --fail-with-body --oauth2-bearer "$token" "$API/things"
