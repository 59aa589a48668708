"""A person's way through the dashboard: from an upload to its download, with what can go wrong on
it.

`make test` has one way of each kind: an upload, a search, a refusal, a sign-in, a reader without
JavaScript. The others are left to `make slow`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from digits import MODELS
from playwright.sync_api import expect
from support.service.browsing import check_accessible, make_key
from support.service.running_service import ENGINE, wait_for

SCRIPT = "<img src=x onerror=alert(1)>.onnx"


def upload(page, path, *, name=None, shape=None, budget="50%"):
    if page.locator("#new").get_attribute("open") is None:
        page.locator("#new > summary").click()
    content = Path(path).read_bytes()
    page.locator("#model").set_input_files(
        {"name": name or Path(path).name, "mimeType": "", "buffer": content}
    )
    page.locator("#budget").fill(budget)
    page.get_by_text("More options").click()
    page.locator("#calibration").select_option("none")
    page.locator("#labels").fill("team=vision")
    if shape:
        page.locator("#shape").fill(shape)
    page.get_by_role("button", name="Compress", exact=True).click()
    page.wait_for_url("**/dashboard/jobs/*")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param("residual.onnx", None, id="onnx"),
        pytest.param(
            "plain.traced.pt", "1x1x16x16", id="torchscript", marks=pytest.mark.slow
        ),
        pytest.param("residual.pt2", None, id="pt2", marks=pytest.mark.slow),
    ],
)
def test_from_upload_to_download(browse, name, shape):
    with browse() as page:
        expect(page.locator("#shape-field")).to_be_hidden()
        upload(page, MODELS / name, shape=shape)
        expect(
            page.get_by_role("heading", name="Other budgets")
        ).to_be_visible()  # without a reload by hand
        expect(page.locator(".facts .state")).to_have_text("succeeded")
        sha256 = page.locator(".sum").first.text_content()
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Download", exact=True).click()
        content = Path(downloading.value.path()).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
        assert (
            downloading.value.suggested_filename
            == f"{Path(name).stem}.convpress{Path(name).suffix}"
        )
        check_accessible(page)


@pytest.mark.slow
def test_several_budgets_lead_to_the_jobs_of_the_model(browse):
    with browse() as page:
        if page.locator("#new").get_attribute("open") is None:
            page.locator("#new > summary").click()
        page.locator("#model").set_input_files(MODELS / "residual.onnx")
        page.locator("#budget").fill("71%, 51%, 31%")
        page.get_by_text("More options").click()
        page.locator("#calibration").select_option("none")
        page.get_by_role("button", name="Compress", exact=True).click()
        page.wait_for_url("**/?q=*")
        for budget in ("71%", "51%", "31%"):
            expect(page.locator("#jobs .budget", has_text=budget)).to_be_visible()


@pytest.mark.slow
def test_a_file_may_be_dropped_anywhere(browse):
    with browse() as page:
        page.locator("#new").evaluate("details => details.open = false")
        debugger = page.context.new_cdp_session(page)
        files = {
            "items": [],
            "files": [str(MODELS / "plain.traced.pt")],
            "dragOperationsMask": 1,
        }
        for kind in ("dragEnter", "dragOver", "drop"):
            debugger.send(
                "Input.dispatchDragEvent",
                {"type": kind, "x": 300, "y": 300, "data": files},
            )
        expect(page.locator("#model-name")).to_have_text("plain.traced.pt")
        expect(page.get_by_label("Input shape")).to_be_visible()


@pytest.mark.slow
def test_another_budget_is_one_click_away(browse):
    with browse() as page:
        upload(page, MODELS / "residual.onnx")
        first = page.url
        expect(page.locator(".point[data-keep]").first).to_be_visible()
        page.locator(".point[data-keep]").nth(20).click()
        chosen = page.locator("#rebudget-budget").input_value()
        assert chosen.endswith("%")
        assert chosen != "50%"
        page.get_by_text("As a table").click()
        button = page.get_by_role("button", name="Compress to", exact=False).nth(10)
        budget = button.get_attribute("value")
        button.click()
        page.wait_for_url(lambda url: url != first)
        expect(page.locator(".facts")).to_contain_text(f"budget {budget}")
        expect(page.get_by_role("heading", name="Other budgets")).to_be_visible()
        page.get_by_role("link", name="compare").first.click()
        expect(page.get_by_role("heading", name="2 jobs side by side")).to_be_visible()
        check_accessible(page)
        page.goto(first)
        page.locator(".crumb a").nth(1).click()
        expect(page.get_by_role("heading", name="Trade-offs")).to_be_visible()
        expect(page.get_by_text("7 layers")).to_be_visible()
        assert page.locator(".marked").count() >= 2
        check_accessible(page)


@pytest.mark.slow
def test_layers_are_sorted(browse, jobs):
    with browse(f"/dashboard/jobs/{jobs[0]['id']}") as page:
        page.get_by_role("link", name="MACs before").click()
        expect(page.locator("#layers th[aria-sort=descending]")).to_have_text(
            "MACs before"
        )
        shown = page.locator("#layers tbody tr td:nth-of-type(4)").all_text_contents()
        assert shown[0] == "2.36 M"
        assert shown[-1] == "480"


@pytest.mark.slow
def test_a_failed_job_says_what_to_do_and_can_be_tried_again(browse, service):
    job = service.post("residual.onnx", input_shape="1x3x16x16")
    service.wait(job["id"])
    with browse(f"/dashboard/jobs/{job['id']}") as page:
        expect(page.get_by_role("heading", name="Input shape mismatch")).to_be_visible()
        expect(
            page.get_by_text("The model does not run on these sizes", exact=False)
        ).to_be_visible()
        check_accessible(page)
        page.get_by_label("Input shape").fill("1x1x16x16")
        page.get_by_role("button", name="Try again").click()
        page.wait_for_url(lambda url: job["id"] not in url)
        expect(page.locator(".facts .state")).to_have_text("succeeded")


def test_what_the_service_refuses_is_told_beside_the_form(browse):
    with browse() as page:
        if page.locator("#new").get_attribute("open") is None:
            page.locator("#new > summary").click()
        page.locator("#model").set_input_files(
            {"name": "net.onnx", "mimeType": "", "buffer": b"\x80\x04K\x01."}
        )
        page.get_by_role("button", name="Compress", exact=True).click()
        expect(page.locator("#refused")).to_contain_text("Expected")
        check_accessible(page)


@pytest.mark.slow
def test_a_running_job_is_seen_at_work_and_cancelled(browse, service):
    with browse() as page:
        job = service.post("residual.onnx", calibration="synthetic", labels="live=yes")
        expect(page.locator("#jobs")).to_contain_text(
            "live=yes"
        )  # the list refreshes itself
        expect(page.locator("#jobs progress")).to_be_visible()
        page.goto(f"/dashboard/jobs/{job['id']}")
        # However fast the engine is, it is still at work when the browser looks.
        wait_for(lambda: service.job(job["id"])["phase"] == "measuring", "the phase")
        [engine] = service.children(ENGINE)
        assert service.stop(engine, job["id"])
        expect(page.locator(".live .phase")).to_contain_text("measuring")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".facts .state")).to_have_text("cancelled")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete").click()
        page.wait_for_url("**/")
        assert service.http.get(f"/jobs/{job['id']}").status_code == 404


def test_jobs_are_found_and_names_stay_text(browse, service):
    service.http.post(
        "/jobs",
        data={"flops_budget": "0.5", "calibration": "none", "labels": "run=7"},
        files={"model": (SCRIPT, (MODELS / "residual.onnx").read_bytes())},
    )
    with browse(color_scheme="dark", viewport={"width": 390, "height": 800}) as page:
        page.on("dialog", lambda dialog: pytest.fail("a script ran"))
        page.get_by_role("searchbox").press_sequentially("run=7")
        page.wait_for_url("**/?q=run*")
        expect(page.locator("#jobs tbody tr")).to_have_count(1)
        expect(page.locator("#jobs .model > a")).to_have_text(SCRIPT)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        check_accessible(page)
        page.locator("#jobs .model > a").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(SCRIPT)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        check_accessible(page)


@pytest.mark.slow
def test_times_are_those_of_whoever_looks(browse):
    with browse(
        "/dashboard/system?by=hour", timezone_id="Asia/Kolkata", locale="en-GB"
    ) as page:
        page.get_by_text("As a table").click()
        begun = page.locator("#throughput-table tbody th").all_text_contents()
        assert len(begun) == 48
        assert all(
            text.endswith(":30") for text in begun
        )  # five and a half hours before UTC
        bars = page.locator(".bars title").all_text_contents()
        assert all(":30: " in text and "UTC" not in text for text in bars)
        assert bars[-1].startswith(begun[0])


@pytest.mark.slow
def test_two_jobs_are_picked_with_the_keyboard_alone(browse, service, jobs):
    wide = service.post(
        "residual.onnx",
        params_budget="60%",
        bytes_budget="150KB",
        labels="environment=staging,team=vision",
    )
    service.wait(wide["id"])
    with browse() as page:
        assert page.locator("#jobs .scroll").evaluate(
            "table => table.scrollWidth <= table.clientWidth"
        )
        compare = page.get_by_role("button", name="Compare")
        expect(compare).to_be_disabled()
        for box in page.get_by_role("checkbox").all()[:2]:
            box.focus()
            page.keyboard.press("Space")
        compare.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="2 jobs side by side")).to_be_visible()


def test_owners_sign_in_and_see_their_own_jobs(chromium, service, jobs):
    job = jobs[0]
    bob = make_key(service, "bob")
    with chromium.new_context(base_url=str(service.http.base_url)) as context:
        page = context.new_page()
        page.goto("/dashboard/system?by=day")
        check_accessible(page)
        page.get_by_label("API key").fill("cp_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("unknown")
        page.get_by_label("API key").fill(bob)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/dashboard/system?by=day")
        assert page.locator(".figure", has_text="Workers").count() == 0
        [cookie] = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (
            True,
            "Strict",
            -1,
        )
        page.goto("/")
        expect(page.get_by_text("No jobs yet", exact=False)).to_be_visible()
        page.goto(f"/dashboard/jobs/{job['id']}")
        expect(page.get_by_role("heading", name="No job has this id")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/dashboard/sign-in")
        assert context.cookies() == []


@pytest.mark.slow
def test_the_system_page_shows_how_the_service_fares(chromium, service, browse):
    root = make_key(service, "root", "admin")
    with browse() as page:
        page.context.clear_cookies()
        page.goto("/dashboard/sign-in")
        page.get_by_label("API key").fill(root)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="System").click()
        expect(
            page.locator(".figure", has_text="Workers").locator(".big")
        ).to_have_text("1")
        page.get_by_role("link", name="by minute").click()
        page.wait_for_url("**by=minute*")
        page.get_by_text("As a table").click()
        expect(page.locator("#throughput-table tbody tr")).to_have_count(60)
        check_accessible(page)


def test_pages_are_read_without_javascript(browse, jobs):
    job = jobs[0]
    with browse(java_script_enabled=False) as page:
        page.get_by_role("searchbox").fill("residual")
        page.get_by_role("button", name="Search").click()
        page.locator(f"#job-{job['id']}").click()
        expect(page.get_by_role("heading", name="Layers")).to_be_visible()
        page.get_by_role("link", name="MACs before").click()
        page.wait_for_url("**sort=before*")


@pytest.mark.slow
def test_a_model_is_uploaded_without_javascript(browse):
    with browse(java_script_enabled=False) as page:
        if page.locator("#new").get_attribute("open") is None:
            page.locator("#new > summary").click()
        page.locator("#model").set_input_files(MODELS / "plain.traced.pt")
        page.get_by_label("Input shape").fill("1x1x16x16")
        page.get_by_role("button", name="Compress", exact=True).click()
        page.wait_for_url("**/dashboard/jobs/*")
        expect(page.get_by_role("heading", level=1)).to_have_text("plain.traced.pt")
        page.goto("/")
        if page.locator("#new").get_attribute("open") is None:
            page.locator("#new > summary").click()
        page.locator("#model").set_input_files(
            {"name": "net.onnx", "mimeType": "", "buffer": b"\x80\x04K\x01."}
        )
        page.get_by_role("button", name="Compress", exact=True).click()
        expect(page.locator(".problem")).to_contain_text("Expected")


@pytest.mark.slow
def test_the_commands_of_a_page_repeat_its_job(browse, service, tmp_path):
    job = service.post("residual.onnx", labels="by=hand")
    service.wait(job["id"])
    with browse(f"/dashboard/jobs/{job['id']}") as page:
        curl = page.locator("#command-curl").text_content()
        python = page.locator("#command-python").text_content()
    shutil.copy(MODELS / "residual.onnx", tmp_path)
    key = service.http.headers["Authorization"].partition(" ")[2]
    environment = {
        "PATH": os.environ["PATH"],
        "CONVPRESS_KEY": key,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    for command in (["sh", "-ec", curl], [sys.executable, "-c", python]):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)
    assert (tmp_path / "compressed-residual.onnx").exists()
    jobs = service.http.get("/jobs?label=by=hand").json()["jobs"]
    asked = [
        {
            name: each[name]
            for name in ("flops_budget", "calibration", "labels", "model")
        }
        for each in jobs
    ]
    assert asked == [asked[0]] * 3
