//! What one file says: text, white space, continuations, quotes, bytes, faults.

use super::corpus::{Case, case};

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    // one file
    case("one file: plain", &[("a.container", "[Container]\nImage=quay.io/a/plain:1\n")], "a=a/plain:1"),
    case("one file: digest", &[
        ("a.container", "[Container]\nImage=quay.io/a/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"),
    ], "a=a/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    case("one file: tag and digest", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"),
    ], "a=a/x:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    case("one file: no tag", &[("a.container", "[Container]\nImage=quay.io/a/x\n")], "a=a/x:latest"),
    case("one file: port of a registry", &[
        ("a.container", "[Container]\nImage=registry.example:5000/a/port:1\nPublishPort=80:80\n"),
    ], "a=registry.example:5000/a/port:1"),
    case("one file: the last one counts", &[
        ("a.container", "[Container]\nImage=quay.io/a/first:1\nImage=quay.io/a/last:2\n"),
    ], "a=a/last:2 !repeated-key"),
    case("one file: groups are merged", &[
        ("a.container", "[Container]\nImage=quay.io/a/one:1\n[Unit]\nDescription=x\n[Container]\nImage=quay.io/a/two:2\n"),
    ], "a=a/two:2 !repeated-key"),
    case("one file: a group in the middle takes its lines away", &[
        ("a.container", "[Container]\nImage=quay.io/a/one:1\n[Service]\nImage=quay.io/a/service:1\n"),
    ], "a=a/one:1"),
    case("one file: other groups are not read", &[
        ("a.container", "[X-Own]\nImage=quay.io/a/own:1\n[Container]\nImage=quay.io/a/x:1\n[container]\nImage=quay.io/a/lower:1\n"),
    ], "a=a/x:1"),
    case("one file: a key in lower case is another key", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nimage=quay.io/a/lower:1\n"),
    ], "a=a/x:1 !unknown-key"),
    case("one file: nothing after the group", &[("a.container", "[Container]\n")], "!no-image"),
    case("one file: an empty file", &[
        ("a.container", ""),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "b=a/b:1 !no-image"),
    case("one file: only comments", &[
        ("a.container", "# nothing\n; at all\n"),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "b=a/b:1 !no-image"),
    case("one file: no newline at the end", &[("a.container", "[Container]\nImage=quay.io/a/x:1")], "a=a/x:1"),
    case("one file: optional", &[("a.container", "[Container]\nImage=quay.io/a/x:1\n[X-BoundImage]\nRequired=no\n")], "a=a/x:1"),
    // empty assignments
    case("empty assignments: reset at the end", &[("a.container", "[Container]\nImage=quay.io/a/x:1\nImage=\n")], "!no-image"),
    case("empty assignments: reset, then set", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nImage=\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1"),
    case("empty assignments: reset with spaces", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nImage=   \n"),
    ], "!no-image"),
    case("empty assignments: reset with quotes", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nImage=\"\"\n"),
    ], "!no-image !repeated-key"),
    case("empty assignments: a drop-in resets", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/1.conf", "[Container]\nImage=\n"),
    ], "!no-image"),
    case("empty assignments: a drop-in resets, another sets", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/1.conf", "[Container]\nImage=\n"),
        ("a.container.d/2.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1"),
    case("empty assignments: an empty name of a service", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nServiceName=\n"),
    ], "!service-name"),
    case("empty assignments: an empty tag", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\nImageTag=quay.io/a/t:1\nImageTag=\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "a=a/x:1 i-image=a/x:1"),
    case("empty assignments: an empty Rootfs=", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nRootfs=/srv\nRootfs=\n"),
    ], "a=a/x:1"),
    case("empty assignments: an empty Pod=", &[("a.container", "[Container]\nImage=quay.io/a/x:1\nPod=\n")], "a=a/x:1"),
    // white space
    case("white space: around everything", &[("a.container", "  [Container]  \n  Image  =  quay.io/a/x:1  \n")], "a=a/x:1"),
    case("white space: tabs", &[("a.container", "\t[Container]\t\n\tImage\t=\tquay.io/a/x:1\t\n")], "a=a/x:1"),
    case("white space: lines of spaces", &[("a.container", "[Container]\n   \n\t\nImage=quay.io/a/x:1\n")], "a=a/x:1"),
    case("white space: CRLF", &[("a.container", "[Container]\r\nImage=quay.io/a/x:1\r\n")], "a=a/x:1"),
    case("white space: CRLF in a continuation", &[("a.container", "[Container]\r\nImage=quay.io/a/\\\r\nx:1\r\n")], "a=a/x:1"),
    case("white space: CR alone is no end of a line", &[
        ("a.container", "[Container]\nLabel=a=b\rImage=quay.io/a/cr:1\nImage=quay.io/a/x:1\n"),
    ], "a=a/x:1"),
    case("white space: a no-break space", &[("a.container", "[Container]\n\u{a0}Image=quay.io/a/x:1\u{a0}\n")], "a=a/x:1"),
    case("white space: an em space after the bracket", &[
        ("a.container", "[Container]\u{2003}\nImage=quay.io/a/x:1\n"),
    ], "a=a/x:1"),
    case("white space: an em space inside of the key", &[
        ("a.container", "[Container]\nImage\u{2003}=quay.io/a/y:1\nImage=quay.io/a/x:1\n"),
    ], "a=a/x:1 !unknown-key"),
    case("white space: a no-break space before the value", &[
        ("a.container", "[Container]\nImage=\u{a0}quay.io/a/x:1\n"),
    ], "!bad-reference"),
    case("white space: vertical tab and form feed", &[
        ("a.container", "[Container]\n\u{b}Image\u{c}=\u{b}quay.io/a/x:1\u{c}\n"),
    ], "a=a/x:1"),
    case("white space: next line (U+0085)", &[("a.container", "[Container]\nImage=quay.io/a/x:1\u{85}\n")], "a=a/x:1"),
    case("white space: space in the value", &[("a.container", "[Container]\nImage=quay.io/a/x:1 y\n")], "!bad-reference"),
    case("white space: a zero-width space", &[("a.container", "[Container]\nImage=quay.io/a/x:1\u{200b}\n")], "!bad-reference"),
    // continuations
    case("continuations: in the value", &[("a.container", "[Container]\nImage=quay.io/a/\\\nx:1\n")], "a=a/x:1"),
    case("continuations: with spaces after the backslash", &[
        ("a.container", "[Container]\nImage=quay.io/a/\\  \nx:1\n"),
    ], "a=a/x:1"),
    case("continuations: with spaces before the next part", &[
        ("a.container", "[Container]\nImage=quay.io/a/\\\n   x:1\n"),
    ], "a=a/x:1"),
    case("continuations: comments inside", &[
        ("a.container", "[Container]\nImage=quay.io/a/\\\n# one\n; two\n\nx:1\n"),
    ], "a=a/x:1"),
    case("continuations: a comment that ends in a backslash inside", &[
        ("a.container", "[Container]\nImage=quay.io/a/\\\n# one \\\nx:1\n"),
    ], "a=a/x:1"),
    case("continuations: a comment that ends in a backslash", &[
        ("a.container", "[Container]\n# Label=x \\\nImage=quay.io/a/x:1\n"),
    ], "a=a/x:1"),
    case("continuations: of the key", &[("a.container", "[Container]\nIma\\\nge=quay.io/a/x:1\n")], "a=a/x:1"),
    case("continuations: of the group", &[("a.container", "[Cont\\\nainer]\nImage=quay.io/a/x:1\n")], "a=a/x:1"),
    case("continuations: swallows the next assignment", &[
        ("a.container", "[Container]\nLabel=x=y \\\nImage=quay.io/a/wrong:1\nImage=quay.io/a/x:1\n"),
    ], "a=a/x:1"),
    case("continuations: swallows the image", &[
        ("a.container", "[Container]\nLabel=x=y \\\nImage=quay.io/a/swallowed:1\n"),
    ], "!no-image"),
    case("continuations: swallows a group", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nLabel=x \\\n[Unit]\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1 !repeated-key"),
    case("continuations: at the end of the file", &[("a.container", "[Container]\nImage=quay.io/a/x:1\\")], "a=a/x:1"),
    case("continuations: at the end of the file, with a newline", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\\\n"),
    ], "a=a/x:1"),
    case("continuations: at the end of the file, with an empty line", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nImage=quay.io/a/y:1\\\n\n"),
    ], "a=a/x:1 !lost-line"),
    case("continuations: a backslash alone", &[("a.container", "[Container]\n\\\nImage=quay.io/a/x:1\n")], "a=a/x:1"),
    case("continuations: two backslashes", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\\\\\n\n"),
    ], "!lost-line !no-image"),
    case("continuations: over three lines", &[("a.container", "[Container]\nImage=quay.io\\\n/a\\\n/x:1\n")], "a=a/x:1"),
    // quotes, escapes, specifiers
    case("quotes, escapes, specifiers: double", &[("a.container", "[Container]\nImage=\"quay.io/a/x:1\"\n")], "a=a/x:1"),
    case("quotes, escapes, specifiers: single", &[("a.container", "[Container]\nImage='quay.io/a/x:1'\n")], "!bad-reference"),
    case("quotes, escapes, specifiers: only in front", &[
        ("a.container", "[Container]\nImage=\"quay.io/a/x:1\n"),
    ], "a=a/x:1 !ambiguous-quotes"),
    case("quotes, escapes, specifiers: two pairs", &[
        ("a.container", "[Container]\nImage=\"\"quay.io/a/x:1\"\"\n"),
    ], "a=a/x:1 !ambiguous-quotes"),
    case("quotes, escapes, specifiers: an escape", &[
        ("a.container", "[Container]\nImage=quay.io/a/\\x78:1\n"),
    ], "!bad-reference"),
    case("quotes, escapes, specifiers: a percent sign", &[
        ("a.container", "[Container]\nImage=quay.io/a/%%x:1\n"),
    ], "!bad-reference"),
    case("quotes, escapes, specifiers: a specifier", &[("a@.container", "[Container]\nImage=quay.io/a/x:%i\n")], "!specifier"),
    case("quotes, escapes, specifiers: a variable", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:${TAG}\n"),
    ], "!bad-reference"),
    case("quotes, escapes, specifiers: a comment behind", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1 # the first\n"),
    ], "!bad-reference"),
    case("quotes, escapes, specifiers: an equals sign", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1=2\n"),
    ], "!bad-reference"),
    // bytes
    case("bytes: a byte order mark", &[("a.container", "\u{feff}[Container]\nImage=quay.io/a/x:1\n")], "!syntax"),
    case("bytes: a byte order mark beside", &[
        ("a.container", "\u{feff}[Container]\nImage=quay.io/a/x:1\n"),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "b=a/b:1 !syntax"),
    case("bytes: a byte order mark in another directory", &[
        ("sub/a.container", "\u{feff}[Container]\nImage=quay.io/a/x:1\n"),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "b=a/b:1 !syntax"),
    case("bytes: NUL in the value", &[("a.container", "[Container]\nImage=quay.io/a/x:1\0\n")], "!bad-reference"),
    case("bytes: NUL in another value", &[("a.container", "[Container]\nLabel=a=b\0c\nImage=quay.io/a/x:1\n")], "a=a/x:1"),
    case("bytes: NUL in the key", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nIm\0age=quay.io/a/y:1\n"),
    ], "a=a/x:1 !unknown-key"),
    case("bytes: NUL in the group", &[("a.container", "[Contain\0er]\nImage=quay.io/a/x:1\n")], "!syntax"),
    case("bytes: an escape sequence", &[("a.container", "[Container]\nImage=quay.io/a/x:1\u{1b}[0m\n")], "!bad-reference"),
    case("bytes: umlauts", &[("a.container", "[Container]\nLabel=gr\u{fc}n=\u{fc}\nImage=quay.io/a/x:1\n")], "a=a/x:1"),
    case("bytes: a name with an umlaut", &[("\u{fc}.container", "[Container]\nImage=quay.io/a/x:1\n")], "!service-name"),
    case("bytes: an image with an umlaut", &[("a.container", "[Container]\nImage=quay.io/a/\u{fc}:1\n")], "!bad-reference"),
    case("bytes: a long line", &[("a.container", "[Container]\nLabel=x={LONG}\nImage=quay.io/a/x:1\n")], "a=a/x:1"),
    case("bytes: a long comment", &[("a.container", "[Container]\n#{LONG}\nImage=quay.io/a/x:1\n")], "a=a/x:1"),
    case("bytes: a long continuation", &[
        ("a.container", "[Container]\nEnvironment=A=1 \\\n{LONG}\\\n{LONG}\nImage=quay.io/a/x:1\n"),
    ], "a=a/x:1"),
    // lines that Podman refuses
    case("lines that Podman refuses: no equals sign", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nnonsense\n"),
    ], "!syntax"),
    case("lines that Podman refuses: no equals sign, in another directory", &[
        ("sub/a.container", "[Container]\nImage=quay.io/a/x:1\nnonsense\n"),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "b=a/b:1 !syntax"),
    case("lines that Podman refuses: no key", &[("a.container", "[Container]\n=quay.io/a/x:1\n")], "!syntax"),
    case("lines that Podman refuses: before the first group", &[
        ("a.container", "Image=quay.io/a/x:1\n[Container]\nImage=quay.io/a/y:1\n"),
    ], "!syntax"),
    case("lines that Podman refuses: an open group", &[("a.container", "[Container\nImage=quay.io/a/x:1\n")], "!syntax"),
    case("lines that Podman refuses: a nested group", &[("a.container", "[[Container]]\nImage=quay.io/a/x:1\n")], "!syntax"),
    case("lines that Podman refuses: an empty group", &[("a.container", "[]\n[Container]\nImage=quay.io/a/x:1\n")], "!syntax"),
    case("lines that Podman refuses: a comment behind a group", &[
        ("a.container", "[Container] # ours\nImage=quay.io/a/x:1\n"),
    ], "!syntax"),
    case("lines that Podman refuses: an unknown key", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nNonsense=1\n"),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "a=a/x:1 b=a/b:1 !unknown-key"),
    case("lines that Podman refuses: an unknown key of a drop-in", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/1.conf", "[Container]\nNonsense=1\n"),
    ], "a=a/x:1 !unknown-key"),
    case("lines that Podman refuses: a drop-in that cannot be parsed", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/1.conf", "[Container]\nImage=quay.io/a/y:1\nnonsense\n"),
        ("a.container.d/2.conf", "[Container]\nImage=quay.io/a/z:1\n"),
    ], "a=a/z:1 !syntax"),
    case("lines that Podman refuses: a type that is not allowed", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n[Service]\nType=forking\n"),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n[Service]\nType=oneshot\n"),
    ], "a=a/x:1 b=a/b:1 !refused"),
    case("lines that Podman refuses: a root file system", &[("a.container", "[Container]\nRootfs=/srv\n")], "!rootfs"),
    case("lines that Podman refuses: a root file system and an image", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nRootfs=/srv\n"),
    ], "!refused"),
];
