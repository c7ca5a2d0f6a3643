PYTHON ?= python3
export OMP_NUM_THREADS ?= 2
BIN := .venv/bin
MINUTES ?= 5
GPU_TESTS := -m pytest -n 8 -m gpu -vv -rf --tb=short --durations=8 -p tests.at_once -p no:benchmark -W default \
	--continue-on-collection-errors

.PHONY: demo test test-gpu campaign check site

demo: .venv/installed
	$(BIN)/nas search --space darts+sandglass --data digits --preset quick --limit 800 --epochs 4
	$(BIN)/nas show last --to png --out runs/cells.png
	$(BIN)/nas retrain last --preset quick --data digits --batch 32 --channels 8 --cells 3 --epochs 8
	$(BIN)/nas evaluate last
	$(BIN)/nas export last --to torch
	$(BIN)/nas runs
	@echo "look at runs/cells.png and at the newest folders in runs/"

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3

test-gpu: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python $(GPU_TESTS)

campaign: .venv/installed
	OMP_NUM_THREADS=1 CAMPAIGN_MINUTES=$(MINUTES) CAMPAIGN_SEED=$(SEED) CAMPAIGN_TABLE=$(TABLE) CAMPAIGN_ONLY="$(ONLY)" \
		$(BIN)/pytest -n 2 --dist worksteal -m campaign tests/campaign

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

site: .venv/installed
	$(BIN)/pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --strict

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@
