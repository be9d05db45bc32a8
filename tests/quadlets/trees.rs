//! What several files say together: drop-ins, names, links, `.image` units, `/etc`.

use super::corpus::{Case, case};

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    case("keys: one of Podman 6", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nImageVolume=tmpfs\nMemory=1g\n"),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "a=a/x:1 b=a/b:1 !unknown-key"),
    case("drop-ins: of one name in two directories", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
        ("sub/a.container.d/10.conf", "[Container]\nImage=quay.io/a/z:1\n"),
    ], "a=a/y:1 !dropin-order"),
    // drop-ins
    case("drop-ins: its own", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1"),
    case("drop-ins: in the order of their names", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/20.conf", "[Container]\nImage=quay.io/a/z:1\n"),
        ("a.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/z:1"),
    case("drop-ins: names are compared as bytes", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/9.conf", "[Container]\nImage=quay.io/a/nine:1\n"),
        ("a.container.d/10.conf", "[Container]\nImage=quay.io/a/ten:1\n"),
    ], "a=a/nine:1"),
    case("drop-ins: only .conf", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/1.txt", "[Container]\nImage=quay.io/a/y:1\n"),
        ("a.container.d/2.conf~", "[Container]\nImage=quay.io/a/z:1\n"),
    ], "a=a/x:1"),
    case("drop-ins: a name that is all ending", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1"),
    case("drop-ins: of all containers", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1"),
    case("drop-ins: its own hides one of all", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("container.d/10.conf", "[Container]\nImage=quay.io/a/all:1\n"),
        ("a.container.d/10.conf", "[Container]\nLabel=x=y\n"),
    ], "a=a/x:1"),
    case("drop-ins: of a prefix", &[
        ("a-b.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a-.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a-b=a/y:1"),
    case("drop-ins: of two prefixes", &[
        ("a-b-c.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a-.container.d/10.conf", "[Container]\nImage=quay.io/a/a:1\n"),
        ("a-b-.container.d/10.conf", "[Container]\nImage=quay.io/a/ab:1\n"),
    ], "a-b-c=a/ab:1"),
    case("drop-ins: of a prefix with another name", &[
        ("a-b-c.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a-.container.d/20.conf", "[Container]\nImage=quay.io/a/a:1\n"),
        ("a-b-.container.d/10.conf", "[Container]\nImage=quay.io/a/ab:1\n"),
    ], "a-b-c=a/a:1"),
    case("drop-ins: a prefix needs its dash", &[
        ("ab.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a-.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
        ("a.container.d/10.conf", "[Container]\nImage=quay.io/a/z:1\n"),
    ], "ab=a/x:1"),
    case("drop-ins: of a template", &[
        ("a@.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a@.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a@=a/y:1"),
    case("drop-ins: of a template, for its instance", &[
        ("a@one.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a@.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a@one=a/y:1"),
    case("drop-ins: of an instance", &[
        ("a@one.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a@one.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
        ("a@.container.d/10.conf", "[Container]\nImage=quay.io/a/z:1\n"),
    ], "a@one=a/y:1"),
    case("drop-ins: of an instance, for its template", &[
        ("a@.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a@one.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a@=a/x:1"),
    case("drop-ins: of the prefix of a template", &[
        ("a-b@.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a-@.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a-b@=a/y:1"),
    case("drop-ins: of the prefix of an instance", &[
        ("a-b@one.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a-@.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
        ("a-.container.d/20.conf", "[Container]\nImage=quay.io/a/z:1\n"),
    ], "a-b@one=a/z:1"),
    case("drop-ins: of an image", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("i.image.d/10.conf", "[Image]\nImage=quay.io/a/y:1\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "a=a/y:1 i-image=a/y:1"),
    case("drop-ins: of all images", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("image.d/10.conf", "[Image]\nImageTag=quay.io/a/t:1\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "a=a/t:1 i-image=a/x:1"),
    case("drop-ins: in another directory", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("sub/a.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1"),
    case("drop-ins: the first directory counts", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
        ("sub/a.container.d/10.conf", "[Container]\nImage=quay.io/a/z:1\n"),
    ], "a=a/y:1"),
    case("drop-ins: a Quadlet in a drop-in directory is none", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "a=a/x:1"),
    case("drop-ins: a masked drop-in", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/10.conf -> /dev/null", ""),
        ("sub/a.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/x:1"),
    case("drop-ins: an empty drop-in masks", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/10.conf", ""),
        ("container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/x:1"),
    case("drop-ins: a linked drop-in", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/10.conf -> ../other", ""),
        ("other", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1"),
    case("drop-ins: a linked directory", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d -> others", ""),
        ("others/10.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1"),
    case("drop-ins: a drop-in that leads nowhere", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/10.conf -> nowhere", ""),
    ], "a=a/x:1 !unreadable"),
    case("drop-ins: continued and commented", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/10.conf", "# why\n[Container]\nImage=\\\n# because\nquay.io/a/\\\n; so\ny:1\n"),
    ], "a=a/y:1"),
    case("drop-ins: without a newline at its end", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/10.conf", "[Container]\nImage=quay.io/a/y:1\\"),
        ("a.container.d/20.conf", "[Container]\nLabel=x=y\n"),
    ], "a=a/y:1"),
    // names of services
    case("names of services: dots", &[("a.b.container", "[Container]\nImage=quay.io/a/x:1\n")], "a.b=a/x:1"),
    case("names of services: spaces", &[("a b.container", "[Container]\nImage=quay.io/a/x:1\n")], "!service-name"),
    case("names of services: ServiceName=", &[
        ("a.container", "[Container]\nServiceName=other-name\nImage=quay.io/a/x:1\n"),
    ], "other-name=a/x:1"),
    case("names of services: ServiceName= of a drop-in", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/1.conf", "[Container]\nServiceName=other\n"),
    ], "other=a/x:1"),
    case("names of services: ServiceName= of a template", &[
        ("a@.container", "[Container]\nServiceName=other@\nImage=quay.io/a/x:1\n"),
    ], "other@=a/x:1"),
    case("names of services: ServiceName= with .service", &[
        ("a.container", "[Container]\nServiceName=other.service\nImage=quay.io/a/x:1\n"),
    ], "other.service=a/x:1"),
    case("names of services: ServiceName= of an image", &[
        ("i.image", "[Image]\nServiceName=pull-it\nImage=quay.io/a/x:1\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "a=a/x:1 pull-it=a/x:1"),
    case("names of services: an image", &[("i.image", "[Image]\nImage=quay.io/a/x:1\n")], "i-image=a/x:1"),
    case("names of services: an instance of an image", &[
        ("i@one.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("a.container", "[Container]\nImage=i@one.image\n"),
    ], "a=a/x:1 i@one-image=a/x:1"),
    case("names of services: a template of an image", &[
        ("i@.image", "[Image]\nImage=quay.io/a/x:1\n"),
    ], "i-image@=a/x:1 i@-image=a/x:1 !template-name"),
    case("names of services: a default instance", &[
        ("a@.container", "[Container]\nImage=quay.io/a/x:1\n[Install]\nDefaultInstance=d\nWantedBy=multi-user.target\n"),
    ], "a@=a/x:1 a@d=a/x:1"),
    case("names of services: two at signs", &[
        ("a@b@c.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a@.container.d/1.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a@b@c=a/y:1"),
    case("names of services: a name that is all ending", &[
        (".container", "[Container]\nImage=quay.io/a/x:1\n"),
    ], "!hidden-name"),
    case("names of services: upper case", &[
        ("A.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("B.Container", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "A=a/x:1"),
    // a .image
    case("a .image: one container", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "a=a/x:1 i-image=a/x:1"),
    case("a .image: two containers", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
        ("b.container", "[Container]\nImage=i.image\n"),
    ], "a=a/x:1 b=a/x:1 i-image=a/x:1"),
    case("a .image: under another name", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\nImageTag=quay.io/a/t:1\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "a=a/t:1 i-image=a/x:1"),
    case("a .image: from a drop-in of the container", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("a.container", "[Container]\nImage=quay.io/a/y:1\n"),
        ("a.container.d/1.conf", "[Container]\nImage=i.image\n"),
    ], "a=a/x:1 i-image=a/x:1"),
    case("a .image: in another directory", &[
        ("sub/i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "a=a/x:1 i-image=a/x:1"),
    case("a .image: that is not there", &[
        ("a.container", "[Container]\nImage=i.image\n"),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "b=a/b:1 !quadlet-not-found"),
    case("a .image: that names another", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("j.image", "[Image]\nImage=i.image\n"),
        ("a.container", "[Container]\nImage=j.image\n"),
    ], "i-image=a/x:1 !image-chain"),
    case("a .image: without an image", &[
        ("i.image", "[Image]\nArch=amd64\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "!no-image"),
    case("a .image: quoted", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("a.container", "[Container]\nImage=\"i.image\"\n"),
    ], "a=a/x:1 i-image=a/x:1"),
    case("a .image: used by a container that Podman refuses", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("a.container", "[Container]\nImage=i.image\nNonsense=1\n"),
    ], "a=a/x:1 i-image=a/x:1 !unknown-key"),
    case("a .image: options", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\nArch=arm64\nOS=linux\nTLSVerify=no\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "a=a/x:1 i-image=a/x:1"),
    case("a .image: a repository that ends in .image", &[
        ("a.container", "[Container]\nImage=quay.io/a/x.image\n"),
    ], "!quadlet-not-found"),
    case("a .image: built here", &[
        ("w.build", "[Build]\nImageTag=localhost/w\nSetWorkingDirectory=unit\nFile=x\n"),
        ("a.container", "[Container]\nImage=w.build\n"),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "b=a/b:1 !build-image"),
    case("a .image: a build that is not there", &[("a.container", "[Container]\nImage=w.build\n")], "!build-image"),
    // pods, networks, volumes
    case("pods, networks, volumes: in a pod", &[
        ("p.pod", "[Pod]\nPodName=p\n"),
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nPod=p.pod\n"),
    ], "a=a/x:1"),
    case("pods, networks, volumes: in a pod that is not there", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nPod=p.pod\n"),
    ], "a=a/x:1 !refused"),
    case("pods, networks, volumes: in a pod of no Quadlet", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nPod=p\n"),
    ], "a=a/x:1 !refused"),
    case("pods, networks, volumes: a network", &[
        ("n.network", "[Network]\n"),
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nNetwork=n.network\nNetwork=host\n"),
    ], "a=a/x:1"),
    case("pods, networks, volumes: a network that is not there", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nNetwork=n.network:ip=10.0.0.1\n"),
    ], "a=a/x:1 !refused"),
    case("pods, networks, volumes: the network of a container", &[
        ("b.container", "[Container]\nImage=quay.io/a/y:1\n"),
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nNetwork=b.container\n"),
    ], "a=a/x:1 b=a/y:1"),
    case("pods, networks, volumes: a volume", &[
        ("v.volume", "[Volume]\n"),
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nVolume=v.volume:/data\nVolume=/srv:/srv\n"),
    ], "a=a/x:1"),
    case("pods, networks, volumes: a volume that is not there", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\nVolume=v.volume:/data\n"),
    ], "a=a/x:1 !refused"),
    case("pods, networks, volumes: a volume of an image", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("v.volume", "[Volume]\nDriver=image\nImage=i.image\n"),
        ("a.container", "[Container]\nImage=quay.io/a/y:1\nVolume=v.volume:/data\n"),
    ], "a=a/y:1 i-image=a/x:1"),
    // which file
    case("which file: deep", &[("sub/deeper/a.container", "[Container]\nImage=quay.io/a/x:1\n")], "a=a/x:1"),
    case("which file: of two, the one above", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("sub/a.container", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/x:1 !shadowed-quadlet"),
    case("which file: of two, the first directory", &[
        ("s/a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("t/a.container", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/x:1 !shadowed-quadlet"),
    case("which file: of two, the one that can be parsed", &[
        ("a.container", "nonsense\n"),
        ("sub/a.container", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/y:1 !syntax"),
    case("which file: of two images", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("sub/i.image", "[Image]\nImage=quay.io/a/y:1\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
    ], "a=a/x:1 i-image=a/x:1 !shadowed-quadlet"),
    case("which file: an instance by link", &[
        ("a@.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a@one.container -> a@.container", ""),
    ], "a@=a/x:1 a@one=a/x:1"),
    case("which file: an instance by link, with drop-ins", &[
        ("a@.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a@one.container -> a@.container", ""),
        ("a@one.container.d/1.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a@=a/x:1 a@one=a/y:1"),
    case("which file: another name by link", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("b.container -> a.container", ""),
    ], "a=a/x:1 b=a/x:1"),
    case("which file: a link of another directory", &[
        ("sub/a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("z.container -> sub/a.container", ""),
    ], "a=a/x:1 z=a/x:1"),
    case("which file: a file outside, by link", &[
        ("a.container -> ../elsewhere", ""),
        ("/usr/share/containers/elsewhere", "[Container]\nImage=quay.io/a/x:1\n"),
    ], "a=a/x:1"),
    case("which file: a link that leads nowhere", &[
        ("a.container -> nowhere", ""),
        ("sub/b.container", "[Container]\nImage=quay.io/a/x:1\n"),
    ], "b=a/x:1 !dangling-link"),
    case("which file: masked by a link", &[
        ("a.container -> /dev/null", ""),
        ("b.container", "[Container]\nImage=quay.io/a/b:1\n"),
    ], "b=a/b:1 !not-a-file"),
    case("which file: masked, not the other directory", &[
        ("a.container -> /dev/null", ""),
        ("sub/a.container", "[Container]\nImage=quay.io/a/x:1\n"),
    ], "!not-a-file !shadowed-quadlet"),
    case("which file: a directory by link", &[
        ("more -> ../extra", ""),
        ("/usr/share/containers/extra/a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("/usr/lib/bootc/bound-images.d/a.container -> /usr/share/containers/systemd/more/a.container", ""),
    ], "a=a/x:1"),
    case("which file: directories in a circle", &[
        ("sub/up -> ..", ""),
        ("sub/a.container", "[Container]\nImage=quay.io/a/x:1\n"),
    ], "a=a/x:1"),
    case("which file: hidden directories", &[(".hidden/a.container", "[Container]\nImage=quay.io/a/x:1\n")], "a=a/x:1"),
    // of the administrator
    case("of the administrator: a drop-in of /etc", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("/etc/containers/systemd/a.container.d/1.conf", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/x:1 !overridden"),
    case("of the administrator: a drop-in of /etc that changes no image", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("/etc/containers/systemd/a.container.d/1.conf", "[Container]\nLabel=x=y\n"),
    ], "a=a/x:1"),
    case("of the administrator: a Quadlet of /etc", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("/etc/containers/systemd/a.container", "[Container]\nImage=quay.io/a/y:1\n"),
    ], "a=a/x:1 !overridden"),
    case("of the administrator: an image of /etc", &[
        ("i.image", "[Image]\nImage=quay.io/a/x:1\n"),
        ("a.container", "[Container]\nImage=i.image\n"),
        ("/etc/containers/systemd/i.image", "[Image]\nImage=quay.io/a/y:1\n"),
    ], "a=a/x:1 i-image=a/x:1 !overridden"),
    case("of the administrator: masked in /etc", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("/etc/containers/systemd/a.container -> /dev/null", ""),
    ], "a=a/x:1 !overridden"),
    case("of the administrator: masked drop-in in /etc", &[
        ("a.container", "[Container]\nImage=quay.io/a/x:1\n"),
        ("a.container.d/1.conf", "[Container]\nImage=quay.io/a/y:1\n"),
        ("/etc/containers/systemd/a.container.d/1.conf -> /dev/null", ""),
    ], "a=a/y:1 !overridden"),
];
