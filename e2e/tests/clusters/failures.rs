//! What goes wrong is diagnosed: each failure has its exit code, and a message that names what is
//! wrong and what to do next.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::ceiling::{MOMENT, eventually};
use e2e::node::{ASSETS, Inputs, Node};
use serde_json::Value;

/// Exit codes, as docs/exit-codes.md has them.
const CONFIG: i32 = 3;
const PREFLIGHT: i32 = 4;
const NOT_READY: i32 = 5;
const REJECTED: i32 = 6;
const BUNDLE_LACKS: i32 = 7;
const IO: i32 = 11;

/// Asset directories that are wrong in one way each.
const ELSEWHERE: &str = "/var/lib/kubestrap/elsewhere";
const BAD_FLAG: &str = "/var/lib/kubestrap/bad-flag";
const OTHER_ETCD: &str = "/var/lib/kubestrap/other-etcd";

pub(crate) fn failures_in_the_config_name_line_and_column() -> Result<()> {
    let inputs = Inputs::get();
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("cluster.yaml");
    let render = |text: &str, said: &[&str]| -> Result<()> {
        host::fs::write(&config, text.as_bytes(), 0o644)?;
        let (config, assets) =
            (config.display().to_string(), dir.path().join("assets").display().to_string());
        let args = ["render", "--config", &config, "--asset-dir", &assets, "--node-address", "192.0.2.7"];
        let ended = inputs.run(&args)?.failure(CONFIG, said)?;
        ensure!(ended.stderr.contains("hint: "), "no hint: {}", ended.stderr);
        ensure!(!Path::new(&assets).exists(), "something was written");
        Ok(())
    };
    render(
        "clusterName: a\nnetwork:\n  podCIDRs: [10.96.128.0/20]\n",
        &["cluster.yaml:3:14: ", "the Service range 10.96.0.0/16 overlaps the pod range 10.96.128.0/20"],
    )?;
    render(
        "clusterName: a\nnetwork:\n  podCIDR: 10.0.0.0/16\n",
        &["cluster.yaml:3:3: ", "unknown key \"podCIDR\"", "did you mean \"podCIDRs\"?"],
    )?;
    render(
        "api:\n  port: many\n",
        &["cluster.yaml:2:9: ", "api.port: expected a whole number, not the text \"many\""],
    )?;
    // All at once.
    render("clusterNam: a\napi:\n  port: many\n", &["cluster.yaml:1:1: ", "cluster.yaml:3:9: "])
}

pub(crate) fn failures_of_the_bundle_name_the_image() -> Result<()> {
    let inputs = Inputs::get();
    let dir = tempfile::tempdir()?;
    let copy = dir.path().display().to_string();
    std::os::unix::fs::symlink(inputs.bundle.join("blobs"), dir.path().join("blobs"))?;
    let layout = host::fs::read(&inputs.bundle.join("oci-layout"))?;
    host::fs::write(&dir.path().join("oci-layout"), &layout, 0o644)?;
    let mut index: Value = serde_json::from_slice(&host::fs::read(&inputs.bundle.join("index.json"))?)?;
    let manifests = index["manifests"].as_array_mut().context("no manifests")?;
    let name =
        |m: &Value| m["annotations"]["io.containerd.image.name"].as_str().unwrap_or_default().to_owned();
    let missing =
        manifests.iter().map(name).find(|n| n.contains("kube-scheduler")).context("no scheduler")?;
    manifests.retain(|m| name(m) != missing);
    host::fs::write(&dir.path().join("index.json"), &serde_json::to_vec(&index)?, 0o644)?;
    // A dry run: should the failure not come, then nothing happens to this host.
    inputs.run(&["up", "--dry-run", "--bundle", &copy])?.failure(BUNDLE_LACKS, &[&missing, "hint: "])?;
    let absent = "registry.example.com/my-coredns:v9";
    let set = format!("images.overrides.coredns={absent}");
    let whole = inputs.bundle.display().to_string();
    inputs
        .run(&["up", "--dry-run", "--bundle", &whole, "--set", &set])?
        .failure(BUNDLE_LACKS, &[absent, "add the images"])?;
    Ok(())
}

/// One node on which one start after the other fails, and the last one does not.
pub(crate) fn failures_of_a_bring_up_are_diagnosed() -> Result<()> {
    let node = Node::prepared("failures")?;
    let timed = |what: &str, test: fn(&Node) -> Result<()>| {
        let began = Instant::now();
        let result = test(&node).with_context(|| what.to_owned());
        eprintln!("failures: {what}: {:.1} s", began.elapsed().as_secs_f32());
        result
    };
    timed("full disk", a_full_disk_leaves_the_old_files)?;
    timed("preflight", all_that_preflight_finds_is_told_at_once)?;
    timed("etcd", an_etcd_that_cannot_be_used_is_told_before_the_start)?;
    timed("bad flag", a_bad_flag_is_told_at_once)?;
    timed("wrong CA", an_etcd_of_another_ca_is_told_by_the_apiserver_s_log)?;
    timed("rejected", a_rejected_manifest_is_named_and_the_rest_applied)
}

fn a_full_disk_leaves_the_old_files(node: &Node) -> Result<()> {
    let sh = |script: &str| node.exec(&["sh", "-ec", script])?.success();
    sh("mkdir -p /mnt/small && mount -t tmpfs -o size=1m tmpfs /mnt/small")?;
    let render = |set: &str| {
        node.exec(&[
            "kubestrap",
            "render",
            "--asset-dir",
            "/mnt/small/assets",
            "--node-address",
            "192.0.2.7",
            "--set",
            set,
        ])
    };
    let sums = || {
        Ok::<_, anyhow::Error>(sh("cd /mnt/small/assets && find . -type f | sort | xargs sha256sum")?.stdout)
    };
    render("clusterName=small")?.success()?;
    let before = sums()?;
    ensure!(before.lines().count() > 20, "only these were rendered: {before}");
    node.exec(&["sh", "-c", "cat /dev/zero > /mnt/small/filler"])?;
    // Every kubeconfig and manifest that names the cluster or its domain would change.
    render("network.dnsDomain=other.example")?
        .failure(IO, &["/mnt/small/assets", "No space left on device", "make room", "as they were"])?;
    ensure!(sums()? == before, "files have changed: before\n{before}\nafter\n{}", sums()?);
    sh("rm /mnt/small/filler")?;
    render("network.dnsDomain=other.example")?.success()?;
    ensure!(sums()? != before, "with room there is nothing to change");
    sh("umount /mnt/small").map(drop)
}

fn all_that_preflight_finds_is_told_at_once(node: &Node) -> Result<()> {
    // Rendered for another host, with an image that is not there.
    let image = "registry.example.com/my-scheduler:v9";
    let set = format!("images.overrides.kube-scheduler={image}");
    node.exec(&[
        "kubestrap",
        "render",
        "--asset-dir",
        ELSEWHERE,
        "--node-address",
        "192.0.2.7",
        "--set",
        &set,
    ])?
    .success()?;
    node.exec(&["systemctl", "stop", "kubelet"])?.success()?;
    let mut holder = node.spawn(&["socat", "TCP-LISTEN:6443,fork", "SYSTEM:true"])?;
    let listens = || {
        let found = node.exec(&["ss", "-Hltn", "sport", "=", ":6443"])?.stdout;
        ensure!(!found.is_empty(), "nobody listens");
        Ok(())
    };
    eventually("somebody on the port", MOMENT, listens)?;
    let ended = node.exec(&["kubestrap", "start", "--asset-dir", ELSEWHERE])?;
    let address = node.facts()?["address"].as_str().unwrap_or_default().to_owned();
    let manifests = node.exec(&["ls", "/etc/kubernetes/manifests"])?;
    node.exec(&[
        "sh",
        "-c",
        "kill $(ss -Hltnp sport = :6443 | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u)",
    ])?;
    let _ = holder.kill();
    holder.wait()?;
    node.exec(&["systemctl", "start", "kubelet"])?.success()?;
    ended.failure(
        PREFLIGHT,
        &[
            "4 preflight checks failed",
            "KubeletRunning failed: the kubelet is not running",
            "journalctl -u kubelet",
            "Port-6443 failed: port 6443, which kube-apiserver needs, is taken by socat (pid ",
            "Certificate-apiserver.crt failed: ",
            &address,
            "api.extraSANs",
            &format!("Image-{image} failed: the image {image} is not on this node"),
        ],
    )?;
    ensure!(manifests.stdout.is_empty(), "something was started: {}", manifests.stdout);
    Ok(())
}

/// Renders for an etcd elsewhere, with the certificates of an asset directory.
fn render_for(node: &Node, endpoint: &str, certificates: &str) -> Result<()> {
    let address = node.facts()?["address"].as_str().unwrap_or_default().to_owned();
    let config = format!(
        "etcd:\n  external:\n    endpoints: [{endpoint}]\n    caFile: {certificates}/tls/etcd/ca.crt\n    \
         certFile: {certificates}/tls/apiserver-etcd-client.crt\n    \
         keyFile: {certificates}/tls/apiserver-etcd-client.key\n"
    );
    host::fs::write(&node.path("/tmp/etcd.yaml")?, config.as_bytes(), 0o644)?;
    node.exec(&["rm", "-rf", OTHER_ETCD])?.success()?;
    let args =
        ["render", "--config", "/tmp/etcd.yaml", "--asset-dir", OTHER_ETCD, "--node-address", &address];
    node.exec(&[&["kubestrap"], &args[..]].concat())?.success()?;
    Ok(())
}

fn an_etcd_that_cannot_be_used_is_told_before_the_start(node: &Node) -> Result<()> {
    healthy_kubelet(node)?;
    render_for(node, "https://127.0.0.1:2399", ASSETS)?;
    node.exec(&["kubestrap", "start", "--asset-dir", OTHER_ETCD])?.failure(
        PREFLIGHT,
        &[
            "Etcd-https://127.0.0.1:2399 failed: etcd does not answer at https://127.0.0.1:2399",
            "Connection refused",
            "etcd.external.endpoints",
        ],
    )?;
    Ok(())
}

/// The apiserver would crash until the end of days: nobody waits for the end of the timeout, which is a day here.
fn a_bad_flag_is_told_at_once(node: &Node) -> Result<()> {
    node.exec(&["cp", "-r", ASSETS, BAD_FLAG])?.success()?;
    let address = node.facts()?["address"].as_str().unwrap_or_default().to_owned();
    let set = "components.kubeAPIServer.extraArgs={no-such-flag: 1}";
    node.exec(&["kubestrap", "render", "--asset-dir", BAD_FLAG, "--node-address", &address, "--set", set])?
        .success()?;
    let patient = ["kubestrap", "start", "--asset-dir", BAD_FLAG, "--timeout", "86400"];
    let ended = node.exec(&patient)?.failure(
        NOT_READY,
        &[
            "pod kube-system/bootstrap-kube-apiserver-failures keeps crashing",
            "exited with code 1",
            "unknown flag: --no-such-flag",
            "likely cause: a flag is not one of this version's: look at components.*.extraArgs",
            "hint: mend the cause and run the same command again",
        ],
    )?;
    eprintln!("{}", ended.stderr);
    Ok(())
}

/// The etcd that the start before left, asked with another cluster's certificates.
fn an_etcd_of_another_ca_is_told_by_the_apiserver_s_log(node: &Node) -> Result<()> {
    let url = "https://127.0.0.1:2379";
    render_for(node, url, ELSEWHERE)?;
    let name = format!("Etcd-{url}");
    let start = ["kubestrap", "start", "--asset-dir", OTHER_ETCD];
    node.exec(&start)?.failure(
        PREFLIGHT,
        &[
            &name,
            "the certificates given for it do not fit: invalid peer certificate",
            "give the CA that signed etcd's certificate",
            "etcd.external.caFile",
        ],
    )?;
    // Whoever goes on all the same gets it from the apiserver.
    let ended =
        node.exec(&[&start[..], &["--ignore-preflight-errors", &name, "--timeout", "60"]].concat())?;
    let ended = ended.failure(
        NOT_READY,
        &[
            "the API on port 6443 was not ready within ",
            "pod kube-system/bootstrap-kube-apiserver-failures",
            "certificate signed by unknown authority",
            "likely cause: the other side's certificate is not from the CA that was given: for etcd, look at etcd.external.caFile",
        ],
    )?;
    eprintln!("{}", ended.stderr);
    Ok(())
}

fn a_rejected_manifest_is_named_and_the_rest_applied(node: &Node) -> Result<()> {
    let bad = node.path(&format!("{ASSETS}/manifests/zz-mine.yaml"))?;
    host::fs::write(&bad, include_bytes!("failures-rejected.yaml"), 0o644)?;
    let ended = node.exec(&["kubestrap", "start"])?.failure(
        REJECTED,
        &[
            "Service default/bad (manifests/zz-mine.yaml:9)",
            "spec.ports[0].port: Invalid value: 70000",
            "all others are in the cluster",
            "mend these manifests and run the same command again",
        ],
    )?;
    eprintln!("{}", ended.stderr);
    // The rest is there, also what came after it.
    let kubectl = |args: &[&str]| {
        let config = format!("{ASSETS}/auth/kubeconfig");
        node.exec(&[&["kubectl", "--kubeconfig", &config], args].concat())?.success()
    };
    kubectl(&["-n", "kube-system", "get", "ds/kube-apiserver", "deploy/kube-scheduler"])?;
    kubectl(&["get", "configmap/before", "configmap/after"])?;
    // And once it is mended the same command goes on.
    host::fs::remove_file(&bad)?;
    node.exec(&["kubestrap", "start"])?.success()?;
    Ok(())
}

fn healthy_kubelet(node: &Node) -> Result<()> {
    eventually("the kubelet", MOMENT, || {
        node.exec(&["curl", "-sf", "http://127.0.0.1:10248/healthz"])?.success()
    })
    .map(drop)
}
