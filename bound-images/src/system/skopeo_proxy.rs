//! One skopeo image proxy, its thread, and blobs out of it.
//!
//! Each proxy has a thread of its own. The proxy answers one request at a time and neither side
//! has a timeout, so a stalled one can only be killed; and it dies with the thread that started
//! it ([`Skopeo::proxy_command`]). So: to end a session is to let its thread end. The socket
//! closes too, which ends a proxy that is not stuck.

use std::str::FromStr;
use std::thread;
use std::time::Duration;

use containers_image_proxy::oci_spec::image::Digest as OciDigest;
use containers_image_proxy::{Error, ImageProxy, ImageProxyConfig, OpenedImage};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::skopeo::{Access, Skopeo, spawn_refusal};
use super::skopeo_message::{parse_stderr, refuse};
use crate::source::blob::Delivery;
use crate::source::error::{Kind, Refusal};

/// Bytes read from the proxy at once. A pipe holds 64 KiB.
const READ: usize = 256 << 10;

/// An image, opened in a proxy of its own. Dropped, the proxy is killed.
#[derive(Debug)]
pub struct Session {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    delivery: Delivery,
    done: oneshot::Sender<(Result<(), Refusal>, Delivery)>,
}

/// What a session's thread needs to know.
struct Plan {
    skopeo: Skopeo,
    access: Access,
    /// `repository@digest`.
    image: String,
    stall: Duration,
}

impl Session {
    /// Starts a proxy and opens `image` (`repository@digest`) in it. The signature policy judges
    /// the image here, with a skopeo that enforces it.
    ///
    /// # Errors
    /// What skopeo says, as a kind; [`Kind::Stalled`] after its deadline.
    pub async fn open(
        skopeo: &Skopeo,
        access: &Access,
        image: &str,
        stall: Duration,
    ) -> Result<Self, Refusal> {
        let (skopeo, access, image) = (skopeo.clone(), access.clone(), image.to_owned());
        let plan = Plan { skopeo, access, image, stall };
        let (jobs, inbox) = mpsc::channel(1);
        let (ready, opened) = oneshot::channel();
        thread::Builder::new()
            .name("image-proxy".to_owned())
            .spawn(move || live(&plan, ready, inbox))
            .map_err(|error| Refusal::new(Kind::Io, format!("starting a thread: {error}")))?;
        opened.await.map_err(|_| ended())??;
        Ok(Self { jobs })
    }

    /// Lets the proxy deliver a blob. Gives the session back only when the blob came whole; after
    /// any failure the proxy is gone, and another session may continue the delivery.
    ///
    /// # Errors
    /// Why it failed, as the first part of the pair. `None` for the delivery when it is lost.
    pub async fn deliver(
        self,
        delivery: Delivery,
    ) -> Result<(Self, Delivery), (Refusal, Option<Delivery>)> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job { delivery, done }).await.map_err(|lost| {
            let job = lost.0;
            (ended(), Some(job.delivery))
        })?;
        match answer.await {
            Ok((Ok(()), delivery)) => Ok((self, delivery)),
            Ok((Err(refusal), delivery)) => Err((refusal, Some(delivery))),
            Err(_) => Err((ended(), None)),
        }
    }
}

fn ended() -> Refusal {
    Refusal::new(Kind::Io, "the image proxy's thread ended unexpectedly")
}

/// The life of the thread.
fn live(plan: &Plan, ready: oneshot::Sender<Result<(), Refusal>>, inbox: mpsc::Receiver<Job>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let refusal = Refusal::new(Kind::Io, format!("starting a runtime: {error}"));
            // When nobody waits any more, nobody needs the error.
            drop(ready.send(Err(refusal)));
            return;
        }
    };
    runtime.block_on(serve(plan, ready, inbox));
    // Threads that wait for a stuck proxy end when it dies, which is when this thread does.
    runtime.shutdown_background();
}

async fn serve(
    plan: &Plan,
    mut ready: oneshot::Sender<Result<(), Refusal>>,
    mut inbox: mpsc::Receiver<Job>,
) {
    let opened = tokio::select! {
        opened = open(plan) => opened,
        () = ready.closed() => return,
    };
    let (proxy, image) = match opened {
        Ok(opened) => opened,
        Err(refusal) => {
            // As above: without a listener the error is of no use.
            drop(ready.send(Err(refusal)));
            return;
        }
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    while let Some(Job { mut delivery, mut done }) = inbox.recv().await {
        let result = tokio::select! {
            result = fetch(plan, &proxy, &image, &mut delivery) => result,
            () = done.closed() => return,
        };
        let failed = result.is_err();
        if done.send((result, delivery)).is_err() || failed {
            return;
        }
    }
}

async fn open(plan: &Plan) -> Result<(ImageProxy, OpenedImage), Refusal> {
    let mut config = ImageProxyConfig::default();
    config.authfile.clone_from(&plan.access.authfile);
    config.auth_anonymous = plan.access.authfile.is_none();
    config.certificate_directory.clone_from(&plan.access.cert_dir);
    config.insecure_skip_tls_verification = plan.access.tls_verify.map(|verify| !verify);
    config.skopeo_cmd = Some(plan.skopeo.proxy_command());
    let work = async {
        let proxy = ImageProxy::new_with_config(config).await?;
        let image = proxy.open_image(&format!("docker://{}", plan.image)).await?;
        Ok((proxy, image))
    };
    within(plan.skopeo.deadline, work, plan).await
}

/// Waits at most `limit` for an answer of the proxy.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
    plan: &Plan,
) -> Result<T, Refusal> {
    match timeout(limit, work).await {
        Ok(answer) => answer.map_err(|error| plan.refusal(&error)),
        Err(_) => Err(Refusal::new(Kind::Stalled, format!("nothing came for {limit:?}"))),
    }
}

async fn fetch(
    plan: &Plan,
    proxy: &ImageProxy,
    image: &OpenedImage,
    delivery: &mut Delivery,
) -> Result<(), Refusal> {
    let digest = OciDigest::from_str(&delivery.digest().to_string())
        .map_err(|error| Refusal::new(Kind::Io, error.to_string()))?;
    delivery.restart();
    let asked = proxy.get_blob_stream(image, &digest, delivery.size());
    let (mut reader, mut driver) = within(plan.skopeo.deadline, asked, plan).await?.into_parts();
    let mut driven = false;
    let mut piece = vec![0; READ];
    loop {
        // An old proxy keeps the pipe open until the driver has asked for the end, and tells only
        // the driver that the blob broke off: so both are awaited at once.
        let read = tokio::select! {
            ended = &mut driver, if !driven => {
                ended.map_err(|error| plan.refusal(&error))?;
                driven = true;
                continue;
            }
            read = timeout(plan.stall, reader.read(&mut piece)) => read,
        };
        let count = match read {
            Ok(Ok(count)) => count,
            // The newer proxy's reader reports wrong content as a read error.
            Ok(Err(error)) => return Err(refuse(&error.to_string(), "")),
            Err(_) => {
                let why = format!(
                    "nothing came for {:?} after {} of {} bytes of blob {}",
                    plan.stall,
                    delivery.position(),
                    delivery.size(),
                    delivery.digest()
                );
                return Err(Refusal::new(Kind::Stalled, why));
            }
        };
        match piece.get(..count) {
            Some(filled) if count > 0 => delivery.push(filled).await?,
            _ => break,
        }
    }
    if !driven {
        within(plan.stall, &mut driver, plan).await?;
    }
    delivery.finish()
}

impl Plan {
    fn refusal(&self, error: &Error) -> Refusal {
        let name = self.image.split('@').next().unwrap_or_default();
        match error {
            Error::SkopeoSpawnError(error) => spawn_refusal(&self.skopeo.program, error),
            Error::ProxyTooOld { found_version, .. } => Refusal::new(
                Kind::SkopeoTooOld,
                format!("skopeo's image proxy speaks {found_version}, 0.2.3 is needed"),
            ),
            Error::RequestInitiationFailure { error, .. } => refuse(error, name),
            other => {
                let text = other.to_string();
                let mut refusal = refuse(&parse_stderr(&text), name);
                // A newer proxy knows better than a table what may pass.
                if other.is_retryable() && refusal.kind == Kind::Io {
                    refusal.kind = Kind::Network;
                }
                refusal
            }
        }
    }
}
