//! A server behind a Service, and a client of it: what users have a cluster for.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use e2e::ceiling::{MOMENT, POD, eventually};
use e2e::node::Node;
use serde_json::Value;

/// A server and a client, of an image that every node has.
const WORKLOAD: &str = include_str!("workload.yaml");

/// The Service's port, and its name as every pod can ask for it.
const PORT: u16 = 80;
const NAME: &str = "web.default.svc.cluster.local";

/// Its image is etcd's, which every node has.
pub(crate) fn workload(node: &Node) -> Result<String> {
    Ok(WORKLOAD.replace("IMAGE", &etcd_image(node)?))
}

/// A program that every node has.
pub(crate) fn etcd_image(node: &Node) -> Result<String> {
    let images = node.exec(&["ctr", "-n", "k8s.io", "images", "list", "-q"])?.success()?.stdout;
    let image = images.lines().find(|name| name.contains("/etcd:"));
    image.map(str::to_owned).with_context(|| format!("no image of etcd: {images}"))
}

/// It is reached from another pod by name, at each address of its Service, and at its node port at each address of
/// the node; that one from another machine, too.
pub(crate) fn is_reachable(node: &Node) -> Result<()> {
    node.kubectl_with(&workload(node)?, &["apply", "-f", "-"])?.success()?;
    for deployment in ["deployment/web", "deployment/client"] {
        node.rolled_out("default", deployment)?;
    }
    let service = node.json(&["get", "service", "web"])?;
    let own = addresses(&service["spec"]["clusterIPs"])?;
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("no node port")?;
    let port = u16::try_from(port)?;
    let served = |address: &IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
    let nodes: Vec<_> = node_addresses(node)?.into_iter().filter(served).collect();
    ensure!(nodes.len() >= own.len(), "the node has {nodes:?}, the Service {own:?}");

    by_name_first(node)?;
    for address in own {
        answers(node, &SocketAddr::new(address, PORT).to_string())?;
    }
    let (_, netns) = node.client()?;
    for address in nodes {
        let target = SocketAddr::new(address, port);
        answers(node, &target.to_string())?;
        eventually(&format!("{target} from another machine"), POD, || {
            is_healthy(host::netns::run_in(&netns, || TcpStream::connect(target))??)
        })?;
    }
    Ok(())
}

/// Writes by the whole name, as soon as that works, and reads it back by the short one.
fn by_name_first(node: &Node) -> Result<()> {
    eventually("Service by DNS name", POD, || {
        ask(node, &format!("{NAME}:{PORT}"), &["put", "greeting", "hello"])
    })?;
    answers(node, &format!("web:{PORT}"))
}

fn answers(node: &Node, server: &str) -> Result<()> {
    let found = ask(node, server, &["get", "greeting"])?;
    ensure!(found.contains("hello"), "{server} answered a pod with {found}");
    Ok(())
}

/// The client's pod asks the server.
fn ask(node: &Node, server: &str, command: &[&str]) -> Result<String> {
    let flag = format!("--endpoints=http://{server}");
    let asking = ["exec", "deploy/client", "--", "etcdctl", &flag, "--command-timeout=20s"];
    node.get(&[&asking[..], command].concat()).with_context(|| server.to_owned())
}

/// Every address of the cluster's DNS, at its port, knows the workload's Service.
pub(crate) fn dns_answers_at(node: &Node, families: usize) -> Result<()> {
    let service = node.json(&["-n", "kube-system", "get", "service", "kube-dns"])?;
    let servers = addresses(&service["spec"]["clusterIPs"])?;
    ensure!(servers.len() == families, "the cluster's DNS is at {servers:?}");
    for server in servers {
        node.shell(&format!("/bin/busybox nslookup {NAME} {server}"))?;
    }
    Ok(())
}

fn addresses(list: &Value) -> Result<Vec<IpAddr>> {
    let list = list.as_array().with_context(|| format!("no addresses: {list}"))?;
    list.iter().map(|address| Ok(address.as_str().context("no text")?.parse()?)).collect()
}

/// The node's addresses, as the API has them.
pub(crate) fn node_addresses(node: &Node) -> Result<Vec<IpAddr>> {
    let found = node.json(&["get", "node", node.name()])?;
    let list = found["status"]["addresses"].as_array().context("no addresses")?;
    let own = list.iter().filter(|a| a["type"] == "InternalIP").filter_map(|a| a["address"].as_str());
    own.map(|address| Ok(address.parse()?)).collect()
}

/// Asks etcd over HTTP whether it is well.
pub(crate) fn is_healthy(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(MOMENT))?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains("\"health\":\"true\""), "{answer}");
    Ok(())
}
