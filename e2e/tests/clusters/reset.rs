//! What `up` made of a host is taken away again, and nothing else is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::node::Node;
use serde_json::Value;

/// What a host may have of its own where an install puts something, and that must be there afterwards.
const HOSTS_OWN: &str = "
mkdir -p /opt/cni/bin /etc/cni/net.d /etc/kubernetes /var/lib/cni/networks/theirs
printf 'their bridge' >/opt/cni/bin/bridge
printf 'cilium' >/opt/cni/bin/cilium-cni
chmod 755 /opt/cni/bin/*
printf 'x' >/etc/cni/net.d/theirs.txt
printf 'x' >/etc/kubernetes/theirs.conf
printf 'runtime-endpoint: unix:///run/theirs.sock\n' >/etc/crictl.yaml
printf 'x' >/var/lib/cni/networks/theirs/10.0.0.2
nft add table ip theirs
";

/// Everything on the disk and in `/run` that an install or a cluster could leave, one line each: kind, mode, path, where a
/// link leads. Left out are the journal, what systemd keeps of its own, what each mount, network namespace and iptables
/// makes in `/run`, and directories of links to units, which `systemctl disable` removes when they are empty.
const FILES: &str = r"
find /etc /opt /usr/local /usr/libexec /var /root /home /srv /run \
    \( -path /var/log/journal -o -path /run/systemd -o -path /run/log -o -path /run/udev \
       -o -path /var/lib/systemd -o -path /run/mount -o -path /run/xtables.lock -o -path /opt/kubestrap \) -prune \
    -o ! -path /run/netns ! -name '*.target.wants' -printf '%p\t%y %m %l\n'
find /etc /opt/cni /usr/local -type f -exec sha256sum {} + | sed -E 's/^([0-9a-f]+) +(.*)$/sha256 \2\t\1/'
";

/// What of the machine is no file: interfaces, routes, mounts, packet rules of Kubernetes, listeners, units, forwarding.
const MACHINE: &str = r#"
ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/link \1\tis there/'
ip route | sed 's/$/\tis there/; s/^/route /'
cut -d' ' -f2 /proc/self/mounts | sed 's/$/\tis there/; s/^/mount /'
nft list tables | grep -E 'kube-proxy|flannel|theirs' | sed 's/$/\tis there/; s/^/nft /' || true
for p in iptables-nft ip6tables-nft; do "$p-save" 2>/dev/null | grep -cE 'KUBE-|FLANNEL-' | sed "s/^/$p\t/" || true; done
ss -Hltn | sed -E 's/ +/ /g; s/$/\tis there/; s/^/listener /'
find /etc/systemd/system -path '*.target.wants/*' | sed 's/$/\tis there/; s/^/wanted /'
sysctl net.ipv4.ip_forward | sed 's/ = /\t/'
"#;

type Seen = BTreeMap<String, String>;

fn seen(node: &Node, script: &str) -> Result<Seen> {
    let text = node.shell(script)?;
    let line = |line: &str| line.split_once('\t').map(|(what, how)| (what.to_owned(), how.to_owned()));
    Ok(text.lines().filter_map(line).collect())
}

/// What differs, as a person reads it.
fn differences(before: &Seen, after: &Seen) -> Vec<String> {
    let gone =
        before.iter().filter(|(what, _)| !after.contains_key(*what)).map(|(what, _)| format!("- {what}"));
    let other = after.iter().filter_map(|(what, how)| match before.get(what) {
        Some(old) if old == how => None,
        Some(old) => Some(format!("~ {what}: {old} -> {how}")),
        None => Some(format!("+ {what}: {how}")),
    });
    gone.chain(other).collect()
}

pub(crate) fn reset_leaves_the_host_as_it_was() -> Result<()> {
    let node = Node::create("reset")?;
    node.shell(HOSTS_OWN)?;
    let before = Host::look(&node)?;
    let nothing = node.exec(&["kubestrap", "reset"])?.success()?;
    ensure!(nothing.stdout.starts_with("nothing to do"), "{}", nothing.stdout);

    node.up(&[])?.success()?;
    a_dry_run_names_everything_and_changes_nothing(&node, &before)?;
    node.exec(&["kubestrap", "reset"])?.failure(2, &["nobody is here to be asked", "--yes"])?;
    let began = Instant::now();
    let done = node.exec(&["kubestrap", "reset", "--yes"])?.success()?;
    eprintln!("reset: {:.1} s\n{}", began.elapsed().as_secs_f32(), done.stdout);
    before.is_again(&node)?;

    // The same host becomes a node again, with a kill in every part of the way back.
    node.up(&[])?.success()?;
    ensure!(node.json(&["get", "nodes"])?["items"].as_array().is_some_and(|nodes| nodes.len() == 1));
    killed(&node)?;
    before.is_again(&node)?;
    node.up(&[])?.success()?;
    node.get(&["get", "--raw", "/readyz"])?;
    Ok(())
}

/// A host as far as it must be the same again.
struct Host {
    files: Seen,
    machine: Seen,
}

impl Host {
    fn look(node: &Node) -> Result<Self> {
        Ok(Self { files: seen(node, FILES)?, machine: seen(node, MACHINE)? })
    }

    fn is_again(&self, node: &Node) -> Result<()> {
        let now = Self::look(node)?;
        let differ =
            [differences(&self.files, &now.files), differences(&self.machine, &now.machine)].concat();
        ensure!(differ.is_empty(), "the host is not as it was:\n{}", differ.join("\n"));
        Ok(())
    }
}

fn a_dry_run_names_everything_and_changes_nothing(node: &Node, before: &Host) -> Result<()> {
    let running = Host::look(node)?;
    let plan = node.exec(&["kubestrap", "reset", "--dry-run", "-o", "json"])?.success()?;
    let plan: Value = serde_json::from_str(&plan.stdout)?;
    let actions = plan["actions"].as_array().context("no actions")?;
    let named: Vec<&str> = actions.iter().filter_map(|action| action["path"].as_str()).collect();
    let new = running.files.keys().filter(|path| path.starts_with('/') && !before.files.contains_key(*path));
    let unnamed: Vec<_> =
        new.filter(|path| !named.iter().any(|named| std::path::Path::new(path).starts_with(named))).collect();
    // What waits to be put back is named by the place where it belongs, a link of `systemctl enable` by its unit, a
    // network namespace by its pod; the directory of the record goes with it.
    let by_another_name = |path: &str| {
        path.ends_with(".before-kubestrap")
            || path.starts_with("/run/netns/")
            || path.contains(".target.wants/")
            || path == "/var/lib/kubestrap"
    };
    let unnamed: Vec<_> = unnamed.into_iter().filter(|path| !by_another_name(path)).collect();
    ensure!(unnamed.is_empty(), "a dry run does not name what was made: {unnamed:?}\n{named:?}");
    let text = node.exec(&["kubestrap", "reset", "--dry-run"])?.success()?.stdout;
    for line in ["stop kubelet.service", "put back /opt/cni/bin/bridge", "stays: /etc/kubernetes/theirs.conf"]
    {
        ensure!(text.contains(line), "the dry run does not say {line:?}:\n{text}");
    }
    // Pods come and go by themselves; what an install puts somewhere does not.
    let of_install = |seen: &Seen| -> Seen {
        let is = |path: &str| ["/etc", "/usr", "/opt", "sha256"].iter().any(|top| path.starts_with(top));
        seen.iter().filter(|(path, _)| is(path)).map(|(path, how)| (path.clone(), how.clone())).collect()
    };
    let after = of_install(&seen(node, FILES)?);
    let differ = differences(&of_install(&running.files), &after);
    ensure!(differ.is_empty(), "a dry run changes something:\n{}", differ.join("\n"));
    node.get(&["get", "--raw", "/readyz"]).map(drop)
}

/// Killed ever later, each time going on from what the one before has left, and at last not killed.
fn killed(node: &Node) -> Result<()> {
    for after in [50, 400, 1000, 2000, 4000, 500] {
        let mut reset = node.spawn(&["kubestrap", "--quiet", "reset", "--yes"])?;
        std::thread::sleep(Duration::from_millis(after));
        let ended = reset.try_wait()?;
        reset.kill()?;
        reset.wait()?;
        eprintln!("killed after {after} ms{}", if ended.is_some() { ": it had ended" } else { "" });
        if ended.is_some() {
            break;
        }
    }
    node.exec(&["kubestrap", "reset", "--yes"])?.success().map(drop)
}
