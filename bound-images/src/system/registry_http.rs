//! Parts of blobs, over HTTP: RFC 9110 ranges of what the OCI distribution specification serves at
//! `/v2/NAME/blobs/DIGEST`, with the token that Docker's registries ask for.
//!
//! Only an optimisation: whatever is unexpected here is an error after which skopeo is asked for the whole blob, and
//! what comes is judged by its digest like all else.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use binding::pull::Secret;
use http_auth::parser::ChallengeParser;
use oci_digest::Digest;
use serde::Deserialize;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, ResponseExt as _};

use crate::source::direct::Endpoint;

/// Longest answer of what gives tokens, in bytes.
const MAX_TOKEN: u64 = 1 << 20;
/// Longest part of the way to an answer: DNS and connecting. Where direct connections are dropped, so long does it take
/// until skopeo is asked, once for each registry.
const CONNECT: Duration = Duration::from_secs(10);
/// Blobs of many registries are elsewhere, a redirect or two away.
const REDIRECTS: u32 = 5;

/// Why a part did not come. Never has a secret in it.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) why: String,
    /// Nothing came for as long as may be.
    pub(crate) stalled: bool,
}

fn failed(why: impl Into<String>) -> Failed {
    Failed { why: why.into(), stalled: false }
}

fn lost(error: ureq::Error) -> Failed {
    let why = match &error {
        // These quote an address, and many addresses of blobs carry a permission.
        ureq::Error::RequireHttpsOnly(_) => "it leads to an address without HTTPS".to_owned(),
        ureq::Error::BadUri(_) => "it leads to an address that is none".to_owned(),
        error => error.to_string(),
    };
    Failed { why, stalled: matches!(error, ureq::Error::Timeout(_)) }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        lost(error.into())
    }
}

/// One repository of a registry, with its open connections and its token. Blocks: for threads of its own.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    endpoint: Endpoint,
    /// `user:password`.
    login: Option<Secret>,
    /// The longest time for a token, all of it.
    patience: Duration,
    /// The value of `Authorization` that the registry took last.
    authorization: Mutex<Option<Secret>>,
}

impl Client {
    /// Connects to nothing yet. `stall`: the longest time without a byte.
    pub(crate) fn new(endpoint: Endpoint, login: Option<Secret>, stall: Duration) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .https_only(!endpoint.insecure)
            // A host with a proxy gets its blobs through skopeo.
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            // The addresses that registries redirect to carry their own permission.
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            // A blob is the bytes that were hashed, not what they may be decoded to.
            .accept_encoding("identity")
            .user_agent(concat!("bound-images/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(stall))
            .timeout_per_read(Some(stall))
            .build()
            .new_agent();
        Self { agent, endpoint, login, patience: stall, authorization: Mutex::default() }
    }

    /// A reader of these bytes of a blob of `size` bytes, and of no others.
    ///
    /// # Errors
    /// Whatever else the registry answers, a whole blob too.
    pub(crate) fn part(
        &self,
        digest: Digest,
        bytes: &Range<u64>,
        size: u64,
    ) -> Result<impl Read + use<>, Failed> {
        let mut used = self.authorization();
        let mut response = self.ask(digest, bytes, used.as_ref())?;
        if response.status() == 401 {
            // Whoever a redirect leads to could name a place of its own to send the password to.
            if !response.get_uri().to_string().starts_with(&self.endpoint.blobs) {
                return Err(failed("it leads to an address that wants to know who asks"));
            }
            used = Some(self.authorize(response.headers(), used.as_ref())?);
            response = self.ask(digest, bytes, used.as_ref())?;
        }
        if response.status() != 206 {
            return Err(failed(format!(
                "it answers {} to a request for a part",
                response.status()
            )));
        }
        let last = bytes.end.saturating_sub(1);
        let expected = format!("bytes {}-{last}/{size}", bytes.start);
        let found =
            response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
        if found != Some(expected.as_str()) {
            return Err(failed(format!("it gives {found:?} instead of {expected:?}")));
        }
        Ok(response.into_body().into_reader().take(bytes.end - bytes.start))
    }

    fn ask(
        &self,
        digest: Digest,
        bytes: &Range<u64>,
        authorization: Option<&Secret>,
    ) -> Result<Response<Body>, Failed> {
        let range = format!("bytes={}-{}", bytes.start, bytes.end.saturating_sub(1));
        let mut request =
            self.agent.get(format!("{}{digest}", self.endpoint.blobs)).header(header::RANGE, range);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value.expose());
        }
        request.call().map_err(lost)
    }

    fn authorization(&self) -> Option<Secret> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers a challenge, once for all parts that were refused with the value `used`.
    fn authorize(&self, headers: &HeaderMap, used: Option<&Secret>) -> Result<Secret, Failed> {
        let mut held = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newer) = held.as_ref().filter(|newer| Some(*newer) != used) {
            return Ok(newer.clone());
        }
        let value = self.answer(&challenges(headers))?;
        *held = Some(value.clone());
        Ok(value)
    }

    fn answer(&self, challenges: &[Challenge]) -> Result<Secret, Failed> {
        let basic =
            self.login.as_ref().map(|pair| format!("Basic {}", STANDARD.encode(pair.expose())));
        let token = challenges.iter().find(|challenge| challenge.scheme == "bearer");
        let Some(Challenge { parameters, .. }) = token else {
            return match basic {
                Some(basic) if challenges.iter().any(|one| one.scheme == "basic") => {
                    Ok(Secret::new(basic))
                }
                _ => Err(failed("it wants to know who asks, in a way that is not known here")),
            };
        };
        let get =
            |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let realm = get("realm").ok_or_else(|| failed("its challenge names no realm"))?;
        // All wait for it: it must not come byte by byte.
        let limits = self.agent.get(realm.as_str()).config();
        let mut request = limits.timeout_global(Some(self.patience)).build();
        for name in ["service", "scope"] {
            if let Some(value) = get(name) {
                request = request.query(name, value);
            }
        }
        if let Some(basic) = basic {
            request = request.header(header::AUTHORIZATION, basic);
        }
        let mut response = request.call().map_err(lost)?;
        if response.status() != 200 {
            return Err(failed(format!("what gives its tokens answers {}", response.status())));
        }
        let text =
            response.body_mut().with_config().limit(MAX_TOKEN).read_to_vec().map_err(lost)?;
        // serde's own message could quote the token.
        let answer: Token =
            serde_json::from_slice(&text).map_err(|_| failed("what gives its tokens gave none"))?;
        let token = answer.token.or(answer.access_token).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(failed("what gives its tokens gave none"));
        }
        Ok(Secret::new(format!("Bearer {token}")))
    }
}

/// `WWW-Authenticate`, owned: scheme and names in lower case.
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

/// What cannot be understood is left out.
fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let parsed = texts.flat_map(|text| ChallengeParser::new(text).map_while(Result::ok));
    parsed
        .map(|challenge| Challenge {
            scheme: challenge.scheme.to_ascii_lowercase(),
            parameters: challenge
                .params
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_unescaped()))
                .collect(),
        })
        .collect()
}

/// What an authorization server gives, in either of its fields (distribution's `token.md`).
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}
