# make book | test | quick ...: see `make help`.
PYTHON   ?= python3
VENV     ?= .venv
PIP_ARGS ?=
JOBS     ?= 2
TORCH    ?= 2.13.0
# Public address, https://HOST/OWNER/NAME: pages then have buttons for the repository, Colab and Binder.
REPOSITORY_URL ?=
export REPOSITORY_URL

BIN    := $(VENV)/bin
EXTRAS := all,dev
STAMP  := $(VENV)/.rhmlib-installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check
LOCK   := _build/lock-env
CHECKS := tests/site/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.PHONY: help env book quick pdf site spell test audit lint format lock clean distclean

help:
	@echo "make book       execute what changed, build the book at book scale, print its path"
	@echo "make quick      the whole book from scratch with params/quick.yaml, into _build/quick"
	@echo "make pdf        the same as one PDF, printed by Chromium or Chrome; print its path"
	@echo "make test       lint, types and tests"
	@echo "make site       look at the pages of the last quick build in a browser: whole, offline, accessible"
	@echo "make spell      look for misspelt words in the texts, where there is npm"
	@echo "make audit      do six recorded runs of the result tables again and compare"
	@echo "make format     rewrite the code in the project's style"
	@echo "make env        only create $(VENV) and install the locked packages"
	@echo "make lock       resolve the dependencies of pyproject.toml anew into constraints.txt"
	@echo "make clean      remove _build and caches; make distclean removes $(VENV) too"
	@echo
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) JOBS=$(JOBS) PIP_ARGS=$(PIP_ARGS) REPOSITORY_URL=$(REPOSITORY_URL)"

# pip is the last thing that venv makes: without it the environment is half-made.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed. Found $(PYTHON): $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing the locked packages into $(VENV) (minutes the first time)"
	@$(PIP) install -q $(PIP_ARGS) -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

env: $(STAMP)

book: $(STAMP)
	@$(BIN)/rhm build

quick: $(STAMP)
	@rm -rf _build/quick
	@$(BIN)/rhm build --scale quick

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

pdf: book
	@$(BIN)/rhm pdf

$(CHECKS): tests/site/package.json tests/site/package-lock.json
	@if command -v npm >/dev/null; then cd tests/site && npm ci --silent; \
	  else echo "No npm: neither spelling nor accessibility can be checked."; fi

# RHM_SITE=_build/book/html looks at the book's own pages.
site: $(STAMP) $(CHECKS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadscope tests/test_site*.py

spell: $(CHECKS)
	@! test -f $(CHECKS) || tests/site/node_modules/.bin/cspell lint --no-default-configuration --no-progress \
	  --config tests/site/cspell.json --root . "book/*.md" "*.md"

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --ignore=tests/test_site_browser.py

audit: $(STAMP)
	@$(BIN)/rhm audit --rows 6 --max-seconds 5

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Local version labels (+cpu, +cu130) are cut off, so that every build of a release satisfies its pin.
lock:
	rm -rf $(LOCK)
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/python -m pip --disable-pip-version-check install -q $(PIP_ARGS) torch==$(TORCH) '.[$(EXTRAS)]'
	$(LOCK)/bin/python -m pip --disable-pip-version-check freeze --all --exclude pip --exclude rhmlib \
	  | sed 's/+[A-Za-z0-9.]*$$//' | LC_ALL=C sort -f > $(LOCK)/constraints.txt
	@! grep -vE '^[A-Za-z0-9._-]+==[^ @]+$$' $(LOCK)/constraints.txt
	mv $(LOCK)/constraints.txt constraints.txt
	rm -rf $(LOCK)

clean:
	rm -rf _build build .mypy_cache .pytest_cache .ruff_cache

distclean: clean
	rm -rf $(VENV) *.egg-info tests/site/node_modules

docs/ilc.png: docs/ilc.py results/ilc.csv | $(STAMP)
	$(BIN)/python docs/ilc.py
