//! Structured records in the journal, each with a message id that the catalog explains
//! (systemd.journal-fields(7), `journalctl -x`). Where there is no journal nothing is written: the
//! same is said in words on standard error.

use log::Level;

use super::message_id;

/// A staged root must not become the next boot.
pub fn held_back(root: &str, line: &str, reasons: &[String]) {
    send(
        Level::Error,
        line,
        &[
            ("MESSAGE_ID", message_id::UPDATE_HELD_BACK),
            ("BOUND_IMAGES_ROOT", root),
            ("BOUND_IMAGES_REASON", first(reasons)),
            ("BOUND_IMAGES_REASONS", &reasons.join("\n")),
        ],
    );
}

/// The operator lets a root boot as it is.
pub fn released(root: &str, reason: &str) {
    send(
        Level::Warn,
        &format!("{root} was released: {reason}"),
        &[
            ("MESSAGE_ID", message_id::RELEASED),
            ("BOUND_IMAGES_ROOT", root),
            ("BOUND_IMAGES_REASON", reason),
        ],
    );
}

/// The store of a root is complete now.
pub fn complete(root: &str, store: &str) {
    send(
        Level::Info,
        &format!("{root} is complete (store {store})"),
        &[
            ("MESSAGE_ID", message_id::ROOT_COMPLETE),
            ("BOUND_IMAGES_ROOT", root),
            ("BOUND_IMAGES_STORE_ID", store),
        ],
    );
}

/// A stage failed.
pub fn stage_failed(root: &str, why: &str) {
    send(
        Level::Error,
        &format!("{root} could not be staged: {why}"),
        &[
            ("MESSAGE_ID", message_id::STAGE_FAILED),
            ("BOUND_IMAGES_ROOT", root),
            ("BOUND_IMAGES_REASON", why),
        ],
    );
}

/// A root that runs fetches its images only now.
pub fn late_binding(root: &str) {
    send(
        Level::Warn,
        &format!("{root} runs without all of its images; they are fetched now"),
        &[("MESSAGE_ID", message_id::LATE_BINDING), ("BOUND_IMAGES_ROOT", root)],
    );
}

/// A root that runs has images missing or wrong.
pub fn missing_at_boot(root: &str, reasons: &[String]) {
    let first = first(reasons);
    send(
        Level::Error,
        &format!("{root} runs and is not complete: {first}"),
        &[
            ("MESSAGE_ID", message_id::IMAGES_MISSING),
            ("BOUND_IMAGES_ROOT", root),
            ("BOUND_IMAGES_REASON", first),
            ("BOUND_IMAGES_REASONS", &reasons.join("\n")),
        ],
    );
}

/// A deep verification found a store damaged.
pub fn damaged(root: &str, store: &str, first: &str) {
    send(
        Level::Error,
        &format!("the store of {root} is damaged: {first}"),
        &[
            ("MESSAGE_ID", message_id::STORE_DAMAGED),
            ("BOUND_IMAGES_ROOT", root),
            ("BOUND_IMAGES_STORE_ID", store),
            ("BOUND_IMAGES_REASON", first),
        ],
    );
}

/// Stores were removed.
pub fn collected(stores: &[String]) {
    send(
        Level::Info,
        &format!("{} removed", crate::render::count(stores.len(), "store")),
        &[("MESSAGE_ID", message_id::GC_REMOVED), ("BOUND_IMAGES_STORES", &stores.join("\n"))],
    );
}

fn first(reasons: &[String]) -> &str {
    reasons.first().map(String::as_str).unwrap_or_default()
}

fn send(level: Level, message: &str, fields: &[(&str, &str)]) {
    if !systemd_journal_logger::connected_to_journal() {
        return;
    }
    let sent = systemd_journal_logger::JournalLog::new()
        .map(|log| log.with_extra_fields(fields.iter().copied()))
        .and_then(|log| {
            log.journal_send(
                &log::Record::builder()
                    .level(level)
                    .target("bound_images")
                    .args(format_args!("{message}"))
                    .build(),
            )
        });
    if let Err(error) = sent {
        log::debug!("the journal does not take a record: {error}");
    }
}
