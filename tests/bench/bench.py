# SPDX-License-Identifier: Apache-2.0
"""The measurements; tests/bench/run builds first and then starts this."""
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import time

import setup
from setup import BUILD, Postgres, Server, Site, cpu_s, machine_busy_s, resident_kib

HERE = pathlib.Path(__file__).resolve().parent
RESULT = setup.ROOT / "build/bench/result.json"
TOOLS = BUILD / "tests/bench"
PARTS = ["throughput", "million", "tls", "rs256", "assertion", "latency", "overload", "writes", "memory"]

SMALL, USED, LARGE = 1000, 10_000, 1_000_000  # keys at first; then used ones, of so many

quick = "--quick" in sys.argv
asked = [arg for arg in sys.argv[1:] if not arg.startswith("--")]
runs, window_s = (1, 2) if quick else (3, 3)


def median(values):
    return statistics.median(values)


def say(text=""):
    print(text, flush=True)


# --- load -------------------------------------------------------------------------------------------


def signature_us(alg):
    return json.loads(subprocess.check_output([TOOLS / "sign"]))[alg]


def start_wrk(server, connections, seconds, close=False):
    return subprocess.Popen(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", HERE / "token.lua", server.url, "--",
         server.site.requests, *(["close"] if close else [])], stdout=subprocess.PIPE, text=True)


def openloop(server, rate, seconds, connections, requests=None):
    output = subprocess.check_output([TOOLS / "openloop", str(server.port), str(rate), str(seconds),
                                      str(connections), requests or server.site.requests])
    return json.loads(output)


def sample(server, load):
    postgres = server.site.postgres
    return {"at": time.monotonic(), "tokens": server.tokens(), "server": cpu_s(server.pid),
            "postgres": postgres.cpu_s(), "load": cpu_s(load.pid), "machine": machine_busy_s()}


def per_token(before, after):
    used = {name: after[name] - before[name] for name in before}
    tokens, seconds = max(used["tokens"], 1), used["at"]
    ours = used["server"] + used["postgres"] + used["load"]
    return {"rate": tokens / seconds, "server_us": used["server"] / tokens * 1e6,
            "postgres_us": used["postgres"] / tokens * 1e6,
            "others": max(0, used["machine"] - ours) / seconds}


def one_run(server, connections, close):
    load = start_wrk(server, connections, window_s + 2, close)
    time.sleep(1)
    before = sample(server, load)
    time.sleep(window_s)
    after = sample(server, load)
    report = json.loads(re.search(r"^JSON (.*)$", load.communicate()[0], re.M).group(1))
    result = per_token(before, after)
    result["failed"] = report["refused"] + report["errors"]
    return result


def throughput(site, name, workers, connections, tls=False, close=False):
    """Closed-loop load by wrk: CPU per token, beside the signature timed between the runs."""
    found, signatures = [], []
    site.settle()
    with Server(site, workers, tls) as server:
        for _ in range(runs):
            signatures.append(signature_us(site.alg))
            found.append(one_run(server, connections, close))
    result = {"name": name, "workers": workers, "connections": connections, "signature_us": median(signatures),
              **{key: median([run[key] for run in found]) for key in found[0]}}
    result["ratio"] = result["server_us"] / result["signature_us"]
    say(f"  {name:<34}{workers:>3}{connections:>6}{result['rate']:>9.0f}{result['server_us']:>10.1f}"
        f"{result['signature_us']:>8.1f}{result['ratio']:>7.2f}{result['postgres_us']:>9.1f}{result['others']:>8.2f}"
        + (f"  {result['failed']:.0f} failed" if result["failed"] else ""))
    return result


def heading():
    say(f"\n  {'':<34}{'wk':>3}{'conn':>6}{'token/s':>9}{'server µs':>10}{'sign':>8}{'ratio':>7}{'PG µs':>9}"
        f"{'others':>8}")


# --- the parts ----------------------------------------------------------------------------------------


class Bench:
    def __init__(self):
        self.postgres = Postgres()
        self.result = {"machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(),
                                   "postgresql": self.postgres.sql("SHOW server_version")}, "runs": runs,
                       "signature_us": json.loads(subprocess.check_output([TOOLS / "sign"])), "throughput": []}
        self.site = Site(self.postgres, "bench")
        self.site.add_keys(SMALL)
        self.peak = None

    def add(self, *args, **kwargs):
        self.result["throughput"].append(throughput(*args, **kwargs))
        return self.result["throughput"][-1]

    def throughput(self):
        heading()
        for workers, connections in [(1, 32), (2, 64)] if quick else [(1, 1), (1, 32), (1, 256), (2, 1), (2, 64), (2, 256)]:
            self.add(self.site, "ES256, 1,000 keys", workers, connections)

    def million(self):
        """The same 1,000 keys in use, and the table as many times larger; then ten times as many in use: the memory
        that is touched grows with those, whose keys they ever are."""
        few, total = self.site.dir / "few", LARGE // 10 if quick else LARGE
        shutil.copy(self.site.requests, few)
        self.site.add_keys(USED - SMALL)
        self.site.add_mass(total)
        heading()
        for used, requests in [(SMALL, few), (USED, self.site.requests)]:
            self.site.requests = requests
            for workers, connections in [(1, 32), (2, 64)]:
                self.add(self.site, f"ES256, {total:,} keys, {used:,} used", workers, connections)

    def tls(self):
        heading()
        self.add(self.site, "ES256, TLS, kept alive", 1, 32, tls=True)
        if not quick:
            self.add(self.site, "ES256, TLS, kept alive", 2, 64, tls=True)
        self.add(self.site, "ES256, a TLS handshake each", 1, 32, tls=True, close=True)

    def rs256(self):
        site = Site(self.postgres, "bench_rs256", "RS256")
        site.add_keys(SMALL)
        heading()
        for workers, connections in [(1, 32)] if quick else [(1, 32), (2, 64)]:
            self.add(site, "RS256, 1,000 keys", workers, connections)

    def assertion(self):
        """private_key_jwt beside a secret: one connection pool, each request once, since a jti is good once."""
        count = 2000 if quick else 6000
        files = {"a secret": self.site.requests, "private_key_jwt": make_assertions(self.site, count * runs)}
        lines = {name: path.read_text().splitlines() for name, path in files.items()}
        lines["a secret"] = (lines["a secret"] * (count * runs // len(lines["a secret"]) + 1))[:count * runs]
        found = {}
        for name in files:
            self.site.settle()
            # Each jti is on the disk before its token leaves, and a busy disk may take long.
            with Server(self.site, CARDEA_DATABASE_TIMEOUT="30s") as server:
                found[name] = [self.one_pass(server, lines[name][i * count:(i + 1) * count]) for i in range(runs)]
        heading()
        for name, results in found.items():
            row = {key: median([result[key] for result in results]) for key in results[0]}
            row.update(name=f"ES256, with {name}", workers=1, connections=32,
                       signature_us=self.result["signature_us"]["ES256"])
            row["ratio"] = row["server_us"] / row["signature_us"]
            self.result["throughput"].append(row)
            say(f"  {row['name']:<34}  1    32{row['rate']:>9.0f}{row['server_us']:>10.1f}{row['signature_us']:>8.1f}"
                f"{row['ratio']:>7.2f}{row['postgres_us']:>9.1f}{row['others']:>8.2f}")

    @staticmethod
    def one_pass(server, lines):
        path = server.site.dir / "pass"
        path.write_text("\n".join(lines) + "\n")
        before = sample_without_load(server)
        answer = openloop(server, 0, 60, 32, path)
        after = sample_without_load(server)
        if answer["ok"]["count"] != len(lines):
            raise RuntimeError(f"not all were answered: {answer}")
        result = per_token({**before, "load": 0}, {**after, "load": 0})
        return {**result, "rate": len(lines) / answer["seconds"], "failed": 0, "others": 0}

    def find_peak(self):
        """What one worker takes at most; the load itself must leave it a core."""
        if not self.peak:
            for known in self.result["throughput"]:
                if (known["name"], known["workers"], known["connections"]) == ("ES256, 1,000 keys", 1, 256 if not quick else 32):
                    self.peak = known["rate"]
        if not self.peak:
            heading()
            self.peak = throughput(self.site, "ES256: the peak", 1, 256)["rate"]
        return self.peak

    def latency(self):
        peak = self.find_peak()
        self.site.settle()
        with Server(self.site) as server:
            openloop(server, peak / 4, 1, 64)
            found = [openloop(server, peak / 2, window_s, 64)["ok"] for _ in range(runs)]
        row = {name: median([run[name] for run in found]) / 1000 for name in ("p50", "p99", "p999")}
        self.result["latency_at_half_of_peak_ms"] = row
        say(f"\n  latency at half of the peak ({peak / 2:.0f}/s, open loop, 64 connections): "
            + ", ".join(f"{name} {value:.2f} ms" for name, value in row.items()))

    def overload(self):
        peak = self.find_peak()
        for name, connections, settings in [("queue", 1024, {}), ("refuse", 512, {"CARDEA_MAX_PENDING": "64"})]:
            self.site.settle()
            with Server(self.site, **settings) as server:
                openloop(server, peak / 4, 1, 64)
                found = [openloop(server, 2 * peak, window_s, connections) for _ in range(runs)]
            row = {"goodput": median([run["ok"]["count"] / run["seconds"] for run in found]),
                   "offered": median([run["asked"] / run["seconds"] for run in found]),
                   "refused": median([run["refused"]["count"] / run["seconds"] for run in found]),
                   "refused_p99_ms": median([run["refused"]["p99"] for run in found]) / 1000,
                   "errors": max(run["errors"] for run in found)}
            row["goodput_of_peak"] = row["goodput"] / peak
            self.result["overload_" + name] = row
            say(f"  twice the peak, {name:<7} goodput {row['goodput']:.0f}/s = {row['goodput_of_peak']:.0%} of peak; "
                f"refused {row['refused']:.0f}/s, p99 {row['refused_p99_ms']:.1f} ms; errors {row['errors']}")

    def writes(self):
        """From a first use of each key on: at most one row a key and minute."""
        self.postgres.sql("UPDATE api_key SET last_used_at = NULL WHERE name = 'used'; CHECKPOINT", "bench")
        with Server(self.site) as server:
            tokens, before = server.tokens(), self.postgres.writes("bench")
            start_wrk(server, 32, 8).communicate()
            time.sleep(6)  # the flush of last-used times
            tokens, after = server.tokens() - tokens, self.postgres.writes("bench")
        row = {"tokens": tokens, "keys": self.site.n_requests, "rows": after[0] - before[0],
               "wal_bytes": after[1] - before[1]}
        self.result["writes"] = row
        say(f"\n  writes: {row['tokens']:,} tokens of {row['keys']:,} keys not used before: {row['rows']:,} rows, "
            f"{row['wal_bytes'] / 1024:.0f} KiB of WAL ({row['wal_bytes'] / row['tokens']:.1f} bytes a token)")

    def memory(self):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[1], 8192), limit[1]))
        row = {}
        for name, tls, count in [("plain", False, 2000), ("tls", True, 1000)]:
            with Server(self.site, 1, tls, CARDEA_IDLE_TIMEOUT="5m") as server:
                time.sleep(1)
                row.setdefault("idle_kib", resident_kib(server.pid))
                ask_once(server)  # what the first connection costs once
                before = resident_kib(server.pid)
                held = [ask_once(server) for _ in range(count)]
                time.sleep(1)
                row[f"connection_{name}_kib"] = (resident_kib(server.pid) - before) / count
                for connection in held:
                    connection.close()
        self.result["memory"] = row
        say(f"\n  resident: idle {row['idle_kib'] / 1024:.1f} MiB; a connection after a request, idle: "
            f"{row['connection_plain_kib']:.1f} KiB plain, {row['connection_tls_kib']:.1f} KiB TLS")

    def profile(self):
        row = instructions(self.site)
        self.result["instructions"] = row
        say(f"\n  instructions per token in user space (callgrind, one worker, 32 connections): {row['all']:,}, "
            f"of which EVP_PKEY_sign {row['signature']:,}; the rest {row['rest']:,}")


def sample_without_load(server):
    postgres = server.site.postgres
    return {"at": time.monotonic(), "tokens": server.tokens(), "server": cpu_s(server.pid),
            "postgres": postgres.cpu_s(), "machine": machine_busy_s()}


def ask_once(server):
    connection = socket.create_connection(("127.0.0.1", server.port))
    if server.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    connection.sendall(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    while b"\r\n\r\n" not in connection.recv(65536):
        pass
    return connection


def make_assertions(site, count):
    from jwcrypto import jwk, jwt
    key = jwk.JWK.generate(kty="EC", crv="P-256")
    client = site.create_keys(8, {"keys": [key.export_public(as_dict=True)]})
    path, now = site.dir / "assertions", int(time.time())
    with path.open("w") as file:
        for i in range(count):
            key_id = client[i % len(client)]["key_id"]
            token = jwt.JWT(header={"alg": "ES256"}, claims={"iss": key_id, "sub": key_id, "aud": "http://127.0.0.1",
                                                            "iat": now, "exp": now + 1800, "jti": f"{i}-{now}"})
            token.make_signed_token(key)
            file.write("\tgrant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A"
                       f"client-assertion-type%3Ajwt-bearer&client_assertion={token.serialize()}\n")
    return path


def instructions(site):
    """Callgrind counts what runs in user space; rounds of the same requests with and without."""
    count = 4000
    lines = site.requests.read_text().splitlines()
    many = site.dir / "many"
    many.write_text("\n".join((lines * (count // len(lines) + 1))[:count]) + "\n")
    out = setup.ROOT / "build/bench/callgrind.out"
    site.settle()
    with Server(site, 1, under=["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"],
                CARDEA_DATABASE_TIMEOUT="1m") as server:
        openloop(server, 0, 60, 32, many)
        for state in ("on", "off"):
            if state == "off":
                openloop(server, 0, 60, 32, many)
            subprocess.run(["callgrind_control", "-i", state, str(server.pid)], check=True, capture_output=True)
    text = subprocess.check_output(["callgrind_annotate", "--inclusive=yes", "--threshold=100", out], text=True)

    def find(pattern):
        return int(re.search(rf"^ *([\d,]+) .*{pattern}", text, re.M).group(1).replace(",", "")) // count

    everything, signature = find("PROGRAM TOTALS"), find(r":EVP_PKEY_sign\b")
    return {"all": everything, "signature": signature, "rest": everything - signature}


def cpu_model():
    found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.machine()


# --- against DESIGN §9 --------------------------------------------------------------------------------


def find_row(result, name, workers, connections):
    for row in result["throughput"]:
        if row["name"] == name and row["workers"] == workers and row["connections"] == connections:
            return row
    return None


def targets(result):
    """What, figure, limit, whether it may not be exceeded (or not be fallen short of)."""
    for workers, connections, ratio, postgres in [(1, 32, 1.6, 10), (2, 64, 2.0, 12)]:
        where = f"{workers} worker{'s' * (workers > 1)}, {connections} connections"
        row = find_row(result, "ES256, 1,000 keys", workers, connections)
        if not row:
            continue
        yield f"server CPU per token / bare ES256 signature, {where}", row["ratio"], ratio, "×"
        yield f"PostgreSQL CPU per token, {where}", row["postgres_us"], postgres, "µs"
        large = find_row(result, f"ES256, {LARGE:,} keys, {SMALL:,} used", workers, connections)
        if large:
            both = [each["server_us"] + each["postgres_us"] for each in (large, row)]
            yield f"CPU per token at 1,000,000 keys / at 1,000, {where}", both[0] / both[1], 1.1, "×"
    if "writes" in result:
        yield "rows written per used key within the minute", result["writes"]["rows"] / result["writes"]["keys"], 1.05, ""
    if "latency_at_half_of_peak_ms" in result:
        yield "p99 at half of the peak", result["latency_at_half_of_peak_ms"]["p99"], 3, "ms"
    if "overload_queue" in result:
        yield "goodput at twice the peak, queue", -result["overload_queue"]["goodput_of_peak"] * 100, -80, "%"
        yield "goodput at twice the peak, refusing", -result["overload_refuse"]["goodput_of_peak"] * 100, -60, "%"
        yield "p99 of refusals", result["overload_refuse"]["refused_p99_ms"], 50, "ms"
    if "memory" in result:
        yield "resident, idle", result["memory"]["idle_kib"] / 1024, 12, "MiB"
        yield "resident, an idle connection", result["memory"]["connection_plain_kib"], 4, "KiB"
        yield "resident, an idle TLS connection", result["memory"]["connection_tls_kib"], 40, "KiB"


def judge(result):
    result["targets"] = []
    say("\n  against DESIGN §9")
    for what, figure, limit, unit in targets(result):
        met = figure <= limit
        result["targets"].append({"what": what, "figure": abs(figure), "limit": abs(limit), "unit": unit, "met": met})
        say(f"  {what:<72}{abs(figure):>8.2f} {'≥' if limit < 0 else '≤'} {abs(limit):g} {unit:<4}"
            f"{'' if met else '  MISSED'}")


def main():
    parts = asked or ([part for part in PARTS if part not in ("million", "rs256")] if quick else PARTS)
    unknown = [part for part in parts if part not in [*PARTS, "profile"]]
    if unknown:
        sys.exit(f"tests/bench/run: there is no part \"{unknown[0]}\"; see tests/bench/run --help")
    bench = Bench()
    try:
        machine = bench.result["machine"]
        say(f"{machine['cpu']}, {machine['cores']} cores, PostgreSQL {machine['postgresql']}; a bare signature: "
            + ", ".join(f"{alg} {us:.1f} µs" for alg, us in bench.result["signature_us"].items()))
        order = [part for part in PARTS if part in parts and part != "million"] + [
            part for part in ("profile", "million") if part in parts]
        for part in order:
            getattr(bench, part)()
        judge(bench.result)
    finally:
        bench.postgres.stop()
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(bench.result, indent=1) + "\n")
    say(f"\n  {RESULT.relative_to(setup.ROOT)}")


main()
