//! A registry that misbehaves on request: plain HTTP on loopback, one thread per connection, one
//! request per connection, which may be for a range of bytes. Included with `#[path]` by the tests of several places.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What goes wrong with a request whose path contains `path`.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Part of the request path, for example `/manifests/` or a digest.
    pub path: String,
    /// What happens.
    pub does: Does,
    /// How often; afterwards the request is answered well.
    pub times: usize,
}

/// What the registry does instead of answering well.
#[derive(Clone, Debug)]
pub enum Does {
    /// This status, with a body that registries send with it.
    Status(u16),
    /// Promises all bytes, sends this many, hangs up.
    Truncate(usize),
    /// Promises and sends this many bytes only.
    Shorten(usize),
    /// Sends this many bytes more than there are.
    Lengthen(usize),
    /// Sends as many other bytes.
    Garble,
    /// Sends half and then nothing, without hanging up.
    Hang,
    /// Sends a byte every now and then.
    Drip,
    /// Says that the token is good no more.
    Expire,
    /// Hangs up at once.
    HangUp,
    /// Sends all of it, whatever range was asked for.
    Whole,
    /// Says that it sends the range one byte further on.
    Shift,
    /// Sends the client to the same path at this `http://HOST`.
    Elsewhere(String),
}

/// How the registry wants to know who asks.
#[derive(Clone, Debug)]
pub enum Login {
    /// Nobody is asked.
    Open,
    /// `Authorization: Basic` with this base64.
    Basic(String),
    /// A token from `/token`, given for this base64 only.
    Bearer(String),
}

#[derive(Debug)]
struct State {
    /// `/v2/NAME/manifests/TAG|DIGEST` and `/v2/NAME/blobs/DIGEST` -> media type, bytes.
    stored: BTreeMap<String, (String, Vec<u8>)>,
    faults: Vec<Fault>,
    login: Login,
    log: Vec<String>,
}

/// The registry, until it is dropped.
#[derive(Debug)]
pub struct FakeRegistry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

impl FakeRegistry {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            stored: BTreeMap::new(),
            faults: Vec::new(),
            login: Login::Open,
            log: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                if let Ok(stream) = stream {
                    let (shared, stopped) = (Arc::clone(&shared), Arc::clone(&stopped));
                    thread::spawn(move || {
                        // A client that hangs up is part of the tests.
                        drop(serve(stream, address, &shared, &stopped));
                    });
                }
            }
        });
        Self { address, state, stop }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Stores a manifest under a tag or digest.
    pub fn manifest(&self, name: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.state.lock().unwrap().stored.insert(path, (media_type.to_owned(), bytes.to_vec()));
    }

    /// Stores a blob under `digest`, whatever its bytes are.
    pub fn blob(&self, name: &str, digest: &str, bytes: &[u8]) {
        let path = format!("/v2/{name}/blobs/{digest}");
        let stored = ("application/octet-stream".to_owned(), bytes.to_vec());
        self.state.lock().unwrap().stored.insert(path, stored);
    }

    /// Lets something go wrong `times` times.
    pub fn fault(&self, path: &str, does: Does, times: usize) {
        let fault = Fault { path: path.to_owned(), does, times };
        self.state.lock().unwrap().faults.push(fault);
    }

    /// Asks for credentials from now on.
    pub fn login(&self, login: Login) {
        self.state.lock().unwrap().login = login;
    }

    /// `METHOD path` of every request so far; with `bytes=FIRST-LAST` behind it where a range was asked for, and
    /// `authorized` where the client said who it is.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    /// A registries.conf text that lets clients speak plain HTTP to this registry.
    pub fn registries_conf(&self) -> String {
        format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", self.address)
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener; that it is gone already would be fine.
        drop(TcpStream::connect(self.address));
    }
}

struct Asked {
    method: String,
    path: String,
    authorization: Option<String>,
    /// `bytes=FIRST-LAST`
    range: Option<String>,
}

fn read_request(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut asked = Asked { method, path, authorization: None, range: None };
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some(asked));
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => asked.authorization = Some(value.trim().to_owned()),
            "range" => asked.range = Some(value.trim().to_owned()),
            _ => {}
        }
    }
}

fn respond(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(&str, String)],
    length: usize,
    body: &[u8],
) -> std::io::Result<()> {
    let mut head =
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}

fn serve(
    stream: TcpStream,
    address: SocketAddr,
    state: &Mutex<State>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let Ok(Some(asked)) = read_request(&stream) else {
        // For example TLS: as web servers do.
        return respond(&stream, 400, &[], 0, b"");
    };
    let (login, fault, stored) = {
        let mut state = state.lock().unwrap();
        let mut line = format!("{} {}", asked.method, asked.path);
        if let Some(range) = &asked.range {
            line = format!("{line} {range}");
            if asked.authorization.is_some() {
                line.push_str(" authorized");
            }
        }
        state.log.push(line.clone());
        let hit =
            state.faults.iter_mut().find(|fault| fault.times > 0 && line.contains(&fault.path));
        let fault = hit.map(|fault| {
            fault.times -= 1;
            fault.does.clone()
        });
        (state.login.clone(), fault, state.stored.get(&asked.path).cloned())
    };
    let json = ("Content-Type", "application/json".to_owned());
    let refused = |challenge: String| {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        respond(&stream, 401, &[json.clone(), ("WWW-Authenticate", challenge)], body.len(), body)
    };
    let given = asked.authorization.as_deref().unwrap_or_default();
    match &login {
        Login::Open => {}
        Login::Basic(pair) => {
            if given != format!("Basic {pair}") {
                return refused("Basic realm=\"test\"".to_owned());
            }
        }
        Login::Bearer(pair) => {
            if asked.path.starts_with("/token") {
                if given != format!("Basic {pair}") {
                    return refused("Basic realm=\"test\"".to_owned());
                }
                let body = br#"{"token":"let-me-in","expires_in":300}"#;
                if matches!(fault, Some(Does::Drip)) {
                    return drip(&stream, body, stop);
                }
                return respond(&stream, 200, &[json], body.len(), body);
            }
            if given != "Bearer let-me-in" || matches!(fault, Some(Does::Expire)) {
                let realm = format!("http://{address}/token");
                return refused(format!("Bearer realm=\"{realm}\",service=\"test\""));
            }
        }
    }
    if asked.path == "/v2/" && fault.is_none() {
        return respond(&stream, 200, &[json], 2, b"{}");
    }
    let (media_type, bytes) = match &stored {
        Some(stored) => stored.clone(),
        None => ("text/plain".to_owned(), Vec::new()),
    };
    let mut kind = vec![("Content-Type", media_type)];
    let range = asked.range.as_deref().filter(|_| !matches!(fault, Some(Does::Whole)));
    let (status, bytes) = match range.and_then(|range| bounds(range, bytes.len())) {
        None => (200, bytes),
        Some((first, last)) => {
            let shift = usize::from(matches!(fault, Some(Does::Shift)));
            let said = format!("bytes {}-{}/{}", first + shift, last + shift, bytes.len());
            kind.push(("Content-Range", said));
            (206, bytes[first..=last].to_vec())
        }
    };
    let half = bytes.len() / 2;
    match fault {
        Some(Does::Whole | Does::Shift | Does::Expire) => {
            respond(&stream, status, &kind, bytes.len(), &bytes)
        }
        Some(Does::Elsewhere(host)) => {
            let location = ("Location", format!("{host}{}", asked.path));
            respond(&stream, 307, &[location], 0, b"")
        }
        Some(Does::Status(status)) => respond_status(&stream, status),
        Some(Does::Truncate(count)) => {
            respond(&stream, status, &kind, bytes.len(), &bytes[..count.min(bytes.len())])?;
            stream.shutdown(Shutdown::Both)
        }
        Some(Does::Shorten(count)) => {
            let bytes = &bytes[..count.min(bytes.len())];
            respond(&stream, status, &kind, bytes.len(), bytes)
        }
        Some(Does::Lengthen(count)) => {
            let bytes = [bytes, vec![b'x'; count]].concat();
            respond(&stream, status, &kind, bytes.len(), &bytes)
        }
        Some(Does::Garble) => {
            let garbled: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
            respond(&stream, status, &kind, bytes.len(), &garbled)
        }
        Some(Does::Hang) => {
            respond(&stream, status, &kind, bytes.len(), &bytes[..half])?;
            while !stop.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }
        Some(Does::Drip) => drip(&stream, &bytes, stop),
        Some(Does::HangUp) => stream.shutdown(Shutdown::Both),
        None if stored.is_none() => respond_status(&stream, 404),
        None if asked.method == "HEAD" => respond(&stream, 200, &kind, bytes.len(), &[]),
        None => respond(&stream, status, &kind, bytes.len(), &bytes),
    }
}

fn drip(mut stream: &TcpStream, body: &[u8], stop: &AtomicBool) -> std::io::Result<()> {
    respond(stream, 200, &[], body.len(), &[])?;
    for byte in body.iter().take_while(|_| !stop.load(Ordering::SeqCst)) {
        stream.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// First and last byte of `bytes=FIRST-LAST`.
fn bounds(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
    (first <= last && last < length).then_some((first, last))
}

fn respond_status(stream: &TcpStream, status: u16) -> std::io::Result<()> {
    let code = match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 => "MANIFEST_UNKNOWN",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    };
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"as told"}}]}}"#);
    let mut headers = vec![("Content-Type", "application/json".to_owned())];
    if status == 429 {
        // Otherwise clients wait for a minute.
        headers.push(("Retry-After", "0".to_owned()));
    }
    if status == 401 {
        headers.push(("WWW-Authenticate", "Basic realm=\"test\"".to_owned()));
    }
    respond(stream, status, &headers, body.len(), body.as_bytes())
}
