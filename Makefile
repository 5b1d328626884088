# Everything that a contributor or CI runs. `make help` lists it; the two that matter first are `make demo` and `make test`.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
OPERATOR_VENV := .venv-operator
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
RIG := $(PY) -m rig
SOURCES := $(shell find library operator -name '*.py' -o -name '*.yaml' -o -name py.typed) pyproject.toml
UV_VERSION := 0.13.9
# The same commit gives the same files.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1577836800)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# -- set-up -----------------------------------------------------------------------------------------------------------

$(VENV)/.done: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=" >&2; exit 1; }
	@echo "making the development environment in $(VENV) (about half a minute, once)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(UV) || $(VENV)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(UV) pip sync --quiet --python $(PY) --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

# What a pod of the operator has: its dependencies and the wheel, nothing of the development environment.
$(OPERATOR_VENV)/.done: $(VENV)/.done requirements/operator.txt $(SOURCES)
	@echo "building the wheel and the operator's environment in $(OPERATOR_VENV)"
	@test -x $(OPERATOR_VENV)/bin/python || $(PYTHON) -m venv --without-pip $(OPERATOR_VENV)
	@$(UV) pip sync --quiet --python $(OPERATOR_VENV)/bin/python --require-hashes requirements/operator.txt
	@rm -rf build/wheel && $(UV) build --quiet --wheel --no-build-isolation --python $(PY) --out-dir build/wheel .
	@$(UV) pip install --quiet --python $(OPERATOR_VENV)/bin/python --no-deps --reinstall build/wheel/*.whl
	@touch $@

.PHONY: setup
setup: $(VENV)/.done $(OPERATOR_VENV)/.done ## make the Python environments

.PHONY: tools
tools: $(VENV)/.done ## build the cluster parts (about eleven minutes, once; cached outside the work tree)
	@$(PY) -m rig.tools $(if $(KUBECONFIG),kubectl)

# -- the main job -----------------------------------------------------------------------------------------------------

# Not those that only tests need: they cost minutes before the first thing is seen.
DEMO_TOOLS := etcd kubernetes kwok prometheus-operator prometheus alertmanager kubectl

.PHONY: demo
demo: setup ## the whole way once, on a real cluster (KEEP=1 leaves it running, Ctrl-C ends it)
	@$(PY) -m rig.tools $(if $(KUBECONFIG),kubectl,$(DEMO_TOOLS))
	@$(RIG) exec $(if $(KEEP),--forward-all) -- $(PY) hack/demo.py $(if $(KEEP),--keep)

.PHONY: scenes
scenes: setup ## a Prometheus with data to look at: FILE=workflow.yaml SCENARIO=healthy|failing|idle|new ARGS=--fleet
	@$(PY) -m rig.tools prometheus replay
	@$(PY) -m scenes $(or $(FILE),examples/orders/workflow.yaml) --scenario $(or $(SCENARIO),failing) $(ARGS)

# -- what is published ------------------------------------------------------------------------------------------------

.PHONY: manifests
manifests: $(VENV)/.done ## dist/install.yaml: the operator for kubectl apply --server-side -f (ARGS="--values FILE", or --monitoring with its monitors)
	@$(PY) -m rig.tools helm
	@$(PY) hack/manifests.py $(ARGS)

# -- tests ------------------------------------------------------------------------------------------------------------

.PHONY: test
test: check setup tools fetch ## checks and the whole suite: unit, cluster and end to end
	@$(RIG) exec -- $(PY) -m pytest

.PHONY: test-unit
test-unit: $(VENV)/.done ## tests without a cluster, in seconds
	@$(PY) -m pytest -q -m "not cluster and not e2e and not parts"

.PHONY: test-cluster
test-cluster: setup tools fetch ## tests that need a cluster
	@$(RIG) exec -- $(PY) -m pytest -m "cluster or e2e"

# Within the rig there is no network. What cannot be had is said here, and again by the test that wanted it.
.PHONY: fetch
fetch: $(VENV)/.done ## what the tests of wheels and image install, kept in the caches of uv and Flowgauge
	@$(UV) pip compile --quiet --no-header --extra all --constraint requirements/dev.txt --output-file /dev/null pyproject.toml || true
	@$(PY) -m image fetch || echo "no image will be built by the tests" >&2

.PHONY: check
check: lint types imports generated ## ruff, mypy, import contracts, generated files

.PHONY: lint
lint: $(VENV)/.done ## ruff
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check . || { echo "run: make format" >&2; exit 1; }

.PHONY: types
types: $(VENV)/.done ## mypy, strict
	@$(VENV)/bin/mypy

.PHONY: imports
imports: $(VENV)/.done ## who may import whom
	@$(VENV)/bin/lint-imports --no-logo

.PHONY: generated
generated: $(VENV)/.done ## whether the generated files are what the models say
	@$(PY) hack/generate.py --check

.PHONY: generate
generate: $(VENV)/.done ## write the generated files: CRD, references, goldens
	@$(PY) hack/generate.py

.PHONY: format
format: $(VENV)/.done ## format and mend what ruff can mend
	@$(VENV)/bin/ruff check --quiet --fix . ; $(VENV)/bin/ruff format --quiet .

# -- benchmarks -------------------------------------------------------------------------------------------------------

.PHONY: bench-operator
bench-operator: setup tools ## the operator with N workflows (default 1000) on a real API server, beside Sloth
	@$(PY) -m rig.tools sloth
	@$(RIG) exec -- $(PY) -m benchmarks.controllers --count $(or $(N),1000)

.PHONY: bench-discovery
bench-discovery: setup tools ## what looking for annotated pods costs among N pods (default 10000), in each mode
	@$(RIG) exec -- $(PY) -m benchmarks.discovery --count $(or $(N),10000) $(ARGS)

.PHONY: bench-rules
bench-rules: setup tools ## the rules of objectives beside Sloth's and Pyrra's: how true, how dear (ARGS=--quick for a smoke check)
	@$(PY) -m rig.tools sloth pyrra
	@$(PY) -m benchmarks.rules $(ARGS)

.PHONY: bench-library
bench-library: $(VENV)/.done ## the library beside its peers (ARGS=--quick for a smoke check)
	@$(PY) -m benchmarks.library $(ARGS)

.PHONY: bench-render
bench-render: $(VENV)/.done ## what rendering costs, beside the Foundation SDK and grafanalib (ARGS=--quick for a smoke check)
	@$(PY) -m benchmarks.render $(ARGS)

# -- releases ---------------------------------------------------------------------------------------------------------

# The wheel is built from the sdist, so that the sdist is known to build one.
.PHONY: package
package: $(VENV)/.done ## wheel, sdist, charts, install.yaml and their checksums, in dist/
	@rm -rf dist && mkdir dist
	@$(UV) build --quiet --no-build-isolation --python $(PY) --out-dir dist .
	@$(MAKE) --no-print-directory charts manifests
	@$(PY) hack/package.py

.PHONY: charts
charts: $(VENV)/.done ## both charts in dist/, ready to install; completes charts/flowgauge-stack in place
	@$(PY) -m rig.tools prometheus-operator helm
	@$(PY) hack/charts.py

.PHONY: image
image: $(VENV)/.done ## the operator's image by podman or docker: IMAGE=name TAG=tag BASE=image ENGINE=podman PYTHON_VERSION=3.11
	@$(PY) -m image build $(_IMAGE_FLAGS) $(if $(BASE),--base=$(BASE)) $(if $(TAG),--tag=$(TAG))

.PHONY: image-base
image-base: $(VENV)/.done ## a base for the image out of Debian's packages, where no registry can be reached
	@$(PY) -m image base $(_IMAGE_FLAGS)

_IMAGE_FLAGS = $(if $(IMAGE),--image=$(IMAGE)) $(if $(ENGINE),--engine=$(ENGINE)) $(if $(PYTHON_VERSION),--python=$(PYTHON_VERSION))

# -- upkeep -----------------------------------------------------------------------------------------------------------

.PHONY: lock
lock: $(VENV)/.done ## pin the dependencies anew, with hashes
	@$(UV) pip compile pyproject.toml --extra all --group dev --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements/dev.txt
	@$(UV) pip compile pyproject.toml --extra operator --universal --python-version 3.11 --generate-hashes --no-header --quiet --constraint requirements/dev.txt --output-file requirements/operator.txt

.PHONY: clean
clean: ## remove the environments and build results; cached cluster parts stay
	@rm -rf $(VENV) $(OPERATOR_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
