//! Random trees of Quadlets, the same for the same seed: files of a grammar, and changes to the corpus.

use super::peer::Files;

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

const PATHS: &[&str] = &[
    "a.container",
    "a-b.container",
    "a-b-c.container",
    "a@.container",
    "a@x.container",
    "a-b@x.container",
    "base.image",
    "b-c.image",
    "t@.image",
    "t@x.image",
    "sub/a.container",
    "sub/deep/base.image",
    "z/a.container",
    "p.pod",
    "n.network",
    "v.volume",
    "w.build",
    "a.b.container",
    ".container",
    "a@x@y.container",
    "-.container",
    "a--b.container",
    "ü.container",
    "a b.container",
];
const DROPINS: &[&str] = &[
    "a.container.d",
    "a-.container.d",
    "a-b.container.d",
    "a-b-.container.d",
    "a@.container.d",
    "a@x.container.d",
    "a-@.container.d",
    "container.d",
    "image.d",
    "base.image.d",
    "b-.image.d",
    "t@.image.d",
    "sub/a.container.d",
    "sub/container.d",
    "/etc/containers/systemd/a.container.d",
    "/etc/containers/systemd/container.d",
];
const LINKS: &[&str] = &[
    "a@y.container -> a@.container",
    "l.container -> a.container",
    "a@y.container -> a.container",
    "l.image -> base.image",
    "l.container -> /dev/null",
    "a.container -> /dev/null",
    "a.container.d/10.conf -> /dev/null",
    "a.container.d -> a-b.container.d",
    "more -> sub",
    "sub/up -> ..",
    "l.container -> nowhere",
    "a-.container.d/20.conf -> ../a.container",
];
const OTHER: &[&str] = &[
    "Label=x=y",
    "Environment=A=1",
    "Exec=sh -c x",
    "ServiceName=other",
    "ServiceName=",
    "Pod=p.pod",
    "Network=n.network",
    "Network=host",
    "Volume=v.volume:/x",
    "PodmanArgs=--pull=always",
    "Nonsense=1",
    "ReadOnly=yes",
    "Rootfs=/srv",
    "Rootfs=",
    "ContainerName=c",
    "Pull=newer",
    "Notify=yes",
    "EnvironmentHost=no",
    "User=1",
    "Image",
    "=x",
    "[Unit]",
    "[Service]",
    "[Install]",
    "[Container]",
    "[Image]",
    "[X-BoundImage]",
    "[X-Other]",
    "DefaultInstance=d",
    "Type=oneshot",
    "Type=forking",
    "KillMode=mixed",
    "# comment",
    "; comment \\",
    "#",
    "",
    "   ",
    "\t",
    "ImageTag=quay.io/f/tag:1",
    "ImageTag=",
    "ImageTag=short",
    "Required=no",
    "TLSVerify=no",
    "Description=x",
    "Arch=arm64",
    "AllTags=no",
    "Retry=3",
];

/// A tree of one to six files.
pub(crate) fn tree(random: &mut Random) -> Files {
    let mut files = Files::new();
    for _ in 0..=random.below(4) {
        let path = random.pick(PATHS);
        files.push((path.to_owned(), text(random, path, false)));
    }
    for _ in 0..random.below(3) {
        let dir = random.pick(DROPINS);
        let name = random.pick(&["10.conf", "20.conf", "9.conf", "x.txt", ".conf"]);
        files.push((format!("{dir}/{name}"), text(random, dir, true)));
    }
    if random.one_in(8) {
        let path = random.pick(&["a.container", "base.image", "sub/a.container", "zz.container"]);
        files.push((format!("/etc/containers/systemd/{path}"), text(random, path, false)));
    }
    if random.one_in(3) {
        files.push((random.pick(LINKS).to_owned(), Vec::new()));
    }
    files
}

fn text(random: &mut Random, path: &str, dropin: bool) -> Vec<u8> {
    let group = match path {
        path if path.contains("image") => "[Image]",
        path if path.ends_with(".pod") => "[Pod]",
        path if path.ends_with(".network") => "[Network]",
        path if path.ends_with(".volume") => "[Volume]",
        path if path.ends_with(".build") => {
            "[Build]\nImageTag=localhost/w\nSetWorkingDirectory=unit\nFile=x"
        }
        _ => "[Container]",
    };
    if !["[Image]", "[Container]"].contains(&group) {
        return format!("{group}\n").into_bytes();
    }
    let mut lines = vec![group.to_owned()];
    if !dropin || random.one_in(2) {
        lines.push(image(random));
    }
    for _ in 0..random.below(4) {
        let line = match random.below(4) {
            0 => image(random),
            1 => group.to_owned(),
            _ => random.pick(OTHER).to_owned(),
        };
        lines.insert(random.below(lines.len() + 1), line);
    }
    let end = random.pick(&["\n", "\n", "\n", "\r\n"]);
    let mut text = lines.join(end) + random.pick(&["\n", "\n", "", "\r\n", "\n\n"]);
    for _ in 0..random.below(3) {
        text = change(random, &text);
    }
    text.into_bytes()
}

fn image(random: &mut Random) -> String {
    let number = random.below(1000);
    let plain = format!("quay.io/f/i{number}:1");
    match random.below(24) {
        0 => "Image=base.image".to_owned(),
        1 => format!("Image=\"{plain}\""),
        2 => "Image=".to_owned(),
        3 => "Image=w.build".to_owned(),
        4 => "Image=b-c.image".to_owned(),
        5 => format!("Image={plain} \t"),
        6 => format!("Image = {plain}"),
        7 => format!("Image=quay.io/f/\\\ni{number}:1"),
        8 => format!("Image=quay.io/f/\\\n# in between\n  i{number}:1"),
        9 => format!("Image='{plain}'"),
        10 => format!("Image=quay.io/f/%%i{number}"),
        11 => "Image=quay.io/f/%i:1".to_owned(),
        12 => "Image=short".to_owned(),
        13 => format!("Image=docker://{plain}"),
        14 => format!("Image=quay.io/f/i{number}"),
        15 => format!("image={plain}"),
        _ => format!("Image={plain}"),
    }
}

/// One small change somewhere.
pub(crate) fn change(random: &mut Random, text: &str) -> String {
    const BITS: &[&str] = &[
        "\\\n",
        "\\",
        "\n",
        "\r",
        "\r\n",
        " ",
        "\t",
        "\"",
        "'",
        "#",
        ";",
        "[",
        "]",
        "=",
        "\0",
        "\u{a0}",
        "\u{feff}",
        "\u{2003}",
        "ü",
        "\u{b}",
        "\u{c}",
        "\u{85}",
        "\u{1b}",
        "%",
        "\\\n\n",
        "\\\n#x\n",
        " \\\n ",
        "\n[Container]\n",
        "\n[Image]\n",
        "\nImage=\n",
        "\n\\\n",
        "\u{7f}",
        "\u{200b}",
        "\\x41",
        "\\s",
        "$",
        "${X}",
    ];
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let at = places[random.below(places.len())];
    let (before, after) = text.split_at(at);
    match random.below(4) {
        // Something is lost, or twice there.
        0 => {
            let mut rest = after.chars();
            rest.next();
            format!("{before}{}", rest.as_str())
        }
        1 => {
            let line = after.split_inclusive('\n').next().unwrap_or_default();
            format!("{before}{line}{after}")
        }
        _ => format!("{before}{}{after}", random.pick(BITS)),
    }
}

/// A case of the corpus with up to three changes to its files.
pub(crate) fn vary(random: &mut Random, files: &Files) -> Files {
    let mut files = files.clone();
    for _ in 0..=random.below(3) {
        let index = random.below(files.len());
        let (path, text) = &mut files[index];
        if let (false, Ok(before)) = (path.contains(" -> "), std::str::from_utf8(text)) {
            *text = change(random, before).into_bytes();
        }
    }
    files
}
