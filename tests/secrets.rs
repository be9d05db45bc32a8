//! Credentials: the right ones are found, and no secret ever appears in arguments, environment,
//! output, record, store or working directory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::type_complexity)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::images::{Image, files, make};
use common::registry::{Does, FakeRegistry, Login};
use common::{Ran, World, containing, find, have};
use serde_json::json;

const SECRET: &str = "cHolzHacker-4711";

fn pair() -> String {
    STANDARD.encode(format!("user:{SECRET}"))
}

/// A root, a registry that wants to know who asks, and a skopeo that writes down what it sees.
struct Guarded {
    world: World,
    registry: FakeRegistry,
    image: Image,
}

impl Guarded {
    fn new(login: Login) -> Self {
        let world = World::new();
        let registry = FakeRegistry::start();
        fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
        let image = make(&world, "app", &[files(&[("a", "1")]), files(&[("b", "2")])], &[]);
        image.push(&registry, "ns/app", "1");
        registry.login(login);
        let real = find("skopeo").unwrap();
        let (wrapper, seen) = (world.path("bin/skopeo"), world.path("seen"));
        fs::create_dir(world.path("bin")).unwrap();
        // Who reads /proc sees the arguments of every process, and root its environment.
        let text = format!(
            "#!/bin/sh\n{{ echo \"ARGS $*\"; env; \
             for p in /proc/$PPID/cmdline /proc/$$/cmdline; do tr '\\0' ' ' <$p; echo; done; }} \
             >>{}\nexec {} \"$@\"\n",
            seen.display(),
            real.display()
        );
        fs::write(&wrapper, text).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        Self { world, registry, image }
    }

    fn reference(&self) -> String {
        format!("{}/ns/app:1", self.registry.host())
    }

    fn bind(&self, more: &str) {
        let text = format!("[Image]\nImage={}\nRetry=0\n{more}", self.reference());
        self.world.bind("app.image", text);
    }

    fn auth(&self, key: &str) -> String {
        json!({"auths": {key: {"auth": pair()}}}).to_string()
    }

    fn stage(&self, more: &[&str], variables: &[(&str, &Path)]) -> Ran {
        let path = std::env::var("PATH").unwrap();
        let temporary = self.world.path("tmp");
        fs::create_dir_all(&temporary).unwrap();
        let mut command = self.world.command("stage", &["-vv"]);
        command.args(more).env("PATH", format!("{}:{path}", self.world.path("bin").display()));
        command.env("TMPDIR", &temporary).envs(variables.iter().copied());
        command.current_dir(self.world.path(""));
        Ran::of(command.output().unwrap())
    }

    /// Looks for the secret everywhere but where the user put it.
    #[track_caller]
    fn assert_secret(&self, what: &str, ran: &Ran) {
        let seen = fs::read_to_string(self.world.path("seen")).unwrap();
        assert!(seen.contains("ARGS") && seen.contains("PATH="), "{what}: {seen}");
        for secret in [SECRET, &pair()] {
            assert!(!seen.contains(secret), "{what}: skopeo was shown the secret: {seen}");
            assert!(!ran.all().contains(secret), "{what}: said: {}", ran.all());
            for place in ["root/usr/lib/containers", "tmp"] {
                let found = containing(&self.world.path(place), secret);
                assert!(found.is_empty(), "{what}: {found:?}");
            }
            for name in ["/run", "/tmp"] {
                for entry in fs::read_dir(name).unwrap().flatten() {
                    let file = entry.file_name().to_string_lossy().into_owned();
                    if file.starts_with("bound-images-auth-") {
                        let text = fs::read_to_string(entry.path()).unwrap_or_default();
                        assert!(!text.contains(&self.registry.host()), "{what}: {file} is left");
                    }
                }
            }
        }
    }
}

/// Where the credentials are, what `stage` is told, and the file that wins.
type Way = (&'static str, fn(&Guarded) -> Vec<String>);

const WAYS: &[Way] = &[
    ("AuthFile= in the root", |guarded| {
        guarded.bind("AuthFile=/etc/app/auth.json\n");
        guarded.world.write("etc/app/auth.json", guarded.auth(&guarded.registry.host()));
        Vec::new()
    }),
    ("AuthFile= on the running system", |guarded| {
        let file = guarded.world.path("host-auth.json");
        fs::write(&file, guarded.auth(&guarded.registry.host())).unwrap();
        guarded.bind(&format!("AuthFile={}\n", file.display()));
        Vec::new()
    }),
    ("--authfile", |guarded| {
        guarded.bind("");
        let file = guarded.world.path("operator.json");
        fs::write(&file, guarded.auth(&guarded.registry.host())).unwrap();
        vec!["--authfile".to_owned(), file.display().to_string()]
    }),
    ("--authfile, from the directory it is in", |guarded| {
        guarded.bind("");
        let file = guarded.world.path("operator.json");
        fs::write(&file, guarded.auth(&guarded.registry.host())).unwrap();
        vec!["--authfile".to_owned(), "operator.json".to_owned()]
    }),
    ("/usr/lib/ostree/auth.json", |guarded| {
        guarded.bind("");
        guarded.world.write("usr/lib/ostree/auth.json", guarded.auth(&guarded.registry.host()));
        Vec::new()
    }),
    ("an entry for the name space", |guarded| {
        guarded.bind("");
        let key = format!("{}/ns", guarded.registry.host());
        guarded.world.write("usr/lib/ostree/auth.json", guarded.auth(&key));
        Vec::new()
    }),
    ("the first file with an entry", |guarded| {
        guarded.bind("AuthFile=/etc/app/auth.json\n");
        let host = guarded.registry.host();
        // Another registry, a placeholder, nothing, no JSON: none of them is in the way.
        guarded.world.write("etc/app/auth.json", guarded.auth("elsewhere.example"));
        guarded
            .world
            .write("etc/ostree/auth.json", json!({"auths": {host.as_str(): {}}}).to_string());
        guarded.world.write("usr/lib/ostree/auth.json", guarded.auth(&host));
        let file = guarded.world.path("operator.json");
        fs::write(&file, "{").unwrap();
        vec!["--authfile".to_owned(), file.display().to_string()]
    }),
    ("the Quadlet's file before the operator's", |guarded| {
        guarded.bind("AuthFile=/etc/app/auth.json\n");
        let host = guarded.registry.host();
        guarded.world.write("etc/app/auth.json", guarded.auth(&host));
        let file = guarded.world.path("operator.json");
        let wrong = json!({"auths": {host: {"auth": STANDARD.encode("user:wrong")}}});
        fs::write(&file, wrong.to_string()).unwrap();
        vec!["--authfile".to_owned(), file.display().to_string()]
    }),
    ("Creds=", |guarded| {
        guarded.bind(&format!("Creds=user:{SECRET}\n"));
        Vec::new()
    }),
];

#[test]
fn credentials_are_found_and_never_shown() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    for bearer in [false, true] {
        for (what, arrange) in WAYS {
            let login = if bearer { Login::Bearer(pair()) } else { Login::Basic(pair()) };
            let guarded = Guarded::new(login);
            let words = arrange(&guarded);
            let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
            if bearer {
                words.extend(["--format", "json"]);
            }
            let ran = guarded.stage(&words, &[]);
            assert_eq!(ran.code, Some(0), "{what}: {}", ran.all());
            assert!(guarded.world.store().exists());
            guarded.assert_secret(what, &ran);
            for command in ["list", "verify"] {
                let shown = guarded.world.run(command, &["-vv", "--format", "json"]);
                shown.expect(0, &[]);
                guarded.assert_secret(what, &shown);
            }
        }
    }
}

#[test]
fn refused_credentials_are_named_by_their_file_only() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let table: [(&str, fn(&Guarded), &str); 4] = [
        (
            "a file",
            |guarded| {
                guarded.bind("");
                guarded
                    .world
                    .write("usr/lib/ostree/auth.json", guarded.auth(&guarded.registry.host()));
            },
            "root/usr/lib/ostree/auth.json",
        ),
        ("Creds=", |guarded| guarded.bind(&format!("Creds=user:{SECRET}\n")), "Creds="),
        (
            "Creds= without a password",
            |guarded| guarded.bind(&format!("Creds={SECRET}\n")),
            "Creds=",
        ),
        ("nothing", |guarded| guarded.bind(""), "without credentials"),
    ];
    for (what, arrange, said) in table {
        // The secret was changed at the registry.
        let guarded = Guarded::new(Login::Basic(STANDARD.encode("user:other")));
        arrange(&guarded);
        let ran = guarded.stage(&[], &[]);
        assert!(matches!(ran.code, Some(1 | 3)), "{what}: {}", ran.all());
        ran.says(&["app.image", &guarded.reference(), said, "nothing was staged"]);
        guarded.world.assert_unpublished(&ran);
        guarded.assert_secret(what, &ran);
    }
}

#[test]
fn what_a_user_has_is_never_used() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let guarded = Guarded::new(Login::Basic(pair()));
    guarded.bind("");
    let home = guarded.world.path("home");
    for path in
        [".docker/config.json", ".config/containers/auth.json", "containers/auth.json", "auth.json"]
    {
        let file = home.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, guarded.auth(&guarded.registry.host())).unwrap();
    }
    let variables = [
        ("HOME", home.clone()),
        ("XDG_RUNTIME_DIR", home.clone()),
        ("XDG_CONFIG_HOME", home.join(".config")),
        ("DOCKER_CONFIG", home.join(".docker")),
        ("REGISTRY_AUTH_FILE", home.join("auth.json")),
    ];
    let variables: Vec<(&str, &Path)> =
        variables.iter().map(|(name, path)| (*name, path.as_path())).collect();
    let ran = guarded.stage(&[], &variables);
    ran.expect(3, &["refuses access", "without credentials", "app.image"]);
    guarded.world.assert_unpublished(&ran);
    guarded.assert_secret("a user's own", &ran);
}

#[test]
fn a_stage_that_fails_or_plans_leaves_no_secret() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let guarded = Guarded::new(Login::Basic(pair()));
    guarded.bind(&format!("Creds=user:{SECRET}\n"));
    let plan = guarded.stage(&["--dry-run"], &[]);
    plan.expect(0, &["Nothing was changed"]);
    guarded.assert_secret("a plan", &plan);
    guarded.registry.fault(&guarded.image.layers[1], Does::Garble, 1);
    let ran = guarded.stage(&[], &[]);
    ran.expect(1, &["app.image"]);
    assert!(guarded.world.work().exists());
    guarded.assert_secret("a broken layer", &ran);
    guarded.stage(&[], &[]).expect(0, &["Staged"]);
    // Changed since: the record does not depend on the secret.
    let record = guarded.world.record();
    let other = Guarded::new(Login::Open);
    other.bind("");
    other.stage(&[], &[]).expect(0, &[]);
    assert_eq!(record["bindings"][0]["layers"], other.world.record()["bindings"][0]["layers"]);
}

#[test]
fn a_passphrase_of_a_decryption_key_is_not_shown() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let guarded = Guarded::new(Login::Open);
    guarded.bind(&format!("DecryptionKey=/etc/keys/app.pem:{SECRET}\n"));
    // Whether such an image can be staged is another matter.
    for command in ["list", "verify"] {
        let shown = guarded.world.run(command, &["-vv"]);
        assert!(!shown.all().contains(SECRET), "{}", shown.all());
    }
    let ran = guarded.stage(&[], &[]);
    let staged = fs::read_to_string(guarded.world.path("seen")).unwrap_or_default();
    assert!(!ran.all().contains(SECRET) && !staged.contains(SECRET), "{}{staged}", ran.all());
    for place in ["root/usr/lib/containers", "tmp"] {
        assert!(containing(&guarded.world.path(place), SECRET).is_empty());
    }
}
