//! Which blobs come in parts, and how an attempt at one ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use oci_digest::Digest;

use super::Request;
use super::access::Granted;
use super::blob::Delivery;
use super::credentials::Login;
use super::direct::endpoint;
use super::error::{Kind, Refusal};
use super::parts::{self, Room, lock};
use crate::system::registries_conf::{has_certificates, texts};
use crate::system::registry_http::Client;
use crate::system::skopeo::Environment;

/// A blob goes on at once after an attempt that brought this much: 1 MiB.
const PROGRESS: u64 = 1 << 20;

/// The connections for parts that all blobs share, and what is known of registries.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Most connections for one blob; 1: all blobs come whole.
    most: usize,
    stall: Duration,
    room: Arc<Room>,
    /// `None` in it: they cannot be read.
    conf: OnceLock<Option<Vec<String>>>,
    /// Registries whose parts were no good.
    whole: Mutex<BTreeSet<String>>,
    /// Blobs that began to come in parts, and whether they turned out wrong.
    begun: Mutex<BTreeMap<Digest, bool>>,
}

impl Lanes {
    pub(crate) fn new(most: usize, stall: Duration) -> Self {
        let room = Arc::new(Room::new(parts::ALL));
        let (conf, whole, begun) = (OnceLock::new(), Mutex::default(), Mutex::default());
        Self { most, stall, room, conf, whole, begun }
    }

    /// Where parts of a blob come from; `None`: it comes whole. Reads files.
    pub(crate) fn client(
        &self,
        request: &Request,
        granted: &Granted,
        delivery: &Delivery,
        named: Option<&Path>,
        environment: &Environment,
    ) -> Option<Client> {
        let registry = request.reference.registry();
        if self.most < 2
            || delivery.size() < parts::LEAST
            || environment.has_proxy()
            || lock(&self.whole).contains(registry)
            || lock(&self.begun).get(&delivery.digest()) == Some(&true)
        {
            return None;
        }
        let login = match &granted.login {
            None => None,
            Some(Login::Basic(pair)) => Some(pair.clone()),
            Some(Login::Other) => return None,
        };
        if has_certificates(registry) {
            return None;
        }
        let conf = self.conf.get_or_init(|| texts(named, environment)).as_deref()?;
        let endpoint = endpoint(&request.reference, &request.pull, conf)?;
        // skopeo tries TLS without certificates first: a password must not go in plain text where it would not.
        if endpoint.insecure && login.is_some() {
            return None;
        }
        Some(Client::new(endpoint, login, self.stall))
    }

    /// Takes note that a blob was wrong: a registry may be worse at parts than at whole blobs. True when it came in parts,
    /// and will come whole the next time.
    pub(crate) fn pass_over(&self, blob: Digest) -> bool {
        let passed =
            lock(&self.begun).get_mut(&blob).is_some_and(|wrong| !std::mem::replace(wrong, true));
        if passed {
            log::warn!("blob {blob} came in parts and is wrong: fetching it once more, whole");
        }
        passed
    }

    /// Delivers a blob in parts, as long as each attempt brings it further. `false`: the registry has none to give; the
    /// blob may still come whole, and so do all others of this registry.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when the parts do not make the blob, [`Kind::Cancelled`].
    pub(crate) async fn deliver(
        &self,
        client: &Arc<Client>,
        delivery: &mut Delivery,
        registry: &str,
    ) -> Result<bool, Refusal> {
        lock(&self.begun).insert(delivery.digest(), false);
        if let Some(begun) = delivery.begun()
            && delivery.resume() == 0
        {
            parts::again(begun, delivery).await?;
        }
        loop {
            let before = delivery.resume();
            let Err(refusal) = parts::deliver(client, delivery, &self.room, self.most).await else {
                return Ok(true);
            };
            let further = delivery.resume() - before;
            match refusal.kind {
                Kind::Cancelled => return Err(refusal),
                Kind::Network | Kind::Stalled if further >= PROGRESS => {
                    log::info!("{registry}: {}; going on from there", refusal.why);
                    continue;
                }
                // What came so far is kept: skopeo, who is asked next, fetches it again, but it is not unpacked again.
                _ => {}
            }
            log::info!("{registry}: {}; its blobs come whole from now on", refusal.why);
            lock(&self.whole).insert(registry.to_owned());
            return if refusal.kind == Kind::Corrupt { Err(refusal) } else { Ok(false) };
        }
    }
}
