//! The system bus (D-Bus). A machine without one is normal: an image being built, a container, CI.
//!
//! Whoever answers there is believed only as far as its answer has the right form, and waited for a
//! few seconds only.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use zbus::{Connection, DynamicType, Message, Type, connection};

/// How long connecting, and each call, may take. PID 1 answers in milliseconds, also while it
/// reloads; a bus that takes longer is of no use to a command that somebody waits for.
pub const LIMIT: Duration = Duration::from_secs(5);
/// The socket that D-Bus prescribes where nothing else is set.
const DEFAULT_ADDRESS: &str = "unix:path=/run/dbus/system_bus_socket";

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service<'a> {
    pub(super) name: &'static str,
    pub(super) path: &'a str,
    pub(super) interface: &'static str,
}

/// The system bus, connected to when it is first used. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Bus {
    address: String,
    limit: Duration,
    connection: Arc<OnceCell<Result<Connection, String>>>,
}

impl Bus {
    /// The bus of the machine whose `/` is at `top`: at `address` if one is given
    /// (`$DBUS_SYSTEM_BUS_ADDRESS`), else where D-Bus prescribes it, if systemd runs that machine
    /// and it is this one. None where there is nobody to ask.
    #[must_use]
    pub fn of(top: &Path, address: Option<&str>) -> Option<Self> {
        match address {
            Some(address) => Some(Self::at(address, LIMIT)),
            // sd_booted(3)
            None if top == Path::new("/") && top.join("run/systemd/system").is_dir() => {
                Some(Self::at(DEFAULT_ADDRESS, LIMIT))
            }
            None => None,
        }
    }

    /// The bus at a D-Bus address. Connecting, and each call, takes `limit` at most.
    #[must_use]
    pub fn at(address: &str, limit: Duration) -> Self {
        Self { address: address.to_owned(), limit, connection: Arc::default() }
    }

    async fn connection(&self) -> Result<&Connection, String> {
        let connect = || async {
            let built = connection::Builder::address(self.address.as_str()).build();
            match tokio::time::timeout(self.limit, built).await {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(format!("there is no system bus ({error})")),
                Err(_) => Err(format!("the system bus is silent for {}", seconds(self.limit))),
            }
        };
        // An answer for the whole run: whoever asks again waits no second time.
        self.connection.get_or_init(connect).await.as_ref().map_err(Clone::clone)
    }

    /// Calls a method.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(super) async fn call<B>(
        &self,
        to: Service<'_>,
        method: &'static str,
        body: &B,
    ) -> Result<Message, String>
    where
        B: Serialize + DynamicType,
    {
        let connection = self.connection().await?;
        let Service { name, path, interface } = to;
        let called = connection.call_method(Some(name), path, Some(interface), method, body);
        match tokio::time::timeout(self.limit, called).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(format!("{name} refused {method}: {error}")),
            Err(_) => Err(format!("{name} does not answer {method} for {}", seconds(self.limit))),
        }
    }
}

/// What stands in a reply.
///
/// # Errors
/// When it does not have the form that it should have.
pub(super) fn read<R>(reply: &Message, method: &str) -> Result<R, String>
where
    R: DeserializeOwned + Type,
{
    let nonsense = |error| format!("{method} is answered with nonsense ({error})");
    let body = reply.body();
    // Else the bytes of another type might be taken for this one.
    if body.signature() != R::SIGNATURE {
        return Err(format!("{method} is answered with nonsense (type {})", body.signature()));
    }
    body.deserialize_ignore_signature().map_err(nonsense)
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs())
}
