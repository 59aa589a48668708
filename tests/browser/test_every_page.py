"""Every page on a desktop and on a phone, light and dark: it fits, and axe has no objection."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.service.browsing import check_accessible

PAGES = {
    "jobs": "/",
    "job": "/dashboard/jobs/{first}",
    "failed": "/dashboard/jobs/{failed}",
    "model": "/dashboard/models/{sha256}",
    "comparison": "/dashboard/compare?job={first}&job={second}",
    "system": "/dashboard/system",
    "problem": "/dashboard/jobs/none",
}
VIEWS = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
}


@pytest.fixture(scope="module")
def places(service, jobs):
    failed = service.wait(service.post("residual.onnx", input_shape="1x3x16x16")["id"])
    assert failed["state"] == "failed"
    names = {"first": jobs[0]["id"], "second": jobs[1]["id"], "failed": failed["id"]}
    return names | {"sha256": jobs[0]["model"]["sha256"]}


# A phone in the dark; the other pairs are left to `make slow`.
@pytest.mark.parametrize(
    ("view", "scheme"),
    [
        ("phone", "dark"),
        pytest.param("desktop", "light", marks=pytest.mark.slow),
        pytest.param("desktop", "dark", marks=pytest.mark.slow),
        pytest.param("phone", "light", marks=pytest.mark.slow),
    ],
)
def test_every_page_fits_and_is_accessible(browse, places, view, scheme):
    width = VIEWS[view]["viewport"]["width"]
    with browse(color_scheme=scheme, **VIEWS[view]) as page:
        for name, path in PAGES.items():
            page.goto(path.format(**places))
            page.evaluate(
                "document.querySelectorAll('details').forEach(each => each.open = true)"
            )
            assert page.evaluate("document.documentElement.scrollWidth") == width, name
            charts = page.locator("svg.chart").all()
            assert all(chart.bounding_box()["width"] <= width for chart in charts), name
            check_accessible(page)


@pytest.mark.slow
def test_wide_tables_say_that_they_scroll(browse, places):
    path = PAGES["job"].format(**places)
    with browse(path, **VIEWS["phone"]) as page:
        frame = page.get_by_role("region", name="Table of layers")
        expect(frame).to_have_class("scroll wide")
        assert frame.evaluate("each => each.scrollWidth > each.clientWidth")
        hint = frame.evaluate("each => getComputedStyle(each, '::before').content")
        assert "Scroll sideways" in hint
        page.set_viewport_size({"width": 2000, "height": 900})
        expect(frame).not_to_have_class("scroll wide")


@pytest.mark.slow
def test_labels_and_the_note_are_edited_and_the_log_is_read(browse, places):
    path = PAGES["job"].format(**places)
    with browse(path, **VIEWS["phone"]) as page:
        page.get_by_text("Add labels or a note").click()
        page.get_by_label("Labels").fill("team=vision, run=7")
        page.get_by_label("Note").fill("first line\nsecond <b>line</b>")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".facts")).to_contain_text("run=7")
        expect(page.locator(".remark")).to_have_text("first line\nsecond <b>line</b>")
        page.get_by_text("What happened").click()
        expect(page.get_by_role("region", name="Log")).to_contain_text(
            "succeeded: done"
        )
        page.get_by_text("Original and artifact side by side").click()
        fates = page.get_by_label("What became of each layer")
        expect(fates.locator("li")).to_have_count(7)
        expect(fates).to_contain_text("left as it is")
        expect(fates.locator(".factored").first).to_be_visible()
        netron = page.get_by_role("link", name="Netron")
        assert netron.get_attribute("rel") == "noopener noreferrer"
        check_accessible(page)


@pytest.mark.slow
def test_the_id_and_the_commands_are_copied(browse, places, service):
    path = PAGES["job"].format(**places)
    with browse(path) as page:
        page.context.grant_permissions(
            ["clipboard-read", "clipboard-write"], origin=str(service.http.base_url)
        )
        for name, text in (
            ("Copy the id", places["first"]),
            (
                "Copy the command for a shell",
                page.locator("#command-curl").text_content(),
            ),
        ):
            page.get_by_role("button", name=name).click()
            expect(page.get_by_role("button", name=name)).to_have_text("Copied")
            assert page.evaluate("navigator.clipboard.readText()") == text


@pytest.mark.slow
def test_chosen_columns_of_a_comparison_are_sorted_and_downloaded(browse, places):
    path = PAGES["comparison"].format(**places)
    with browse(path, java_script_enabled=False) as page:
        page.get_by_text("Columns", exact=True).click()
        page.get_by_label("Parameters").check()
        page.get_by_label("Risk").uncheck()
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**column=*")
        page.get_by_role("link", name="FLOPs kept").click()
        header = page.locator("#figures th[aria-sort=ascending]")
        expect(header).to_have_text("FLOPs kept")
        first = page.locator("#figures tbody th a").first
        assert places["second"] in first.get_attribute("href")
        expect(page.locator("#figures thead")).to_contain_text("Parameters")
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Download as CSV").click()
        content = Path(downloading.value.path()).read_text()
        assert content.startswith("id,filename,budget,calibration,kept,")
