//! What skopeo says when it fails -> a [`Kind`]. Pure; the texts are those of skopeo 1.9.3, and of
//! containers/image (`docker/errors.go`, `docker/docker_client.go`) for newer ones.

use crate::source::error::{Kind, Refusal};

/// Longest message that goes into an error, in characters.
const LONGEST: usize = 500;

/// In this order; the first text that is found in the message (lower case) decides.
const TABLE: &[(&str, Kind)] = &[
    // Before the words of the registry that they quote.
    ("unable to retrieve auth token: invalid username/password", Kind::Unauthorized),
    ("toomanyrequests", Kind::RateLimited),
    ("too many requests", Kind::RateLimited),
    ("http status: 429", Kind::RateLimited),
    ("statuscode: 429", Kind::RateLimited),
    // The signature policy.
    ("source image rejected", Kind::Policy),
    ("a signature was required", Kind::Policy),
    ("rejected by policy", Kind::Policy),
    ("policy.json", Kind::Policy),
    ("invalid policy", Kind::Policy),
    ("none of the signatures were accepted", Kind::Policy),
    ("invalid gpg signature", Kind::Policy),
    ("signature for ", Kind::Policy),
    ("signature by key ", Kind::Policy),
    ("no public keys imported", Kind::Policy),
    ("verification polic", Kind::Policy),
    ("sigstore payload", Kind::Policy),
    ("rekor", Kind::Policy),
    ("fulcio", Kind::Policy),
    // What the registry answers.
    ("unauthorized", Kind::Unauthorized),
    ("authentication required", Kind::Unauthorized),
    ("denied:", Kind::Unauthorized),
    ("access to the resource is denied", Kind::Unauthorized),
    ("statuscode: 401", Kind::Unauthorized),
    ("statuscode: 403", Kind::Unauthorized),
    ("http status: 401", Kind::Unauthorized),
    ("http status: 403", Kind::Unauthorized),
    ("from registry 401", Kind::Unauthorized),
    ("from registry 403", Kind::Unauthorized),
    ("403 (forbidden)", Kind::Unauthorized),
    ("manifest unknown", Kind::NotFound),
    ("name unknown", Kind::NotFound),
    ("blob unknown", Kind::NotFound),
    ("name_unknown", Kind::NotFound),
    ("manifest_unknown", Kind::NotFound),
    ("statuscode: 404", Kind::NotFound),
    ("http status: 404", Kind::NotFound),
    ("from registry 404", Kind::NotFound),
    ("404 (not found)", Kind::NotFound),
    ("http status: 5", Kind::Server),
    ("statuscode: 5", Kind::Server),
    ("from registry 5", Kind::Server),
    ("internal server error", Kind::Server),
    ("bad gateway", Kind::Server),
    ("service unavailable", Kind::Server),
    ("gateway timeout", Kind::Server),
    // Wrong bytes; not to be confused with an end that nobody expected.
    ("unexpected eof", Kind::Network),
    ("corrupted blob", Kind::Corrupt),
    ("mismatch", Kind::Corrupt),
    ("does not match", Kind::Corrupt),
    ("did not match", Kind::Corrupt),
    ("expected ", Kind::Corrupt),
    // The network. A handshake that times out is the network, other TLS trouble is not.
    ("handshake timeout", Kind::Network),
    ("http response to https client", Kind::PlainHttp),
    ("x509:", Kind::Tls),
    ("tls:", Kind::Tls),
    ("certificate", Kind::Tls),
    ("connection refused", Kind::Network),
    ("connection reset", Kind::Network),
    ("no such host", Kind::Network),
    ("no route to host", Kind::Network),
    ("network is unreachable", Kind::Network),
    ("broken pipe", Kind::Network),
    ("timeout", Kind::Network),
    ("timed out", Kind::Network),
    ("deadline exceeded", Kind::Network),
    ("server misbehaving", Kind::Network),
    ("dial tcp", Kind::Network),
    (": eof", Kind::Network),
    // Ways of not being served.
    ("unknown command", Kind::SkopeoTooOld),
    ("unsupported", Kind::Unsupported),
    ("no image found", Kind::Platform),
    // GnuPG of a signature that is none.
    ("no data", Kind::Policy),
    ("bad signature", Kind::Policy),
    ("openpgp", Kind::Policy),
];

/// The kind of failure that `message` tells of; [`Kind::Io`] when nothing is recognised. `name` is
/// the image's repository: its own words must not decide.
#[must_use]
pub fn classify(message: &str, name: &str) -> Kind {
    let mut text = message.to_lowercase();
    if !name.is_empty() {
        text = text.replace(&name.to_lowercase(), "IMAGE");
        // Registries answer with the name without their own host.
        if let Some((_, path)) = name.split_once('/').filter(|(_, path)| path.contains('/')) {
            text = text.replace(&path.to_lowercase(), "IMAGE");
        }
    }
    let end = text.trim_end();
    if end == "eof" {
        return Kind::Network;
    }
    TABLE.iter().find(|(part, _)| text.contains(part)).map_or(Kind::Io, |(_, kind)| *kind)
}

/// A refusal for what skopeo said.
#[must_use]
pub fn refuse(message: &str, name: &str) -> Refusal {
    let kind = classify(message, name);
    let text: String = readable(message)
        .trim()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(LONGEST)
        .collect();
    Refusal::new(kind, format!("skopeo says: {text}"))
}

/// Without what GPGME's Go binding prints of itself: of a signature, the key is what helps.
fn readable(message: &str) -> String {
    let Some((what, rest)) = message.split_once(": gpgme.Signature{") else {
        return message.to_owned();
    };
    let key = rest.split_once("Fingerprint:\"").and_then(|(_, rest)| rest.split_once('"'));
    match key {
        Some((key, _)) => {
            format!("{what} (by key {key}, which is not one that policy.json names, or not valid)")
        }
        None => what.to_owned(),
    }
}

/// The message in skopeo's stderr: that of the last `level=fatal` or `level=error` line
/// (logrus's text format), else the last line. `Error parsing image name "…": ` is cut off, since
/// the error names the image anyway.
#[must_use]
pub fn parse_stderr(stderr: &str) -> String {
    let lines = || stderr.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let logged = lines().find(|line| {
        line.contains("level=fatal") || line.contains("level=error") || line.starts_with("FATA")
    });
    let Some(line) = logged.or_else(|| lines().next()) else {
        return "nothing".to_owned();
    };
    let message = match line.split_once("msg=\"") {
        Some((_, quoted)) => unquote(quoted),
        None => line.to_owned(),
    };
    match message.strip_prefix("Error parsing image name ").and_then(|rest| rest.split_once("\": "))
    {
        Some((_, rest)) => rest.trim().to_owned(),
        None => message.trim().to_owned(),
    }
}

/// Go's `%q` undone, up to the closing quote.
fn unquote(quoted: &str) -> String {
    let mut text = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('n' | 't' | 'r') => text.push(' '),
                Some(other) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What skopeo 1.9.3 said when a registry answered thus.
    const SAID: &[(&str, Kind)] = &[
        (
            "reading manifest tag in 127.0.0.1:5999/m401: unauthorized: msg UNAUTHORIZED",
            Kind::Unauthorized,
        ),
        (
            "reading manifest tag in 127.0.0.1:5999/p401: unauthorized: authentication required",
            Kind::Unauthorized,
        ),
        ("reading manifest tag in 127.0.0.1:5999/m403: denied: msg DENIED", Kind::Unauthorized),
        (
            "reading manifest tag in 127.0.0.1:5999/p403: StatusCode: 403, <html>no</html>",
            Kind::Unauthorized,
        ),
        (
            "unable to retrieve auth token: invalid username/password: unknown: blob",
            Kind::Unauthorized,
        ),
        (
            "Error fetching blob: invalid status code from registry 403 (Forbidden)",
            Kind::Unauthorized,
        ),
        (
            "reading manifest tag in 127.0.0.1:5999/m404: manifest unknown: msg MANIFEST_UNKNOWN",
            Kind::NotFound,
        ),
        (
            "reading manifest tag in 127.0.0.1:5999/p404: StatusCode: 404, <html>no</html>",
            Kind::NotFound,
        ),
        ("Error fetching blob: invalid status code from registry 404 (Not Found)", Kind::NotFound),
        (
            "reading manifest tag in 127.0.0.1:5999/m429: toomanyrequests: msg TOOMANYREQUESTS",
            Kind::RateLimited,
        ),
        ("too many requests to registry", Kind::RateLimited),
        (
            "reading manifest tag in 127.0.0.1:5999/m500: received unexpected HTTP status: 500 Internal Server Error",
            Kind::Server,
        ),
        (
            "Error fetching blob: invalid status code from registry 503 (Service Unavailable)",
            Kind::Server,
        ),
        ("Get \"http://127.0.0.1:5999/v2/drop/manifests/tag\": EOF", Kind::Network),
        ("unexpected EOF", Kind::Network),
        ("EOF", Kind::Network),
        (
            "pinging container registry 127.0.0.1:5998: Get \"http://127.0.0.1:5998/v2/\": dial tcp 127.0.0.1:5998: connect: connection refused",
            Kind::Network,
        ),
        (
            "pinging container registry no.such.host.invalid: Get \"https://no.such.host.invalid/v2/\": dial tcp: lookup no.such.host.invalid on 10.0.0.1:53: no such host",
            Kind::Network,
        ),
        (
            "pinging container registry 127.0.0.1:5999: Get \"https://127.0.0.1:5999/v2/\": tls: first record does not look like a TLS handshake",
            Kind::Tls,
        ),
        ("Get \"https://r/v2/\": net/http: TLS handshake timeout", Kind::Network),
        (
            "pinging container registry 127.0.0.1:5999: Get \"https://127.0.0.1:5999/v2/\": http: server gave HTTP response to HTTPS client",
            Kind::PlainHttp,
        ),
        ("corrupted blob, expecting sha256:c59d", Kind::Corrupt),
        ("Source image rejected: A signature was required, but no signature exists", Kind::Policy),
        ("Invalid GPG signature: gpgme.Signature{Summary:128}", Kind::Policy),
        ("None of the signatures were accepted, reasons: x; y", Kind::Policy),
        ("No data", Kind::Policy),
        ("Signature for identity \"r/n:1\" is not accepted", Kind::Policy),
        ("Signature for digest sha256:c59d does not match", Kind::Policy),
        ("tls: invalid signature by the server certificate", Kind::Tls),
        ("something never heard of", Kind::Io),
    ];

    #[test]
    fn messages_tell_their_kind() {
        for (said, kind) in SAID {
            assert_eq!(classify(said, "127.0.0.1:5999/m"), *kind, "{said}");
        }
    }

    #[test]
    fn the_words_of_an_image_name_do_not_decide() {
        let said = "reading manifest 1 in r/unauthorized/toomanyrequests: manifest unknown: no";
        assert_eq!(classify(said, "r/unauthorized/toomanyrequests"), Kind::NotFound);
    }

    #[test]
    fn the_message_is_taken_out_of_the_log_line() {
        let table = [
            (
                "time=\"t\" level=warning msg=\"w\"\ntime=\"t\" level=fatal msg=\"Error parsing image \
                 name \\\"docker://r/a:t\\\": reading \\\"x\\\": denied: no\\n\"\n",
                "reading \"x\": denied: no",
            ),
            ("plain\nlast line\n\n", "last line"),
            ("", "nothing"),
            ("level=fatal msg=\"cut\\", "cut"),
        ];
        for (stderr, expected) in table {
            assert_eq!(parse_stderr(stderr), expected);
        }
    }
}
