# make demo and make test do all their own set-up; both need root and say why. See README.md.
PREFIX = /usr
DESTDIR =
BUILD = target/release
RUN = tests/setup/run

help:
	@echo 'make demo | test | lab-test | lab-test-full | bench | bench-scale | bench-smoke | bench-hook | lint | doc | build | check | install, uninstall [DESTDIR=] [PREFIX=/usr] | dist | deb | rpm | test-packages | clean'

demo:
	@tests/setup/need demo
	@tests/demo/demo.sh

test:
	@tests/setup/need test
	$(RUN) cargo test --workspace --locked

# Booted machines: see tests/lab/README.md. -full: every scenario, with and without composefs.
lab-test:
	@tests/setup/need lab
	@tests/lab/run --lanes 2

lab-test-full:
	@tests/setup/need lab
	@tests/lab/run --lanes 2 --full

# See CONTRIBUTING.md. `OUT=`: into target/bench/results, whatever else the machine does meanwhile.
OUT = docs
bench:
	@tests/setup/need bench
	@bench/run bench $(if $(OUT),--out '$(OUT)')

bench-scale:
	@tests/setup/need bench
	@bench/run scale $(if $(OUT),--out '$(OUT)')

bench-smoke:
	@tests/setup/need bench
	@bench/run smoke

lint:
	$(RUN) cargo fmt --all --check
	$(RUN) cargo clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' $(RUN) cargo doc --workspace --no-deps --locked

# What systemd and Podman start is linked statically: it starts in two thirds of the time, on whatever root. With
# STATIC=no, for distributions that want it so, like any program.
STATIC = yes
linked = $(if $(filter yes,$(STATIC)),-C target-feature=+crt-static)
build:
	$(RUN) cargo build --release --locked -p bound-images
	$(RUN) cargo rustc --release --locked -p bound-images-generator --bin bound-images-generator -- $(linked)
	$(RUN) cargo rustc --release --locked -p bound-images-hook --bin bound-images-hook -- $(linked)
	@units/pages.sh '$(abspath $(BUILD))'

# What a build of a package can run (docs/packaging.md): needs no root, no network and no other tool.
check:
	$(RUN) cargo test --locked --lib -p binding -p host -p oci-digest -p overlay-store -p storage-conf

# docs/packaging.md. Archives and packages of what is committed, in target/dist.
dist:
	@packaging/dist.sh target/dist

deb: dist
	packaging/build-deb.sh target/dist target/dist

rpm: dist
	packaging/build-rpm.sh target/dist target/dist

# Builds, judges and installs them in chroots, each twice: half an hour.
test-packages:
	@tests/setup/need test
	@tests/packages/run

# What a start of a bound container waits for: docs/wiring.md has figures.
bench-hook:
	$(RUN) cargo bench --locked -p bound-images-hook --bench hook

# Not built here: `make build`, then `sudo make install`, so that cargo need not run as root.
install:
	@units/install.sh install '$(abspath $(BUILD))' '$(DESTDIR)' '$(PREFIX)'

uninstall:
	@units/install.sh uninstall '$(abspath $(BUILD))' '$(DESTDIR)' '$(PREFIX)'

clean:
	rm -rf --one-file-system target

.PHONY: help demo test lab-test lab-test-full bench bench-scale bench-smoke bench-hook lint doc build check dist deb rpm test-packages install uninstall clean
