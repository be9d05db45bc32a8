//! What roots want of a bundle: every image once, however many bindings of however many roots want it. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use binding::{Platform, Reference};

use crate::source::{Request, credentials};
use crate::state::State;

/// A binding that wants an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    /// The root's directory.
    pub root: PathBuf,
    /// Name of the link.
    pub binding: String,
}

/// One image, for one platform.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What to ask for.
    pub request: Request,
    /// Whether one of those who want it requires it.
    pub required: bool,
    /// Who wants it.
    pub users: Vec<User>,
}

impl Wish {
    /// What it is called in messages: the bindings that want it.
    #[must_use]
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.users.iter().map(|user| user.binding.as_str()).collect();
        let mut names = names;
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }
}

/// What `roots` want for `platforms` (none: that of this machine), sorted by reference and platform. A
/// Quadlet that says its platform itself wants that one only.
#[must_use]
pub fn wishes(
    roots: &[State],
    platforms: &[Platform],
    authfile: Option<&std::path::Path>,
) -> Vec<Wish> {
    let mut all: BTreeMap<(Reference, Platform), Wish> = BTreeMap::new();
    for state in roots {
        let own = std::slice::from_ref(&state.host);
        let platforms = if platforms.is_empty() { own } else { platforms };
        for (binding, platform) in state
            .bindings
            .bindings
            .iter()
            .flat_map(|binding| platforms.iter().map(move |platform| (binding, platform)))
        {
            let platform = binding.pull.platform(platform);
            let request = Request {
                reference: binding.reference.clone(),
                pin: None,
                platform: platform.clone(),
                pull: binding.pull.clone(),
                auth_files: credentials::candidates(
                    binding.pull.auth_file.as_deref(),
                    authfile,
                    &state.root,
                ),
            };
            let wish = all.entry((binding.reference.clone(), platform)).or_insert_with(|| Wish {
                request: request.clone(),
                required: false,
                users: Vec::new(),
            });
            wish.required |= binding.required;
            let user = User { root: state.root.clone(), binding: binding.name.clone() };
            if !wish.users.contains(&user) {
                wish.users.push(user);
            }
            wish.request = merged(&wish.request, request);
        }
    }
    all.into_values().collect()
}

/// Of two ways to ask for the same image: the pull options of the one that knows credentials of its own (a
/// container has none, a `.image` may), and the auth files of both.
fn merged(one: &Request, other: Request) -> Request {
    let knows =
        |request: &Request| request.pull.auth_file.is_some() || request.pull.creds.is_some();
    let (mut first, second) =
        if knows(&other) && !knows(one) { (other, one.clone()) } else { (one.clone(), other) };
    for file in second.auth_files {
        if !first.auth_files.contains(&file) {
            first.auth_files.push(file);
        }
    }
    first
}

/// `os/architecture[/variant]`, as `--platform` takes it.
///
/// # Errors
/// What is wrong with it.
pub fn parse_platform(text: &str) -> Result<Platform, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let plain = |part: &str| {
        !part.is_empty()
            && part.len() <= 40
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let (os, architecture, variant) = match parts.as_slice() {
        [os, architecture] => (*os, *architecture, None),
        [os, architecture, variant] => (*os, *architecture, Some((*variant).to_owned())),
        _ => return Err("write it as linux/arm64 or linux/arm/v7".to_owned()),
    };
    if !parts.iter().all(|part| plain(part)) {
        return Err("write it as linux/arm64 or linux/arm/v7".to_owned());
    }
    Ok(Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_as_typed() {
        for (text, wanted) in [
            ("linux/arm64", Some("linux/arm64")),
            ("linux/arm/v7", Some("linux/arm/v7")),
            ("linux", None),
            ("linux/", None),
            ("linux/../x", None),
            ("a/b/c/d", None),
        ] {
            let got = parse_platform(text).ok().map(|platform| platform.to_string());
            assert_eq!(got.as_deref(), wanted, "{text}");
        }
    }
}
