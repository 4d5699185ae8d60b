"""The page of a map in a real browser: Chromium without a window, driven by Selenium."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from onephonon import DiffuseMap, MapGrid
from onephonon.crystal import numpy_cell
from onephonon.viz.page import write_page
from onephonon.viz.page.blocks import block_grid, block_means

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="no browser: Chromium and chromedriver (Debian: chromium, chromium-driver) are missing",
)

#: Oblique, offset, and of another step along each axis; the origin is a voxel of it.
CELL = (27.2, 31.9, 34.2, 88.5, 108.6, 111.8)
GRID = MapGrid((-2, -1.5, -1.25), (1 / 3, 0.5, 0.25), (13, 9, 11))
CENTRE = (6, 3, 5)
#: Bright voxels of the hk plane through the origin, off the cross-hair.
BRIGHT = [(3, 1, 5), (9, 1, 5), (9, 6, 5)]
MISSING = (3, 6, 5)
FACTOR = 0.25
#: Seconds that a picture may take on a busy machine without a graphics card.
PATIENCE = 120

Start = Callable[..., webdriver.Chrome]


def first_values() -> np.ndarray:
    values = 10 + np.random.default_rng(3).normal(0, 0.3, GRID.shape)
    for n, voxel in enumerate(BRIGHT):
        values[voxel] = 95 + n
    values[::4, 7:, ::3] = 90  # in other planes: some bright ones for the colours to reach to
    values[MISSING] = np.nan
    return values


def second_values() -> np.ndarray:
    return first_values() / FACTOR + np.random.default_rng(4).normal(0, 0.5, GRID.shape)


def a_map(values: np.ndarray, grid: MapGrid = GRID, units: str = "") -> DiffuseMap:
    return DiffuseMap.on_grid(values, grid, CELL, spacegroup="P 1", units=units)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start browsers, each with a profile of its own; all end with the module."""
    drivers: list[webdriver.Chrome] = []

    def begin(*flags: str, size: tuple[int, int] = (900, 640)) -> webdriver.Chrome:
        options = webdriver.ChromeOptions()
        options.binary_location = str(BROWSER)
        profile = tmp_path_factory.mktemp("profile")
        for flag in (
            "--headless=new",
            "--no-sandbox",
            "--use-gl=angle",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            *flags,
        ):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        drivers.append(driver)
        metrics = {"deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", metrics | {"width": size[0], "height": size[1]}
        )
        return driver

    yield begin
    for driver in drivers:
        driver.quit()


@pytest.fixture(scope="module")
def chromium(start: Start) -> webdriver.Chrome:
    return start()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    one, two = folder / "one.html", folder / "two.html"
    write_page(a_map(first_values(), units="e^2 per cell"), one, title="Known voxels")
    write_page(a_map(first_values()), two, a_map(second_values()), names=("model", "data"))
    return {"one": one, "two": two}


def wait(page: webdriver.Chrome) -> None:
    """Until nothing is left to draw."""
    WebDriverWait(page, PATIENCE, 0.05).until(
        lambda p: p.execute_script("return document.body.dataset.state") in ("ready", "failed")
    )
    assert page.execute_script("return document.body.dataset.state") == "ready", shown(page, "main")


def go(page: webdriver.Chrome, path: Path) -> None:
    page.get_log("browser")
    page.get_log("performance")
    page.get(path.as_uri())
    wait(page)


def shown(page: webdriver.Chrome, selector: str) -> str:
    return page.find_element(By.CSS_SELECTOR, selector).text.replace("−", "-")


def canvas(page: webdriver.Chrome, panel: str, pane: int = 0):
    return page.find_elements(By.CSS_SELECTOR, f'[data-panel="{panel}"] canvas')[pane]


def picture(page: webdriver.Chrome, panel: str, pane: int = 0) -> np.ndarray:
    png = canvas(page, panel, pane).screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


def slide(page: webdriver.Chrome, name: str, share: float) -> None:
    """Move a slider as a hand does: the browser sends the same event."""
    page.execute_script(
        """const slider = document.getElementById(arguments[0]);
        slider.value = +slider.min + arguments[1] * (slider.max - slider.min);
        slider.dispatchEvent(new Event("input", {bubbles: true}));""",
        name,
        share,
    )
    wait(page)


def click(page: webdriver.Chrome, name: str) -> None:
    page.execute_script("document.getElementById(arguments[0]).click()", name)
    wait(page)


def point(page: webdriver.Chrome, panel: str, x: float, y: float) -> ActionChains:
    """The pointer on a pixel of a picture; perform() moves it."""
    target = canvas(page, panel)
    width, height = target.size["width"], target.size["height"]
    return ActionChains(page, duration=20).move_to_element_with_offset(
        target, round(x - width / 2), round(y - height / 2)
    )


def bright_spots(image: np.ndarray) -> np.ndarray:
    """Middles (x, y) of the spots in the last colours of viridis, green to yellow."""
    red, green, blue = np.moveaxis(image, -1, 0)
    yellow = (green > 150) & (green - blue > 70) & (red > 60)
    labels, n = ndimage.label(yellow)
    sizes = ndimage.sum(yellow, labels, range(1, n + 1))
    spots = [i for i, size in enumerate(sizes, 1) if size > 12]
    found = np.array(ndimage.center_of_mass(yellow, labels, spots))[:, ::-1]
    # k runs upwards: the two of the lower k are lowest; then h from left to right.
    lowest = sorted(found, key=lambda spot: -spot[1])
    return np.array([*sorted(lowest[:2], key=lambda spot: spot[0]), *lowest[2:]])


@pytest.fixture(scope="module")
def spots(chromium: webdriver.Chrome, pages: dict[str, Path]) -> np.ndarray:
    """Where the voxels BRIGHT are seen in the hk plane, in their order; the page stays open."""
    go(chromium, pages["one"])
    click(chromium, "rings")  # whose labels would hide a part of a voxel
    spots = bright_spots(picture(chromium, "2"))
    assert len(spots) == len(BRIGHT)
    return spots


def cross_hair(page: webdriver.Chrome) -> list[float]:
    return [float(page.find_element(By.ID, f"cross-{n}").get_property("value")) for n in range(3)]


def rows(page: webdriver.Chrome) -> dict[str, str]:
    lines = shown(page, "#readout").split("\n")
    return dict(zip(lines[::2], lines[1::2], strict=True))


def hkl_of(voxel: tuple[int, int, int]) -> list[float]:
    return [float(axis[i]) for axis, i in zip(GRID.axes, voxel, strict=True)]


def d_of(voxel: tuple[int, int, int]) -> float:
    return 1 / float(np.linalg.norm(np.array(hkl_of(voxel)) @ numpy_cell(CELL).inverse))


def test_the_page_opens_without_error_and_asks_nothing_of_the_network(
    chromium: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    go(chromium, pages["one"])
    assert chromium.title == "Known voxels"
    assert "P 1 · 27.2 × 31.9 × 34.2 Å" in shown(chromium, "#facts")
    assert not chromium.find_element(By.ID, "reduced").is_displayed()
    assert chromium.get_log("browser") == []
    events = [json.loads(e["message"])["message"] for e in chromium.get_log("performance")]
    requested = [
        e["params"]["request"]["url"]
        for e in events
        if e["method"] == "Network.requestWillBeSent"
        and e["params"]["documentURL"] == pages["one"].as_uri()
    ]
    assert pages["one"].as_uri() in requested  # the log is one of this page
    assert [url for url in requested if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in requested if url.startswith("file:")]) == 1
    for panel in ("solid", "0", "1", "2"):
        assert picture(chromium, panel).std() > 5, panel  # something is drawn


def test_sliders_change_the_pictures(chromium: webdriver.Chrome, pages: dict[str, Path]) -> None:
    go(chromium, pages["one"])

    def changes(panel: str, act: Callable[[], None]) -> float:
        before = picture(chromium, panel)
        act()
        return float(np.abs(picture(chromium, panel) - before).mean())

    # A 3-D picture that a busy machine draws coarser differs by 2.6 of 255: more is a change.
    coarser = 5
    d_min = a_map(first_values()).d_min
    click(chromium, "planes")
    assert changes("solid", lambda: slide(chromium, "density", 0.95)) > coarser
    assert changes("solid", lambda: click(chromium, "picture-surface")) > coarser
    assert changes("solid", lambda: slide(chromium, "level", 0.01)) > coarser
    assert changes("solid", lambda: click(chromium, "picture-maximum")) > coarser
    assert shown(chromium, "#resolution-text") == f"∞ – {d_min:.3g} Å"
    assert changes("solid", lambda: slide(chromium, "resolution-high", 0.5)) > coarser
    assert shown(chromium, "#resolution-text") == f"∞ – {2 * d_min:.3g} Å"
    # Slices are drawn the same to the last bit.
    assert changes("2", lambda: click(chromium, "picture-volume")) == 0
    assert changes("2", lambda: slide(chromium, "resolution-high", 0.8)) > 1
    assert changes("2", lambda: slide(chromium, "resolution-low", 0.3)) > 1
    assert changes("2", lambda: slide(chromium, "window-high", 0.1)) > 1
    assert changes("2", lambda: click(chromium, "scale-log")) > 0.5
    assert chromium.get_log("browser") == []


def assert_true_shape(spots: np.ndarray, atol: float) -> None:
    """Lengths and angle between the spots are those between the voxels in reciprocal space."""
    pixels = np.diff(spots, axis=0)
    true = np.diff([hkl_of(voxel) for voxel in BRIGHT], axis=0) @ numpy_cell(CELL).inverse
    seen, meant = pixels @ pixels.T, true @ true.T
    np.testing.assert_allclose(seen / np.trace(seen), meant / np.trace(meant), atol=atol)


def test_slices_have_the_true_shape(spots: np.ndarray) -> None:
    assert_true_shape(spots, 0.02)  # middles of spots are good to a pixel in a hundred


def test_missing_data_says_so_and_looks_it(chromium: webdriver.Chrome, spots: np.ndarray) -> None:
    x, y = spots[0] + spots[2] - spots[1]  # the fourth corner of the parallelogram
    point(chromium, "2", x, y).perform()
    assert shown(chromium, "#tip").split("\n")[1] == "no data"
    around = picture(chromium, "2")[int(y) - 4 : int(y) + 5, int(x) - 3 : int(x) + 4]
    # Stripes of a bluish grey; no colour of viridis is within 50 of grey.
    assert (around.max(axis=2) - around.min(axis=2)).max() < 20
    assert around.std() > 3


def test_the_pointer_reads_a_known_voxel(chromium: webdriver.Chrome, spots: np.ndarray) -> None:
    values = first_values()
    assert cross_hair(chromium) == hkl_of(CENTRE) == [0, 0, 0]
    for (x, y), voxel in zip(spots, BRIGHT, strict=True):
        point(chromium, "2", x, y).perform()
        tip = shown(chromium, "#tip")
        hkl = [float(f"{i:.3f}") for i in hkl_of(voxel)]
        assert [float(i) for i in tip.split("\n")[0].split()[:3]] == hkl
        assert tip.split("\n")[0].endswith(f"{d_of(voxel):.3g} Å")
        assert float(tip.split("\n")[1]) == pytest.approx(values[voxel], rel=1e-3)  # 4 digits
    assert cross_hair(chromium) == [0, 0, 0]  # so far nothing was pressed
    point(chromium, "2", x, y).click().perform()
    wait(chromium)
    assert cross_hair(chromium) == pytest.approx(hkl_of(voxel), abs=1e-4)
    assert rows(chromium)["d"] == f"{d_of(voxel):.3g} Å"
    assert float(rows(chromium)["Value"]) == pytest.approx(values[voxel], rel=1e-3)
    # The other slices followed: the voxel is bright in them too.
    captions = [shown(chromium, f'[data-panel="{n}"] figcaption span') for n in (0, 1, 2)]
    h, k, _ = hkl_of(voxel)
    assert captions == [f"kl plane, h = {h:.3g}", f"hl plane, k = {k:.3g}", "hk plane, l = 0"]


def test_the_solid_has_the_true_shape_and_can_be_pointed_at(
    chromium: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    go(chromium, pages["one"])
    click(chromium, "picture-slices")
    chromium.find_element(By.CSS_SELECTOR, '[data-look="2"]').click()
    wait(chromium)
    spots = bright_spots(picture(chromium, "solid"))
    assert len(spots) == len(BRIGHT)
    # Looked at along c, the hk plane is seen as it is; pixels may be coarse on a busy machine.
    assert_true_shape(spots, 0.04)
    for (x, y), voxel in zip(spots, BRIGHT, strict=True):
        chromium.execute_script("document.getElementById('cross-2').scrollIntoView()")
        point(chromium, "solid", x, y).click().perform()
        wait(chromium)
        assert cross_hair(chromium) == pytest.approx(hkl_of(voxel), abs=1e-4)


def test_keys_move_the_cross_hair(chromium: webdriver.Chrome, pages: dict[str, Path]) -> None:
    go(chromium, pages["one"])
    target = canvas(chromium, "2")
    chromium.execute_script("arguments[0].focus()", target)
    moves = [Keys.ARROW_RIGHT, Keys.ARROW_UP, Keys.ARROW_UP, Keys.PAGE_DOWN]
    ActionChains(chromium, duration=20).send_keys(*moves).perform()
    wait(chromium)
    assert cross_hair(chromium) == pytest.approx(hkl_of((7, 5, 4)), abs=1e-4)
    box = chromium.find_element(By.ID, "cross-0")
    ActionChains(chromium).click(box).key_down(Keys.CONTROL).send_keys("a").key_up(
        Keys.CONTROL
    ).send_keys("1.4", Keys.ENTER).perform()
    wait(chromium)
    assert cross_hair(chromium)[0] == pytest.approx(4 / 3, abs=1e-4)  # the nearest voxel
    before_zoom = picture(chromium, "solid")
    chromium.execute_script("arguments[0].focus()", canvas(chromium, "solid"))
    ActionChains(chromium, duration=20).send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP).perform()
    wait(chromium)
    assert np.abs(picture(chromium, "solid") - before_zoom).mean() > 1


def test_a_second_map_is_compared(
    chromium: webdriver.Chrome, pages: dict[str, Path], spots: np.ndarray
) -> None:
    go(chromium, pages["two"])
    a, b = first_values(), second_values()
    there = ~np.isnan(a)
    cc = np.corrcoef(a[there], b[there])[0, 1]
    fit = (a * b)[there].sum() / (b[there] ** 2).sum()
    # Two panes in every panel; no units are stated, so the second is brought to the first's scale.
    panes = chromium.find_elements(By.CSS_SELECTOR, ".pane canvas")
    assert [pane.is_displayed() for pane in panes] == [True] * 8
    factor = chromium.find_element(By.ID, "factor")
    assert float(factor.get_property("value")) == pytest.approx(fit, rel=1e-3)
    words = shown(chromium, "#agreement").split()
    assert float(words[1]) == pytest.approx(cc, rel=1e-3)
    assert int(words[3].replace(",", "")) == there.sum()
    side_by_side = [picture(chromium, "2", pane) for pane in (0, 1)]
    assert np.abs(side_by_side[0] - side_by_side[1]).mean() > 0.05
    read = {name: float(text) for name, text in list(rows(chromium).items())[2:]}
    assert read["model"] == pytest.approx(a[CENTRE], rel=1e-3)
    assert list(read.values())[1] == pytest.approx(b[CENTRE] * fit, rel=2e-3)
    # Both rounded to 16 bits and the factor to four digits.
    assert read["Difference"] == pytest.approx(a[CENTRE] - b[CENTRE] * fit, abs=0.02)
    click(chromium, "show-difference")
    assert not panes[1].is_displayed()
    # Blue and orange: the difference is signed.
    assert "blue–orange" in chromium.find_element(By.ID, "palette").text
    assert picture(chromium, "2").std() > 5
    point(chromium, "2", *spots[0]).perform()
    tip = shown(chromium, "#tip").split("\n")
    assert [float(i) for i in tip[0].split()[:3]] == [float(f"{i:.3f}") for i in hkl_of(BRIGHT[0])]
    expected = a[BRIGHT[0]] - b[BRIGHT[0]] * fit
    assert float(tip[1].split()[1]) == pytest.approx(expected, abs=0.02)
    click(chromium, "show-second")
    assert shown(chromium, '[data-panel="2"] .title').startswith("data × 0.2")
    assert chromium.get_log("browser") == []


def test_a_map_of_ten_million_voxels_opens(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    n = 216  # 216**3 is 1.008e7
    grid = MapGrid((-10.8,) * 3, (0.1,) * 3, (n,) * 3)
    wave = np.cos(np.arange(n, dtype=np.float32) / 9)
    values = 5 + wave[:, None, None] * wave[None, :, None] + wave
    values[20:40] = np.nan
    write_page(a_map(values, grid), tmp_path / "big.html")
    go(chromium, tmp_path / "big.html")
    notice = shown(chromium, "#reduced")
    factors = tuple(int(x) for x in notice.split("mean of ")[1].split(" voxels")[0].split(" × "))
    assert "216 × 216 × 216" in notice
    voxel = np.rint(block_grid(grid, factors).index_of((0, 0, 0))).astype(int)
    expected = block_means(values, factors)[tuple(voxel)]
    assert float(rows(chromium)["Value"]) == pytest.approx(expected, rel=1e-3)
    assert picture(chromium, "solid").std() > 5
    assert chromium.get_log("browser") == []


def test_dark_and_light_and_small(chromium: webdriver.Chrome, pages: dict[str, Path]) -> None:
    go(chromium, pages["one"])
    corner = (slice(0, 5), slice(-5, None))
    click(chromium, "theme")
    assert picture(chromium, "1")[corner].mean() > 240
    click(chromium, "theme")
    assert picture(chromium, "1")[corner].mean() < 60
    metrics = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        go(chromium, pages["one"])
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= 400
        assert picture(chromium, "solid").std() > 5
    finally:
        metrics = {"width": 900, "height": 640, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def test_without_webgl_the_slices_remain(start: Start, pages: dict[str, Path]) -> None:
    page = start("--disable-3d-apis")
    go(page, pages["one"])
    assert "cannot draw the 3-D view" in shown(page, '[data-panel="solid"]')
    assert len(bright_spots(picture(page, "2"))) == len(BRIGHT)
