# Runs in the chroot: signs images of $REGISTRY in several ways, and stages a root that binds each.
# tests/signatures.rs says which of them must be staged.
export GNUPGHOME=/run/gnupg
mkdir -m 700 "$GNUPGHOME"
for who in vendor stranger; do
    gpg --batch --quiet --pinentry-mode loopback --passphrase '' \
        --quick-gen-key "$who@example.test" rsa2048 sign never
done
gpg --batch --quiet --armor --export vendor@example.test >/run/key.gpg

/in/busybox mount -t tmpfs tmpfs /etc/containers
mkdir /etc/containers/registries.d
cp /in/policy.json /etc/containers/policy.json
cp /in/registries.conf /etc/containers/registries.conf
printf 'docker:\n  %s:\n    lookaside: file:///run/signatures\n' "$REGISTRY" >/etc/containers/registries.d/test.yaml

# sign IMAGE NAME WHO: WHO says that IMAGE is $REGISTRY/t/NAME.
sign() {
    local directory
    directory=/run/signatures/t/$1@$(tr : = <"/in/$1.digest")
    mkdir -p "$directory"
    skopeo standalone-sign -o "$directory/signature-1" "/in/$1.json" "$REGISTRY/t/$2:1" "$3@example.test"
}
sign signed signed vendor
sign stranger stranger stranger
# The signature of another name.
sign moved signed vendor
# Only the start of a signature.
sign torn torn vendor
torn=/run/signatures/t/torn@$(tr : = </in/torn.digest)/signature-1
head -c 60 "$torn" >/run/torn
cp /run/torn "$torn"

for name in signed unsigned stranger moved torn; do
    status=0
    /in/bound-images stage --root "/in/root-$name" >"/in/$name.said" 2>&1 </dev/null || status=$?
    echo "$status" >"/in/$name.status"
done
echo judged
