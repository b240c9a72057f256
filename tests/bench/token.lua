-- SPDX-License-Identifier: Apache-2.0
-- wrk asks for tokens: wrk … -s token.lua URL -- FILE [close]
-- FILE has a request a line: value of Authorization, tab, body. Each request is one of them by chance.
local requests = {}

function init(args)
    math.randomseed(os.time())
    for line in io.lines(args[1]) do
        local authorization, body = line:match("^(.-)\t(.*)$")
        local headers = { ["Content-Type"] = "application/x-www-form-urlencoded", ["Host"] = wrk.headers["Host"] }
        if authorization ~= "" then headers["Authorization"] = authorization end
        if args[2] == "close" then headers["Connection"] = "close" end
        requests[#requests + 1] = wrk.format("POST", "/oauth2/token", headers, body)
    end
end

function request()
    return requests[math.random(#requests)]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'JSON {"requests": %d, "refused": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n', summary.requests,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50),
        latency:percentile(99)))
end
