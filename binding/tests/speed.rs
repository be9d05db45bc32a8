//! A generator reads all bindings at every boot: 100 of them must take a few milliseconds.
mod support;

use std::time::{Duration, Instant};

use support::{CONTAINER, Tree};

#[test]
fn a_hundred_bindings() {
    let mut tree = Tree::new();
    for number in 0..100 {
        tree = tree.bound(&format!("service-{number}.container"), CONTAINER);
    }
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(tree.read().bindings.len(), 100);
            start.elapsed()
        })
        .min()
        .unwrap();
    eprintln!("100 bindings in {best:?}");
    // Far above what it takes, so that a busy machine or a debug build does not fail it.
    assert!(best < Duration::from_millis(200), "{best:?}");
}
