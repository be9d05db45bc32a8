//! How long the hook takes, as a process: started, given the state on stdin, waited for. Beside it, in
//! turn, the program `true`, which is what starting any process costs on this machine.
//!
//! The bundle is one that Podman 5.4.2 made, the lists of the primary store have 1 and 1,000 entries.
//! Run with `make bench-hook`. `HOOK=PROGRAM`: that one, linked in another way perhaps, instead of cargo's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "it fails by panicking")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{HOOK, Host, id, link, pinned};
use serde_json::json;

const RUNS: usize = 500;

/// A primary store with `count` layers, images and containers beside the one that starts.
fn fill(host: &Host, count: usize) {
    let config = include_str!("config.json");
    let graph = host.at("graph");
    let config = config.replace("@GRAPH@", graph.to_str().unwrap());
    host.write("bundle/config.json", config.replace("@REFERENCE@", &pinned()));
    let (mut layers, mut images, mut containers) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..count {
        let name = format!("layer {at}");
        symlink(format!("../{}/diff", id(&name)), graph.join("overlay/l").join(link(&name)))
            .unwrap();
        let digest = format!("sha256:{}", id(&format!("diff {at}")));
        layers.push(
            json!({"id": id(&name), "parent": id("x"), "created": "2026-11-21T10:47:48.852271347Z",
            "compressed-diff-digest": digest, "compressed-size": 3_747_840, "diff-digest": digest,
            "diff-size": 3_747_840, "compression": 2, "uidset": [0], "gidset": [0]}),
        );
        images.push(json!({"id": id(&format!("image {at}")), "digest": digest, "layer": id(&name),
            "names": [format!("example.org/image-{at}:1")], "metadata": "{}",
            "big-data-names": ["manifest"], "big-data-sizes": {"manifest": 1000}}));
        containers.push(json!({"id": id(&format!("container {at}")), "names": [format!("c-{at}")],
            "image": id(&format!("image {at}")), "layer": id(&format!("top {at}")), "metadata": "{}",
            "created": "2026-11-21T10:47:48.852271347Z", "flags": {"MountLabel": "", "ProcessLabel": ""}}));
    }
    containers.push(json!({"id": "c1", "names": ["app"], "image": id("image"), "layer": "own"}));
    for (list, entries) in [
        ("overlay-layers/layers", layers),
        ("overlay-images/images", images),
        ("overlay-containers/containers", containers),
    ] {
        host.mkdir(&format!("graph/{}", list.split('/').next().unwrap()));
        host.write(&format!("graph/{list}.json"), serde_json::to_vec(&entries).unwrap());
    }
}

fn time(program: &str, arguments: &[&std::path::Path], state: &[u8]) -> Duration {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    // `true` may be gone before it is told.
    drop(child.stdin.take().unwrap().write_all(state));
    let status = child.wait().unwrap();
    let took = started.elapsed();
    assert!(status.success(), "{program}: {status}");
    took
}

/// Median and 95th percentile, in milliseconds.
fn describe(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1000.0;
    (at(50), at(95))
}

fn main() {
    let program = std::env::var("HOOK").unwrap_or_else(|_| HOOK.to_owned());
    println!("{:44} {:>9} {:>9} {:>9}", "", "median", "95 %", "x `true`");
    let mut all = Vec::new();
    for (what, lower) in
        [("bound image, its layer", "top"), ("the same image in the primary store", "other")]
    {
        for count in [1, 1000] {
            let host = Host::new(&pinned());
            fill(&host, count);
            host.write("graph/overlay/own/lower", format!("l/{}:l/{}", link(lower), link("base")));
            let (store, journal) = (host.at("store"), host.at("journal"));
            let arguments = ["--store".as_ref(), &*store, "--journal".as_ref(), &*journal];
            let state = host.state();
            let (mut hook, mut nothing) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                hook.push(time(&program, &arguments, state.as_bytes()));
                nothing.push(time("true", &[], state.as_bytes()));
                let mut datagram = [0; 4096];
                host.journal.recv(&mut datagram).unwrap();
            }
            all.extend(&nothing);
            let ((median, high), (least, _)) = (describe(hook), describe(nothing));
            let name = format!("{what}, {count} layers");
            println!("{name:44} {median:>6.2} ms {high:>6.2} ms {:>9.1}", median / least);
        }
    }
    let (median, high) = describe(all);
    println!("{:44} {median:>6.2} ms {high:>6.2} ms {:>9.1}", "true", 1.0);
}
