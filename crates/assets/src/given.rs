//! Files that the operator gave: authorities, and the way to an external etcd.

use std::path::PathBuf;

use cluster::{ClusterConfig, EtcdConfig, GivenCa};
use host::fs::FsError;
use pki::{Authority, CertificateProblem, GivenAuthorities, PkiError};

/// The contents of the files that a config names.
#[derive(Debug, Default)]
pub struct Given {
    /// Authorities, each where the config names one.
    pub authorities: GivenAuthorities,
    /// The way to an external etcd.
    pub external_etcd: Option<ExternalEtcdFiles>,
}

/// What kube-apiserver needs to reach an external etcd, in PEM. `Debug` hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalEtcdFiles {
    /// The authority of the members' certificates.
    pub ca_pem: String,
    /// kube-apiserver's client certificate.
    pub cert_pem: String,
    /// Its private key.
    pub key_pem: String,
}

impl std::fmt::Debug for ExternalEtcdFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalEtcdFiles").finish_non_exhaustive()
    }
}

/// A given file that will not do.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// It cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// It is no authority with its key.
    #[error("{key} in the config: {} will not do", path.display())]
    Authority {
        /// The config's key.
        key: &'static str,
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: PkiError,
    },
    /// The client certificate for etcd will not do.
    #[error("etcd.external in the config: {} will not do", path.display())]
    Etcd {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: CertificateProblem,
    },
}

impl Given {
    /// Reads the files that the config names. Relative paths count from the working directory: make
    /// them relative to the config file first ([`ClusterConfig::resolve_paths`]).
    ///
    /// # Errors
    /// [`GivenError`], which names the file.
    pub fn read(config: &ClusterConfig) -> Result<Self, GivenError> {
        let certificates = &config.certificates;
        let authorities = GivenAuthorities {
            cluster: authority("certificates.ca", certificates.ca.as_ref())?,
            front_proxy: authority("certificates.frontProxyCA", certificates.front_proxy_ca.as_ref())?,
            etcd: authority("certificates.etcdCA", certificates.etcd_ca.as_ref())?,
        };
        let external_etcd = match &config.etcd {
            EtcdConfig::Local(_) => None,
            EtcdConfig::External(etcd) => {
                let files = ExternalEtcdFiles {
                    ca_pem: read(&etcd.ca_file)?,
                    cert_pem: read(&etcd.cert_file)?,
                    key_pem: read(&etcd.key_file)?,
                };
                pki::check_key(&files.cert_pem, &files.key_pem)
                    .map_err(|source| GivenError::Etcd { path: PathBuf::from(&etcd.cert_file), source })?;
                Some(files)
            }
        };
        Ok(Self { authorities, external_etcd })
    }
}

fn authority(key: &'static str, given: Option<&GivenCa>) -> Result<Option<Authority>, GivenError> {
    let Some(given) = given else { return Ok(None) };
    let path = PathBuf::from(&given.cert_file);
    Authority::from_pem(&read(&given.cert_file)?, &read(&given.key_file)?)
        .map(Some)
        .map_err(|source| GivenError::Authority { key, path, source })
}

fn read(path: &str) -> Result<String, FsError> {
    host::fs::read_to_string(path.as_ref())
}
