# Evenkeel. `make help` lists the targets; meson does the building.
.PHONY: help build install tidy test-unit
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## */  make \1\t/p' Makefile | expand -t 24

build: ## compile build/evenkeel
	@test -d build || meson setup build
	ninja -C build

test-unit: build ## the unit, kernel and golden tests
	meson test -C build --print-errorlogs

tidy: ## check the house rules
	@true
