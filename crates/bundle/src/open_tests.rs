use super::*;
use crate::fixture::Fixture;

/// The blob of the layer that holds the apiserver.
fn apiserver_layer(bundle: &Bundle) -> (Digest, PathBuf) {
    let (_, manifest) = &bundle.image_manifests[0];
    let digest = manifest.layers.last().unwrap().digest.clone();
    let path = path_of(bundle.dir(), &digest);
    (digest, path)
}

#[test]
fn a_flipped_byte_is_found_and_its_image_named() {
    let fixture = Fixture::new();
    let (bundle, _) = fixture.create();
    bundle.verify().unwrap();
    let (digest, path) = apiserver_layer(&bundle);
    let mut bytes = host::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    host::fs::write(&path, &bytes, 0o644).unwrap();
    let error = Bundle::open(bundle.dir()).unwrap().verify().unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("blob {digest} ({}) is corrupt: expected sha256:", path.display())),
        "{text}"
    );
    assert!(text.ends_with("needed by image registry.k8s.io/kube-apiserver:v1.2.3"), "{text}");
}

#[test]
fn only_what_is_asked_for_is_compared() {
    let fixture = Fixture::new();
    let (bundle, _) = fixture.create();
    let (digest, path) = apiserver_layer(&bundle);
    let mut bytes = host::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    host::fs::write(&path, &bytes, 0o644).unwrap();
    let bundle = Bundle::open(bundle.dir()).unwrap();
    let (images, programs): (Vec<_>, Vec<_>) = (
        bundle.images().iter().map(|image| image.name.clone()).collect(),
        bundle.programs().iter().map(|program| program.name.clone()).collect(),
    );
    let error = bundle.verify_parts(&images, &programs).unwrap_err();
    assert!(matches!(&error, BundleError::Corrupt { blob, .. } if *blob == digest), "{error}");
    assert!(bundle.verify_parts(&images[..1], &[]).is_err());
    bundle.verify_parts(&images[1..], &programs).unwrap();
    let blob = &bundle.program_blobs[0];
    host::fs::write(
        &path_of(bundle.dir(), &blob.digest),
        &vec![0; usize::try_from(blob.size).unwrap()],
        0o644,
    )
    .unwrap();
    let error = bundle.verify_parts(&[], &programs[..1]).unwrap_err().to_string();
    assert!(error.ends_with(&format!("needed by program {}", programs[0])), "{error}");
    bundle.verify_parts(&images[1..], &programs[1..]).unwrap();
}

#[test]
fn a_truncated_or_missing_blob_is_found_at_once() {
    let fixture = Fixture::new();
    let (bundle, _) = fixture.create();
    let (digest, path) = apiserver_layer(&bundle);
    let bytes = host::fs::read(&path).unwrap();
    host::fs::write(&path, &bytes[..10], 0o644).unwrap();
    let error = Bundle::open(bundle.dir()).unwrap_err();
    let wanted = format!("expected {} bytes, found 10 bytes", bytes.len());
    assert!(error.to_string().contains(&wanted), "{error}");
    host::fs::remove_file(&path).unwrap();
    let error = Bundle::open(bundle.dir()).unwrap_err();
    assert!(matches!(&error, BundleError::Missing { blob, .. } if *blob == digest), "{error}");
}

#[test]
fn a_damaged_manifest_is_found_at_once() {
    let fixture = Fixture::new();
    let (bundle, _) = fixture.create();
    let path = path_of(bundle.dir(), &bundle.images()[0].digest);
    host::fs::write(&path, b"{}", 0o644).unwrap();
    let error = Bundle::open(bundle.dir()).unwrap_err();
    assert!(matches!(error, BundleError::Corrupt { .. }), "{error}");
}

/// The bundle as somebody has changed it, every digest made right again.
fn with_programs(bundle: &Bundle, change: impl Fn(&mut serde_json::Value)) -> Result<Bundle> {
    let index_path = bundle.dir().join(oci::INDEX_FILE);
    let mut index: serde_json::Value = serde_json::from_slice(&host::fs::read(&index_path).unwrap()).unwrap();
    let manifests = index["manifests"].as_array_mut().unwrap();
    let descriptor = manifests.iter_mut().find(|m| m["artifactType"] == oci::HOST_PROGRAMS).unwrap();
    let digest = Digest::try_from(descriptor["digest"].as_str().unwrap().to_owned()).unwrap();
    let bytes = host::fs::read(&path_of(bundle.dir(), &digest)).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    change(&mut manifest);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = Digest::of(&bytes);
    host::fs::write(&path_of(bundle.dir(), &digest), &bytes, 0o644).unwrap();
    descriptor["digest"] = digest.to_string().into();
    descriptor["size"] = bytes.len().into();
    host::fs::write(&index_path, index.to_string().as_bytes(), 0o644).unwrap();
    Bundle::open(bundle.dir())
}

#[test]
fn a_program_s_name_leads_nowhere_else() {
    for name in ["../../../etc/cron.hourly/evil", "/etc/evil", "ls", "", "kubelet/../ls", "KUBELET"] {
        let fixture = Fixture::new();
        let (bundle, _) = fixture.create();
        let named = |manifest: &mut serde_json::Value| {
            manifest["layers"][0]["annotations"][annotation::TITLE] = name.into();
        };
        let error = with_programs(&bundle, named).unwrap_err();
        assert!(matches!(&error, BundleError::Foreign { reason, .. } if reason.contains(name)), "{error}");
    }
    let fixture = Fixture::new();
    let (bundle, _) = fixture.create();
    assert!(with_programs(&bundle, |_| {}).is_ok());
    let twice = |manifest: &mut serde_json::Value| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    };
    assert!(matches!(with_programs(&bundle, twice), Err(BundleError::Foreign { .. })));
}

#[test]
fn what_is_no_bundle_is_said_to_be_none() {
    let fixture = Fixture::new();
    let error = Bundle::open(&fixture.path("nowhere")).unwrap_err();
    assert!(matches!(error, BundleError::NotFound { .. }), "{error}");
    let error = Bundle::open(&fixture.programs()).unwrap_err();
    assert!(matches!(error, BundleError::Foreign { .. }), "{error}");
    let (bundle, _) = fixture.create();
    let index = bundle.dir().join(oci::INDEX_FILE);
    let text = host::fs::read_to_string(&index).unwrap();
    let newer = text.replace(r#""dev.kubestrap.bundle.format":"2""#, r#""dev.kubestrap.bundle.format":"9""#);
    host::fs::write(&index, newer.as_bytes(), 0o644).unwrap();
    let error = Bundle::open(bundle.dir()).unwrap_err();
    assert!(matches!(&error, BundleError::Format { found, .. } if found == "9"), "{error}");
}
