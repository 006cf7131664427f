//! Checks before a control plane is brought up on a node whose kubelet runs.

use std::net::SocketAddr;
use std::path::Path;

use checks::{Check, Kind, kind};
use cluster::SubjectName;
use cri::Cri;
use jiff::Timestamp;
use pki::CertificateProblem;

use super::{kubelet_healthz, ports};
use crate::Root;

/// A certificate that the control plane will show.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// What it is called in messages, such as its file name.
    pub name: String,
    /// The certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM, when it is at hand.
    pub key: Option<String>,
    /// The CA that must have signed it, PEM, when it is known.
    pub authority: Option<String>,
    /// Names and addresses that it must be valid for; empty for a client's.
    pub names: Vec<SubjectName>,
}

/// What a control plane to be brought up needs of its node.
#[derive(Clone, Debug)]
pub struct StartInput<'a> {
    /// Where the kubelet answers `/healthz`.
    pub kubelet: SocketAddr,
    /// The container runtime's socket.
    pub socket: &'a Path,
    /// Ports that the control plane will listen on, each with the program that does.
    pub ports: Vec<(u16, &'a str)>,
    /// Certificates that it will show.
    pub certificates: Vec<Certificate>,
    /// Images that must be on the node.
    pub images: Vec<String>,
    /// The directory of static pods, which must exist.
    pub static_pod_dir: &'a Path,
    /// The time now.
    pub now: Timestamp,
}

/// Makes all checks. Changes nothing.
pub async fn start(input: &StartInput<'_>) -> Vec<Check> {
    let mut checks = vec![kubelet(input.kubelet).await, static_pods(input.static_pod_dir)];
    let numbers: Vec<u16> = input.ports.iter().map(|(port, _)| *port).collect();
    checks.extend(ports::check(&input.ports, &ports::listeners(&Root::host(), &numbers)));
    checks.extend(input.certificates.iter().map(|c| certificate(c, input.now)));
    checks.extend(runtime(input).await);
    checks
}

async fn kubelet(address: SocketAddr) -> Check {
    const NAME: &Kind = &kind::KUBELET_RUNNING;
    match kubelet_healthz(address).await {
        Ok(()) => Check::passed(NAME),
        Err(reason) => Check::failed(
            NAME,
            format!("the kubelet is not running or not healthy ({reason})"),
            "look at it with: systemctl status kubelet; journalctl -u kubelet -n 50",
        ),
    }
}

fn static_pods(dir: &Path) -> Check {
    const NAME: &Kind = &kind::STATIC_POD_DIR;
    if dir.is_dir() {
        return Check::passed(NAME);
    }
    let cause = format!("{} is no directory", dir.display());
    Check::failed(NAME, cause, "create it and set it as staticPodPath in the kubelet's configuration")
}

fn certificate(certificate: &Certificate, now: Timestamp) -> Check {
    let name = kind::CERTIFICATE.of(&certificate.name);
    match check_certificate(certificate, now) {
        Ok(()) => Check::passed(name),
        Err(problem) => {
            let remedy = remedy(&problem);
            Check::failed(name, crate::execute::chain(&problem), remedy)
        }
    }
}

fn check_certificate(wanted: &Certificate, now: Timestamp) -> Result<(), CertificateProblem> {
    pki::check_dates(&wanted.certificate, now)?;
    pki::check_names(&wanted.certificate, &wanted.names)?;
    if let Some(authority) = &wanted.authority {
        pki::check_chain(&wanted.certificate, authority)?;
    }
    wanted.key.as_ref().map_or(Ok(()), |key| pki::check_key(&wanted.certificate, key))
}

fn remedy(problem: &CertificateProblem) -> &'static str {
    match problem {
        CertificateProblem::NotYetValid { .. } => {
            "set this host's clock: it is slow, or the other host's was fast"
        }
        CertificateProblem::Expired { .. } => {
            "render the assets again, or set this host's clock if it is fast"
        }
        CertificateProblem::WrongNames { .. } => {
            "add this host's name and address to api.extraSANs and render the assets again"
        }
        CertificateProblem::WrongAuthority { .. } | CertificateProblem::KeyMismatch { .. } => {
            "render the assets again: files of two clusters were mixed"
        }
        CertificateProblem::Unreadable(_) => "render the assets again",
    }
}

async fn runtime(input: &StartInput<'_>) -> Vec<Check> {
    const NAME: &Kind = &kind::CRI;
    let unknown_images =
        || Check::unknown(&kind::IMAGES, "the container runtime does not answer", "start it first");
    let failed = |error: &cri::CriError| {
        let remedy = "look at it with: systemctl status containerd; journalctl -u containerd -n 50";
        vec![Check::failed(NAME, crate::execute::chain(error), remedy), unknown_images()]
    };
    let runtime = match Cri::connect(input.socket).await {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    if let Err(error) = runtime.version().await {
        return failed(&error);
    }
    let mut checks = vec![Check::passed(NAME)];
    for image in &input.images {
        checks.push(image_check(&runtime, image).await);
    }
    checks
}

async fn image_check(runtime: &Cri, image: &str) -> Check {
    let name = kind::IMAGE.of(image);
    match runtime.image_present(image).await {
        Ok(true) => Check::passed(name),
        Ok(false) => Check::failed(
            name,
            format!("the image {image} is not on this node"),
            "import it from a bundle of this version, or let the kubelet pull it with --allow-pull",
        ),
        Err(error) => {
            Check::unknown(name, crate::execute::chain(&error), "look at the container runtime's log")
        }
    }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
