//! `bound-images`: see the crate documentation.

use std::process::ExitCode;
use std::time::Duration;

use bound_images::command::Exit;
use bound_images::{Surroundings, run, typed};

fn main() -> ExitCode {
    let cli = typed();
    let surroundings = Surroundings {
        environment: std::env::vars_os().collect(),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        term: std::env::var("TERM").ok(),
        // systemd.exec(5): set for every process of a unit.
        unattended: std::env::var_os("INVOCATION_ID").is_some(),
        notify_socket: std::env::var_os("NOTIFY_SOCKET"),
        system_bus: std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS"),
    };
    bound_images::prepare(&cli);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // As much as a main thread has: commands run in these.
        .thread_stack_size(8 << 20)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            bound_images::render::note(&format!("error: cannot start: {error}"));
            return ExitCode::from(Exit::CouldNotLook as u8);
        }
    };
    let exit = runtime.block_on(run(cli, surroundings));
    // A transfer that was interrupted need not be waited for: what is half done is not used.
    runtime.shutdown_timeout(Duration::from_millis(300));
    ExitCode::from(exit as u8)
}
