//! The documents of an OCI image layout, as far as a bundle uses them (image-spec 1.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// One program of the host, compressed, no archive.
pub(crate) const PROGRAM: &str = "application/vnd.kubestrap.program.v1+zstd";
/// The artifact that holds all of them.
pub(crate) const HOST_PROGRAMS: &str = "application/vnd.kubestrap.host-programs.v1";

/// The artifact that says where everything came from, its list, and the licences: JSON, compressed.
pub(crate) const ORIGINS: &str = "application/vnd.kubestrap.origins.v1";
pub(crate) const ORIGINS_LIST: &str = "application/vnd.kubestrap.origins.v1+json";
pub(crate) const LICENCES: &str = "application/vnd.kubestrap.licences.v1+zstd";

/// The image-spec's file that marks a layout, and its content.
pub(crate) const LAYOUT_FILE: &str = "oci-layout";
pub(crate) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
pub(crate) const INDEX_FILE: &str = "index.json";

pub(crate) mod annotation {
    /// The name that containerd gives to an imported image.
    pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
    pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
    pub(crate) const VERSION: &str = "org.opencontainers.image.version";
    pub(crate) const TITLE: &str = "org.opencontainers.image.title";
    /// On the index: the version of the bundle's own layout.
    pub(crate) const FORMAT: &str = "dev.kubestrap.bundle.format";
    /// On the index: the Kubernetes release.
    pub(crate) const KUBERNETES: &str = "dev.kubestrap.kubernetes.version";
    /// On the index and on layers: the digest of everything it was made from.
    pub(crate) const RECIPE: &str = "dev.kubestrap.recipe";
    /// On layers: digest and length of the content before compression.
    pub(crate) const CONTENT_DIGEST: &str = "dev.kubestrap.content.digest";
    pub(crate) const CONTENT_SIZE: &str = "dev.kubestrap.content.size";
}

pub(crate) type Annotations = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: Annotations,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
}

impl Descriptor {
    /// The descriptor of a document.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: Annotations::new(),
            platform: None,
        }
    }

    /// An annotation's value; empty when there is none.
    pub(crate) fn note(&self, key: &str) -> &str {
        self.annotations.get(key).map_or("", String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

impl Platform {
    /// The one platform that bundles are made for.
    pub(crate) fn linux() -> Self {
        Self { architecture: "amd64".to_owned(), os: "linux".to_owned() }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: Annotations,
}

impl Index {
    pub(crate) fn new(manifests: Vec<Descriptor>, annotations: Annotations) -> Self {
        Self { schema_version: 2, media_type: INDEX.to_owned(), manifests, annotations }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    pub(crate) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl Manifest {
    pub(crate) fn new(artifact_type: Option<&str>, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: artifact_type.map(str::to_owned),
            config,
            layers,
        }
    }

    /// Everything the manifest names.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

/// An image's configuration.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ImageConfig {
    created: &'static str,
    #[serde(flatten)]
    platform: Platform,
    config: Process,
    rootfs: RootFs,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Process {
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'static str,
    env: [&'static str; 1],
    entrypoint: [String; 1],
    working_dir: &'static str,
}

#[derive(Debug, Clone, Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// The configuration of an image that runs `entrypoint` as `user` (empty: root). `diff_ids`
    /// are the digests of its layers before compression.
    pub(crate) fn new(entrypoint: &str, user: &'static str, diff_ids: Vec<Digest>) -> Self {
        Self {
            // The same input must give the same bytes.
            created: "1970-01-01T00:00:00Z",
            platform: Platform::linux(),
            config: Process {
                user,
                env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                entrypoint: [entrypoint.to_owned()],
                working_dir: "/",
            },
            rootfs: RootFs { kind: "layers", diff_ids },
        }
    }
}
