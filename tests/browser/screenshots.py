"""The pictures of the README, from a real run: the list of jobs, and the page of one job.

Starts the service on new data, posts sample models at several budgets, and writes `jobs.png` and
`job.png` into the folder that its argument names. Needs Debian's Chromium.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from support.service.running_service import Service, serving

_WIDTH = 1240
_POSTS = (
    ("plain.traced.pt", {"input_shape": "1x1x16x16", "flops_budget": "60%"}),
    ("plain.traced.pt", {"input_shape": "1x3x16x16", "flops_budget": "50%"}),
    ("residual.onnx", {"flops_budget": "70%", "labels": "team=vision"}),
    ("residual.onnx", {"flops_budget": "30%", "labels": "team=vision"}),
    ("residual.onnx", {"flops_budget": "50%", "labels": "team=vision"}),
)
"""Models and form fields; the second has a wrong shape and fails, the last is shown."""


def main(folder: Path) -> None:
    """Write the pictures."""
    path = shutil.which("chromium")
    if path is None:
        sys.exit("needs Debian's Chromium (apt-get install chromium)")
    with tempfile.TemporaryDirectory() as data, serving(Path(data) / "data") as service:
        for name, fields in _POSTS:
            job = service.wait(
                service.post(name, calibration="synthetic", **fields)["id"]
            )
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=path, args=["--no-sandbox"]
            )
            take(browser, service, "/", folder / "jobs.png")
            take(
                browser,
                service,
                f"/dashboard/jobs/{job['id']}",
                folder / "job.png",
                1250,
            )
            browser.close()


def take(
    browser: Browser, service: Service, path: str, picture: Path, height: int = 640
) -> None:
    """Write the picture of one page, from its top."""
    address = str(service.http.base_url)
    viewport = {"width": _WIDTH, "height": height}
    page = browser.new_page(base_url=address, viewport=viewport, color_scheme="light")
    page.goto(path)
    page.evaluate("document.fonts.ready")
    page.screenshot(path=picture)
    page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
