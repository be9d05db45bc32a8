//! Large blobs in parts: against a registry that is good at ranges, bad at them, or has none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use binding::pull::Secret;
use oci_digest::Digest;
use tokio::sync::mpsc;

use super::*;
use crate::source::credentials::Login as Credentials;
use crate::source::direct::Endpoint;
use crate::source::lanes::Lanes;
use crate::source::testing::registry_server::{Does, FakeRegistry, Login};

/// `user:sesame-open`
const PAIR: &str = "dXNlcjpzZXNhbWUtb3Blbg==";

/// A registry with one blob of 21 MiB and a bit, which is not like itself anywhere.
struct World {
    server: FakeRegistry,
    blob: Vec<u8>,
    digest: Digest,
    lanes: Lanes,
    login: Option<Secret>,
}

impl World {
    fn new() -> Self {
        let mut state = 1u64;
        let mut blob = Vec::new();
        while blob.len() < 21 << 20 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            blob.extend(state.to_le_bytes());
        }
        blob.push(7);
        let (server, digest) = (FakeRegistry::start(), Digest::of(&blob));
        server.blob("ns/app", &digest.to_string(), &blob);
        let lanes = Lanes::new(4, Duration::from_secs(1));
        Self { server, blob, digest, lanes, login: None }
    }

    fn client(&self) -> Arc<Client> {
        let blobs = format!("http://{}/v2/ns/app/blobs/", self.server.host());
        let endpoint = Endpoint { blobs, insecure: true };
        Arc::new(Client::new(endpoint, self.login.clone(), Duration::from_secs(1)))
    }

    /// What the receiver got, and how it ended.
    async fn deliver(&self) -> (Vec<u8>, Result<bool, Refusal>) {
        let (sender, mut receiver) = mpsc::channel(4);
        let mut delivery = Delivery::new(self.digest, self.blob.len() as u64, sender);
        let send = async {
            let result = self.lanes.deliver(&self.client(), &mut delivery, "registry").await;
            drop(delivery);
            result
        };
        let receive = async {
            let mut bytes = Vec::new();
            while let Some(piece) = receiver.recv().await {
                bytes.extend(piece);
            }
            bytes
        };
        let (result, bytes) = tokio::join!(send, receive);
        (bytes, result)
    }

    /// Bytes that were asked for, in all.
    fn asked(&self) -> u64 {
        let ranges = self.server.log().into_iter().filter_map(|line| {
            let (first, last) = line.split_once("bytes=")?.1.split_once('-')?;
            let last = last.split(' ').next()?;
            Some(last.parse::<u64>().unwrap() - first.parse::<u64>().unwrap() + 1)
        });
        ranges.sum()
    }
}

#[tokio::test]
async fn each_byte_comes_once_and_in_order() {
    let world = World::new();
    let (bytes, result) = world.deliver().await;
    assert!(result.unwrap());
    assert!(bytes == world.blob);
    assert_eq!(world.asked(), world.blob.len() as u64);
    assert_eq!(world.server.log().len(), 6, "{:?}", world.server.log());
}

#[tokio::test]
async fn parts_that_wait_in_memory_are_counted_until_somebody_takes_them() {
    let world = World::new();
    let (client, room) = (world.client(), Arc::new(Room::new(2)));
    let asked = || world.server.log().len();
    let begin = || {
        let (sender, receiver) = mpsc::channel(1);
        let (client, room) = (Arc::clone(&client), Arc::clone(&room));
        let mut delivery = Delivery::new(world.digest, world.blob.len() as u64, sender);
        let task = tokio::spawn(async move { deliver(&client, &mut delivery, &room, 4).await });
        (receiver, task)
    };
    let (mut first, one) = begin();
    while asked() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (mut second, other) = begin();
    // Long enough for both parts to be here, and their threads gone.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(asked(), 2, "{:?}", world.server.log());
    let drain = async {
        while first.recv().await.is_some() {}
        while second.recv().await.is_some() {}
    };
    let (one, other, ()) = tokio::join!(one, other, drain);
    one.unwrap().unwrap();
    other.unwrap().unwrap();
    assert_eq!(asked(), 12, "{:?}", world.server.log());
}

#[tokio::test]
async fn a_part_that_breaks_off_is_all_that_comes_again() {
    for does in [Does::Truncate(3 << 20), Does::Hang] {
        let world = World::new();
        let first = 2 * PART;
        world.server.fault(&format!("bytes={first}-"), does.clone(), 1);
        let (bytes, result) = world.deliver().await;
        assert!(result.unwrap(), "{does:?}");
        assert!(bytes == world.blob, "{does:?}");
        // The parts that were under way at that time, too.
        assert!(world.asked() <= world.blob.len() as u64 + 4 * PART, "{does:?}: {}", world.asked());
    }
}

#[tokio::test]
async fn a_registry_without_parts_is_asked_for_one_only() {
    for does in [
        Does::Whole,
        Does::Shift,
        Does::Status(416),
        Does::Status(404),
        Does::Status(403),
        Does::Status(429),
        Does::Status(500),
        Does::HangUp,
    ] {
        let world = World::new();
        world.server.fault("bytes=", does.clone(), usize::MAX);
        let (bytes, result) = world.deliver().await;
        assert!(!result.unwrap(), "{does:?}");
        assert!(bytes.is_empty(), "{does:?}: {} bytes", bytes.len());
        assert!(world.server.log().len() <= 4, "{does:?}: {:?}", world.server.log());
    }
}

#[tokio::test]
async fn parts_that_are_not_the_blob_are_told_apart_from_a_bad_blob() {
    let world = World::new();
    world.server.fault(&format!("bytes={PART}-"), Does::Garble, usize::MAX);
    let (_, result) = world.deliver().await;
    assert_eq!(result.unwrap_err().kind, Kind::Corrupt);
    assert!(world.lanes.pass_over(world.digest), "another try in another way");
    assert!(!world.lanes.pass_over(world.digest), "and that is all");
}

#[tokio::test]
async fn a_registry_that_stops_in_the_middle_for_good_is_left_after_what_it_gave() {
    let world = World::new();
    world.server.fault(&format!("bytes={}-", 2 * PART), Does::Hang, usize::MAX);
    world.server.fault("bytes=10", Does::Status(500), usize::MAX);
    let began = Instant::now();
    let (bytes, result) = world.deliver().await;
    assert!(!result.unwrap());
    assert!(bytes.len() as u64 >= 2 * PART && world.blob.starts_with(&bytes));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn who_asks_is_told_to_the_registry_and_to_nobody_else() {
    for (login, pair, opens) in [
        (Login::Basic(PAIR.into()), Some("user:sesame-open"), true),
        (Login::Bearer(PAIR.into()), Some("user:sesame-open"), true),
        (Login::Bearer(PAIR.into()), Some("user:wrong"), false),
        (Login::Bearer(PAIR.into()), None, false),
        (Login::Basic(PAIR.into()), None, false),
    ] {
        let mut world = World::new();
        let elsewhere = FakeRegistry::start();
        elsewhere.blob("ns/app", &world.digest.to_string(), &world.blob);
        world.login = pair.map(Secret::new);
        world.server.login(login.clone());
        world.server.fault(
            "authorized",
            Does::Elsewhere(format!("http://{}", elsewhere.host())),
            usize::MAX,
        );
        let (bytes, result) = world.deliver().await;
        assert_eq!(result.unwrap(), opens, "{login:?}");
        assert_eq!(bytes == world.blob, opens, "{login:?}");
        let log = elsewhere.log();
        assert_eq!(log.len(), if opens { 6 } else { 0 }, "{login:?}: {log:?}");
        assert!(log.iter().all(|line| line.contains("bytes=") && !line.contains("authorized")));
        // One token for all parts.
        let tokens = world.server.log().iter().filter(|line| line.contains("/token")).count();
        assert!(tokens <= 1 || !opens, "{:?}", world.server.log());
    }
}

/// A place that a registry leads to may be anybody's: what it asks for is not answered.
#[tokio::test]
async fn who_asks_is_not_told_where_a_redirect_says() {
    let mut world = World::new();
    world.login = Some(Secret::new("user:sesame-open"));
    let elsewhere = FakeRegistry::start();
    elsewhere.blob("ns/app", &world.digest.to_string(), &world.blob);
    elsewhere.login(Login::Bearer(PAIR.into()));
    let address = format!("http://{}", elsewhere.host());
    world.server.fault("bytes=", Does::Elsewhere(address), usize::MAX);
    let (bytes, result) = world.deliver().await;
    assert!(!result.unwrap() && bytes.is_empty());
    let log = elsewhere.log();
    assert!(log.iter().all(|line| !line.contains("/token")), "{log:?}");
}

#[tokio::test]
async fn a_token_that_comes_byte_by_byte_is_not_waited_for() {
    let mut world = World::new();
    world.login = Some(Secret::new("user:sesame-open"));
    world.server.login(Login::Bearer(PAIR.into()));
    world.server.fault("/token", Does::Drip, usize::MAX);
    let began = Instant::now();
    let (_, result) = world.deliver().await;
    assert!(!result.unwrap());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_token_that_expires_on_the_way_is_renewed() {
    let mut world = World::new();
    world.login = Some(Secret::new("user:sesame-open"));
    world.server.login(Login::Bearer(PAIR.into()));
    world.server.fault(&format!("bytes={}-", 4 * PART), Does::Expire, 1);
    let (bytes, result) = world.deliver().await;
    assert!(result.unwrap() && bytes == world.blob);
    let tokens = world.server.log().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(tokens, 2, "{:?}", world.server.log());
}

#[tokio::test]
async fn parts_that_hang_keep_their_lanes() {
    let world = World::new();
    world.server.fault("bytes=0-", Does::Status(500), usize::MAX);
    world.server.fault("bytes=", Does::Hang, usize::MAX);
    let (sender, _receiver) = mpsc::channel(4);
    let mut delivery = Delivery::new(world.digest, world.blob.len() as u64, sender);
    let lanes = Arc::new(Room::new(ALL));
    assert!(deliver(&world.client(), &mut delivery, &lanes, 4).await.is_err());
    // Nobody waits for the others any more, but their threads do.
    assert!(lanes.free() <= ALL - 3, "{}", lanes.free());
    let all = lanes.permits.acquire_many(ALL as u32);
    drop(tokio::time::timeout(Duration::from_secs(8), all).await.unwrap().unwrap());
}

/// Whoever takes connections and says nothing, or never comes to an end, is left.
#[test]
fn an_answer_that_does_not_begin_is_not_waited_for() {
    for (scheme, says) in [
        ("https", &b""[..]),
        ("http", b""),
        ("http", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("http", b"X"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    if says == b"X" {
                        drop(io::Write::write_all(&mut stream, b"HTTP/1.1 206 X\r\n"));
                    }
                    // Until the client goes away.
                    while io::Write::write_all(&mut stream, says).is_ok() {
                        thread::sleep(Duration::from_millis(300));
                    }
                });
            }
        });
        let blobs = format!("{scheme}://{host}/v2/a/blobs/");
        let endpoint = Endpoint { blobs, insecure: scheme == "http" };
        let client = Client::new(endpoint, None, Duration::from_secs(1));
        let began = Instant::now();
        let failed = client.part(Digest::of(b"a"), &(0..10), 100).err().unwrap();
        assert!(failed.stalled, "{scheme} {says:?}: {}", failed.why);
        assert!(
            began.elapsed() < Duration::from_secs(12),
            "{scheme} {says:?}: {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn lanes_are_shared_and_given_back() {
    let world = World::new();
    let (one, other) = tokio::join!(world.deliver(), world.deliver());
    for (bytes, result) in [one, other] {
        assert!(result.unwrap());
        assert!(bytes == world.blob);
    }
    // Also those of a transfer that nobody waits for any more.
    let cut = tokio::time::timeout(Duration::from_millis(5), world.deliver()).await;
    assert!(cut.is_err());
    let (bytes, result) = world.deliver().await;
    assert!(result.unwrap() && bytes == world.blob);
}

#[test]
fn entries_that_only_skopeo_can_use_are_left_to_it() {
    let reference = binding::reference::Reference::parse("quay.io/ns/app:1").unwrap();
    let pair = |text: &str| Credentials::Basic(Secret::new(text));
    for (text, expected) in [
        (format!(r#"{{"auths":{{"quay.io":{{"auth":"{PAIR}"}}}}}}"#), pair("user:sesame-open")),
        (
            // The longest key counts; placeholders do not.
            format!(
                r#"{{"auths":{{"quay.io":{{"auth":"{PAIR}"}},"quay.io/ns":{{"auth":"bnM6eA=="}},"quay.io/ns/app":{{}}}}}}"#
            ),
            pair("ns:x"),
        ),
        (
            format!(r#"{{"auths":{{"https://quay.io/v1/":{{"auth":"{PAIR}"}}}}}}"#),
            pair("user:sesame-open"),
        ),
        (r#"{"auths":{"quay.io":{"auth":"eA==","identitytoken":"t"}}}"#.into(), Credentials::Other),
        (r#"{"auths":{"quay.io":{"auth":"%%%"}}}"#.into(), Credentials::Other),
        (
            format!(
                r#"{{"auths":{{"quay.io":{{"auth":"{PAIR}"}}}},"credHelpers":{{"quay.io":"x"}}}}"#
            ),
            Credentials::Other,
        ),
        ("no json".into(), Credentials::Other),
    ] {
        assert_eq!(
            crate::source::credentials::login(text.as_bytes(), &reference),
            expected,
            "{text}"
        );
    }
}
