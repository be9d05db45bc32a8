//! Configurations of one main file or two, which both Podman 5 and Podman 6 are asked about.

pub(crate) const ETC: &str = "etc/containers/storage.conf";
pub(crate) const USR: &str = "usr/share/containers/storage.conf";

/// Files of a root, and variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    /// Path and text; `path -> target` is a link, a path that ends with a slash a directory.
    pub(crate) files: Vec<(String, String)>,
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// One main file or two, as all Podmans read them.
pub(crate) fn cases() -> Vec<Case> {
    let roots = "runroot = '/run/r'\ngraphroot = '/run/g'\n";
    let head = format!("[storage]\ndriver = 'overlay'\n{roots}");
    let list =
        |items: &str| format!("{head}[storage.options]\nadditionalimagestores = [{items}]\n");
    let mut cases = Vec::new();
    let mut files =
        |etc: Option<String>, usr: Option<String>, variables: &[(&'static str, &str)]| {
            let named = |path: &str, text: Option<String>| text.map(|text| (path.to_owned(), text));
            let mut files: Vec<_> = named(ETC, etc).into_iter().chain(named(USR, usr)).collect();
            if variables.contains(&("XDG_CONFIG_HOME", "/run/xdg")) {
                files.push(("run/xdg/containers/storage.conf".to_owned(), user_file().to_owned()));
            }
            let variables =
                variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            cases.push(Case { files, variables });
        };
    files(None, Some(list("'/run/a'")), &[]);
    files(Some(list("'/run/b'")), Some(list("'/run/a'")), &[]);
    files(Some(list("")), Some(list("'/run/a'")), &[]);
    files(Some(list("'/run/b'")), Some("broken = ".to_owned()), &[]);
    files(Some("broken = ".to_owned()), Some(list("'/run/a'")), &[]);
    for items in
        ["' /run/a ', '/run/b,/run/a'", "'/run/a, /run/b'", "'run/a'", "{append = true}", "3", "''"]
    {
        files(None, Some(list(items)), &[]);
    }
    for text in [
        "",
        "[storage]\ndriver = 'overlay'\n",
        "[storage]\ndriver = 'overlay'\nrunroot = '/run/r'\ngraphroot = ''\n",
        "[storage.options]\nadditionalimagestores = ['/run/a']\n",
    ] {
        files(None, Some(text.to_owned()), &[]);
    }
    for more in [
        "imagestore = '/run/g'\n",
        "imagestore = '/run/i'\n",
        "transient_store = 'yes'\n",
        "driver_priority = 'overlay'\n",
        "unknown = 1\n",
        "options = {additionalimagestores = [\n'/run/a' # c\n, '/run/b'\n]}\n",
        "options = {\nadditionalimagestores = ['/run/a']}\n",
        "options = {additionalimagestores = ['/run/a'],}\n",
        "options.additionalimagestores = ['/run/a']\n",
        "x = \"\\e\"\n",
        "[storage.options.overlay]\nmountopt = 'nodev'\n[storage.options]\nadditionalimagestores = ['/run/a']\n",
        "[storage.options]\nforce_mask = '700'\n",
        "[storage.options]\nadditionallayerstores = 'x'\n",
        "[storage.options.overlay]\nmountopt = 1\n",
        "[storage.options.pull_options]\nx = true\n",
        "[Storage]\n",
    ] {
        files(None, Some(format!("{head}{more}")), &[]);
    }
    let opts = [
        "",
        "overlay.mountopt=nodev",
        "overlay.imagestore=/run/b,.additionalimagestore=/run/a",
        "imagestore=/run/a,/run/b",
    ];
    for opts in opts {
        files(None, Some(list("'/run/a'")), &[("STORAGE_OPTS", opts)]);
    }
    files(
        Some(list("'/run/a'")),
        None,
        &[("CONTAINERS_STORAGE_CONF", "/usr/share/containers/storage.conf")],
    );
    files(
        Some(list("'/run/a'")),
        Some(list("'/run/b'")),
        &[("CONTAINERS_STORAGE_CONF", "/usr/share/containers/storage.conf")],
    );
    files(Some(list("'/run/a'")), None, &[("CONTAINERS_STORAGE_CONF", "")]);
    files(Some(list("'/run/a'")), None, &[("XDG_CONFIG_HOME", "/run/none")]);
    let user = [("XDG_CONFIG_HOME", "/run/xdg")];
    files(Some(list("'/run/a'")), None, &user);
    files(None, Some(list("'/run/a'")), &user);
    files(None, None, &user);
    // What `enable` makes of each of them, and of the forms that have their own way.
    for text in [
        format!("{head}[storage.options]\nadditionalimagestores = [ # all\n '/run/a', # one\n '/run/b' # two\n  ]"),
        format!("{head}[storage.options] # c"),
        format!("{head}options.size = ''\n").replace('\n', "\r\n"),
        "\u{feff}storage.options.size = ''\nstorage.runroot = '/run/r'\nstorage.graphroot = '/run/g'\n".to_owned(),
    ] {
        cases.push(Case { files: vec![(USR.to_owned(), text)], ..Case::default() });
    }
    let enabled: Vec<Case> = cases.iter().filter_map(with_one_more).collect();
    assert!(enabled.len() > 12, "{}", enabled.len());
    cases.extend(enabled);
    cases
}

/// What stands in `XDG_CONFIG_HOME`.
fn user_file() -> &'static str {
    "[storage]\ndriver = 'overlay'\nrunroot = '/run/r'\ngraphroot = '/run/g2'\n\
     [storage.options]\nadditionalimagestores = ['/run/c']\n"
}

/// The same with one more store, where that can be.
fn with_one_more(case: &Case) -> Option<Case> {
    let [(path, text)] = &case.files[..] else { return None };
    if path != USR || !case.variables.is_empty() {
        return None;
    }
    match storage_conf::enable("f", text, "/run/c") {
        Ok(storage_conf::Enabled::Text(text)) => {
            Some(Case { files: vec![(USR.to_owned(), text)], ..Case::default() })
        }
        _ => None,
    }
}
