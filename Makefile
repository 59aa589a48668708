# Needs Python 3.11 and make; everything else is installed into .venv.

PYTHON ?= $(shell command -v python3.11 || echo python3)
# Another pip index for torch alone, such as the one of its small CPU builds; empty: the same as for all else.
TORCH_INDEX ?=

BIN := .venv/bin
# Some tests wait for services, so two cores are busy with four processes; with three where each of them takes more
# memory. Whole files go to a process, in their order: the long ones come first, and tests that share a server find it
# running.
PROCESSES := 3
test: PROCESSES := 4
PYTEST = $(BIN)/pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
TORCH := $(shell grep -o 'torch==[0-9.]*' pyproject.toml)

.PHONY: demo run test test-all conformance slow hostile walls screenshots fuzz fuzz-operators audit audit-if-reachable lint docs lock sbom pin-images

demo: .venv/.engine
	$(BIN)/convpress demo

run: .venv/.engine
	$(BIN)/convpress serve

test: .venv/.dev
	$(PYTEST) -m 'not slow and not long and not hostile'

test-all: .venv/.dev
	$(PYTEST)

# onnx's own models, whole networks among them: three minutes.
conformance: .venv/.dev
	$(PYTEST) -m 'slow or long' tests/conformance

# What takes too long for every run of `make test`: onnx's own models but the three largest, and what `make test` has
# one of, with the other formats, models, servers, browsers' windows and ways to lose a process.
slow: .venv/.dev
	$(PYTEST) -m slow

hostile: .venv/.dev
	$(PYTEST) tests/hostile

# The table in docs/walls.md: every hostile file against each wall alone, and then against a running service.
# ONLY= names files by a pattern, and keeps the rows of the others.
ONLY ?=
walls: .venv/.dev
	PYTHONPATH=tests:tests/models $(BIN)/python tests/hostile/walls.py docs/walls.md '$(ONLY)'

# The pictures of the README, from a real run in Chromium.
screenshots: .venv/.dev
	PYTHONPATH=tests:tests/models $(BIN)/python tests/browser/screenshots.py docs

# Mutants that are checked, those that are opened, the seed, and where those are kept that end badly.
FUZZ ?= 100000 2000 1 fuzzed
fuzz: .venv/.dev
	$(BIN)/python tests/hostile/fuzz.py $(FUZZ)

# Calls of each operator that the gate allows, and the seed: twenty minutes.
OPERATORS ?= 400 0
fuzz-operators: .venv/.dev
	$(BIN)/python tests/hostile/fuzz_operators.py $(OPERATORS)

LOCKS := docker/api.lock docker/worker.lock docker/torch.lock

# Warnings of the release of Python. Then known vulnerabilities of all that is installed or locked; a
# local version, as of torch's CPU builds, is looked up without its suffix.
audit: .venv/.dev .venv/audit
	$(BIN)/python -m worker.interpreter
	$(BIN)/pip freeze --exclude-editable | sed 's/+.*//' > .venv/audit/installed.txt
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement .venv/audit/installed.txt
	for lock in $(LOCKS); do \
		.venv/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement $$lock || exit 1; \
	done

# The same where the advisories can be reached: elsewhere every package would seem unknown.
audit-if-reachable: .venv/audit
	echo 'pip==24.0' > .venv/audit/probe.txt
	if .venv/audit/bin/pip-audit --no-deps --disable-pip --format json --requirement .venv/audit/probe.txt \
			2>/dev/null | grep -q '"vulns"'; \
		then $(MAKE) audit; \
		else echo 'SKIPPED: make audit. The advisories cannot be reached from here; a scheduled task must look.'; fi

.venv/audit:
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet pip-audit

# The exact packages of the images, with hashes, from the ranges of pyproject.toml; UPGRADE= moves to the newest.
# TORCH_INDEX= locks torch of that index instead, for images that are built with the same TORCH_INDEX.
UPGRADE ?=
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
	$(if $(UPGRADE),--upgrade)
lock: .venv/.dev
ifeq ($(TORCH_INDEX),)
	$(COMPILE) pyproject.toml docker/build.in --extra server --extra otel --output-file docker/api.lock
	$(COMPILE) pyproject.toml docker/build.in --extra server --extra engine --extra otel \
		--overrides docker/without-torch.in --output-file docker/worker.lock
endif
	echo '$(TORCH)' | $(COMPILE) - --constraints docker/worker.lock $(if $(TORCH_INDEX),--index $(TORCH_INDEX)) \
		--output-file docker/$(if $(TORCH_INDEX),index-)torch.lock

# What the images hold, as CycloneDX.
sbom: .venv/.dev
	mkdir -p sbom
	$(BIN)/cyclonedx-py requirements --no-validate --pyproject pyproject.toml --output-file sbom/api.cdx.json docker/api.lock
	cat docker/worker.lock docker/torch.lock | \
		$(BIN)/cyclonedx-py requirements --no-validate --pyproject pyproject.toml --output-file sbom/worker.cdx.json -

# The digests of the base images' tags; needs docker and their registry.
pin-images:
	docker/pin-images

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documents as a site in site/; a link that leads nowhere fails. The variable silences the theme's advertisement.
docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --clean

# Two threads that spin on two cores slow each other down manyfold.
test test-all conformance slow hostile walls fuzz fuzz-operators: export OMP_NUM_THREADS = 1
# Tests start hundreds of processes: each would compile our modules anew.
test test-all conformance slow hostile walls fuzz fuzz-operators: export PYTHONDONTWRITEBYTECODE =

.venv/.engine: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("needs Python 3.11, got %d.%d; PYTHON= names another" % v)'
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(BIN)/pip install --index-url $(TORCH_INDEX) $(TORCH))
	$(BIN)/pip install -e '.[server,engine]'
	touch $@

.venv/.dev: .venv/.engine
	$(BIN)/pip install -e '.[server,engine,otel,dev]'
	touch $@
