//! Whether the units that finalize a staged root run the gate first.

use binding::{Code, Finding, Place, Root};

use crate::finalize::{self, Fault};

pub(super) fn check(root: &Root) -> anyhow::Result<Vec<Finding>> {
    let faults = finalize::faults(root)?;
    let findings = faults.into_iter().map(|fault| match fault {
        Fault::Missing { unit, path } => {
            let why =
                format!("{unit} has no drop-in with the gate: an incomplete root may be booted");
            let fix = "install bound-images completely (`make install`)";
            Finding::new(Code::GateMissing, Place::file(path), why, fix).about(unit)
        }
        Fault::Differs { unit, path, drop_in, why } => {
            let why = format!("it {why} (/{path})");
            let fix = "repeat the vendor's ExecStop= lines after that of the gate";
            Finding::new(Code::GateDiffers, Place::file(drop_in), why, fix).about(unit)
        }
    });
    Ok(findings.collect())
}
