//! What only Podman 6 reads: drop-ins, `CONTAINERS_STORAGE_CONF_OVERRIDE`, `{append = true}`.

use super::cases::{Case, ETC, USR};

/// Directories of drop-ins, the one that wins first.
const DIRECTORIES: [&str; 5] = [
    "root/.config/containers/storage.conf.d",
    "etc/containers/storage.rootful.conf.d",
    "etc/containers/storage.conf.d",
    "usr/share/containers/storage.rootful.conf.d",
    "usr/share/containers/storage.conf.d",
];
/// Directories that look like one of them and are none, for root.
const OTHERS: [&str; 6] = [
    "root/.config/containers/storage.rootful.conf.d",
    "etc/containers/storage.rootless.conf.d",
    "etc/containers/storage.rootful.conf.d/0",
    "etc/containers/storage.rootless.conf.d/0",
    "usr/share/containers/storage.d",
    "run/containers/storage.conf.d",
];
const USER: &str = "root/.config/containers/storage.conf";
const OVERRIDE: &str = "CONTAINERS_STORAGE_CONF_OVERRIDE";
const CONF: &str = "CONTAINERS_STORAGE_CONF";

fn list(items: &str) -> String {
    format!("[storage.options]\nadditionalimagestores = [{items}]\n")
}

/// With a main file that has a store and no drop-in's.
fn main() -> String {
    format!(
        "[storage]\ndriver = 'overlay'\nrunroot = '/run/r'\ngraphroot = '/run/g'\n{}",
        list("'/run/c'")
    )
}

fn case(files: &[(&str, &str)], variables: &[(&'static str, &str)]) -> Case {
    let own = |text: &str| text.to_owned();
    Case {
        files: files.iter().map(|(path, text)| (own(path), own(text))).collect(),
        variables: variables.iter().map(|(name, value)| (*name, own(value))).collect(),
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = directories();
    cases.extend(contents());
    cases.extend(variables());
    cases
}

/// Which directories, and which file of which.
fn directories() -> Vec<Case> {
    let (main, a, b) = (main(), list("'/run/a'"), list("'/run/b'"));
    let mut cases = Vec::new();
    for directory in DIRECTORIES.iter().chain(&OTHERS) {
        cases.push(case(&[(USR, &main), (&format!("{directory}/50.conf"), &a)], &[]));
    }
    for (at, first) in DIRECTORIES.iter().enumerate() {
        for second in DIRECTORIES.iter().skip(at + 1) {
            for (one, other) in [("50", "50"), ("10", "20"), ("20", "10")] {
                let [one, other] = [(first, one), (second, other)]
                    .map(|(directory, name)| format!("{directory}/{name}.conf"));
                cases.push(case(&[(ETC, &main), (&one, &a), (&other, &b)], &[]));
            }
        }
    }
    let (etc, usr) = (DIRECTORIES[2], DIRECTORIES[4]);
    for names in [["9.conf", "10.conf"], ["A.conf", "a.conf"], ["a.conf", "a-.conf"]] {
        let [one, other] = names.map(|name| format!("{etc}/{name}"));
        cases.push(case(&[(ETC, &main), (&one, &a), (&other, &b)], &[]));
    }
    for name in ["a.txt", "a.conf~", ".conf", ".a.conf", "conf", "a.CONF", "a.conf/x.conf"] {
        cases.push(case(&[(ETC, &main), (&format!("{etc}/{name}"), &a)], &[]));
    }
    // Links: to a file, to nothing, one that hides a file of its name, and a directory of another name.
    let link = |target: &str| format!("{etc}/50.conf -> {target}");
    for target in ["../elsewhere", "/dev/null", "nowhere"] {
        let files = [
            (ETC, &*main),
            (&link(target), ""),
            ("etc/containers/elsewhere", &a),
            (&format!("{usr}/50.conf"), &b),
        ];
        cases.push(case(&files, &[]));
    }
    cases.push(case(
        &[(ETC, &main), (&format!("{etc} -> other"), ""), ("etc/containers/other/1.conf", &a)],
        &[],
    ));
    cases.push(case(&[(ETC, &main), (etc, "a file")], &[]));
    // Main files.
    cases.push(case(&[(USER, &main), (ETC, &a), (USR, &b)], &[]));
    cases.push(case(&[(USER, "broken ="), (ETC, &a)], &[]));
    cases.push(case(&[(USER, ""), (ETC, &main)], &[]));
    cases.push(case(&[(&format!("{ETC} -> nowhere"), ""), (USR, &main)], &[]));
    cases.push(case(&[(&format!("{usr}/1.conf"), &a)], &[]));
    cases.push(case(&[], &[]));
    cases
}

/// What stands in the files.
fn contents() -> Vec<Case> {
    let main = main();
    let mut cases = Vec::new();
    let mut read = |texts: &[&str]| {
        let name = |at: usize| format!("{}/{at}.conf", DIRECTORIES[2]);
        let drop_ins = texts.iter().enumerate().map(|(at, text)| (name(at), (*text).to_owned()));
        let files = std::iter::once((ETC.to_owned(), main.clone())).chain(drop_ins).collect();
        cases.push(Case { files, ..Case::default() });
    };
    let append = list("'/run/a', {append = true}");
    let reset = list("'/run/a', {append = false}");
    let b = list("'/run/b'");
    read(&[&append]);
    read(&[&append, &b]);
    read(&[&b, &append]);
    read(&[&append, &reset]);
    read(&[&append, &reset, &b]);
    read(&[&append, &list(""), &b]);
    read(&[&list("{append = true}")]);
    read(&[&list("{append = false}")]);
    read(&[&list("{append = true}, '/run/a', {append = false}")]);
    read(&[&list("{append = true}, {append = true}, '/run/a', '/run/a'")]);
    read(&[&list("'/run/c', '/run/a', {append = true}")]);
    read(&[&list("'/run/a,/run/b', {append = true}")]);
    read(&[&list("''")]);
    read(&[&list("")]);
    // What it refuses, also where a later file replaces it.
    for wrong in [
        "{Append = true}",
        "{append = 1}",
        "{append = 'true'}",
        "{}",
        "{other = true}",
        "['/run/a']",
        "'run/a'",
        "1",
    ] {
        read(&[&list(wrong)]);
        read(&[&list(wrong), &b]);
    }
    for text in [
        "",
        "# c\n",
        "broken =",
        "[storage]\ngraphroot = '/run/g2'\n",
        "[storage]\ngraphroot = ''\n",
        "[storage]\ngraphroot = '/run/g2'\nimagestore = '/run/g2'\n",
        "[storage]\nimagestore = '/run/i'\n",
        "[storage]\ndriver = 'vfs'\n",
        "[storage]\ndriver = ''\n",
        "[storage]\ntransient_store = 1\n",
        "[storage.options]\nmount_program = 3\n",
        "[storage.options]\nadditionallayerstores = ['/run/a', {append = true}]\n",
        "[storage.options.overlay]\nmountopt = 'nodev'\n",
        "[Storage]\nGraphRoot = '/run/g2'\n",
        "[Storage.Options]\nAdditionalImageStores = ['/run/a']\n",
        "storage = {\n  graphroot = '/run/g2',\n}\n",
        "storage = { options = { additionalimagestores = ['/run/a', {append = true}] } }\n",
        "unknown = 1\n",
        "\u{feff}[storage]\ngraphroot = '/run/g2'\n",
        "[storage]\r\ngraphroot = '/run/g2'\r\n",
        "x = \"\\e\"\n",
    ] {
        read(&[text]);
    }
    read(&["[storage]\ngraphroot = '/run/g2'\n", "[storage]\ngraphroot = '/run/g3'\n"]);
    read(&["[storage]\ngraphroot = '/run/g2'\n", "[storage]\ngraphroot = ''\n"]);
    read(&["[storage]\nimagestore = '/run/g'\n", "[storage]\nimagestore = ''\n"]);
    cases
}

/// What variables name, beside drop-ins.
fn variables() -> Vec<Case> {
    let (main, a, b) = (main(), list("'/run/a'"), list("'/run/b'"));
    let append = list("'/run/b', {append = true}");
    let drop_in = format!("{}/50.conf", DIRECTORIES[2]);
    let (named, last) = ("run/xdg/named.conf", "run/xdg/last.conf");
    let files = [(ETC, &*main), (&*drop_in, &*a), (named, &*b), (last, &*append)];
    let (at_named, at_last) = ("/run/xdg/named.conf", "/run/xdg/last.conf");
    let mut cases = Vec::new();
    for variables in [
        &[(OVERRIDE, at_last)][..],
        &[(OVERRIDE, at_named)],
        &[(OVERRIDE, "")],
        &[(OVERRIDE, "/run/xdg/none")],
        &[(OVERRIDE, "/run/xdg")],
        &[(CONF, at_named)],
        &[(CONF, at_named), (OVERRIDE, at_last)],
        &[(CONF, at_last), (OVERRIDE, at_named)],
        &[(CONF, "/etc/containers/storage.conf"), (OVERRIDE, at_last)],
        &[(CONF, ""), (OVERRIDE, at_last)],
        &[(CONF, "/run/xdg/none"), (OVERRIDE, at_last)],
        &[(CONF, "/run/xdg")],
        &[(OVERRIDE, at_last), ("STORAGE_OPTS", "")],
        &[(OVERRIDE, at_last), ("STORAGE_OPTS", "overlay.imagestore=/run/c")],
        &[(OVERRIDE, at_last), ("STORAGE_OPTS", "overlay.mountopt=nodev")],
        &[("STORAGE_OPTS", "imagestore=/run/a,additionalimagestore=/run/b")],
        &[("STORAGE_OPTS", "x")],
        &[("STORAGE_DRIVER", "vfs")],
        &[("STORAGE_DRIVER", "overlay2"), (OVERRIDE, at_last)],
        &[("STORAGE_DRIVER", "")],
        &[("HOME", "")],
        &[("HOME", "/run/none")],
        &[("XDG_CONFIG_HOME", "/run/none")],
        &[("XDG_CONFIG_HOME", "")],
    ] {
        cases.push(case(&files, variables));
    }
    let opts = [("STORAGE_OPTS", "overlay.imagestore=/run/c")];
    cases.push(case(&[], &opts));
    cases.push(case(&[(&drop_in, &a)], &opts));
    // The user's own directory is that of XDG_CONFIG_HOME, where it is set.
    let user = "run/xdg/containers/storage.conf.d/50.conf";
    let xdg = [("XDG_CONFIG_HOME", "/run/xdg")];
    cases.push(case(&[(ETC, &main), (&drop_in, &a), (user, &b)], &xdg));
    cases.push(case(&[(ETC, &main), (user, &b)], &[]));
    let other = format!("{}/50.conf", DIRECTORIES[0]);
    cases.push(case(&[(ETC, &main), (&other, &a), (user, &append)], &xdg));
    cases.push(case(&[(ETC, &main), (&other, &a)], &[("HOME", "")]));
    cases.push(case(&[(ETC, &main), (&other, &a)], &[("HOME", "/run/none")]));
    // What the generator gives a service: the merged main file, and drop-ins as one file.
    let merged = storage_conf::merge(Some((ETC, &main)), "/run/b").unwrap();
    for texts in
        [vec![a.clone()], vec![append], vec!["[storage]\ngraphroot = '/run/g2'\n".to_owned(), a]]
    {
        let drop_ins: Vec<storage_conf::Text> =
            texts.iter().map(|text| ("d".to_owned(), text.clone())).collect();
        let one = storage_conf::merge_drop_ins(&drop_ins, "/run/b").unwrap().unwrap();
        let variables = [(CONF, at_named), (OVERRIDE, at_last)];
        cases.push(case(&[(named, &merged), (last, &one)], &variables));
    }
    cases
}
