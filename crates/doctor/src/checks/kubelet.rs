//! The kubelet: installed, started at boot, reading the directory that the guardian writes to, and
//! known to the API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::checks::{Check, Kind, kind};
use jiff::Timestamp;
use names::path;
use node::Root;
use serde_json::Value;

use crate::certificates::{self, Limits, Renewal};
use crate::files::Files;
use crate::units::Unit;

/// Where the kubelet listens for `/healthz` unless its configuration says otherwise.
const HEALTHZ: SocketAddr = node::KUBELET_HEALTHZ;

/// The kubelet as its files describe it.
#[derive(Clone, Debug)]
pub(crate) struct Kubelet {
    unit: Option<Unit>,
    config_path: String,
    config: Result<Value, String>,
}

impl Kubelet {
    /// Reads unit and configuration.
    pub(crate) fn read(files: &Files) -> Self {
        let unit = Unit::read(files, path::KUBELET_UNIT);
        let flag = |name| unit.as_ref().and_then(|unit| unit.flag(name));
        let config_path = flag("--config").unwrap_or(path::KUBELET_CONFIG).to_owned();
        let config = files.text(&config_path).map_err(|error| error.to_string()).and_then(|text| {
            let documents = assets::parse_documents(&text).map_err(|error| error.to_string())?;
            documents.into_iter().next().map(|d| d.value).ok_or_else(|| "it is empty".to_owned())
        });
        Self { unit, config_path, config }
    }

    /// The directory of static pods; none when neither flag nor configuration names one.
    pub(crate) fn static_pod_dir(&self) -> Option<PathBuf> {
        let flag = self.unit.as_ref().and_then(|unit| unit.flag("--pod-manifest-path"));
        let key = || self.config.as_ref().ok()?["staticPodPath"].as_str();
        flag.or_else(key).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Where it answers `/healthz`; none where that is turned off.
    pub(crate) fn healthz(&self) -> Option<SocketAddr> {
        let Ok(config) = &self.config else { return Some(HEALTHZ) };
        let port =
            config["healthzPort"].as_u64().map_or(Some(HEALTHZ.port()), |port| u16::try_from(port).ok())?;
        let address = config["healthzBindAddress"].as_str().and_then(|text| text.parse().ok());
        (port != 0).then(|| SocketAddr::new(address.unwrap_or(HEALTHZ.ip()), port))
    }

    /// Whether it ends where swap is on, which is its default (`FailSwapOn` in
    /// pkg/kubelet/apis/config/v1beta1/defaults.go).
    pub(crate) fn forbids_swap(&self) -> bool {
        let flag = self.unit.as_ref().and_then(|unit| unit.flag("--fail-swap-on"));
        let key = || self.config.as_ref().ok()?["failSwapOn"].as_bool();
        flag.map(|value| value != "false").or_else(key).unwrap_or(true)
    }

    /// How full, in percent, the disk of images may be before the kubelet removes unused ones
    /// (85 is the kubelet's default; 100 turns it off).
    pub(crate) fn image_gc_percent(&self) -> u64 {
        self.config
            .as_ref()
            .ok()
            .and_then(|config| config["imageGCHighThresholdPercent"].as_u64())
            .unwrap_or(85)
    }

    /// All checks that need files only. `expected` is the directory that the guardian writes to.
    pub(crate) fn checks(
        &self,
        files: &Files,
        expected: &Path,
        limits: Limits,
        now: Timestamp,
    ) -> Vec<Check> {
        let mut checks = self.installed(files);
        checks.push(self.directory(files, expected));
        checks.push(self.credentials(files, limits, now));
        checks
    }

    fn installed(&self, files: &Files) -> Vec<Check> {
        const INSTALLED: &Kind = &kind::KUBELET_INSTALLED;
        const ENABLED: &Kind = &kind::KUBELET_ENABLED;
        let Some(unit) = &self.unit else {
            let cause = format!("there is no unit {}", path::KUBELET_UNIT);
            let remedy = "install the node again with `kubestrap up`; where another init system starts the kubelet, see to it by hand";
            return vec![Check::unknown(INSTALLED, cause, remedy)];
        };
        vec![unit.installed(INSTALLED, files), unit.enabled_check(ENABLED)]
    }

    fn directory(&self, files: &Files, expected: &Path) -> Check {
        const NAME: &Kind = &kind::STATIC_POD_DIR;
        let remedy = format!(
            "set staticPodPath to {} in {} and restart the kubelet",
            expected.display(),
            self.config_path
        );
        let from_flag = self.unit.as_ref().is_some_and(|unit| unit.flag("--pod-manifest-path").is_some());
        if let Err(why) = &self.config
            && !from_flag
        {
            return Check::failed(
                NAME,
                format!("the kubelet's configuration {} cannot be read: {why}", self.config_path),
                "put the file back; `kubestrap up` writes it",
            );
        }
        match self.static_pod_dir() {
            None => Check::failed(NAME, "the kubelet is not told to read static pods", remedy),
            Some(dir) if dir != expected => {
                let cause = format!(
                    "the kubelet reads static pods from {}, checkpoints are placed in {}",
                    dir.display(),
                    expected.display()
                );
                Check::failed(NAME, cause, remedy)
            }
            Some(dir) if !files.is_dir(&dir) => {
                Check::failed(NAME, format!("{} is no directory", dir.display()), "create it")
            }
            Some(dir) => Check::ok(NAME, format!("the kubelet reads static pods from {}", dir.display())),
        }
    }

    fn credentials(&self, files: &Files, limits: Limits, now: Timestamp) -> Check {
        const NAME: &Kind = &kind::KUBELET_CREDENTIALS;
        let flag = |name| self.unit.as_ref().and_then(|unit| unit.flag(name));
        let path = flag("--kubeconfig").unwrap_or(path::KUBELET_KUBECONFIG);
        let remedy = "give the kubelet a new client certificate: `kubestrap up` does, and `kubestrap render` makes one";
        let text = match files.text(path) {
            Ok(text) => text,
            Err(error) => {
                let bootstrap =
                    flag("--bootstrap-kubeconfig").is_some_and(|path| files.exists(path).unwrap_or(false));
                return if bootstrap {
                    Check::warning(
                        NAME,
                        format!("the kubelet has no {path} yet, only a bootstrap token"),
                        "see that its certificate request is approved",
                    )
                } else {
                    Check::failed(
                        NAME,
                        format!("the kubelet's kubeconfig {path} cannot be read: {error}"),
                        remedy,
                    )
                };
            }
        };
        if !certificates::kubeconfig_has_credentials(&text) {
            return Check::failed(NAME, format!("{path} is no kubeconfig with credentials"), remedy);
        }
        let mut judged = certificates::of_text(&text, path, Renewal::ByHand, limits, now);
        if let Some(certificate) = certificates::kubeconfig_certificate_file(&text) {
            match files.text(&certificate) {
                Ok(pem) => {
                    let found = certificates::of_text(&pem, &certificate, Renewal::ByItself, limits, now);
                    if found.count == 0 && found.fatal.is_empty() {
                        judged.fatal.push(format!("{certificate} holds no certificate"));
                    }
                    judged.add(found);
                }
                Err(error) => judged.fatal.push(format!("{certificate} cannot be read: {error}")),
            }
        }
        Check::of_problems(NAME, &judged.fatal, &judged.minor, judged.summary(), remedy)
    }
}

/// Whether the host is called as its node is; nothing where either is not known.
pub(crate) fn name(root: &Root, host: Option<&str>) -> Option<Check> {
    const NAME: &Kind = &kind::NODE_NAME;
    let (host, node) = (host?, node::identity::installed(root)?);
    if host == node {
        return Some(Check::ok(NAME, format!("host and node are called {node}")));
    }
    let remedy = format!(
        "nothing has to be done; `hostnamectl set-hostname {node}` gives the old name back, `kubestrap reset` and \
         `kubestrap up` make it node {host}"
    );
    Some(Check::warning(NAME, renamed(host, &node), remedy))
}

/// That a host has another name than its node, as a clause.
pub(crate) fn renamed(host: &str, node: &str) -> String {
    format!("this host is called {host} now, and is node {node} still, as {} says", path::KUBELET_UNIT)
}

/// Whether the kubelet answers now: `None` is "nobody asked it".
pub(crate) fn running(answer: Option<&Result<(), String>>) -> Check {
    const NAME: &Kind = &kind::KUBELET_RUNNING;
    match answer {
        Some(Ok(())) => Check::ok(NAME, "the kubelet answers that it is healthy"),
        Some(Err(why)) => Check::failed(
            NAME,
            format!("the kubelet is not running or not healthy ({why})"),
            "look at it with: systemctl status kubelet; journalctl -u kubelet -n 50",
        ),
        None => Check::unknown(
            NAME,
            "the kubelet's health endpoint is turned off",
            "set healthzPort in its configuration",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_got_another_name_is_told_and_is_the_same_node() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        assert!(name(&root, Some("a")).is_none(), "nothing is installed");
        let unit = root.path(path::UNITS).join(path::KUBELET_UNIT);
        host::fs::create_dir_all(unit.parent().unwrap(), 0o755).unwrap();
        let text = "# Written by kubestrap; a change here is lost at its next run.\n\
            ExecStart=/usr/local/bin/kubelet --hostname-override=a\n";
        host::fs::write(&unit, text.as_bytes(), 0o644).unwrap();
        assert!(!name(&root, Some("a")).unwrap().is_problem());
        let check = name(&root, Some("b")).unwrap();
        assert!(check.is_problem() && !check.is_failure());
        assert_eq!(check.what, "this host is called b now, and is node a still, as kubelet.service says");
        assert!(name(&root, None).is_none());
    }
}
