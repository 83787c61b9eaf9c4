VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LINT    := go tool -modfile=tools/lint/go.mod golangci-lint
OUT     ?= bin/sigstack
DIR     ?= .cache/up

# One way to compile for the binary, its tests and the linters, so that each
# package is built once and what is tested is what ships.
export CGO_ENABLED := 0
export GOFLAGS     := -trimpath $(GOFLAGS)

export FUZZTIME ?= 10s
export COUNT    ?= 5

.DEFAULT_GOAL := help
.PHONY: build build-kms build-pkcs11 check unit lint generated test deps race pkcs11 e2e e2e-tls e2e-split e2e-postgres compat faults vuln fuzz bench bench-ca bench-growth bench-log bench-postgres bench-release check-compose demo pgo up clients generate verify help

build: ## build bin/sigstack, static and trimmed
	go build -ldflags "-s -w -X main.version=$(VERSION)" -o $(OUT) ./cmd/sigstack

build-kms: ## build bin/sigstore-kms-hashivault, which reaches keys in Vault
	go build -ldflags "-s -w" -o bin/sigstore-kms-hashivault ./cmd/sigstore-kms-hashivault

build-pkcs11: ## build bin/sigstack-pkcs11, which reaches keys in tokens; needs a C compiler
	CGO_ENABLED=1 go build -tags pkcs11 -ldflags "-s -w -X main.version=$(VERSION)" -o bin/sigstack-pkcs11 ./cmd/sigstack

check: unit lint generated ## unit tests, lint, generated code: fast, no network

unit: ## the tests of every package but e2e
	@tools/unit

lint: ## the lint set of .golangci.yml
	$(LINT) run

generated: ## fail when generated files are stale
	tools/unchanged go generate ./...

test: ## everything: check, race where there is a C compiler, e2e with upstream clients
	@tools/test

deps: ## install what tests use, as root; print the one command otherwise
	@tools/deps

race: ## the race detector over internal and services; skipped without a C compiler
	@tools/race

pkcs11: ## tests of keys in tokens, with SoftHSM; skipped without a C compiler
	@tools/pkcs11

e2e: build clients ## whole-stack tests against bin/sigstack and the upstream clients
	go test -count=1 -timeout 40m ./e2e/...

e2e-tls: build clients ## the same tests over TLS with an authority of each stack's own
	SIGSTACK_E2E_MODE=tls go test -count=1 -timeout 40m ./e2e ./e2e/compat ./e2e/conformance ./e2e/e2etest ./e2e/faults ./e2e/keys ./e2e/login ./e2e/negatives ./e2e/publish

e2e-split: build clients ## the same tests with every stack in several processes
	SIGSTACK_E2E_MODE=split go test -count=1 -timeout 40m ./e2e ./e2e/compat ./e2e/conformance ./e2e/e2etest ./e2e/faults ./e2e/keys ./e2e/login ./e2e/negatives ./e2e/publish

e2e-postgres: build clients ## the same tests, and those of releases and rotations, with every stack as two replicas on PostgreSQL
	SIGSTACK_E2E_MODE=postgres go test -count=1 -timeout 60m ./e2e ./e2e/artifacts ./e2e/attest ./e2e/ceremony ./e2e/clock ./e2e/compat ./e2e/compromise ./e2e/conformance ./e2e/e2etest ./e2e/exposure ./e2e/faults ./e2e/keys ./e2e/login ./e2e/negatives ./e2e/operations ./e2e/promote ./e2e/publish ./e2e/release ./e2e/rotate ./e2e/signedset

compat: build clients ## the matrix of clients; writes docs/compatibility.md
	@tools/compat

faults: build ## 200 kills under load, every power cut, broken and full disks, clock steps; some 20 minutes
	@tools/faults

vuln: ## known vulnerabilities in what is called; needs the database's network, or VULNDB
	@tools/vuln

fuzz: ## every fuzz target for FUZZTIME
	@tools/fuzz

bench: ## benchmarks, each with its ratio to its floor, over COUNT runs
	@tools/bench

bench-ca: build ## certificates under load, every answer verified, over ROUNDS rounds
	@tools/bench-ca

bench-log: build ## the log under load, every answer verified, over ROUNDS rounds
	@tools/bench-log

pgo: ## the profile that the compiler optimizes by, cmd/sigstack/default.pgo, from runs of the release and the log
	@tools/pgo

bench-growth: build ## what a log's operations cost from a thousand to a million entries; needs 4 GB of disk and some minutes
	go run ./tools/growth measure

bench-postgres: build ## adding to the log on PostgreSQL, beside upstream's Rekor on the same one, over ROUNDS rounds
	@tools/bench-postgres

bench-release: build clients ## releases signed and verified, beside a loop of cosign, over ROUNDS rounds
	@tools/bench-release

check-compose: build clients ## compose.yaml with a docker daemon of its own, as root: both profiles, crashes, a rolling restart
	@tools/check-compose

demo: ## build, start a stack, sign and verify a release, show that tampering is refused
	@go run ./tools/demo

up: build ## a test stack in DIR
	bin/sigstack up --dir $(DIR)

clients: ## the upstream clients, in bin/clients
	@tools/clients

generate: ## regenerate and format
	go generate ./...
	$(LINT) fmt

verify: ## regenerate, tidy, and demand that nothing changes
	tools/unchanged sh -c 'go generate ./... && go mod tidy && go -C tools/lint mod tidy && go -C tools/policy-tester mod tidy && $(LINT) fmt'

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile
