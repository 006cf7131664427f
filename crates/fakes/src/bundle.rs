//! A bundle as `bundle` reads it, with images and programs of a few bytes each: an OCI layout by hand, so that no
//! program has to be built and none of the machine's is needed.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const PROGRAMS: &str = "application/vnd.kubestrap.host-programs.v1";

/// Writes one for that Kubernetes release with images of these names and programs of these.
pub fn write(dir: &Path, kubernetes: &str, images: &[String], programs: &[&str]) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let mut manifests: Vec<Value> = images.iter().map(|name| image(dir, name)).collect();
    manifests.push(host_programs(dir, kubernetes, programs));
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
        "annotations": {"dev.kubestrap.bundle.format": "2", "dev.kubestrap.kubernetes.version": kubernetes},
    });
    put(dir, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    put(dir, "index.json", index.to_string().as_bytes());
}

fn image(dir: &Path, name: &str) -> Value {
    let layers = json!([blob(dir, "application/vnd.oci.image.layer.v1.tar+zstd", name.as_bytes())]);
    let mut descriptor = manifest(dir, &json!({}), &layers);
    let tag = name.rsplit(':').next().unwrap_or_default();
    descriptor["annotations"] =
        json!({"io.containerd.image.name": name, "org.opencontainers.image.version": tag});
    descriptor
}

fn host_programs(dir: &Path, version: &str, names: &[&str]) -> Value {
    let program = |name: &&str| {
        let packed = zstd::encode_all(name.as_bytes(), 1).unwrap();
        let mut layer = blob(dir, "application/vnd.kubestrap.program.v1+zstd", &packed);
        layer["annotations"] = json!({
            "org.opencontainers.image.title": name, "org.opencontainers.image.version": version,
            "dev.kubestrap.content.digest": digest(name.as_bytes()),
            "dev.kubestrap.content.size": name.len().to_string(),
        });
        layer
    };
    let layers: Vec<Value> = names.iter().map(program).collect();
    let mut descriptor = manifest(dir, &json!(PROGRAMS), &json!(layers));
    descriptor["artifactType"] = json!(PROGRAMS);
    descriptor
}

fn manifest(dir: &Path, kind: &Value, layers: &Value) -> Value {
    let config = blob(dir, "application/vnd.oci.empty.v1+json", b"{}");
    let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    if kind.is_string() {
        manifest["artifactType"] = kind.clone();
    }
    blob(dir, MANIFEST, manifest.to_string().as_bytes())
}

/// Puts content where its digest says, and describes it.
fn blob(dir: &Path, media_type: &str, content: &[u8]) -> Value {
    let digest = digest(content);
    put(dir, &format!("blobs/{}", digest.replace(':', "/")), content);
    json!({"mediaType": media_type, "digest": digest, "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(content))
}

fn put(dir: &Path, path: &str, content: &[u8]) {
    host::fs::write(&dir.join(path), content, 0o644).unwrap();
}
