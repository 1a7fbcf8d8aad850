"""report.html in a real browser, from a file, without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis.report.html import PAGE, PICTURES
from boltzflow.ensemble import Ensemble

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
METRICS = "step,temperature_K,loss,ess\n50,600,10,0.1\n100,300,-5,0.4\n150,300,-6,0.5\n"
WAIT = 60  # seconds


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of jittered copies of the minimum, with curves of a training, and verdicts of earlier checks."""
    system = bf.load_system("alanine_dipeptide")
    random = np.random.default_rng(0)
    positions = system.positions + random.normal(scale=5e-3, size=(300, 22, 3))
    ensemble = Ensemble(positions, random.normal(-90, 5, 300), 300.0, topology=system.mdtraj_topology)
    folder = tmp_path_factory.mktemp("page")
    (folder / "metrics.csv").write_text(METRICS)
    run = {"seed": 7, "note": "<b>bold</b>", "collapse_check": {"verdict": "With care: <something> is thin."}}
    bf.analyze(ensemble, system, folder, run=run, replicates=10)
    return folder / PAGE


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if BROWSER is None or DRIVER is None:
        pytest.skip("no browser is installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    # Containers often run as root and have no graphics card.
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "enable-unsafe-swiftshader"):
        options.add_argument(f"--{argument}")
    options.add_argument("--use-angle=swiftshader")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(WAIT)
    yield driver
    driver.quit()


def test_the_page_is_one_file_of_moderate_size(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text) < 5e6
    assert "<b>bold</b>" not in text
    assert "&lt;something&gt; is thin" in text
    assert text.count("data:image/png;base64") == 6
    for wanted in ('src="http', 'href="http', "@import", "url("):
        assert wanted not in text.split("<script>")[0]


def test_the_page_opens_offline(page: Path, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get(page.as_uri())
    canvas = WebDriverWait(browser, WAIT).until(lambda b: b.find_elements(By.CSS_SELECTOR, "#viewer canvas"))
    assert len(canvas) == 1
    widths = browser.execute_script("return [...document.images].map(image => image.complete && image.naturalWidth)")
    shown = [picture for picture in PICTURES if (page.parent / picture.file).is_file()]
    assert len(widths) == len(shown) == 6
    assert min(widths) > 500
    assert "With care" in browser.find_element(By.ID, "verdict").text

    assert drawn(canvas[0].screenshot_as_png) > 0.005
    buttons = browser.find_elements(By.CSS_SELECTOR, "#choices button")
    assert len(buttons) > 2
    before = canvas[0].screenshot_as_png
    browser.execute_script("arguments[0].click()", buttons[-1])
    assert buttons[-1].get_attribute("aria-pressed") == "true"
    assert canvas[0].screenshot_as_png != before

    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}


def drawn(png: bytes) -> float:
    """The share of pixels that are not of the commonest colour."""
    import io

    import matplotlib.image

    pixels = (matplotlib.image.imread(io.BytesIO(png))[..., :3] * 255).astype(int) @ [65536, 256, 1]
    return 1 - np.unique(pixels, return_counts=True)[1].max() / pixels.size
