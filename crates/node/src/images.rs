//! Brings a bundle's images into containerd: only those that are missing, by digest, and pinned,
//! so that the kubelet's image garbage collection leaves them alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bundle::{Bundle, BundleError, ImageRef};
use host::command::{Command, CommandError};
use host::fs::FsError;
use names::path;
use serde::Serialize;
use store::Standing;

use crate::Root;

/// containerd's namespace of the images that pods use.
const NAMESPACE: &str = "k8s.io";

/// The label by which containerd's CRI calls an image pinned.
const PINNED: &str = "io.cri-containerd.pinned=pinned";

/// How long one short call of `ctr` may take.
const LIMIT: Duration = Duration::from_mins(1);

/// How long an import of all images may take: minutes on a slow disk.
const IMPORT_LIMIT: Duration = Duration::from_mins(10);

/// How often what is unpacked is looked at, each time after something was put right.
const ROUNDS: usize = 3;

/// Why images could not be brought in.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// `ctr` failed.
    #[error("containerd did not do as told")]
    Ctr(#[source] CommandError),
    /// What containerd keeps could not be looked at or put right.
    #[error("cannot put right what containerd keeps")]
    Store(#[source] FsError),
    /// The bundle could not be read.
    #[error("cannot read the images from the bundle")]
    Bundle(#[source] Box<BundleError>),
}

/// What an import would do or did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImagePlan {
    /// Images that containerd lacks, has with another digest, or has not unpacked: an import was
    /// killed.
    pub import: Vec<String>,
    /// Images that it has and that are not pinned.
    pub pin: Vec<String>,
    /// Images that are there and pinned.
    pub present: Vec<String>,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The images that were imported or pinned.
    pub plan: ImagePlan,
    /// How long it took.
    pub took: Duration,
}

/// Files of images that were not what the images' layers say, each with its image and what was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Those that are put right.
    pub done: Vec<String>,
    /// Those that are not, each with the reason.
    pub left: Vec<String>,
}

/// An image as containerd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Present {
    digest: String,
    pinned: bool,
    unpacked: bool,
}

/// What is missing of all the bundle's images. containerd must run.
///
/// # Errors
/// [`ImagesError::Ctr`] when containerd cannot be asked.
pub fn plan_images(root: &Root, bundle: &Bundle) -> Result<ImagePlan, ImagesError> {
    let present = present(root)?;
    Ok(compare(bundle.images(), &present))
}

/// Imports and pins what is missing of the bundle's images. containerd must run.
///
/// # Errors
/// [`ImagesError`]; images that were imported until then stay.
pub fn import_images(root: &Root, bundle: &Bundle) -> Result<Imported, ImagesError> {
    let started = Instant::now();
    let plan = plan_images(root, bundle)?;
    if !plan.import.is_empty() {
        import(root, bundle, &plan.import)?;
    }
    for image in bundle.images().iter().filter(|image| plan.pin.contains(&image.name)) {
        for name in image.stored_names() {
            told(root, ctr(&["images", "label", &name, PINNED]))?;
        }
    }
    Ok(Imported { plan, took: started.elapsed() })
}

/// Looks at what is unpacked of all images, and puts right what is wrong. What runs goes on with what it has open.
pub(crate) fn mend(root: &Root, bundle: &Bundle) -> Result<Mended, ImagesError> {
    let (dir, mut mended) = (path::CONTAINERD_ROOT, Mended::default());
    // A damaged layer judges nothing that is unpacked of it: that shows when it is whole again.
    for _ in 0..ROUNDS {
        let Standing::Whole(store) =
            store::look(&root.path(dir), Path::new(dir)).map_err(ImagesError::Store)?
        else {
            break;
        };
        let wrong = store.check(true).map_err(ImagesError::Store)?;
        mended.left.clear();
        let before = mended.done.len();
        for wrong in wrong {
            match store.mend(&wrong, &|digest| bundle.blob(digest)) {
                Ok(true) => mended.done.push(wrong.to_string()),
                Ok(false) => {
                    mended.left.push(format!("{wrong}; no whole layer of it is here or in the bundle"));
                }
                // One that cannot be written holds up no other one.
                Err(error) => mended.left.push(format!("{wrong}; {}", host::error::chain(&error))),
            }
        }
        if mended.done.len() == before {
            break;
        }
    }
    Ok(mended)
}

pub(crate) fn ctr(args: &[&str]) -> Command {
    let common = ["--address", path::CRI_SOCKET, "--namespace", NAMESPACE];
    Command::new("ctr").args(common).args(args).timeout(LIMIT)
}

/// Runs a command there; what it printed.
fn told(root: &Root, command: Command) -> Result<String, ImagesError> {
    root.machine().run(command).map(|output| output.text()).map_err(ImagesError::Ctr)
}

fn present(root: &Root) -> Result<BTreeMap<String, Present>, ImagesError> {
    let list = told(root, ctr(&["images", "list"]))?;
    let check = told(root, ctr(&["images", "check"]))?;
    Ok(parse(&list, &check))
}

/// Reads the tables of `ctr images list` (REF TYPE DIGEST SIZE PLATFORMS LABELS) and of `ctr
/// images check` (REF TYPE DIGEST STATUS SIZE UNPACKED).
fn parse(list: &str, check: &str) -> BTreeMap<String, Present> {
    let unpacked: BTreeSet<&str> = rows(check)
        .filter(|row| row.get(3) == Some(&"complete") && row.last() == Some(&"true"))
        .filter_map(|row| row.first().copied())
        .collect();
    let image = |row: Vec<&str>| {
        let pinned = row.last().is_some_and(|labels| labels.split(',').any(|label| label == PINNED));
        let (name, digest) = (*row.first()?, (*row.get(2)?).to_owned());
        Some((name.to_owned(), Present { digest, pinned, unpacked: unpacked.contains(name) }))
    };
    rows(list).filter_map(image).collect()
}

fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect())
}

fn compare(wanted: &[ImageRef], present: &BTreeMap<String, Present>) -> ImagePlan {
    let mut plan = ImagePlan::default();
    for image in wanted {
        let stored = image.stored_names().map(|name| present.get(&name));
        let whole = |one: &Present| one.digest == image.digest.as_str() && one.unpacked;
        let list = if !stored.iter().all(|one| one.is_some_and(whole)) {
            &mut plan.import
        } else if stored.into_iter().flatten().all(|one| one.pinned) {
            &mut plan.present
        } else {
            &mut plan.pin
        };
        list.push(image.name.clone());
    }
    plan
}

/// One `ctr images import` for all, fed from the bundle while it reads: nothing is written twice
/// and shared layers are sent once. (`--local` because containerd's transfer service takes a second
/// longer for the same bytes.) Steadily: an etcd may be at work on the same disk, or be soon.
fn import(root: &Root, bundle: &Bundle, names: &[String]) -> Result<(), ImagesError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let command = ctr(&["images", "import", "--local", "--snapshotter", "overlayfs", "--label", PINNED, "-"]);
    let mut exported = Ok(());
    let mut feed = |stdin: &mut dyn Write| exported = bundle.export_tar(stdin, &names);
    let import = || root.machine().run_fed(command.timeout(IMPORT_LIMIT), &mut feed);
    let imported = host::disk::steadily(&root.path(path::CONTAINERD_ROOT), import);
    match (imported, exported) {
        // Of a damaged bundle `ctr` sees the half that came before the damage, and complains of what follows it.
        (_, Err(error @ (BundleError::Corrupt { .. } | BundleError::Missing { .. })))
        | (Ok(_), Err(error)) => Err(ImagesError::Bundle(Box::new(error))),
        // Else its own complaint is the cause, and that nobody reads any more only follows.
        (Err(error), _) => Err(ImagesError::Ctr(error)),
        (Ok(_), Ok(())) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ctr prints of images: name, digit of the digest, whether it is pinned, whether it is unpacked.
    fn tables(images: &[(&str, char, bool, bool)]) -> (String, String) {
        let row = |(name, digit, ..): &(&str, char, bool, bool)| {
            format!("{name} application/vnd.oci.image.manifest.v1+json {}", digest(*digit))
        };
        let listed = |image: &(&str, char, bool, bool)| {
            let pinned = if image.2 { ",io.cri-containerd.pinned=pinned" } else { "" };
            format!("{} 312.5 KiB linux/amd64 io.cri-containerd.image=managed{pinned}\n", row(image))
        };
        let checked = |image: &(&str, char, bool, bool)| {
            format!("{} complete (2/2) 309.4 KiB/309.4 KiB {}\n", row(image), image.3)
        };
        let list = ["REF TYPE DIGEST SIZE PLATFORMS LABELS\n".to_owned()]
            .into_iter()
            .chain(images.iter().map(listed));
        let check = ["REF TYPE DIGEST STATUS SIZE UNPACKED\n".to_owned()]
            .into_iter()
            .chain(images.iter().map(checked));
        (list.collect(), check.collect())
    }

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    /// The plan for `a/b:v1` of digest 1 where containerd has these.
    fn planned(there: &[(&str, char, bool, bool)]) -> ImagePlan {
        let digest = digest('1').try_into().unwrap();
        let wanted = ImageRef { name: "a/b:v1".to_owned(), version: "v1".to_owned(), digest, size: 1 };
        let digested = wanted.stored_names()[1].clone();
        let there: Vec<_> = there
            .iter()
            .map(|(name, digit, pinned, unpacked)| {
                let name = if *name == "@" { digested.as_str() } else { name };
                (name, *digit, *pinned, *unpacked)
            })
            .collect();
        let (list, check) = tables(&there);
        compare(&[wanted], &parse(&list, &check))
    }

    #[test]
    fn an_image_that_is_whole_and_pinned_is_left_alone() {
        let plan = planned(&[("a/b:v1", '1', true, true), ("@", '1', true, true)]);
        assert_eq!(plan.present, ["a/b:v1"]);
        for (tagged, digested) in [(false, false), (true, false), (false, true)] {
            let plan = planned(&[("a/b:v1", '1', tagged, true), ("@", '1', digested, true)]);
            assert_eq!(plan.pin, ["a/b:v1"]);
        }
    }

    #[test]
    fn images_that_are_missing_differ_or_were_never_unpacked_are_imported() {
        let there: [&[_]; 6] = [
            &[],
            &[("a/b:v1", '1', true, true)],
            &[("@", '1', true, true)],
            &[("a/b:v1", '2', true, true), ("@", '1', true, true)],
            &[("a/b:v1", '1', true, false), ("@", '1', true, true)],
            &[("a/b:v1", '1', true, true), ("@", '1', true, false)],
        ];
        for there in there {
            assert_eq!(planned(there).import, ["a/b:v1"], "{there:?}");
        }
    }
}
