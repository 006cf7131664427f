//! Kubeconfig files: where the API is, how to know it, and who one is.

use serde::Serialize;

use crate::authority::base64;
use crate::{Identity, PkiError};

/// How a kubeconfig's user proves who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A client certificate and its key, embedded.
    Certificate(Identity),
    /// A client certificate and key in files that are renewed in place: a kubelet's, which are one file, and those of the
    /// control plane. Who was given them inside of a kubeconfig would have to be started again.
    CertificateFiles {
        /// Path of the file with the certificate.
        certificate: String,
        /// Path of the file with its key.
        key: String,
    },
    /// A bearer token: a bootstrap token.
    Token(String),
}

/// A kubeconfig with one cluster, one user, one context.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    /// The cluster's name.
    pub cluster: String,
    /// The API's URL.
    pub server: String,
    /// The cluster's CA, in PEM.
    pub ca_pem: String,
    /// The name that the API's certificate is checked for, when the URL has another.
    pub tls_server_name: Option<String>,
    /// The user's name, which names the user's entry and the context.
    pub user: String,
    /// How the user proves who it is.
    pub credential: Credential,
}

impl Kubeconfig {
    /// The file's text. It holds a private key or a token: mode 0600.
    ///
    /// # Errors
    /// When the YAML library refuses, which it has no reason to.
    pub fn to_yaml(&self) -> Result<String, PkiError> {
        let context = format!("{}@{}", self.user, self.cluster);
        let file = File {
            api_version: "v1",
            kind: "Config",
            clusters: [NamedCluster {
                name: &self.cluster,
                cluster: Cluster {
                    server: &self.server,
                    certificate_authority_data: base64(&self.ca_pem),
                    tls_server_name: self.tls_server_name.as_deref(),
                },
            }],
            contexts: [NamedContext {
                name: &context,
                context: Context { cluster: &self.cluster, user: &self.user },
            }],
            current_context: &context,
            users: [NamedUser { name: &self.user, user: User::from(&self.credential) }],
        };
        cluster::yaml::to_string(&file).map_err(|source| PkiError::Kubeconfig { source })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    api_version: &'static str,
    kind: &'static str,
    clusters: [NamedCluster<'a>; 1],
    contexts: [NamedContext<'a>; 1],
    #[serde(rename = "current-context")]
    current_context: &'a str,
    users: [NamedUser<'a>; 1],
}

#[derive(Serialize)]
struct NamedCluster<'a> {
    name: &'a str,
    cluster: Cluster<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster<'a> {
    server: &'a str,
    certificate_authority_data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_server_name: Option<&'a str>,
}

#[derive(Serialize)]
struct NamedContext<'a> {
    name: &'a str,
    context: Context<'a>,
}

#[derive(Serialize)]
struct Context<'a> {
    cluster: &'a str,
    user: &'a str,
}

#[derive(Serialize)]
struct NamedUser<'a> {
    name: &'a str,
    user: User<'a>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct User<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl<'a> From<&'a Credential> for User<'a> {
    fn from(credential: &'a Credential) -> Self {
        match credential {
            Credential::Certificate(identity) => Self {
                client_certificate_data: Some(base64(&identity.cert_pem)),
                client_key_data: Some(base64(&identity.key_pem)),
                ..Self::default()
            },
            Credential::CertificateFiles { certificate, key } => {
                Self { client_certificate: Some(certificate), client_key: Some(key), ..Self::default() }
            }
            Credential::Token(token) => Self { token: Some(token), ..Self::default() },
        }
    }
}
