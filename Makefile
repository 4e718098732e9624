PYTHON ?= python3
BIN = .venv/bin

.PHONY: help demo test coverage soak lint bench docs lock clean

help:
	@echo "make demo | test | coverage | lint | bench | soak | docs | lock | clean"

.venv/done: pyproject.toml requirements-dev.lock examples/setup
	sh examples/setup $(PYTHON)
	touch $@

demo: .venv/done
	sh examples/demo

test: .venv/done
	$(BIN)/pytest -m "not soak" -n 2 --dist loadfile --no-loadscope-reorder

coverage: .venv/done
	$(BIN)/pytest -m "not soak" -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term

soak: .venv/done
	$(BIN)/pytest -m soak -s

lint: .venv/done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	rm -rf dist && $(BIN)/python -m build && $(BIN)/twine check --strict dist/*

bench: .venv/done
	$(BIN)/python benchmarks/run.py

docs: .venv/done
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/examples.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q

lock: .venv/done
	$(BIN)/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
	  --no-emit-trusted-host --no-emit-find-links --extra dev --extra web -o requirements-dev.lock pyproject.toml

clean:
	rm -rf .venv dist demo site .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
