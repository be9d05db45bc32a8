//! Whether a registry may be asked for parts of a blob without skopeo, which can only give the whole of one.
//!
//! Only where nothing but its name decides how it is reached. Mirrors, rewritten locations, certificates of its own
//! and HTTP proxies stay skopeo's business: there, blobs come through it. The rules for entries of registries.conf
//! are simpler, and stricter, than `containers-registries.conf(5)`: every entry for the host counts, not the best one.

use binding::pull::PullOptions;
use binding::reference::Reference;
use serde::Deserialize;

/// What is asked for blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https://HOST/v2/NAME/blobs/`.
    pub(crate) blobs: String,
    /// Whether it speaks HTTP, as registries.conf says (`insecure`).
    pub(crate) insecure: bool,
}

/// Version 2 of registries.conf, as far as it decides here; version 1 had a table `registries`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conf {
    registry: Vec<Entry>,
    registries: Option<toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<toml::Value>,
}

impl Entry {
    fn key(&self) -> &str {
        if self.prefix.is_empty() { &self.location } else { &self.prefix }
    }

    /// Whether it may be about images of `registry`: the same host, or a wildcard that has it. An entry without a port
    /// is about all ports to skopeo.
    fn is_about(&self, registry: &str) -> bool {
        let host = self.key().split('/').next().unwrap_or_default();
        let at = match host.strip_prefix('*') {
            Some(domain) => registry.find(domain).map(|at| at + domain.len()),
            None => registry.starts_with(host).then_some(host.len()),
        };
        let rest = at.and_then(|at| registry.get(at..));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }

    /// Whether images are where their names say.
    fn is_plain(&self) -> bool {
        let moved = !self.location.is_empty() && self.location != self.key();
        !moved && !self.blocked && self.mirror.is_empty()
    }
}

/// Where blobs of an image are, by the texts of registries.conf and its drop-ins. `None`: ask skopeo.
pub(crate) fn endpoint(
    reference: &Reference,
    pull: &PullOptions,
    registries: &[String],
) -> Option<Endpoint> {
    let asks_more = pull.cert_dir.is_some() || pull.tls_verify == Some(false);
    if asks_more || !pull.decryption_keys.is_empty() {
        return None;
    }
    let registry = reference.registry();
    let mut insecure = None;
    for text in registries {
        let conf: Conf = toml::from_str(text).ok()?;
        if conf.registries.is_some() {
            return None;
        }
        for entry in conf.registry.iter().filter(|entry| entry.is_about(registry)) {
            if !entry.is_plain() || insecure.is_some_and(|known| known != entry.insecure) {
                return None;
            }
            insecure = Some(entry.insecure);
        }
    }
    let insecure = insecure.unwrap_or(false);
    // Docker Hub's registry has another name than its images.
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let name = reference.repository().strip_prefix(registry)?.strip_prefix('/')?;
    let scheme = if insecure { "http" } else { "https" };
    Some(Endpoint { blobs: format!("{scheme}://{host}/v2/{name}/blobs/"), insecure })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(reference: &str, conf: &str) -> Option<String> {
        let reference = Reference::parse(reference).unwrap();
        endpoint(&reference, &PullOptions::default(), &[conf.to_owned()]).map(|at| at.blobs)
    }

    #[test]
    fn a_name_says_where_unless_registries_conf_says_more() {
        let quay = "https://quay.io/v2/ns/app/blobs/";
        for (conf, expected) in [
            ("", Some(quay)),
            ("unqualified-search-registries = ['docker.io']\n", Some(quay)),
            ("[[registry]]\nlocation = 'other.io'\nblocked = true\n", Some(quay)),
            ("[[registry]]\nlocation = 'quay.io'\n", Some(quay)),
            ("[[registry]]\nprefix = 'quay.io'\nlocation = 'quay.io'\n", Some(quay)),
            (
                "[[registry]]\nlocation = 'quay.io'\ninsecure = true\n",
                Some("http://quay.io/v2/ns/app/blobs/"),
            ),
            ("[[registry]]\nlocation = 'quay.io'\nblocked = true\n", None),
            ("[[registry]]\nlocation = 'quay.io/other'\nblocked = true\n", None),
            ("[[registry]]\nprefix = 'quay.io/ns'\nlocation = 'mirror.example.org/ns'\n", None),
            ("[[registry]]\nprefix = '*.io'\nlocation = 'mirror.example.org'\n", None),
            ("[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'm'\n", None),
            (
                "[[registry]]\nlocation = 'quay.io'\ninsecure = true\n[[registry]]\nprefix = 'quay.io/x'\n",
                None,
            ),
            ("[registries.insecure]\nregistries = []\n", None),
            ("[[registry]]\nlocation = 5\n", None),
            ("not toml", None),
        ] {
            assert_eq!(ask("quay.io/ns/app:1", conf).as_deref(), expected, "{conf}");
        }
        assert_eq!(
            ask("docker.io/nginx", "").as_deref(),
            Some("https://registry-1.docker.io/v2/library/nginx/blobs/")
        );
    }

    #[test]
    fn entries_without_a_port_are_about_all_ports() {
        for (reference, key, is_about) in [
            ("r.example.com:5000/a", "r.example.com", true),
            ("r.example.com:5000/a", "r.example.com/a", true),
            ("r.example.com:5000/a", "*.example.com", true),
            ("r.example.com:5000/a", "r.example.com:5000", true),
            ("r.example.com:5000/a", "r.example.com:500", false),
            ("r.example.com/a", "r.example.com:5000", false),
            ("r.example.com/a", "r.example", false),
            ("r.example.community/a", "*.example.com", false),
            ("example.com/a", "*.example.com", false),
            ("[::1]:5000/a", "[::1]", true),
            ("[::1]:5000/a", "[::1]:5000", true),
        ] {
            let conf = format!("[[registry]]\nprefix = '{key}'\nlocation = 'mirror.lan'\n");
            assert_eq!(ask(reference, &conf).is_none(), is_about, "{reference} {key}");
        }
    }

    #[test]
    fn what_the_quadlet_wants_of_skopeo_stays_with_skopeo() {
        let reference = Reference::parse("quay.io/ns/app:1").unwrap();
        for options in [
            PullOptions { tls_verify: Some(false), ..PullOptions::default() },
            PullOptions { cert_dir: Some("/etc/x".into()), ..PullOptions::default() },
        ] {
            assert_eq!(endpoint(&reference, &options, &[]), None);
        }
    }
}
