# make demo and make test do all their own set-up; both need root and say why. See README.md.
PREFIX = /usr
DESTDIR =
RUN = tests/setup/run

help:
	@echo 'make demo | test | lab-test | lab-test-full | lint | doc | install [DESTDIR=] [PREFIX=/usr] | clean'

demo:
	@tests/setup/need demo
	@tests/demo/demo.sh

test:
	@tests/setup/need test
	$(RUN) cargo test --workspace --locked

# Booted machines: see tests/lab/README.md. -full: every scenario, with and without composefs.
lab-test:
	@tests/setup/need lab
	@tests/lab/run

lab-test-full:
	@tests/setup/need lab
	@tests/lab/run --full

lint:
	$(RUN) cargo fmt --all --check
	$(RUN) cargo clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' $(RUN) cargo doc --workspace --no-deps --locked

build:
	$(RUN) cargo build --release --locked -p bound-images

# Not built here: `make build`, then `sudo make install`, so that cargo need not run as root.
install:
	@test -x target/release/bound-images || { echo 'run make build first' >&2; exit 2; }
	install -D -m 755 target/release/bound-images '$(DESTDIR)$(PREFIX)/bin/bound-images'
	install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/doc/bound-images' README.md CHANGELOG.md
	units/storage-skeleton '$(DESTDIR)/usr/lib/containers/storage'

clean:
	rm -rf --one-file-system target

.PHONY: help demo test lab-test lab-test-full lint doc build install clean
