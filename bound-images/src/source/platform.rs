//! Which instance of a manifest list is for a platform.
//!
//! The rules are those of containers/image (`internal/pkg/platform/platform_matcher.go`,
//! `internal/manifest/oci_index.go`, `docker_schema2_list.go`), so that what is bound is what
//! `podman pull` would have taken.

use binding::pull::Platform;

use super::manifest::Descriptor;

/// Variants from most to least capable; a machine runs its own and all to the right of it.
const ARM: [&str; 3] = ["v7", "v6", "v5"];
/// As [`ARM`], for 64 bits. It is also what "no variant" means there.
const ARM64: [&str; 1] = ["v8"];
/// On a descriptor with the value `true`: this instance's layers are zstd-compressed.
const ZSTD: &str = "io.github.containers.compression.zstd";

/// The variants that suit `platform`, the best first; `""` is an instance without a variant.
fn wanted_variants(platform: &Platform) -> Vec<&str> {
    let order: &[&'static str] = match platform.architecture.as_str() {
        "arm" => &ARM,
        "arm64" => &ARM64,
        _ => &[],
    };
    match platform.variant.as_deref().filter(|variant| !variant.is_empty()) {
        Some(wanted) => {
            let known = order.iter().position(|variant| *variant == wanted);
            let mut variants = match known {
                Some(at) => order.get(at..).unwrap_or_default().to_vec(),
                None => vec![wanted],
            };
            variants.push("");
            variants
        }
        None if platform.architecture == "arm64" => vec!["", "v8"],
        None => vec![""],
    }
}

/// The instance for `platform`. Better variants first, then zstd before gzip, then the order of
/// the list. A descriptor without any platform is the last resort.
#[must_use]
pub fn choose<'a>(instances: &'a [Descriptor], platform: &Platform) -> Option<&'a Descriptor> {
    let variants = wanted_variants(platform);
    instances
        .iter()
        .filter_map(|instance| {
            let rank = match &instance.platform {
                None => usize::MAX,
                Some(has) if has.os == platform.os && has.architecture == platform.architecture => {
                    let variant = has.variant.as_deref().unwrap_or_default();
                    variants.iter().position(|wanted| *wanted == variant)?
                }
                Some(_) => return None,
            };
            let zstd = instance.annotations.get(ZSTD).is_some_and(|value| value == "true");
            Some(((rank, !zstd), instance))
        })
        // The first of equals wins, as in a stable sort.
        .reduce(|best, next| if next.0 < best.0 { next } else { best })
        .map(|(_, instance)| instance)
}

/// `os/architecture[/variant]`, for people.
#[must_use]
pub fn shown(os: &str, architecture: &str, variant: Option<&str>) -> String {
    match variant.filter(|variant| !variant.is_empty()) {
        Some(variant) => format!("{os}/{architecture}/{variant}"),
        None => format!("{os}/{architecture}"),
    }
}

/// [`shown`] for a [`Platform`].
#[must_use]
pub fn shown_platform(platform: &Platform) -> String {
    shown(&platform.os, &platform.architecture, platform.variant.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::manifest::DescriptorPlatform;
    use oci_digest::Digest;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
        }
    }

    /// `linux/arm/v7`, `linux/amd64+zstd`, or `-` for none.
    fn instance(text: &str) -> Descriptor {
        let (text, zstd) = match text.strip_suffix("+zstd") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let mut found = Descriptor {
            media_type: None,
            digest: Digest::of(text.as_bytes()),
            size: 1,
            platform: None,
            annotations: Default::default(),
        };
        if text != "-" {
            let platform = platform(text);
            found.platform = Some(DescriptorPlatform {
                os: platform.os,
                architecture: platform.architecture,
                variant: platform.variant,
            });
        }
        if zstd {
            found.annotations.insert(ZSTD.into(), "true".into());
        }
        found
    }

    #[test]
    fn instances_are_chosen_as_containers_image_does() {
        let table: &[(&str, &[&str], Option<usize>)] = &[
            ("linux/amd64", &["linux/arm64", "linux/amd64"], Some(1)),
            ("linux/amd64", &["linux/arm64", "windows/amd64"], None),
            ("linux/amd64", &["linux/amd64/v2", "linux/amd64"], Some(1)),
            ("linux/amd64", &["linux/amd64/v2"], None),
            ("linux/amd64", &["linux/amd64", "linux/amd64"], Some(0)),
            ("linux/amd64", &["linux/amd64", "linux/amd64+zstd"], Some(1)),
            ("linux/arm64", &["linux/arm64/v8", "linux/arm64"], Some(1)),
            ("linux/arm64", &["linux/arm64/v8"], Some(0)),
            ("linux/arm64/v8", &["linux/arm64", "linux/arm64/v8"], Some(1)),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], Some(2)),
            ("linux/arm/v6", &["linux/arm/v5", "linux/arm/v7"], Some(0)),
            ("linux/arm/v6", &["linux/arm/v7"], None),
            ("linux/arm/v6", &["linux/arm"], Some(0)),
            ("linux/arm", &["linux/arm/v7"], None),
            ("linux/arm/v9", &["linux/arm/v7", "linux/arm/v9"], Some(1)),
            ("linux/amd64", &["-", "linux/amd64"], Some(1)),
            ("linux/amd64", &["linux/arm64", "-"], Some(1)),
            ("linux/amd64", &[], None),
        ];
        for (wanted, list, expected) in table {
            let list: Vec<_> = list.iter().map(|text| instance(text)).collect();
            let found = choose(&list, &platform(wanted));
            let at = found.map(|found| list.iter().position(|one| std::ptr::eq(one, found)));
            assert_eq!(at, expected.map(Some), "{wanted} in {list:?}");
        }
    }
}
