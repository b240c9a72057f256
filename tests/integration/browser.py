# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium that looks at a page as people with a screen reader do: by role and accessible name."""
import shutil
import tempfile

from conftest import wait_until
from selenium import webdriver
from selenium.common.exceptions import (ElementClickInterceptedException, ElementNotInteractableException,
                                        NoSuchElementException, StaleElementReferenceException)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         "--lang=en-US", "--window-size=1280,900"]

# What may have a role; the browser's own computation decides.
CANDIDATES = {
    "alert": "[role=alert]", "button": "button", "checkbox": "input[type=checkbox]", "combobox": "select",
    "dialog": "dialog", "heading": "h1, h2", "link": "a[href]", "navigation": "nav", "radio": "input[type=radio]",
    "searchbox": "input[type=search]", "status": "[role=status]", "switch": "[role=switch]", "table": "table",
    "row": "tbody tr", "textbox": "input, textarea",
}
# Asking the browser for role and name is a round trip an element, so those that cannot be it are left out first.
PREFILTER = """
const [root, selector, name] = arguments;
const words = (e) => [e.getAttribute('aria-label'), e.textContent, ...Array.from(e.labels ?? [], (l) => l.textContent),
    ...(e.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id)?.textContent)].join(' ');
return Array.from((root ?? document).querySelectorAll(selector))
    .filter((e) => e.checkVisibility({visibilityProperty: true}) && (name === null || words(e).includes(name)));
"""
WATCH = """
window.wasClicked = false;
arguments[0].addEventListener('click', () => { window.wasClicked = true; }, {capture: true, once: true});
"""
PASSING = (StaleElementReferenceException, ElementClickInterceptedException, ElementNotInteractableException,
           NoSuchElementException)


class Browser:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="cardea-chromium-", dir="/tmp")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in [*FLAGS, f"--user-data-dir={self.profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.set_capability("unhandledPromptBehavior", "ignore")
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.execute_cdp_cmd("Browser.grantPermissions",
                                    {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})

    def close(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    # --- looking ---

    def find(self, role, name=None, within=None):
        """The visible elements of that role and exact name."""
        found = []
        for element in self.driver.execute_script(PREFILTER, within, CANDIDATES[role], name):
            try:
                if (name is None or element.accessible_name == name) and element.aria_role == role:
                    found.append(element)
            except StaleElementReferenceException:
                pass  # redrawn meanwhile
        return found

    def get(self, role, name=None, within=None):
        """The one such element, waited for."""
        found = wait_until(lambda: self.find(role, name, within), f"{role} “{name}” in: {self.text()[:1500]}")
        assert len(found) == 1, f"{len(found)} times {role} “{name}”"
        return found[0]

    def gone(self, role, name=None, within=None):
        wait_until(lambda: not self.find(role, name, within), f"{role} “{name}” disappears")

    def field(self, kind, name):
        """An input of a type that has no role (date, time, password, file)."""
        return wait_until(lambda: [e for e in self.driver.find_elements(By.CSS_SELECTOR, f"input[type={kind}]")
                                   if e.accessible_name == name], f"{kind} “{name}”")[0]

    def row(self, text):
        """The row of a list whose name, link or code is that text."""
        script = """return Array.from(document.querySelectorAll('tbody tr')).filter((row) =>
            Array.from(row.querySelectorAll('.key-name, code')).some((e) => e.textContent === arguments[0]))"""
        found = wait_until(lambda: self.driver.execute_script(script, text), f"row “{text}” in: {self.text()[:1500]}")
        assert len(found) == 1
        return found[0]

    def rows(self):
        """The text of each row of the list."""
        return self.driver.execute_script("return Array.from(document.querySelectorAll('tbody tr'), (e) => e.innerText)")

    def text(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    def see(self, text):
        """Waits until the visible page has that text."""
        wait_until(lambda: text in self.text(), f"“{text}” in: {self.text()[:1500]}")

    def said(self, text):
        """Waits until a live region has announced that."""
        script = """return Array.from(document.querySelectorAll('[role=status], [role=alert], [aria-live]'))
            .some((e) => e.textContent.includes(arguments[0]))"""
        wait_until(lambda: self.driver.execute_script(script, text), f"“{text}” is announced")

    def described(self, element):
        """The text of what aria-describedby names."""
        return self.driver.execute_script(
            """return (arguments[0].getAttribute('aria-describedby') ?? '').split(' ')
                .map((id) => document.getElementById(id)?.innerText ?? '').join(' ').trim()""", element)

    def active(self):
        return self.driver.switch_to.active_element

    @property
    def url(self):
        return self.driver.current_url

    # --- acting ---

    def open(self, url):
        """Afresh: whatever was on screen, its guard included, is gone."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def patiently(self, act):
        """Things move: an element may be redrawn or covered at the moment it is used."""
        failures = [None]

        def attempt():
            try:
                act()
                return True
            except PASSING as error:
                failures.append(error)
                return False
        try:
            wait_until(attempt, "the element can be used")
        except AssertionError as error:
            raise error from failures[-1]

    def click(self, role, name, within=None):
        def once():
            element = self.get(role, name, within)
            self.driver.execute_script(WATCH, element)
            try:
                element.click()
            except StaleElementReferenceException:
                # It may have gone because of the click, which then must not be repeated.
                if not self.driver.execute_script("return window.wasClicked"):
                    raise
        self.patiently(once)

    def type(self, name, text, role="textbox"):
        element = self.get(role, name)
        element.clear()
        element.send_keys(text)
        return element

    def press(self, *keys):
        self.active().send_keys(*keys)

    def tab_to(self, role, name, limit=80):
        """With the Tab key alone."""
        for _ in range(limit):
            self.press(Keys.TAB)
            element = self.active()
            if element.accessible_name == name and element.aria_role == role:
                return element
        raise AssertionError(f"{limit} times Tab, and no {role} “{name}”")

    def clipboard(self):
        return self.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")

    # --- what nobody sees ---

    def traces(self):
        """Everything that a page can leave something in, as one text."""
        return self.driver.execute_async_script("""
            const done = arguments[0];
            (async () => {
                const values = Array.from(document.querySelectorAll('input, textarea'), (e) => e.value);
                const stores = [Object.entries(localStorage), Object.entries(sessionStorage), document.cookie,
                    await indexedDB.databases(), await caches.keys(), history.state, document.title, location.href,
                    performance.getEntries().map((e) => e.name)];
                done(JSON.stringify([document.documentElement.outerHTML, values, stores]));
            })();""")

    def log(self):
        """New lines of the console, CSP reports among them."""
        return [(entry["source"], entry["message"]) for entry in self.driver.get_log("browser")]
