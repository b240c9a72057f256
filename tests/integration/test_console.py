# SPDX-License-Identifier: Apache-2.0
"""The console in a real browser, against the real server and database."""
import datetime
import itertools
import json
import re
import time

import pytest
from browser import Browser
from conftest import new_site, wait_until
from jwcrypto import jwk
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

SCOPES = [("data:read", "Read data", "Reads orders and stock."), ("data:write", "Write data", "Changes orders."),
          ("reports:read", "Read reports", "")]
MARKUP = "<b>bold</b><img src=x onerror=alert(1)>'\"&amp;"


@pytest.fixture(scope="module")
def site(server):
    with new_site(server, DRAIN_TIMEOUT="5s") as fresh:
        for name, title, description in SCOPES:
            fresh.cli("scope", "create", name, "--title", title, *(["--description", description] if description else []))
        fresh.start()
        yield fresh


@pytest.fixture(scope="module")
def chromium():
    browser = Browser()
    yield browser
    browser.close()


class Console(Browser):
    """One tenant's console in the shared browser, and its administrator."""

    numbers = itertools.count(1)

    def __init__(self, chromium, site, instance=None):
        self.driver = chromium.driver
        self.site, self.instance = site, instance or site.instances[0]
        self.tenant = f"t{next(self.numbers)}"
        site.tenant(self.tenant)
        self.admin = self.management("cardea.admin")
        self.expected = set()  # statuses of refused requests that the test brought about
        self.log()             # what an earlier test left

    def management(self, scope, name="Maria"):
        return self.site.key(self.tenant, [scope], name)

    def key(self, name, **options):
        return self.site.key(self.tenant, name=name, **options)

    def api(self, method, path, body=None, **headers):
        token = self.instance.access_token(self.admin)
        return self.instance.api(token, method, f"/v1/tenants/{self.tenant}/{path}", body, **headers)

    def start(self):
        self.open(self.instance.url + "/console/")

    def sign_in(self, key=None):
        key = key or self.admin
        self.start()
        self.type("Key ID", key["key_id"])
        self.field("password", "Secret").send_keys(key["secret"])
        self.click("button", "Sign in")
        self.get("heading", "API Access Keys")

    def fill_new_key(self, name, scopes=("Read data",), days=90):
        self.click("button", "New API key")
        self.type("Name", name)
        for scope in scopes:
            self.click("checkbox", scope)
        if days:
            self.click("button", f"Expires in {days} days")

    def make_key(self, name, **options):
        """Through the form; returns what the card shows."""
        self.fill_new_key(name, **options)
        self.click("button", "Create API key")
        return self.read_card()

    def read_card(self):
        wait_until(lambda: self.find("button", "Done"), "the card")
        values = [e.text for e in self.driver.find_elements("css selector", ".secret-card .value")]
        return dict(zip(("key_id", "secret"), values))

    def leave_card(self):
        self.click("button", "Done")
        self.gone("button", "Done")

    def toggle(self, name):
        self.click("switch", f"{name} enabled")

    def is_on(self, name):
        return self.get("switch", f"{name} enabled").get_attribute("aria-checked") == "true"

    def check_log(self):
        for source, message in self.log():
            status = re.search(r"the server responded with a status of (\d+)", message)
            assert source == "network" and status and int(status[1]) in self.expected, (source, message)

    def posts(self):
        return self.site.sql("SELECT count(*) FROM audit WHERE tenant_id = %s AND action = 'key.create'", self.tenant)[0][0]


@pytest.fixture
def console(chromium, site):
    fresh = Console(chromium, site)
    yield fresh
    fresh.check_log()
    # Whatever the test left on screen, nothing of it asks to stay.
    chromium.driver.execute_script("location.hash = ''")
    chromium.open("about:blank")


# --- how it is served ---------------------------------------------------------------------------


def test_served(site):
    instance = site.instances[0]
    redirect = instance.get("/console")
    assert (redirect.status, redirect.header("Location")) == (308, "/console/")
    page = instance.get("/console/")
    assert page.status == 200 and page.header("Content-Type") == "text/html; charset=utf-8"
    assert page.header("Cache-Control") == "no-cache"
    assert instance.get("/console/", If_None_Match=page.header("ETag")).status == 304
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert len(assets) > 20 and len(set(assets)) == len(assets)
    for name in assets:
        assert re.fullmatch(r"[0-9a-f]{16}/[a-z_]+\.(js|css|svg)", name)
        answer = instance.get("/console/" + name)
        assert answer.status == 200 and "immutable" in answer.header("Cache-Control")
        again = instance.get("/console/" + name, If_None_Match=answer.header("ETag"))
        assert (again.status, again.body) == (304, b"")
    for answer in (page, answer, again):
        csp = answer.header("Content-Security-Policy")
        assert "default-src 'none'" in csp and "frame-ancestors 'none'" in csp and "unsafe" not in csp
        assert answer.header("Referrer-Policy") == "no-referrer"
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert answer.header("Strict-Transport-Security") is None  # plain HTTP
    assert instance.get("/console/0123456789abcdef/app.js").status == 404
    assert instance.request("HEAD", "/console/").header("Content-Length") == str(len(page.body))
    assert instance.request("POST", "/console/").status == 405


# --- signing in ---------------------------------------------------------------------------------


def test_sign_in_and_out(console):
    console.start()
    name, secret = console.get("textbox", "Key ID"), console.field("password", "Secret")
    assert (name.get_attribute("autocomplete"), name.get_attribute("name")) == ("username", "username")
    assert secret.get_attribute("autocomplete") == "current-password"
    # Pasted from a mail, with what comes along.
    name.send_keys(f"  {console.admin['key_id']}\u200b ")
    secret.send_keys(f" {console.admin['secret']}  ")
    secret.send_keys(Keys.ENTER)
    console.get("heading", "API Access Keys")
    assert console.active().text == "API Access Keys"
    assert console.driver.title.startswith("API Access Keys")
    console.see("Maria")
    assert console.admin["secret"] not in console.traces()
    assert "eyJ" not in console.traces()  # how a token begins
    console.click("link", "Audit log")
    console.get("heading", "Audit log")
    console.click("button", "Sign out")
    console.said("You have signed out.")
    traces = console.traces()
    assert console.admin["secret"] not in traces and console.admin["key_id"] not in traces
    console.driver.back()
    console.get("heading", "Sign in")


def test_reload_signs_out(console):
    console.sign_in()
    console.driver.refresh()
    console.get("heading", "Sign in")
    assert console.field("password", "Secret").get_attribute("value") == ""


def test_sign_in_refused(console):
    console.expected = {401}
    console.start()
    console.click("button", "Sign in")
    console.see("Enter the key ID.")
    console.see("Enter the secret.")
    assert console.active().accessible_name == "Key ID"
    console.type("Key ID", console.admin["key_id"])
    secret = console.field("password", "Secret")
    secret.send_keys("cardea_wrong")
    console.click("button", "Sign in")
    console.get("alert")
    console.said("were not accepted")  # and no login prompt of the browser's is in the way
    console.said("rotated")
    assert secret.get_attribute("value") == "cardea_wrong"
    assert console.get("textbox", "Key ID").get_attribute("value") == console.admin["key_id"]
    secret.clear()
    secret.send_keys(console.admin["secret"])
    console.click("button", "Sign in")
    console.get("heading", "API Access Keys")


def test_api_key_is_not_for_signing_in(console):
    key = console.key("a machine")
    console.start()
    console.type("Key ID", key["key_id"])
    console.field("password", "Secret").send_keys(key["secret"] + Keys.ENTER)
    console.said("This key is for calling APIs.")
    assert key["secret"] not in console.driver.execute_script("return document.documentElement.outerHTML")


def test_database_away_blames_no_secret(chromium, postgres):
    with new_site(postgres.url(), DATABASE_TIMEOUT="500ms") as site:
        site.start()
        console = Console(chromium, site)
        console.expected = {503}
        console.start()
        postgres.stop()
        console.type("Key ID", console.admin["key_id"])
        console.field("password", "Secret").send_keys(console.admin["secret"] + Keys.ENTER)
        console.said("The server cannot check keys right now.")
        console.said("This says nothing about your key.")
        assert "not accepted" not in console.text()
        postgres.start()
        site.instances[0].wait_ready()
        console.click("button", "Sign in")
        console.get("heading", "API Access Keys")
        postgres.stop()
        console.click("link", "Audit log")
        console.said("Nothing is wrong with your key")
        postgres.start()
        site.instances[0].wait_ready()
        console.click("button", "Try again")
        console.see("Created key")
        console.check_log()
        chromium.open("about:blank")


def test_token_renews_itself(console):
    """A token of ten seconds, used for longer."""
    assert console.api("PATCH", f"keys/{console.admin['key_id']}", {"token_ttl": 10}).status == 200
    console.sign_in()
    count = len(console.instance.log_lines(path="/oauth2/token", status=200))
    end = time.monotonic() + 11
    while time.monotonic() < end:
        console.click("link", "Audit log")
        console.get("heading", "Audit log")
        console.see("Changed key")
        console.click("link", "API Access Keys")
        console.get("heading", "API Access Keys")
        console.see("Maria")
        time.sleep(0.5)
    assert len(console.instance.log_lines(path="/oauth2/token", status=200)) > count


def test_key_disabled_elsewhere(console):
    console.expected = {401}
    console.sign_in()
    console.see("Maria")
    console.site.cli("key", "disable", console.admin["key_id"])
    console.click("link", "Audit log")
    console.get("heading", "Sign in")
    console.see("no longer works")
    assert console.admin["secret"] not in console.traces()


# --- a key's life -------------------------------------------------------------------------------


def test_create_use_switch_delete(console):
    console.sign_in()
    console.see("No keys for your APIs yet")
    console.see("lets an external system")
    key = console.make_key("Nightly export", scopes=("Read data", "Write data"))
    assert re.fullmatch(r"key_[a-z2-7]{24}", key["key_id"])
    assert re.fullmatch(r"cardea_[0-9A-Za-z]{49}", key["secret"])
    assert console.active().text == "API access key created"
    console.see("shown only this once and cannot be retrieved")

    # What the card offers to copy is what works.
    for what in ("key ID", "secret"):
        console.click("button", f"Copy {what}")
        console.said(f"Copied the {what}.")
        wait_until(lambda: console.clipboard() == key[what.replace(" ", "_").lower()], "the clipboard")
    console.click("button", "Copy command")
    console.said("Copied the command.")
    line = console.clipboard()
    assert f"'{key['key_id']}:{key['secret']}'" in line and f"'{console.site.issuer}/oauth2/token'" in line
    answer = console.instance.token(key)
    assert answer.status == 200 and answer.json()["scope"] == "data:read data:write"

    # After Done the secret is nowhere.
    console.leave_card()
    console.get("heading", "API Access Keys")
    assert key["secret"] not in console.traces()
    console.driver.back()
    console.get("heading", "API Access Keys")
    assert key["secret"] not in console.traces()
    row = console.row("Nightly export")
    for text in (key["key_id"], "Read data", "Write data", "in 90 days", "23:59"):
        assert text in row.text
    console.click("button", f"Copy key ID {key['key_id']}")
    wait_until(lambda: console.clipboard() == key["key_id"], "the clipboard")

    # The switch acts at once.
    console.toggle("Nightly export")
    console.said("“Nightly export” is disabled.")
    assert not console.is_on("Nightly export")
    assert console.instance.token(key).status == 401
    console.toggle("Nightly export")
    console.said("“Nightly export” is enabled.")
    assert console.is_on("Nightly export")
    assert console.instance.token(key).status == 200

    # Deleting asks first, by name.
    console.click("button", "Delete Nightly export")
    dialog = console.get("dialog", "Delete this API access key?")
    assert "Nightly export" in dialog.text and key["key_id"] in dialog.text and "permanent" in dialog.text
    assert console.active().accessible_name == "Cancel"
    console.press(Keys.ESCAPE)
    console.gone("dialog")
    assert console.active().accessible_name == "Delete Nightly export"
    assert console.instance.token(key).status == 200
    console.click("button", "Delete Nightly export")
    console.click("button", "Delete permanently")
    console.said("“Nightly export” was deleted.")
    wait_until(lambda: not any("Nightly export" in row for row in console.rows()), "the row disappears")
    assert console.instance.token(key).status == 401


def test_switch_falls_back(console):
    key = console.key("Scanner")
    console.sign_in()
    console.row("Scanner")
    assert console.api("DELETE", f"keys/{key['key_id']}").status == 204
    console.expected = {404}
    console.toggle("Scanner")
    console.said("It is not there any more.")
    wait_until(lambda: not any("Scanner" in row for row in console.rows()), "the list is read again")


def test_markup_stays_text(console):
    console.sign_in()
    key = console.make_key(MARKUP)
    assert MARKUP in console.text()
    console.leave_card()
    row = console.row(MARKUP)
    assert MARKUP in row.text
    console.click("button", f"Delete {MARKUP}")
    assert MARKUP in console.get("dialog").text
    console.click("button", "Cancel")
    console.toggle(MARKUP)
    console.said(f"“{MARKUP}” is disabled.")
    console.click("link", "Audit log")
    console.see(key["key_id"])
    assert any(MARKUP in row for row in console.rows())
    assert console.driver.execute_script("return document.querySelectorAll('b, img').length") == 0


def test_errors_at_their_fields_all_at_once(console):
    console.expected = {422}
    console.sign_in()
    console.click("button", "New API key")
    console.get("textbox", "Name")
    console.driver.find_element("css selector", "summary").click()
    console.type("Allowed addresses", "10.0.0.0/8\n300.1.2.3/8")
    console.type("Token lifetime", "soon")
    console.type("Audience", console.site.issuer)
    console.click("button", "Create API key")
    console.see("Enter a name.")
    for text in ("Choose at least one scope.", "Choose an expiration date.", "“300.1.2.3/8” must be a network"):
        assert text in console.text()
    console.said("need another look")
    name = console.get("textbox", "Name")
    assert name == console.active() and name.get_attribute("aria-invalid") == "true"
    assert "Enter a name." in console.described(name)
    for field in ("Allowed addresses", "Token lifetime", "Audience"):
        assert console.get("textbox", field).get_attribute("aria-invalid") == "true"
    # Nothing typed is lost, and what was wrong can be put right.
    assert console.get("textbox", "Token lifetime").get_attribute("value") == "soon"
    console.type("Name", "Put right")
    console.click("checkbox", "Read reports")
    console.click("button", "Expires in 30 days")
    assert console.get("textbox", "Allowed addresses").get_attribute("value") == "10.0.0.0/8\n300.1.2.3/8"
    console.type("Allowed addresses", "127.0.0.0/8\n::1/128")
    console.type("Token lifetime", "2")
    console.type("Audience", "https://api.example.com")
    console.click("button", "Create API key")
    key = console.read_card()
    made = console.api("GET", f"keys/{key['key_id']}").json()
    assert made["allowed_cidrs"] == ["127.0.0.0/8", "::1/128"]
    assert (made["token_ttl"], made["audience"], made["scopes"]) == (120, ["https://api.example.com"], ["reports:read"])
    console.leave_card()


def test_expiration_is_what_was_chosen(console):
    console.sign_in()
    console.fill_new_key("Dated", days=None)
    date = datetime.date.today() + datetime.timedelta(days=200)
    console.field("date", "Expiration date").send_keys(date.strftime("%m%d%Y"))
    zone = console.driver.execute_script("return new Date().getTimezoneOffset()")
    label = "Time (UTC)" if zone == 0 else console.driver.execute_script(
        "return document.querySelector('input[type=time]').labels[0].innerText")
    console.field("time", label).send_keys("0130PM")
    console.said("Stops working on")
    console.click("button", "Create API key")
    key = console.read_card()
    expected = console.driver.execute_script(
        f"return new Date('{date}T13:30').toISOString().slice(0, 19) + 'Z'")
    assert console.api("GET", f"keys/{key['key_id']}").json()["expires_at"] == expected
    console.leave_card()
    cell = console.row("Dated").text
    assert "13:30" in cell and str(date.year) in cell and re.search(r"in (6 months|200 days|199 days)", cell)


def test_two_clicks_make_one_key(console):
    console.sign_in()
    before = console.posts()
    console.fill_new_key("Once")
    ActionChains(console.driver).double_click(console.get("button", "Create API key")).perform()
    key = console.read_card()
    assert console.posts() == before + 1
    assert console.instance.token(key).status == 200
    console.leave_card()


def test_leaving_the_card_asks(console):
    console.sign_in()
    key = console.make_key("Precious")
    ways = [lambda: console.click("link", "Audit log"), lambda: console.click("button", "Sign out"),
            console.driver.back]
    for leave in ways:
        leave()
        dialog = console.get("dialog", "Leave without the secret?")
        assert "cannot be shown again" in dialog.text
        console.click("button", "Stay here")
        console.gone("dialog")
        assert key["secret"] in console.text()
    # So does the browser when the tab is closed or reloaded; WebDriver would say yes to that before we see it.
    asks = "const e = new Event('beforeunload', {cancelable: true}); dispatchEvent(e); return e.defaultPrevented"
    assert console.driver.execute_script(asks)
    console.click("link", "Audit log")
    console.click("button", "Leave")
    console.get("heading", "Audit log")
    assert key["secret"] not in console.traces()
    assert not console.driver.execute_script(asks)
    console.driver.back()
    console.get("heading", "API Access Keys")
    assert key["secret"] not in console.traces()


def test_leaving_a_form_asks(console):
    console.sign_in()
    console.click("button", "New API key")
    console.get("textbox", "Name")
    console.click("link", "Audit log")  # nothing typed, nothing asked
    console.get("heading", "Audit log")
    console.click("link", "API Access Keys")
    console.fill_new_key("Half done", days=None)
    console.click("link", "Cancel")
    console.get("dialog", "Leave without saving?")
    console.click("button", "Stay here")
    assert console.get("textbox", "Name").get_attribute("value") == "Half done"
    console.click("link", "Cancel")
    console.click("button", "Leave")
    console.get("heading", "API Access Keys")


def test_rotate(console):
    old = console.key("Rotated")
    console.sign_in()
    console.click("button", "Rotate secret of Rotated")
    console.get("dialog", "Rotate secret")
    assert "Rotated" in console.get("dialog").text
    assert console.get("radio", "Keep it 24 hours").is_selected()
    console.click("button", "Rotate secret")
    new = console.read_card()
    assert new["key_id"] == old["key_id"] and new["secret"] != old["secret"]
    console.see("The previous secret works until")
    assert console.instance.token(new).status == 200 and console.instance.token(old).status == 200
    console.leave_card()
    assert new["secret"] not in console.traces()
    assert "Previous secret works until" in console.row("Rotated").text
    console.click("button", "Rotate secret of Rotated")
    console.click("radio", "Stop it at once")
    console.click("button", "Rotate secret", console.get("dialog"))
    newest = console.read_card()
    console.see("The previous secret has stopped working.")
    assert console.instance.token(newest).status == 200
    assert console.instance.token(new).status == 401 and console.instance.token(old).status == 401
    console.leave_card()


def test_own_key(console):
    """The key that is signed in: rotating it keeps the session, disabling it is asked about and ends it."""
    assert console.api("PATCH", f"keys/{console.admin['key_id']}", {"token_ttl": 10}).status == 200
    console.sign_in()
    assert "You" in console.row("Maria").text
    console.click("button", "Rotate secret of Maria")
    console.click("radio", "Stop it at once")
    console.click("button", "Rotate secret", console.get("dialog"))
    fresh = console.read_card()
    console.leave_card()
    time.sleep(8)  # until the token has to be renewed, with the new secret
    console.click("link", "Audit log")
    console.see("Rotated secret")
    console.click("link", "API Access Keys")
    console.toggle("Maria")
    console.get("dialog", "Disable the key you are signed in with?")
    console.click("button", "Cancel")
    console.gone("dialog")
    assert console.is_on("Maria") and console.instance.token(fresh).status == 200
    console.toggle("Maria")
    console.click("button", "Disable and sign out")
    console.get("heading", "Sign in")
    assert console.instance.token(fresh).status == 401


def test_edit(console):
    key = console.key("Before", scopes=("data:read",))
    console.sign_in()
    console.click("button", "Edit Before")
    console.get("heading", "Edit API key")
    assert console.get("checkbox", "Read data").is_selected()
    console.type("Name", "After")
    console.click("checkbox", "Read reports")
    console.click("button", "Expires in 365 days")
    console.click("button", "Save changes")
    console.said("“After” is saved.")
    row = console.row("After")
    assert "Read reports" in row.text and ("12 months" in row.text or "365 days" in row.text or "1 year" in row.text)
    made = console.api("GET", f"keys/{key['key_id']}").json()
    assert (made["name"], made["scopes"]) == ("After", ["data:read", "reports:read"])
    # What was not touched was not written: the key expires to the second when it did before.
    console.click("button", "Edit After")
    console.type("Name", "Later")
    console.click("button", "Save changes")
    console.row("Later")
    assert console.api("GET", f"keys/{key['key_id']}").json()["expires_at"] == made["expires_at"]


def test_edit_conflict(console):
    key = console.key("Shared", scopes=("data:read",))
    console.expected = {412}
    console.sign_in()
    console.click("button", "Edit Shared")
    console.type("Name", "Mine")
    assert console.api("PATCH", f"keys/{key['key_id']}", {"scopes": ["data:write"]}).status == 200
    console.click("button", "Save changes")
    console.see("Somebody else changed this key while you were editing it.")
    console.said("Not saved")
    console.see("scopes: data:write")
    assert console.get("textbox", "Name").get_attribute("value") == "Mine"
    console.click("button", "Load the current version")
    wait_until(lambda: console.get("textbox", "Name").get_attribute("value") == "Shared", "their version")
    assert console.get("checkbox", "Write data").is_selected()
    console.type("Name", "Mine after all")
    console.click("button", "Save changes")
    console.row("Mine after all")


def test_lost_answer_makes_one_key(console):
    """The server acts, the answer never arrives: the second attempt gets the same key."""
    console.expected = set()
    console.sign_in()
    before = console.posts()
    console.fill_new_key("Unlucky")
    console.driver.execute_script("""
        const real = window.fetch;
        window.fetch = async (url, options) => {
            const answer = await real(url, options);
            if (options.method === 'POST' && String(url).endsWith('/keys')) {
                window.fetch = real;
                throw new TypeError('network');
            }
            return answer;
        };""")
    console.click("button", "Create API key")
    console.said("The server cannot be reached.")
    assert console.get("textbox", "Name").get_attribute("value") == "Unlucky"
    console.click("button", "Create API key")
    key = console.read_card()
    assert console.posts() == before + 1
    assert console.instance.token(key).status == 200
    console.leave_card()


# --- private_key_jwt ----------------------------------------------------------------------------


def test_public_keys(console):
    pair = jwk.JWK.generate(kty="EC", crv="P-256")
    console.expected = {422}
    console.sign_in()
    console.fill_new_key("Signer")
    console.driver.find_element("css selector", "summary").click()
    before = console.posts()
    # A private key is burnt, and not sent even to be refused.
    lines = len(console.instance.log_lines(event="request"))
    console.type("Client’s public keys (JWK Set)", pair.export_private())
    console.click("button", "Create API key")
    console.see("treat it as burnt")
    assert len(console.instance.log_lines(event="request")) == lines
    console.type("Client’s public keys (JWK Set)", "{not json")
    console.click("button", "Create API key")
    console.see("This is not JSON.")
    assert console.posts() == before
    console.type("Client’s public keys (JWK Set)", json.dumps({"keys": [json.loads(pair.export_public())]}))
    console.click("button", "Create API key")
    console.see("This key has no secret")
    assert list(console.read_card()) == ["key_id"]
    console.leave_card()
    assert "Public key" in console.row("Signer").text
    assert not console.find("button", "Rotate secret of Signer")
    console.click("button", "Edit Signer")
    assert '"kty"' in console.get("textbox", "Client’s public keys (JWK Set)").get_attribute("value")


# --- the list -----------------------------------------------------------------------------------


def test_ten_thousand_keys(console):
    template = console.key("Device")
    console.site.sql("""
        INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, secret_mac, secret_seal, created_by, enabled)
        SELECT 'key_' || translate(substr(md5(n::text), 1, 24), '0189', 'wxyz'), tenant_id, 'Device ' || to_char(n, 'FM00000'),
               scopes, expires_at, secret_mac, secret_seal, created_by, n %% 1000 <> 0
        FROM api_key, generate_series(1, 10000) n WHERE key_id = %s""", template["key_id"])
    console.sign_in()
    console.see("50 keys on page 1")
    assert "Device 10000" in console.rows()[0]
    for page, first in ((2, "Device 09950"), (3, "Device 09900")):
        console.click("button", "Next")
        console.see(f"50 keys on page {page}")
        console.said(f"50 keys on page {page}")
        assert first in console.rows()[0]
    # A visit to a key comes back to this page.
    console.click("button", "Edit Device 09900")
    console.get("heading", "Edit API key")
    console.click("link", "Cancel")
    console.see("50 keys on page 3")
    console.click("button", "Previous")
    console.see("50 keys on page 2")
    console.get("searchbox", "Search by name or key ID").send_keys("device 0500")
    console.see("10 keys")
    assert len(console.rows()) == 10 and "Device 05009" in console.rows()[0]
    console.get("searchbox", "Search by name or key ID").send_keys("nonsense")
    console.see("No key matches")
    console.click("button", "Show all keys")
    console.see("50 keys on page 1")
    console.click("radio", "Disabled")
    console.see("10 keys")
    assert all("Disabled" in row for row in console.rows())
    console.get("searchbox", "Search by name or key ID").send_keys(template["key_id"])
    console.see("No key matches")
    console.click("radio", "All")
    console.see("1 key")
    console.row("Device")


def test_expired_and_soon(console):
    console.key("Fine", expires="90d")
    console.key("Soon", expires="12d")
    expired = console.key("Over", expires="1d")
    assert console.api("PATCH", f"keys/{expired['key_id']}", {"expires_at": "2020-01-01T00:00:00Z"}).status == 200
    console.sign_in()
    assert "Expired" in console.row("Over").text and "ago" in console.row("Over").text
    assert "Expires in 1" in console.row("Soon").text
    assert "Expire" not in console.row("Fine").text
    exact = console.row("Soon").find_element("css selector", "time")
    assert re.search(r"\d{1,2} \w{3} \d{4}, \d\d:\d\d (UTC|GMT|[A-Z]+)", exact.text)
    assert exact.get_attribute("title").endswith("UTC")
    console.click("radio", "Expired")
    wait_until(lambda: len(console.rows()) == 1, "the filter")
    assert "Over" in console.rows()[0]


def test_last_used(console):
    key = console.key("Busy")
    console.key("Idle")
    console.instance.access_token(key)
    wait_until(lambda: console.api("GET", f"keys/{key['key_id']}").json()["last_used_at"], "the time is written")
    console.sign_in()
    assert re.search(r"just now|second|minute", console.row("Busy").text)
    assert "Never" in console.row("Idle").text


def test_many_scopes_fold(console):
    console.key("Wide", scopes=[name for name, _, _ in SCOPES])
    console.sign_in()
    assert all(title in console.row("Wide").text for _, title, _ in SCOPES)


# --- who may what -------------------------------------------------------------------------------


def test_read_only(console):
    reader = console.management("cardea.read", "Auditor")
    console.key("Visible")
    console.sign_in(reader)
    row = console.row("Visible")
    assert "Read data" in row.text
    assert not console.find("switch") and not console.find("button", "New API key")
    for name in ("Edit Visible", "Rotate secret of Visible", "Delete Visible"):
        assert not console.find("button", name)
    assert not console.find("link", "Tenants")
    console.click("link", "Audit log")
    console.see("Created key")
    console.driver.execute_script("location.hash = arguments[0]", f"#/tenants/{console.tenant}/keys/new")
    console.get("heading", "API Access Keys")


def test_tenant_admin_and_a_platform_key(console):
    console.management("cardea.platform", "Operator")
    console.sign_in()
    console.row("Operator")
    assert not console.find("switch", "Operator enabled") and not console.find("button", "Delete Operator")
    console.click("button", "New API key")
    console.click("radio", "Management access")
    console.get("checkbox", "Administer")
    assert not console.find("checkbox", "Administer the platform")
    assert not console.find("checkbox", "Read data")  # the two kinds never mix
    console.type("Name", "Deputy")
    console.click("checkbox", "View")
    console.click("button", "Expires in 30 days")
    console.click("button", "Create API key")
    key = console.read_card()
    assert console.instance.token(key).json()["scope"] == "cardea.read"
    console.leave_card()


def test_platform(console):
    operator = console.management("cardea.platform", "Operator")
    other = "other-" + console.tenant
    console.sign_in(operator)

    console.click("link", "Tenants")
    console.get("heading", "Tenants")
    console.click("button", "New tenant")
    dialog = console.get("dialog", "New tenant")
    console.type("ID", "Not An Id")
    console.expected = {409, 422}
    console.click("button", "Create tenant")
    wait_until(lambda: console.get("textbox", "ID").get_attribute("aria-invalid") == "true", "an error")
    console.type("ID", other)
    console.type("Name", "Other & Sons")
    console.click("button", "Create tenant")
    console.said("“Other & Sons” is created.")
    console.gone("dialog")
    console.row("Other & Sons")

    # The chooser leads to that tenant's keys.
    console.click("button", f"Tenant {console.tenant}, choose another")
    dialog = console.get("dialog", "Choose a tenant")
    console.get("searchbox", "Find by name or ID", dialog).send_keys("other & s")
    wait_until(lambda: len(dialog.find_elements("css selector", "li")) == 1, "the search")
    dialog.find_element("css selector", "li button").click()
    console.see("No API access keys yet")
    key = console.make_key("Over there")
    assert console.instance.token(key).status == 200
    console.leave_card()
    console.row("Over there")
    console.click("link", "Audit log")
    console.see("Created key")

    # Disabling a tenant stops its keys; one with keys cannot be deleted.
    console.click("link", "Tenants")
    console.row("Other & Sons")
    console.toggle("Other & Sons")
    console.click("button", "Disable tenant")
    console.said("“Other & Sons” is disabled.")
    assert console.instance.token(key).status == 401
    console.toggle("Other & Sons")
    console.said("“Other & Sons” is enabled.")
    console.click("button", "Delete Other & Sons")
    console.click("button", "Delete permanently")
    console.said("still has keys")
    console.click("button", "Cancel")
    console.click("button", "Rename Other & Sons")
    console.type("Name", "Others")
    console.click("button", "Save")
    console.row("Others")


def test_scopes_page(console):
    name = "extra:" + console.tenant
    console.sign_in(console.management("cardea.platform", "Operator"))
    console.click("link", "Scopes")
    console.row("data:read")
    console.click("button", "New scope")
    console.click("button", "Create scope")
    console.see("Enter a name.")
    console.type("Name", "data:read")
    console.type("Title", "Again")
    console.click("button", "Create scope")
    console.see("There is a scope of this name already.")
    console.type("Name", name)
    console.type("Title", "Extra " + console.tenant)
    console.type("Description", "More of it.")
    console.click("button", "Create scope")
    console.said("is saved.")
    console.row(name)
    console.click("button", f"Edit Extra {console.tenant}")
    console.type("Title", "Renamed " + console.tenant)
    console.click("button", "Save")
    console.row("Renamed " + console.tenant)
    # It can be given to a key now, and then not be deleted.
    console.click("link", "API Access Keys")
    console.make_key("Extra key", scopes=("Renamed " + console.tenant,))
    console.leave_card()
    console.expected = {409}
    console.click("link", "Scopes")
    console.click("button", f"Delete Renamed {console.tenant}")
    console.click("button", "Delete permanently")
    console.get("alert")
    console.click("button", "Cancel")
    console.click("link", "API Access Keys")
    console.click("button", "Delete Extra key")
    console.click("button", "Delete permanently")
    console.said("was deleted.")
    console.click("link", "Scopes")
    console.click("button", f"Delete Renamed {console.tenant}")
    console.click("button", "Delete permanently")
    console.said("was deleted.")
    wait_until(lambda: not any(name in row for row in console.rows()), "the row disappears")


def test_signing_keys_and_platform_audit(console):
    console.sign_in(console.management("cardea.platform", "Operator"))
    console.click("link", "Signing keys")
    wait_until(lambda: len(console.rows()) >= 1, "a signing key")
    assert any("Signing" in row and "ES256" in row for row in console.rows())
    console.click("button", "Rotate now")
    console.click("button", "Rotate")
    console.said("A new signing key is announced.")
    wait_until(lambda: any("Announced" in row for row in console.rows()), "the announced key")
    console.click("button", "Emergency…")
    console.click("button", "Withdraw and replace")
    console.said("Tick the box")
    console.click("button", "Cancel")
    console.click("link", "Platform audit log")
    console.see("Announced signing key")
    console.see(console.tenant)


# --- for everybody ------------------------------------------------------------------------------


def test_keyboard_only(console):
    console.start()
    assert console.active().accessible_name == "Key ID"  # the first field has the focus
    console.press(console.admin["key_id"], Keys.TAB)
    console.press(console.admin["secret"], Keys.ENTER)
    console.get("heading", "API Access Keys")
    console.press(Keys.TAB)
    console.tab_to("button", "New API key")
    console.press(Keys.ENTER)
    console.get("textbox", "Name")
    wait_until(lambda: console.active().accessible_name == "Name", "the first field has the focus")
    console.press("By keyboard")
    console.tab_to("checkbox", "Write data")
    console.press(Keys.SPACE)
    console.tab_to("button", "Expires in 30 days")
    console.press(Keys.SPACE)
    console.tab_to("button", "Create API key")
    console.press(Keys.ENTER)
    key = console.read_card()
    console.tab_to("button", "Copy secret")
    console.press(Keys.ENTER)
    wait_until(lambda: console.clipboard() == key["secret"], "the clipboard")
    console.tab_to("button", "Done")
    console.press(Keys.ENTER)
    console.row("By keyboard")
    console.tab_to("switch", "By keyboard enabled")
    console.press(Keys.SPACE)
    console.said("is disabled.")
    assert console.active().aria_role == "switch"  # the place is not lost
    assert console.instance.token(key).status == 401
    console.tab_to("button", "Delete By keyboard")
    console.press(Keys.ENTER)
    console.get("dialog")
    console.tab_to("button", "Delete permanently")
    console.press(Keys.ENTER)
    console.said("was deleted.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_width(console, scheme):
    console.key("A name that is long enough to need a second line on a telephone", expires="10d")
    console.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                   dict(width=360, height=740, deviceScaleFactor=1, mobile=True))
    console.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                   {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    try:
        console.sign_in(console.management("cardea.platform", "Operator"))
        for link, heading in (("Tenants", "Tenants"), ("Scopes", "Scopes"), ("Signing keys", "Signing keys"),
                              ("Platform audit log", "Platform audit log"), ("Audit log", "Audit log"),
                              ("API Access Keys", "API Access Keys")):
            console.click("button", "Menu")
            console.click("link", link)
            console.get("heading", heading)
            wait_until(lambda: console.rows(), "the list")
            assert console.driver.execute_script("return document.documentElement.scrollWidth") <= 360, link
        console.make_key("By thumb")
        assert console.driver.execute_script("return document.documentElement.scrollWidth") <= 360
        console.leave_card()
    finally:
        console.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        console.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
