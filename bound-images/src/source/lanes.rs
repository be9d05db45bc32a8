//! Which blobs come in parts, and how an attempt at one ends.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Request;
use super::access::Granted;
use super::blob::Delivery;
use super::credentials::Login;
use super::direct::endpoint;
use super::error::{Kind, Refusal};
use super::parts;
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
    permits: Arc<Semaphore>,
    /// `None` in it: they cannot be read.
    conf: OnceLock<Option<Vec<String>>>,
    /// Registries whose parts were no good.
    whole: Mutex<BTreeSet<String>>,
}

impl Lanes {
    pub(crate) fn new(most: usize, stall: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(parts::ALL));
        Self { most, stall, permits, conf: OnceLock::new(), whole: Mutex::default() }
    }

    /// Where parts of a blob come from; `None`: it comes whole. Reads files.
    pub(crate) fn client(
        &self,
        request: &Request,
        granted: &Granted,
        size: u64,
        named: Option<&Path>,
        environment: &Environment,
    ) -> Option<Client> {
        let registry = request.reference.registry();
        if self.most < 2
            || size < parts::LEAST
            || environment.has_proxy()
            || self.is_whole(registry)
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
        Some(Client::new(endpoint, login, self.stall))
    }

    fn is_whole(&self, registry: &str) -> bool {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).contains(registry)
    }

    /// Delivers a blob in parts, as long as each attempt brings it further. `false`: the registry has none to give; the
    /// blob may still come whole, and so do all others of this registry.
    ///
    /// # Errors
    /// [`Kind::Parts`] when the parts do not make the blob; else what may pass, or [`Kind::Cancelled`].
    pub(crate) async fn deliver(
        &self,
        client: &Arc<Client>,
        delivery: &mut Delivery,
        registry: &str,
    ) -> Result<bool, Refusal> {
        loop {
            let before = delivery.resume();
            let Err(refusal) = parts::deliver(client, delivery, &self.permits, self.most).await
            else {
                return Ok(true);
            };
            let further = delivery.resume() - before;
            match refusal.kind {
                Kind::Cancelled | Kind::Io => return Err(refusal),
                Kind::Network | Kind::Stalled if further >= PROGRESS => {
                    log::info!("{registry}: {}; going on from there", refusal.why);
                    continue;
                }
                // What came so far is kept: skopeo, who is asked next, fetches it again, but it is not unpacked again.
                _ => {}
            }
            log::info!("{registry}: {}; its blobs come whole from now on", refusal.why);
            self.whole.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.to_owned());
            return match refusal.kind {
                Kind::Corrupt => Err(Refusal::new(Kind::Parts, refusal.why)),
                _ => Ok(false),
            };
        }
    }
}
