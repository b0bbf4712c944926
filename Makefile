# The two commands are `make run` and `make test`; both do all of their set-up. See README.md.
SHELL := /bin/bash
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

build: ## install what is missing and build the release
	@scripts/setup.sh build
	@scripts/build.sh

run: build ## build and start; with simulated clients unless DATABASE_URL is set
	@if [ -z "$$DATABASE_URL" ]; then export ASSAY_DEMO=$${ASSAY_DEMO:-1}; fi; exec target/release/assay

test: ## everything: unit, property, integration on a real PostgreSQL, end to end in a real browser
	@scripts/setup.sh test
	@scripts/build.sh
	@scripts/test.sh

lint: ## formatting, clippy on both targets, licences; advisories where the database can be reached
	@scripts/setup.sh lint
	@scripts/lint.sh

bench: ## measurements by hand, see docs/BENCHMARKS.md
	@scripts/setup.sh build
	@scripts/build.sh
	@scripts/bench.sh

clean: ## remove build output (not the data directory)
	rm -rf target .tools node_modules test-results

.PHONY: help build run test lint bench clean
