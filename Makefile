# `make demo` and `make test` do all of their own set-up; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
CHP_VERSION := 5.3.0
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# npm has a trust store of its own; where pip is told of an authority (a company's proxy), npm is told, too.
export NODE_EXTRA_CA_CERTS ?= $(or $(SSL_CERT_FILE),$(PIP_CERT))
PYTEST := python -m pytest -q

.DEFAULT_GOAL := help
.PHONY: help demo test lint test-unit test-integration test-integration-hub5 test-rucio test-browser test-keycloak test-cluster test-storage testbed-storage demo-cluster bench bench-cluster images docs clean debian-demo debian-test debian-java debian-java-packages debian-storage

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'

demo: .venv/.demo ## a whole data lake on this machine (ARGS=--check plays a scientist in it; ARGS=--help)
	@dlaas demo $(ARGS)

test: lint test-unit test-integration test-integration-hub5 test-rucio test-browser ## everything that needs no heavier peer

lint: .venv/.test ## ruff, mypy --strict, the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-unit: .venv/.test ## seconds
	$(BIN)/$(PYTEST) tests/unit tests/conformance

test-integration: .venv/.test ## a real JupyterHub 6.1 with its proxy
	$(BIN)/$(PYTEST) tests/integration

test-integration-hub5: .venv-hub5/.test ## the same on JupyterHub 5.5, which Zero-to-JupyterHub ships
	.venv-hub5/bin/$(PYTEST) tests/integration --ignore=tests/integration/test_demo.py

test-rucio: .venv/.test ## a real Rucio server with two sites and a scratch area
	$(BIN)/$(PYTEST) tests/rucio

test-browser: .venv/.test ## a real Chromium through the whole demo
	$(BIN)/$(PYTEST) tests/browser

test-keycloak: .venv/.test debian-java ## the conformance suite and the hub against a real Keycloak (Java 17, Maven, about 4 minutes)
	DLAAS_TEST_ISSUER=keycloak $(BIN)/$(PYTEST) tests/conformance tests/keycloak

test-storage: .venv/.test debian-storage ## XRootD servers, caches, a FUSE mount, and Rucio copying between them (about 8 minutes)
	$(BIN)/$(PYTEST) tests/storage

testbed-storage: .venv/.test debian-storage ## the same servers, left running until Ctrl-C: prints what is where (ARGS="--background", "--help")
	@PYTHONPATH=tests $(BIN)/python -m storage.lab up $(ARGS)

test-cluster: .venv/.test ## everything deployed in the cluster of KUBECONFIG, and used as a person does (about 17 minutes)
	@PYTHONPATH=tests $(BIN)/python -m cluster.lake up
	@$(BIN)/python -m pytest -v --tb=short tests/cluster

demo-cluster: .venv/.test ## the same, left running: prints where to go and who can log in
	@PYTHONPATH=tests $(BIN)/python -m cluster.lake up

bench: .venv/.test ## measured beside what one would use instead
	$(BIN)/python -m benchmarks --write docs/pages/reference/speed-table.md
	$(BIN)/python -m benchmarks lake --write docs/pages/reference/speed-lake-table.md

images: ## hub, agent, server and an example, with buildah, docker or podman (settings: images/build)
	@images/build

bench-cluster: .venv/.test ## pods beside stock KubeSpawner's, in the cluster of KUBECONFIG with the images of make demo-cluster
	$(BIN)/python -m benchmarks pod-start agent-image pods-together options --write docs/pages/reference/speed-cluster-table.md

docs: .venv/.test ## the documentation as a site, in site/
	$(BIN)/mkdocs build --strict -f docs/mkdocs.yml

clean: ## environments and caches; the demo's data stay where they are
	rm -rf .venv .venv-hub5 site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# --- set-up ---------------------------------------------------------------------------------------------------------

# Runs a command with its output in a log and a line every few seconds; shows the log's end if it fails.
define quietly
@log=$$(mktemp); started=$$(date +%s); ( $(2) ) >$$log 2>&1 & job=$$!; printf '%s\n' '$(1) ...'; beat=0; \
while kill -0 $$job 2>/dev/null; do sleep 1; beat=$$((beat + 1)); \
if [ $$((beat % 8)) -eq 0 ]; then printf '  %s: %s s\n' '$(1)' $$(( $$(date +%s) - started )); fi; done; \
if wait $$job; then rm -f $$log; else tail -n 30 $$log; printf '%s failed; the whole log is %s\n' '$(1)' $$log; exit 1; fi
endef

# Debian's packages: installed where we are root, otherwise named.
define debian
@missing=; for package in $(1); do dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
if [ -n "$$missing" ]; then \
if [ $$(id -u) -eq 0 ]; then echo "Installing Debian packages:$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing >.debian.log 2>&1 || { tail -n 20 .debian.log; exit 1; }; rm -f .debian.log; \
else printf 'These Debian packages are needed; ask an administrator for\n  apt-get install%s\n' "$$missing"; exit 1; fi; fi
endef

debian-demo:
	$(call debian,libmagic1 curl)

debian-test:
	$(call debian,libmagic1 curl chromium fonts-dejavu-core r-base-core r-cran-irkernel)

debian-java:
	@command -v java >/dev/null && command -v mvn >/dev/null || $(MAKE) --no-print-directory debian-java-packages

debian-java-packages:
	$(call debian,openjdk-17-jre-headless maven)

debian-storage:
	$(call debian,xrootd-server xrootd-client xrootd-scitokens-plugins xrootd-fuse openssl)

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml constraints.txt Makefile | debian-demo .venv/bin/python
	$(call quietly,Installing Python packages,$(BIN)/pip install -c constraints.txt -e '.[demo]')
	$(call quietly,Installing the proxy,npm install --no-audit --no-fund --prefix .venv/chp configurable-http-proxy@$(CHP_VERSION))
	@touch $@

.venv/.test: .venv/.demo | debian-test
	$(call quietly,Installing the test tools,$(BIN)/pip install -c constraints.txt -e '.[test$(comma)docs]')
	@touch $@

comma := ,

# The oldest hub that is supported, with the spawner that Zero-to-JupyterHub 4.4.0 ships.
.venv-hub5/.test: .venv/.test
	$(PYTHON) -m venv .venv-hub5
	@sed -E 's/^jupyterhub==.*/jupyterhub==5.5.0/; s/^jupyterhub-kubespawner==.*/jupyterhub-kubespawner==7.0.0/' constraints.txt > .venv-hub5/constraints.txt
	$(call quietly,Installing JupyterHub 5.5,.venv-hub5/bin/pip install -c .venv-hub5/constraints.txt -e '.[test]')
	@touch $@
