# make run    install what is needed, then the whole pipeline on the built-in demo corpus
# make test   install what is needed, then lint, layer contracts, types and tests
# make mutants   about 200 deliberate breaks, each with the tests that must notice it (MUTANTS=crf: those of one subject)
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# uv does not read pip's settings; elsewhere choose torch's build with UV_TORCH_BACKEND=cpu|auto|cu126
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# processes that test side by side, one more than two cores, as some tests wait; a file's tests stay together, so that what
# they share is made once, and come in the order of tests/conftest.py. PARALLEL= for one process
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder
EXPERIMENT ?= experiments/demo.yaml
.PHONY: run test test-real mutants lint bench bench-long docs lock clean up down deploy prefect mlflow
.PHONY: chain-on chain-off schedules-on schedules-off rerun-on rerun-off

run: .venv/installed
	@$(BIN)/taglm run $(EXPERIMENT)

test: lint
	$(BIN)/pytest -m "not real" $(PARALLEL)

test-real: .venv/installed
	TAGLM_REAL_REQUIRED=1 $(BIN)/pytest -m real --timeout 7200

mutants: .venv/installed
	$(BIN)/python -m tests.mutations $(MUTANTS)

# against other libraries, which live in environments of their own; one thread
bench: .venv-peers/installed .venv-flair/installed
	cd benchmarks && PYTHONPATH=.. OMP_NUM_THREADS=1 ../.venv-peers/bin/python crf.py
	cd benchmarks && PYTHONPATH=.. OMP_NUM_THREADS=1 ../.venv-peers/bin/python spans.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python lm.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python streams.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python memory.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python extraction.py
	cd benchmarks && PYTHONPATH=.. OMP_NUM_THREADS=1 ../$(BIN)/python cache.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python tagger_epoch.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python tagger_precision.py
	cd benchmarks && ../$(BIN)/python gru.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python tagger_memory.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python tagger_training.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python tagger_tagging.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python orchestration.py start
	cd benchmarks && ../$(BIN)/python tables.py

# hours: on the corpora of ../shared/data and the treebank; killed and started again, it goes on. BENCH_WORK: folder for it
BENCH_WORK ?= data/bench
bench-long: .venv-peers/installed
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python ingest.py
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python equal_perplexity.py --work $(abspath $(BENCH_WORK))/equal
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python ptb.py --work $(abspath $(BENCH_WORK))/ptb
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python news.py --work $(abspath $(BENCH_WORK))/news
	cd benchmarks && ../$(BIN)/python tables.py

.venv-peers/installed: .venv/installed benchmarks/requirements.txt
	test -x .venv-peers/bin/python || $(BIN)/python -m venv .venv-peers
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-peers/bin/python -r benchmarks/requirements.txt
	touch $@

.venv-flair/installed: .venv/installed benchmarks/requirements-flair.txt
	test -x .venv-flair/bin/python || $(BIN)/python -m venv .venv-flair
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-flair/bin/python -r benchmarks/requirements-flair.txt
	touch $@

# docs are Markdown; this checks that every link inside them leads somewhere
docs: .venv/installed
	$(BIN)/pytest -q tests/architecture/test_docs.py

# Prefect server, worker and MLflow on this machine (docs/operations.md); prefect and mlflow: one UI in the foreground
# chain: the triggers from stage to stage; schedules: those of single stages; rerun: crashed runs are run again
up down deploy prefect mlflow chain-on chain-off schedules-on schedules-off rerun-on rerun-off: .venv/installed
	@$(BIN)/python ops/services.py $@

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

# Compiled where a CPU wheel of torch lies in UV_FIND_LINKS, so that the lock names no CUDA package; the wheel's +cpu is
# cut off, so that everybody finds a build.
lock:
	sed -i '/^torch==/d' requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra pipeline --extra dev --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	  --quiet -o requirements.lock
	sed -i 's/^torch==\([0-9.]*\)+cpu/torch==\1/' requirements.lock

clean:
	rm -rf .venv .venv-peers .venv-flair build *.egg-info
