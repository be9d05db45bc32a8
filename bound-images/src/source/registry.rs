//! Images from registries.
//!
//! Raw manifests come from `skopeo inspect --raw`, because the image proxy converts them; then the
//! proxy is opened by the digest of the one image, so that the signature policy judges that very
//! image, and config and layers come through it as blobs. An opened proxy is kept for the next
//! layer of the same image: opening one costs a manifest request, which registries count. Large layers then come in
//! parts, over several connections (`super::lanes`), where skopeo is not needed to find them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use binding::pull::PullOptions;
use binding::reference::Reference;
use oci_digest::Digest;
use tokio::sync::{OnceCell, Semaphore};

use super::access::{Granted, blame, demand_of_host, grant};
use super::blob::{Delivery, LayerBlob, Sink};
use super::credentials::AuthFile;
use super::error::{Kind, Refusal, SourceError};
use super::lanes::Lanes;
use super::manifest::{
    MAX_MANIFEST, Manifest, Parts, assemble, check_bytes, check_config_descriptor, no_instance,
    parse_manifest,
};
use super::platform::choose;
use super::retry::Retries;
use super::{ImageBytes, RawManifest, Request};
use crate::system::registry_http::Client;
use crate::system::skopeo::{Environment, Skopeo, Version};
use crate::system::skopeo_policy::Demand;
use crate::system::skopeo_proxy::Session;

/// How registries are read.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Most blobs fetched at once, each by a proxy of its own.
    pub jobs: usize,
    /// Longest time without a byte of a blob.
    pub stall_timeout: Duration,
    /// Longest time for one request that is not a blob. skopeo itself waits about a minute when a
    /// registry says 429, so it should be longer.
    pub request_timeout: Duration,
    /// Further attempts after a failure that may pass; a Quadlet's `Retry=` overrides it.
    pub retries: u32,
    /// Delay before the first of them, doubled each time; `RetryDelay=` overrides it.
    pub retry_delay: Duration,
    /// Most connections for one large blob; 1: each comes whole, through skopeo.
    pub parts: usize,
    /// The program: a path or a name to look for in `PATH`.
    pub skopeo: PathBuf,
    /// What skopeo sees: [`crate::system::skopeo::passed_environment`] of the caller's.
    pub environment: Environment,
    /// Another registries.conf than the system's.
    pub registries_conf: Option<PathBuf>,
    /// Another policy.json than the system's.
    pub policy: Option<PathBuf>,
    /// Directory for short-lived auth files (mode 0600), best on a tmpfs.
    pub secrets: PathBuf,
}

impl RegistryOptions {
    /// The defaults, with the caller's environment: 3 jobs, 60 s stall, 3 min per request,
    /// 3 retries from 1 s on, secrets in `/run`.
    #[must_use]
    pub fn new(environment: impl Into<Environment>) -> Self {
        Self {
            jobs: 3,
            stall_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(180),
            retries: 3,
            retry_delay: Duration::from_secs(1),
            parts: 4,
            skopeo: PathBuf::from("skopeo"),
            environment: environment.into(),
            registries_conf: None,
            policy: None,
            secrets: PathBuf::from("/run"),
        }
    }
}

/// What an idle session may be used again for.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    image: String,
    pull: PullOptions,
    auth_files: Vec<AuthFile>,
}

/// An opened image, with the auth file that its proxy goes on reading.
#[derive(Debug)]
struct Opened {
    session: Session,
    access: Arc<Granted>,
}

/// All registries, as skopeo reaches them.
#[derive(Debug)]
pub struct Registry {
    options: RegistryOptions,
    skopeo: Skopeo,
    version: OnceCell<Version>,
    running: Semaphore,
    lanes: Lanes,
    idle: Mutex<Vec<(Key, Opened)>>,
}

impl Registry {
    /// Nothing is started yet.
    #[must_use]
    pub fn new(options: RegistryOptions) -> Self {
        let skopeo = Skopeo {
            program: options.skopeo.clone(),
            environment: options.environment.clone(),
            registries_conf: options.registries_conf.clone(),
            policy: options.policy.clone(),
            deadline: options.request_timeout,
        };
        let running = Semaphore::new(options.jobs.clamp(1, 64));
        let lanes = Lanes::new(options.parts, options.stall_timeout);
        Self { options, skopeo, version: OnceCell::new(), running, lanes, idle: Mutex::default() }
    }

    /// The installed skopeo's version, asked once.
    ///
    /// # Errors
    /// [`Kind::SkopeoMissing`], [`Kind::SkopeoTooOld`], or what went wrong.
    pub async fn skopeo_version(&self) -> Result<Version, Refusal> {
        self.version.get_or_try_init(|| self.skopeo.version()).await.copied()
    }

    /// The digest that a reference has in its registry now: of the list, where it names one. For
    /// asking whether a tag has moved.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn resolve(&self, request: &Request) -> Result<Digest, SourceError> {
        let work = async {
            self.check_skopeo(&request.reference).await?;
            let granted = self.grant(request).await?;
            let found = self
                .retries(request)
                .run(&request.reference.to_string(), || self.top(request, &granted))
                .await;
            found.map(|(raw, _)| raw.digest).map_err(|refusal| blame(refusal, request, &granted))
        };
        work.await.map_err(|refusal| refusal.of(&request.reference))
    }

    /// See [`super::Source::image`].
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn image(&self, request: &Request) -> Result<ImageBytes, SourceError> {
        let work = async {
            self.check_skopeo(&request.reference).await?;
            let granted = self.grant(request).await?;
            self.retries(request)
                .run(&request.reference.to_string(), || self.read_image(request, &granted))
                .await
                .map_err(|refusal| blame(refusal, request, &granted))
        };
        work.await.map_err(|refusal| refusal.of(&request.reference))
    }

    /// See [`super::Source::layer`]. After a failure that may pass, another attempt continues
    /// where the receiver stands.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn layer(
        &self,
        request: &Request,
        image: &ImageBytes,
        blob: &LayerBlob,
        sink: impl Into<Sink>,
    ) -> Result<(), SourceError> {
        let sink = sink.into();
        let work = async {
            self.check_skopeo(&request.reference).await?;
            let granted = self.grant(request).await?;
            let waiting = Mutex::new(Some(Delivery::new(blob.digest, blob.size, sink)));
            let what = format!("{} blob {}", request.reference, blob.digest);
            self.retries(request)
                .run(&what, || self.attempt(request, image.manifest.digest, &granted, &waiting))
                .await
                .map_err(|refusal| blame(refusal, request, &granted))
        };
        work.await.map_err(|refusal| refusal.of(&request.reference))
    }

    /// Takes note that a blob was wrong. True when it came in parts: it will come whole the next time.
    pub fn pass_over(&self, blob: &LayerBlob) -> bool {
        self.lanes.pass_over(blob.digest)
    }

    fn retries(&self, request: &Request) -> Retries {
        Retries::of(&request.pull, self.options.retries, self.options.retry_delay)
    }

    /// skopeo is there, and the signature policy will be kept.
    async fn check_skopeo(&self, reference: &Reference) -> Result<(), Refusal> {
        let version = self.skopeo_version().await?;
        if version.enforces_policy() {
            return Ok(());
        }
        match demand_of_host(self.options.policy.as_deref(), reference)? {
            Demand::Nothing => Ok(()),
            demand => {
                let asks = match demand {
                    Demand::Reject => "rejects this image",
                    _ => "asks for signatures",
                };
                let why = format!(
                    "the policy of this host {asks}, and skopeo {version} does not enforce it \
                     (1.13 and newer do)"
                );
                Err(Refusal::new(Kind::Policy, why))
            }
        }
    }

    async fn grant(&self, request: &Request) -> Result<Arc<Granted>, Refusal> {
        let (request, secrets) = (request.clone(), self.options.secrets.clone());
        tokio::task::spawn_blocking(move || grant(&request, &secrets))
            .await
            .unwrap_or_else(|error| Err(Refusal::new(Kind::Io, error.to_string())))
            .map(Arc::new)
    }

    /// The manifest or list that the reference names.
    async fn top(
        &self,
        request: &Request,
        granted: &Granted,
    ) -> Result<(RawManifest, Manifest), Refusal> {
        match request.wanted() {
            Some(digest) => self.manifest_at(request, digest, None, granted).await,
            None => {
                let name = request.reference.to_string();
                let bytes = self.skopeo.inspect_raw(&name, &granted.access, MAX_MANIFEST).await?;
                read_manifest(bytes)
            }
        }
    }

    async fn manifest_at(
        &self,
        request: &Request,
        digest: Digest,
        size: Option<u64>,
        granted: &Granted,
    ) -> Result<(RawManifest, Manifest), Refusal> {
        let name = request.reference.with_digest(digest);
        let bytes = self.skopeo.inspect_raw(&name, &granted.access, MAX_MANIFEST).await?;
        check_bytes("manifest", &bytes, digest, size)?;
        read_manifest(bytes)
    }

    async fn read_image(
        &self,
        request: &Request,
        granted: &Arc<Granted>,
    ) -> Result<ImageBytes, Refusal> {
        let (list, (manifest, parsed)) = match self.top(request, granted).await? {
            (raw, Manifest::List { instances, .. }) => {
                let instance = choose(&instances, &request.platform)
                    .ok_or_else(|| no_instance(&instances, &request.platform))?;
                let (digest, size) = (instance.digest, instance.size);
                (Some(raw), self.manifest_at(request, digest, Some(size), granted).await?)
            }
            single => (None, single),
        };
        let Manifest::Image { config: config_descriptor, layers, .. } = parsed else {
            return Err(Refusal::new(Kind::Unsupported, "its list names another list"));
        };
        check_config_descriptor(&config_descriptor)?;
        let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
        let delivery = Delivery::new(config_descriptor.digest, config_descriptor.size, sender);
        let waiting = Mutex::new(Some(delivery));
        let collect = async {
            let mut config = Vec::new();
            while let Some(piece) = receiver.recv().await {
                config.extend(piece);
            }
            config
        };
        let fetched = async {
            let result = self.attempt(request, manifest.digest, granted, &waiting).await;
            // The sender goes with the delivery: the collector ends.
            drop(lock(&waiting).take());
            result
        };
        let (fetched, config) = tokio::join!(fetched, collect);
        fetched?;
        assemble(Parts { list, manifest, config_descriptor, layers, config }, &request.platform)
    }

    /// One attempt at a blob: in an idle session of the image, or in a new one.
    async fn attempt(
        &self,
        request: &Request,
        manifest: Digest,
        granted: &Arc<Granted>,
        waiting: &Mutex<Option<Delivery>>,
    ) -> Result<(), Refusal> {
        let lost = || Refusal::new(Kind::Io, "the delivery of the blob was lost");
        let _permit = self.running.acquire().await.map_err(|_| lost())?;
        let key = Key {
            image: request.reference.with_digest(manifest),
            pull: request.pull.clone(),
            auth_files: request.auth_files.clone(),
        };
        let opened = match self.take_idle(&key) {
            Some(opened) => opened,
            None => {
                let stall = self.options.stall_timeout;
                let session =
                    Session::open(&self.skopeo, &granted.access, &key.image, stall).await?;
                Opened { session, access: Arc::clone(granted) }
            }
        };
        let mut delivery = lock(waiting).take().ok_or_else(lost)?;
        if let Some(client) = self.client(request, granted, &delivery) {
            let registry = request.reference.registry();
            if self.lanes.deliver(&client, &mut delivery, registry).await? {
                self.put_idle(key, opened);
                return Ok(());
            }
        }
        let Opened { session, access } = opened;
        match session.deliver(delivery).await {
            Ok((session, _)) => {
                self.put_idle(key, Opened { session, access });
                Ok(())
            }
            Err((refusal, delivery)) => {
                *lock(waiting) = delivery;
                Err(refusal)
            }
        }
    }

    /// Who is asked for parts of a blob, past skopeo, which has judged the image by now.
    fn client(
        &self,
        request: &Request,
        granted: &Granted,
        delivery: &Delivery,
    ) -> Option<Arc<Client>> {
        let RegistryOptions { registries_conf, environment, .. } = &self.options;
        self.lanes
            .client(request, granted, delivery, registries_conf.as_deref(), environment)
            .map(Arc::new)
    }

    fn take_idle(&self, key: &Key) -> Option<Opened> {
        let mut idle = lock(&self.idle);
        let at = idle.iter().position(|(has, _)| has == key)?;
        Some(idle.swap_remove(at).1)
    }

    fn put_idle(&self, key: Key, opened: Opened) {
        let mut idle = lock(&self.idle);
        if idle.len() >= self.options.jobs.max(1) {
            // The oldest is the least likely to be asked for again.
            drop(idle.remove(0));
        }
        idle.push((key, opened));
    }
}

/// A poisoned lock only means that a task broke elsewhere; the value is still whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_manifest(bytes: Vec<u8>) -> Result<(RawManifest, Manifest), Refusal> {
    let parsed = parse_manifest(&bytes)?;
    let (Manifest::List { media_type, .. } | Manifest::Image { media_type, .. }) = &parsed;
    let raw = RawManifest { digest: Digest::of(&bytes), media_type: media_type.clone(), bytes };
    Ok((raw, parsed))
}

#[cfg(test)]
#[path = "testing/registry.rs"]
mod tests;
