//! Making a bundle: plan what goes in, hash it, and when that is not what is there already,
//! compress what is new and put the whole in place in one step.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use licences::Licences;
use serde::Serialize;

use crate::blob::{Content, LEVEL, path_of};
use crate::catalog::{self, ImagePlan, Plan};
use crate::digest::Digest;
use crate::inputs::{Inputs, read_inputs};
use crate::oci::{self, Annotations, Descriptor, ImageConfig, Index, Manifest, Platform, annotation};
use crate::open::{FORMAT, check_replaceable};
use crate::origins::{self, Origin};
use crate::programs::{KUBESTRAP, Programs, read_licences};
use crate::replace::Staged;
use crate::{Bundle, BundleError, Result};

/// What a bundle is made from, and where.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The folder of static programs with its `versions.json`.
    pub programs: &'a Path,
    /// Our own program, for its image and for the host.
    pub kubestrap: &'a Path,
    /// The licences of what our own program is made of, in the form of the folder's `licences.json`.
    pub licences: Option<&'a Path>,
    /// The bundle's directory.
    pub target: &'a Path,
}

/// What [`create`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The bundle was made from these programs already; nothing was written.
    UpToDate,
    /// It was written.
    Written {
        /// Blobs that were compressed.
        compressed: usize,
        /// Blobs taken over from the bundle that was there before.
        reused: usize,
    },
}

/// Makes a bundle and opens it. The same programs give the same digests. What is at the target
/// is replaced in one step when it is a bundle of ours, and left alone when it is this very one
/// and intact.
///
/// # Errors
/// [`BundleError::Foreign`] when the target is something else, [`BundleError::MissingPrograms`],
/// [`BundleError::MissingTool`], [`BundleError::Unfit`] when the input will not do,
/// [`BundleError::Busy`], and what the file system answered. The target is as it was then.
pub fn create(request: &Request<'_>) -> Result<(Bundle, Outcome)> {
    check_replaceable(request.target)?;
    let programs = Programs::open(request.programs, request.kubestrap, &catalog::needed_programs())?;
    let plan = catalog::plan(&programs)?;
    let inputs = read_inputs(plan.contents.iter().flat_map(Content::sources))?;
    let origins = origins::of_inputs(&inputs, &programs);
    let licences = licences(request, &programs, &origins)?;
    let recipe = recipe(&plan, &inputs, &(&origins, &licences))?;

    // One that cannot be opened is as good as none.
    let old = Bundle::open(request.target).ok();
    let same = |bundle: &&Bundle| bundle.annotation(annotation::RECIPE) == recipe.as_str();
    if old.as_ref().filter(same).is_some_and(|bundle| bundle.verify().is_ok()) {
        return Ok((Bundle::open(request.target)?, Outcome::UpToDate));
    }

    let staged = Staged::new(request.target)?;
    host::fs::create_dir_all(&staged.path().join("blobs/sha256"), 0o755)?;
    let (blobs, outcome) = write_contents(&plan, &inputs, old.as_ref(), staged.path())?;
    let origins = write_origins(&origins, &licences, staged.path())?;
    write_documents(&plan, &blobs, origins, &recipe, staged.path())?;
    staged.publish()?;
    Ok((Bundle::open(request.target)?, outcome))
}

/// Those of everything in it.
fn licences(request: &Request<'_>, programs: &Programs, origins: &[Origin]) -> Result<Licences> {
    let mut all = programs.licences().clone();
    if let Some(own) = request.licences {
        all.merge(read_licences(own)?.only_of(&[KUBESTRAP]));
    }
    origins::add_licences(&mut all, origins);
    Ok(all)
}

/// A digest of everything that decides what the bundle will be.
fn recipe(plan: &Plan, inputs: &Inputs, besides: &impl Serialize) -> Result<Digest> {
    let contents: Vec<_> = plan.contents.iter().map(|content| content.recipe(inputs)).collect();
    Ok(Digest::of(&json(&(FORMAT, plan, contents, besides))?))
}

/// Compresses all contents, or takes over the blobs of the old bundle that are the same.
fn write_contents(
    plan: &Plan,
    inputs: &Inputs,
    old: Option<&Bundle>,
    dir: &Path,
) -> Result<(Vec<Descriptor>, Outcome)> {
    let known: BTreeMap<&str, &Descriptor> =
        old.into_iter().flat_map(Bundle::contents).map(|d| (d.note(annotation::RECIPE), d)).collect();
    // The largest first, so that all processors end at about the same time.
    let mut order: Vec<usize> = (0..plan.contents.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(plan.contents[*i].size(inputs)));
    let mut done = host::parallel::map(&order, |i| {
        let content = &plan.contents[*i];
        let known = known.get(content.recipe(inputs).as_str());
        if let Some(taken) = known.and_then(|descriptor| take_over(old?, descriptor, dir)) {
            return Ok((*i, taken, true));
        }
        let written = content.write(inputs, dir)?;
        tracing::debug!(digest = %written.digest, size = written.size, "blob written");
        Ok::<_, BundleError>((*i, written, false))
    })?;
    done.sort_by_key(|(i, ..)| *i);
    let reused = done.iter().filter(|(.., reused)| *reused).count();
    let outcome = Outcome::Written { compressed: done.len() - reused, reused };
    Ok((done.into_iter().map(|(_, descriptor, _)| descriptor).collect(), outcome))
}

/// Links an intact blob of the old bundle into the new one; `None` when it must be made anew.
fn take_over(old: &Bundle, known: &Descriptor, dir: &Path) -> Option<Descriptor> {
    old.verify_blob(&known.digest).ok()?;
    match fs::hard_link(path_of(old.dir(), &known.digest), path_of(dir, &known.digest)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return None,
        _ => {}
    }
    let mut descriptor = known.clone();
    // These two belong to the program's place in its artifact, not to the blob.
    descriptor.annotations.remove(annotation::TITLE);
    descriptor.annotations.remove(annotation::VERSION);
    Some(descriptor)
}

fn write_documents(
    plan: &Plan,
    blobs: &[Descriptor],
    origins: Descriptor,
    recipe: &Digest,
    dir: &Path,
) -> Result<()> {
    let mut manifests = Vec::new();
    for image in &plan.images {
        manifests.push(write_image(image, blobs, dir)?);
    }
    manifests.push(write_programs(plan, blobs, dir)?);
    manifests.push(origins);
    let annotations = [
        (annotation::FORMAT, FORMAT),
        (annotation::KUBERNETES, plan.kubernetes.as_str()),
        (annotation::RECIPE, recipe.as_str()),
    ];
    let index = json(&Index::new(manifests, annotate(annotations)))?;
    host::fs::write(&dir.join(oci::LAYOUT_FILE), oci::LAYOUT, 0o644)?;
    Ok(host::fs::write(&dir.join(oci::INDEX_FILE), &index, 0o644)?)
}

fn write_image(image: &ImagePlan, blobs: &[Descriptor], dir: &Path) -> Result<Descriptor> {
    let layers: Vec<Descriptor> = image.layers.iter().map(|i| blobs[*i].clone()).collect();
    let diff_ids =
        layers.iter().filter_map(|l| Digest::try_from(l.note(annotation::CONTENT_DIGEST).to_owned()).ok());
    let config = ImageConfig::new(image.entrypoint, image.user, diff_ids.collect());
    let config = write_document(&json(&config)?, oci::CONFIG, dir)?;
    let manifest = json(&Manifest::new(None, config, layers))?;
    let mut descriptor = write_document(&manifest, oci::MANIFEST, dir)?;
    let name = format!("{}:{}", image.repository, image.tag);
    descriptor.annotations = annotate([
        (annotation::IMAGE_NAME, name.as_str()),
        (annotation::REF_NAME, image.tag.as_str()),
        (annotation::VERSION, image.version.as_str()),
    ]);
    descriptor.platform = Some(Platform::linux());
    Ok(descriptor)
}

fn write_programs(plan: &Plan, blobs: &[Descriptor], dir: &Path) -> Result<Descriptor> {
    let layers = plan.programs.iter().map(|program| {
        let mut layer = blobs[program.content].clone();
        let names = [(annotation::TITLE, program.name), (annotation::VERSION, program.version.as_str())];
        layer.annotations.extend(annotate(names));
        layer
    });
    // The image-spec's way to say that an artifact has no configuration.
    let config = write_document(b"{}", oci::EMPTY, dir)?;
    let manifest = json(&Manifest::new(Some(oci::HOST_PROGRAMS), config, layers.collect()))?;
    let mut descriptor = write_document(&manifest, oci::MANIFEST, dir)?;
    descriptor.artifact_type = Some(oci::HOST_PROGRAMS.to_owned());
    Ok(descriptor)
}

fn write_origins(origins: &[Origin], licences: &Licences, dir: &Path) -> Result<Descriptor> {
    let list = write_document(&json(&origins)?, oci::ORIGINS_LIST, dir)?;
    let packed = zstd::encode_all(json(licences)?.as_slice(), LEVEL);
    let packed = packed.map_err(BundleError::io("compress the licences into", dir))?;
    let licences = write_document(&packed, oci::LICENCES, dir)?;
    let config = write_document(b"{}", oci::EMPTY, dir)?;
    let manifest = json(&Manifest::new(Some(oci::ORIGINS), config, vec![list, licences]))?;
    let mut descriptor = write_document(&manifest, oci::MANIFEST, dir)?;
    descriptor.artifact_type = Some(oci::ORIGINS.to_owned());
    Ok(descriptor)
}

fn annotate<const N: usize>(pairs: [(&str, &str); N]) -> Annotations {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn write_document(bytes: &[u8], media_type: &str, dir: &Path) -> Result<Descriptor> {
    let descriptor = Descriptor::of(media_type, bytes);
    host::fs::write(&path_of(dir, &descriptor.digest), bytes, 0o644)?;
    Ok(descriptor)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| BundleError::Document { path: oci::INDEX_FILE.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    #[test]
    fn the_same_programs_give_the_same_digests() {
        let (one, two) = (Fixture::new(), Fixture::new());
        assert_eq!(one.create().0.digest(), two.create().0.digest());
        two.set("runc", "another");
        assert_ne!(one.create().0.digest(), two.create().0.digest());
    }

    #[test]
    fn a_second_run_does_nothing_and_a_changed_program_is_all_that_is_packed() {
        let fixture = Fixture::new();
        let (first, outcome) = fixture.create();
        assert!(matches!(outcome, Outcome::Written { reused: 0, .. }), "{outcome:?}");
        assert_eq!(fixture.create().1, Outcome::UpToDate);
        fixture.set("etcd", "another");
        let (second, outcome) = fixture.create();
        assert!(matches!(outcome, Outcome::Written { compressed: 1, reused } if reused > 20), "{outcome:?}");
        second.verify().unwrap();
        assert_ne!(first.digest(), second.digest());
        // What was reused is what would have been made.
        let anew = fixture.create_at(&fixture.path("other")).unwrap().0;
        assert_eq!(anew.digest(), second.digest());
    }

    #[test]
    fn a_damaged_bundle_is_mended() {
        let fixture = Fixture::new();
        let (bundle, _) = fixture.create();
        let digest = bundle.digest().clone();
        let blob = path_of(bundle.dir(), &bundle.program_blobs[3].digest);
        let mut flipped = host::fs::read(&blob).unwrap();
        flipped[30] ^= 1;
        for missing in [false, true] {
            if missing {
                host::fs::remove_file(&blob).unwrap();
            } else {
                host::fs::write(&blob, &flipped, 0o644).unwrap();
            }
            let (bundle, outcome) = fixture.create();
            assert!(matches!(outcome, Outcome::Written { .. }), "{outcome:?}");
            assert_eq!(bundle.digest(), &digest);
            bundle.verify().unwrap();
        }
    }

    #[test]
    fn what_is_no_bundle_is_not_touched() {
        let fixture = Fixture::new();
        let target = fixture.path("mine");
        host::fs::create_dir_all(&target, 0o755).unwrap();
        host::fs::write(&target.join("letter"), b"dear", 0o644).unwrap();
        let error = fixture.create_at(&target).unwrap_err();
        assert!(matches!(error, BundleError::Foreign { .. }), "{error}");
        assert_eq!(host::fs::read(&target.join("letter")).unwrap(), b"dear");
        // An empty directory is nobody's.
        host::fs::remove_file(&target.join("letter")).unwrap();
        fixture.create_at(&target).unwrap();
    }

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let fixture = Fixture::new();
        for name in ["kubelet", "pause"] {
            host::fs::remove_file(&fixture.programs().join(name)).unwrap();
        }
        let error = fixture.create_at(&fixture.path("bundle")).unwrap_err();
        assert_eq!(error.to_string(), format!("{} lacks kubelet, pause", fixture.programs().display()));
        assert!(!fixture.path("bundle").exists());
    }

    #[test]
    fn it_says_where_everything_came_from() {
        let fixture = Fixture::new();
        let (bundle, _) = fixture.create();
        let of = |file: &str| bundle.origins().iter().find(|origin| origin.file == file).unwrap();
        assert_eq!(of("etcd").from.as_deref(), Some("a test made etcd"));
        assert_eq!(of("etcd").digest, Digest::of(&crate::fixture::program("etcd")));
        let nft = of("/usr/sbin/nft");
        assert!(nft.from.as_ref().unwrap().starts_with("nftables "), "{nft:?}");
        assert_eq!(nft.digest, Digest::of(&host::fs::read(Path::new("/usr/sbin/nft")).unwrap()));
        // No path of the building host but those of packages.
        let unknown: Vec<_> = bundle.origins().iter().filter(|origin| origin.from.is_none()).collect();
        assert!(unknown.iter().all(|origin| origin.file == "kubestrap"), "{unknown:?}");
    }

    #[test]
    fn it_has_the_licences_of_all_that_is_in_it_and_of_nothing_else() {
        let fixture = Fixture::new();
        let mut own = Licences::default();
        let found = || vec![licences::Found { file: "LICENSE".to_owned(), text: "of crates".to_owned() }];
        own.add("a-crate", "1.0.0", &["kubestrap"], found());
        own.add("x/other", "v9", &["another program"], found());
        let file = fixture.path("own.json");
        host::fs::write(&file, &serde_json::to_vec(&own).unwrap(), 0o644).unwrap();
        let (programs, target) = (fixture.programs(), fixture.path("bundle"));
        let kubestrap = programs.join(KUBESTRAP);
        let request =
            Request { programs: &programs, kubestrap: &kubestrap, licences: Some(&file), target: &target };
        let (bundle, _) = create(&request).unwrap();
        let licences = bundle.licences().unwrap();
        let within = |name: &str| licences.works().iter().find(|w| w.name == name).map(|w| w.within.len());
        // kubeadm, which the folder tells of, too, is not in it.
        assert_eq!(within("x/everywhere"), Some(catalog::needed_programs().len() - 1));
        assert_eq!((within("a-crate"), within("x/other"), within("nftables")), (Some(1), None, Some(1)));
        assert_eq!(licences.lost(), None);
        // Other licences are another bundle.
        let (other, outcome) = fixture.create();
        assert!(matches!(outcome, Outcome::Written { compressed: 0, .. }), "{outcome:?}");
        assert_ne!(other.digest(), bundle.digest());
    }

    #[test]
    fn programs_of_which_nobody_tells_what_they_are_made_of_are_refused() {
        let fixture = Fixture::new();
        let file = fixture.programs().join(licences::FILE);
        let known = host::fs::read_to_string(&file).unwrap();
        let refused = |text: &str| {
            host::fs::write(&file, text.as_bytes(), 0o644).unwrap();
            fixture.create_at(&fixture.path("bundle")).unwrap_err().to_string()
        };
        let dir = fixture.programs();
        let error = refused(&known.replace("\"runc\"", "\"crun\""));
        assert_eq!(error, format!("{} lacks runc in licences.json", dir.display()));
        let mut half: serde_json::Value = serde_json::from_str(&known).unwrap();
        half["texts"] = serde_json::json!({});
        let error = refused(&half.to_string());
        assert!(error.contains("licences.json") && error.contains("it names a text "), "{error}");
        host::fs::remove_file(&file).unwrap();
        let error = fixture.create_at(&fixture.path("bundle")).unwrap_err();
        assert_eq!(error.to_string(), format!("{} lacks licences.json", dir.display()));
    }

    #[test]
    fn images_are_named_as_upstream_names_them() {
        let (bundle, _) = Fixture::new().create();
        assert!(bundle.has_image("registry.k8s.io/kube-apiserver:v1.2.3"));
        assert!(bundle.has_image("registry.k8s.io/etcd:1.2.3-0"));
        assert!(bundle.has_image(concat!("ghcr.io/kubestrap/kubestrap:v", env!("CARGO_PKG_VERSION"))));
        assert_eq!(bundle.pause_image().unwrap().name, "registry.k8s.io/pause:v1.2.3");
        assert_eq!(bundle.kubernetes_version(), "v1.2.3");
        assert_eq!(bundle.images().len(), 10);
    }
}
